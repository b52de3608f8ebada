//! The parts of a Markdown page that are tested: its fenced blocks, its links, and the anchors of
//! its headings.

use std::path::{Path, PathBuf};

pub struct Page {
    pub path: PathBuf,
    pub blocks: Vec<Block>,
    /// Targets of the links to files of this repository.
    pub links: Vec<String>,
    pub headings: Vec<String>,
}

/// The role in which a command uses the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client, with the server's URL and a token.
    Client,
    /// An operator, with access to the server's home.
    Operator,
}

pub enum Block {
    /// Commands, and the role in which they use the page's server, if they do.
    Console(Option<Caller>, Vec<Example>),
    File {
        name: String,
        content: String,
    },
}

pub struct Example {
    pub line: usize,
    pub command: String,
    pub output: String,
}

impl Page {
    pub fn parse(path: &Path, text: &str) -> Self {
        let mut page = Self {
            path: path.to_owned(),
            blocks: Vec::new(),
            links: Vec::new(),
            headings: Vec::new(),
        };
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if let Some(info) = line.strip_prefix("```") {
                let body: Vec<&str> = lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| !line.starts_with("```"))
                    .collect();
                let caller = match info {
                    "console" => Some(None),
                    "console client" => Some(Some(Caller::Client)),
                    "console operator" => Some(Some(Caller::Operator)),
                    _ => None,
                };
                if let Some(caller) = caller {
                    page.blocks.push(Block::Console(caller, examples(&body, number + 2)));
                } else if let Some((_, name)) = info.split_once(" file=") {
                    page.blocks.push(Block::File {
                        name: name.to_owned(),
                        content: body.join("\n") + "\n",
                    });
                }
            } else if let Some(heading) = line.strip_prefix('#') {
                page.headings.push(anchor(heading.trim_start_matches('#')));
            } else {
                page.links.extend(links(line));
            }
        }
        page
    }
}

fn examples(body: &[&str], first_line: usize) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut continues = false;
    for (index, line) in body.iter().enumerate() {
        let (text, starts) = match line.strip_prefix("$ ") {
            Some(command) => (command, true),
            None => (*line, false),
        };
        if starts {
            examples.push(Example {
                line: first_line + index,
                command: text.to_owned(),
                output: String::new(),
            });
        } else {
            let example = examples.last_mut().expect("a console block starts with a command");
            let part = if continues { &mut example.command } else { &mut example.output };
            if continues {
                part.push('\n');
            }
            part.push_str(text);
            if !continues {
                part.push('\n');
            }
        }
        continues = (starts || continues) && text.ends_with('\\');
    }
    examples
}

/// The targets of `[text](target)` in a line that are in this repository. Code spans do not count.
fn links(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .map(str::to_owned)
        .collect()
}

/// The anchor that GitHub generates for a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .collect::<String>();
    kept.replace(' ', "-")
}

#[test]
fn a_page_is_read_as_its_rules_say() {
    let text = "# The `first` page\n[a](b.md#c) `[not](this)` [x](https://example.com)\n```python file=a.py\nx = 1\n```\n```console\n$ one \\\n  more\nout\n\nput\n$ two\n```\n";
    let page = Page::parse(Path::new("p.md"), text);
    assert_eq!(page.headings, ["the-first-page"]);
    assert_eq!(page.links, ["b.md#c"]);
    let [Block::File { name, content }, Block::Console(None, examples)] = &page.blocks[..] else {
        panic!("two blocks")
    };
    assert_eq!((name.as_str(), content.as_str()), ("a.py", "x = 1\n"));
    assert_eq!(
        (examples[0].line, examples[0].command.as_str(), examples[0].output.as_str()),
        (7, "one \\\n  more", "out\n\nput\n")
    );
    assert_eq!((examples[1].command.as_str(), examples[1].output.as_str()), ("two", ""));
}
