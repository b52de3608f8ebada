//! Python programs for which packages must not be imported in advance: those that set a variable,
//! patch a module or replace one before they import. A package that was imported before has read
//! the old value, and many cannot be imported twice. In case of doubt, the package is imported by
//! the program, which takes longer but is never wrong. (For a run with variables, nothing is
//! imported in advance anyway.)

use std::path::Path;

use belljar_protocol::ProgramFile;

/// Parts of code that change variables, the table of modules or other modules, and that rarely mean
/// anything else.
const CHANGES: [&str; 14] = [
    "environ.update(",
    "environ.setdefault(",
    "environ.pop(",
    "environ.clear(",
    "environ |=",
    "del os.environ",
    "putenv(",
    "unsetenv(",
    "load_dotenv(",
    "monkey",
    "modules.pop(",
    "modules.update(",
    "meta_path",
    "path_hooks",
];

/// Returns whether a program may change the result of its imports before it imports.
pub fn changes_what_imports_see(files: &[ProgramFile]) -> bool {
    files.iter().any(changes_before_it_imports)
}

fn changes_before_it_imports(file: &ProgramFile) -> bool {
    if Path::new(file.path.as_str()).extension().is_none_or(|extension| extension != "py") {
        return false;
    }
    let source = String::from_utf8_lossy(&file.content);
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let Some(first) = lines.iter().position(|line| is_change(line)) else { return false };
    lines[first..].iter().any(|line| is_import(line))
}

fn is_import(line: &str) -> bool {
    let mut parts = line.split(';').map(str::trim_start);
    parts.any(|part| part.starts_with("import ") || part.starts_with("from "))
        || line.contains("import_module(")
        || line.contains("__import__(")
}

fn is_change(line: &str) -> bool {
    !line.starts_with('#')
        && (CHANGES.iter().any(|change| line.contains(change))
            || line.starts_with("%env")
            || line.split(';').any(sets_attribute_or_item))
}

/// Returns whether a statement sets an attribute or item of another object, such as
/// `os.environ["A"] = ...`, `sys.modules["a"] = ...` or `socket.socket = ...`, but not `self.a =
/// ...` or an item of a plain name.
fn sets_attribute_or_item(statement: &str) -> bool {
    let Some((target, _)) = assignment(statement.trim_start()) else { return false };
    let is_name =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    let is_item = target.contains('[');
    let target = target.split('[').next().unwrap_or_default().trim_end();
    let parts: Vec<&str> = target.split('.').map(str::trim).collect();
    let is_of_other = parts.len() > 1 && !["self", "cls"].contains(&parts[0]);
    // `from os import environ` and `from sys import modules`.
    let is_imported_table = is_item && ["environ", "modules"].contains(&parts[0]);
    (is_of_other || is_imported_table) && parts.iter().all(|part| is_name(part))
}

/// Returns the two sides of a plain assignment.
fn assignment(statement: &str) -> Option<(&str, &str)> {
    let bytes = statement.as_bytes();
    let at = (1..bytes.len()).find(|&at| {
        bytes[at] == b'='
            && bytes.get(at + 1) != Some(&b'=')
            && !b"=!<>+-*/%&|^:@".contains(&bytes[at - 1])
    })?;
    let (target, value) = (&statement[..at], &statement[at + 1..]);
    (!target.contains('(')).then_some((target, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_early(source: &str) -> bool {
        let file = ProgramFile {
            path: "main.py".try_into().unwrap(),
            content: source.as_bytes().to_vec(),
        };
        changes_what_imports_see(&[file])
    }

    #[test]
    fn what_a_program_changes_before_it_imports_counts() {
        for source in [
            "import os\nos.environ['POLARS_MAX_THREADS'] = '1'\nimport polars as pl",
            "import os; os.environ['A'] = '1'; import polars",
            "import os\nos.environ.setdefault('MPLCONFIGDIR', '/tmp')\nimport matplotlib",
            "from os import environ\nenviron['A']='b'\nfrom loguru import logger",
            "from sys import modules\nmodules['a'] = object()\nimport pandas",
            "from gevent import monkey; monkey.patch_all()\nimport requests",
            "import sys, types\nsys.modules['numpy'] = types.ModuleType('numpy')\nimport pandas",
            "import socket\nsocket.socket = None\nimport urllib3",
            "from dotenv import load_dotenv\nload_dotenv()\nimport openai",
            "%env OMP_NUM_THREADS=1\nimport numpy",
            "def main():\n    os.environ[\"A\"] = \"1\"\n    import numpy as np",
        ] {
            assert!(is_early(source), "{source}");
        }
    }

    #[test]
    fn what_is_read_or_comes_later_does_not() {
        for source in [
            "import os\nimport pandas as pd\nos.environ['A'] = '1'\ndf = pd.DataFrame()",
            "import os\nkey = os.environ['API_KEY']\nif os.environ.get('A') == '1': pass\nimport pandas",
            "class A:\n    def __init__(self):\n        self.x = 1\nimport pandas",
            "d = {}\nd['a'] = 1\nimport pandas",
            "# os.environ['A'] = '1'\nimport pandas",
            "x = f(a=1)\nassert x.y == 2\nx.y += 1\nimport pandas",
        ] {
            assert!(!is_early(source), "{source}");
        }
    }
}
