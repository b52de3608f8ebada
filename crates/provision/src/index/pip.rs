//! The settings of pip: its variables, and the files of the machine and the user.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The configuration of pip.
pub(super) struct Settings<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    files: HashMap<String, String>,
}

impl<'a> Settings<'a> {
    /// Reads the files. Like pip, it ignores missing and unreadable files.
    pub fn read(variable: &'a dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> Self {
        let named = variable("PIP_CONFIG_FILE").map(PathBuf::from);
        // With this value, pip reads no files.
        if named.as_deref() == Some(Path::new("/dev/null")) {
            return Self { variable, files: HashMap::new() };
        }
        let configuration = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| home.map(|home| home.join(".config")));
        let paths = [
            Some(PathBuf::from("/etc/pip.conf")),
            home.map(|home| home.join(".pip/pip.conf")),
            configuration.map(|folder| folder.join("pip/pip.conf")),
            named,
        ];
        let texts = paths.into_iter().flatten().filter_map(|path| fs::read_to_string(path).ok());
        Self { variable, files: texts.flat_map(|text| parse(&text)).collect() }
    }

    /// Returns the value of a setting (`index-url`): its variable (`PIP_INDEX_URL`), otherwise the
    /// files, of which the user's come before the machine's.
    pub fn value(&self, setting: &str) -> Option<String> {
        let name = format!("PIP_{}", setting.to_uppercase().replace('-', "_"));
        (self.variable)(&name)
            .or_else(|| self.files.get(setting).filter(|value| !value.is_empty()).cloned())
    }
}

/// Returns the settings of the section `[global]` under the names of their flags, in the order of
/// the text. An indented line continues the value of the line before.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = Vec::new();
    let mut is_global = false;
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = settings.last_mut().filter(|_| is_global) {
                if !value.is_empty() {
                    value.push('\n');
                }
                value.push_str(content);
            }
        } else if content.starts_with('[') {
            is_global = content == "[global]";
        } else if let Some((key, value)) = content.split_once(['=', ':']).filter(|_| is_global) {
            settings.push((key.trim().to_lowercase().replace('_', "-"), value.trim().to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_global_section_is_read_as_pip_reads_it() {
        let text = "index-url = http://before/\n[install]\nindex-url = http://install/\n# [global]\n[global]\nIndex_URL : https://r.example/simple\n\
                    extra-index-url =\n    https://a/\n    https://b/\n; no\ncert = /x.pem\n[list]\nformat = columns\n  and more\n";
        let settings: HashMap<_, _> = parse(text).into_iter().collect();
        assert_eq!(settings["index-url"], "https://r.example/simple");
        assert_eq!(settings["extra-index-url"], "https://a/\nhttps://b/");
        assert_eq!(settings["cert"], "/x.pem");
        assert_eq!(settings.len(), 3);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(\\PC|\n| |=|\\[global\\]|index-url){0,40}") {
            let _ = parse(&text);
        }
    }
}
