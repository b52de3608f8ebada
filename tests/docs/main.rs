//! Tests the documentation against the real binary: runs the examples, resolves the links, and
//! checks that the generated reference is current.
//!
//! Every block fenced as `console` in README.md, examples/README.md and docs/ is run. Lines that
//! start with `$ ` are commands (one that ends in `\` continues on the next line), and the lines
//! after a command are its output, both streams. `...` matches any text within a line, and a line
//! that is only `...` matches any number of lines. A block fenced as `python file=hello.py` is
//! written to the folder in which the commands of its page run.
//!
//! The commands of `console client` and `console operator` blocks use a server, one per page.
//! Clients get its URL and token in `BELLJAR_URL` and `BELLJAR_TOKEN`, operators its home in
//! `BELLJAR_HOME`. `$ belljar serve` in such a block prints what that server printed at its first
//! start.

mod compare;
mod limits;
mod page;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use belljar_test_support::{Server, binary, repository};

use page::{Block, Caller, Example, Page};

fn pages() -> Vec<Page> {
    let root = repository();
    let mut paths =
        vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("examples/README.md")];
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
        std::os::unix::fs::symlink(repository().join("examples"), folder.path().join("examples"))
            .expect("a link to the examples");
        let (mut status, mut server) = (0, None);
        for block in &page.blocks {
            match block {
                Block::File { name, content } => {
                    fs::write(folder.path().join(name), content).expect("a file of the page");
                }
                Block::Console(caller, examples) => {
                    let server =
                        caller.map(|caller| (caller, &*server.get_or_insert_with(Server::start)));
                    let environment =
                        server.map_or_else(Vec::new, |(caller, server)| variables(caller, server));
                    for example in examples {
                        ran += 1;
                        let (stdout, stderr) =
                            match server.filter(|_| example.command == "belljar serve") {
                                Some((_, server)) => (greeting(server), String::new()),
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

/// Returns the output of the first start, with the default port and the default home in place of
/// the real ones.
fn greeting(server: &Server) -> String {
    server
        .greeting
        .replace(&server.url, "http://127.0.0.1:8411")
        .replace(&server.home.display().to_string(), "/var/lib/belljar")
}

/// Returns the environment variables for the commands of a client or an operator.
fn variables(caller: Caller, server: &Server) -> Vec<(&'static str, String)> {
    match caller {
        Caller::Client => {
            vec![("BELLJAR_URL", server.url.clone()), ("BELLJAR_TOKEN", server.token.clone())]
        }
        Caller::Operator => {
            let folder = server.home.parent().expect("a folder").display().to_string();
            vec![("BELLJAR_HOME", server.home.display().to_string()), ("HOME", folder)]
        }
    }
}

/// Runs a command as a shell would that has run the ones before it: `$?` is that of the last.
fn run(
    example: &Example,
    folder: &Path,
    environment: &[(&str, String)],
    status: &mut i32,
) -> (String, String) {
    let binaries = Path::new(binary()).parent().expect("a folder");
    let path = std::env::join_paths(
        std::iter::once(binaries.to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
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
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn every_link_of_a_page_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let (mut found, mut dead) = (0, Vec::new());
    for page in &pages {
        for link in &page.links {
            found += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = if file.is_empty() {
                page.path.clone()
            } else {
                page.path.parent().expect("a folder").join(file)
            };
            let target = path.canonicalize().ok();
            let there = target.as_ref().is_some_and(|target| {
                heading.is_empty()
                    || pages.iter().any(|page| {
                        page.path == *target && page.headings.iter().any(|known| known == heading)
                    })
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
fn every_command_has_examples_and_the_binary_accepts_them() {
    let reference = fs::read_to_string(repository().join("docs/reference/cli.md"))
        .expect("docs/reference/cli.md");
    let mut wrong = Vec::new();
    for section in reference.split("\n##").skip(1) {
        let name = section.lines().next().unwrap_or_default().trim_start_matches('#').trim();
        let examples = section.split("\nExamples:\n").nth(1).unwrap_or_default();
        let examples: Vec<&str> =
            examples.lines().take_while(|line| line.starts_with("  ")).collect();
        if examples.is_empty() {
            wrong.push(format!("{name}: no examples"));
        }
        for example in examples {
            // A command that asks for help is parsed up to there, and does nothing.
            let command = example.split(" | ").find(|part| part.trim().starts_with("belljar "));
            let command = command.expect("an example of belljar");
            // Quoted code may contain `=>`.
            let end = command.find(" > ").or_else(|| command.find(" < ")).unwrap_or(command.len());
            let command = format!("{} --help", command[..end].trim());
            let example = Example { line: 0, command, output: String::new() };
            let (stdout, stderr) = run(&example, &repository(), &[], &mut 0);
            if !stdout.contains("Usage: belljar") {
                wrong.push(format!("{name}: {}: {stderr}", example.command));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_reference_of_commands_is_current() {
    let printed = Command::new(binary()).arg("reference").output().expect("belljar runs");
    assert!(printed.status.success());
    let kept = fs::read_to_string(repository().join("docs/reference/cli.md"))
        .expect("docs/reference/cli.md");
    assert!(
        String::from_utf8_lossy(&printed.stdout) == kept,
        "docs/reference/cli.md is out of date: run `cargo xtask docs`"
    );
}
