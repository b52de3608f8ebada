//! Holds the documentation to what the real binary does: examples are run, links lead somewhere, the generated reference is current.
//!
//! In README.md, examples/README.md and everything below docs/, each block fenced as `console` is run: lines that start with `$ ` are
//! commands (one ending in `\` goes on), what follows is their output, both streams. `...` stands for any text in a line, a line of
//! nothing but `...` for any lines. A block fenced as `python file=hello.py` is written to the folder in which the commands of its page run.
//!
//! The commands of `console client` and `console operator` have a server, one for the page: the first its address and token in `BELLJAR_URL` and
//! `BELLJAR_TOKEN`, the second its home in `BELLJAR_HOME`. `$ belljar serve` in such a block prints what that server said at its first start.

mod compare;
mod page;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use page::{Block, Example, Page};
use server::Server;

const BINARY: &str = env!("CARGO_BIN_EXE_belljar");

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

fn pages() -> Vec<Page> {
    let root = repository();
    let mut paths = vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("examples/README.md")];
    collect(&root.join("docs"), &mut paths);
    paths.sort();
    paths.iter().map(|path| Page::parse(path, &fs::read_to_string(path).expect("a page"))).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of pages").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
}

#[test]
fn every_example_prints_what_its_page_says() {
    let (mut ran, mut wrong) = (0, Vec::new());
    for page in pages() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(repository().join("examples"), folder.path().join("examples")).expect("a link to the examples");
        let (mut status, mut server) = (0, None);
        for block in &page.blocks {
            match block {
                Block::File { name, content } => fs::write(folder.path().join(name), content).expect("a file of the page"),
                Block::Console(who, examples) => {
                    let server = who.map(|who| (who, &*server.get_or_insert_with(|| Server::start(BINARY))));
                    let environment = server.map_or_else(Vec::new, |(who, server)| server.environment(who));
                    for example in examples {
                        ran += 1;
                        let (stdout, stderr) = match server.filter(|_| example.command == "belljar serve") {
                            Some((_, server)) => (server.greeting.clone(), String::new()),
                            None => run(example, folder.path(), &environment, &mut status),
                        };
                        if !compare::matches(&example.output, &stdout, &stderr) {
                            let Example { line, command, output } = example;
                            wrong.push(format!(
                                "{}:{line}: $ {command}\n-- the page says:\n{output}-- it printed:\n{stdout}-- on standard error:\n{stderr}",
                                page.path.display()
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(ran > 10, "only {ran} examples were found: the pages are not read as they are written");
    assert!(wrong.is_empty(), "{} of {ran} examples\n\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs a command as a shell would that has run the ones before it: `$?` is that of the last.
fn run(example: &Example, folder: &Path, environment: &[(&str, String)], status: &mut i32) -> (String, String) {
    let binaries = Path::new(BINARY).parent().expect("a folder");
    let path = std::env::join_paths(
        std::iter::once(binaries.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .expect("a PATH");
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("(exit {status})\n{}", example.command))
        .current_dir(folder)
        .env("PATH", path)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    *status = output.status.code().unwrap_or(255);
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_link_of_a_page_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let (mut found, mut dead) = (0, Vec::new());
    for page in &pages {
        for link in &page.links {
            found += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = if file.is_empty() { page.path.clone() } else { page.path.parent().expect("a folder").join(file) };
            let target = path.canonicalize().ok();
            let there = target.as_ref().is_some_and(|target| {
                heading.is_empty() || pages.iter().any(|page| page.path == *target && page.headings.iter().any(|known| known == heading))
            });
            if !there {
                dead.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(found > 10, "only {found} links were found");
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
}

#[test]
fn the_reference_of_commands_is_current() {
    let printed = Command::new(BINARY).arg("reference").output().expect("belljar runs");
    assert!(printed.status.success());
    let kept = fs::read_to_string(repository().join("docs/reference/cli.md")).expect("docs/reference/cli.md");
    assert!(String::from_utf8_lossy(&printed.stdout) == kept, "docs/reference/cli.md is out of date: run `cargo xtask docs`");
}
