//! `belljar runs code`: prints or saves the program of a run and the files next to it.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use belljar_protocol::{RunCode, SubmittedFile, plain};

use crate::hint::hinted;
use crate::output_folder::OutputFolder;
use crate::service_arguments::CodeArguments;
use crate::{remote, show, table};

/// Prints the program, or the file that the arguments name, or saves all of them.
pub fn run(arguments: &CodeArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let code = client.run_code(&client.find_run(&arguments.id).await?).await?;
        if let Some(folder) = &arguments.to {
            save(&code, folder)?;
        }
        if arguments.ask.json {
            table::print_json(&code)?;
        } else if arguments.to.is_none() {
            print(&code, arguments.file.as_deref())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn print(code: &RunCode, name: Option<&str>) -> anyhow::Result<()> {
    let path = name.unwrap_or(&code.entry);
    let Some(file) = code.file(path) else {
        let names: Vec<String> =
            code.all_files().map(|file| file.path.as_str().to_owned()).collect();
        return Err(hinted(
            format!("`{path}` is not one of the files of the run"),
            format!("its files are {}", names.join(", ")),
        ));
    };
    table::write_content(&content(&file)?)?;
    let others = code.all_files().filter(|other| other.path.as_str() != path).count();
    if name.is_none() && others > 0 {
        let files = if others == 1 { "file" } else { "files" };
        show::note(&format!(
            "the run has {others} more {files}: print one with --file NAME, save all with --to \
             FOLDER"
        ));
    }
    Ok(())
}

/// Returns the content of a submitted file. That of an object is in storage only.
fn content(file: &SubmittedFile) -> anyhow::Result<Vec<u8>> {
    if let Some(object) = &file.object {
        return Err(hinted(
            format!("`{}` was copied from the object `{object}`", file.path.as_str()),
            format!("print the object with `belljar storage cat {object}`; it may have changed"),
        ));
    }
    Ok(file.bytes()?.unwrap_or_default())
}

fn save(code: &RunCode, folder: &Path) -> anyhow::Result<()> {
    let into = OutputFolder::open(folder)
        .with_context(|| format!("cannot open the folder `{}`", folder.display()))?;
    for file in code.all_files() {
        let shown = folder.join(file.path.as_str()).display().to_string();
        let shown = plain::line(&shown);
        if let Some(object) = &file.object {
            show::note(&format!("{shown} was not saved: it is a copy of the object {object}"));
            continue;
        }
        let cannot = || format!("cannot save `{shown}`");
        let content = content(&file)?;
        let (partial, mut opened) = into.create(file.path.as_str()).with_context(cannot)?;
        opened.write_all(&content).with_context(cannot)?;
        partial.keep().with_context(cannot)?;
        show::note(&format!("saved {shown}"));
    }
    Ok(())
}
