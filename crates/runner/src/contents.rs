//! The contents that a run starts with, as bytes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use belljar_protocol::{Explain, InvalidSubmission, ProgramFile, RunSubmission};

/// The contents that a run starts with. A submission has them as text; a caller on this machine
/// reads them from its files.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// All files in the working folder, including the program.
    pub files: Vec<ProgramFile>,
    /// Content of the program's standard input.
    pub stdin: Vec<u8>,
    /// Names of the Python modules next to the program that are not among the files. No package is
    /// installed for the import of such a name.
    pub not_submitted: BTreeSet<String>,
}

/// An error in the contents of a submission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentsError {
    /// The content of a file is not valid base64.
    #[error(transparent)]
    Invalid(#[from] InvalidSubmission),
    /// A file refers to an object whose content was not passed.
    #[error("files: `{0}` refers to an object, but this server has no storage")]
    Object(String),
}

impl Explain for ContentsError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Invalid(error) => error.hint(),
            Self::Object(_) => Some("pass the content of the file".into()),
        }
    }
}

impl Contents {
    /// Returns the contents of a submission. `objects` has the content of each file that refers to
    /// an object, in the order of the files.
    pub fn of(
        submission: &RunSubmission,
        objects: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Self, ContentsError> {
        let mut objects = objects.into_iter();
        let mut files = Vec::with_capacity(submission.files.len() + 1);
        if let Some(code) = &submission.code {
            let content = code.clone().into_bytes();
            files.push(ProgramFile { path: submission.entry_name(), content });
        }
        for file in &submission.files {
            let content = match file.bytes()? {
                Some(content) => content,
                None => objects
                    .next()
                    .ok_or_else(|| ContentsError::Object(file.path.as_str().to_owned()))?,
            };
            files.push(file.with(content));
        }
        let stdin = submission.stdin.clone().unwrap_or_default().into_bytes();
        Ok(Self { files, stdin, not_submitted: BTreeSet::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(json: &str, objects: &[&str]) -> Result<Vec<(String, String)>, ContentsError> {
        let submission: RunSubmission = serde_json::from_str(json).unwrap();
        let objects = objects.iter().map(|text| text.as_bytes().to_vec());
        let files = Contents::of(&submission, objects)?.files.into_iter();
        let text = |file: ProgramFile| {
            (file.path.as_str().to_owned(), String::from_utf8(file.content).unwrap())
        };
        Ok(files.map(text).collect())
    }

    #[test]
    fn the_program_comes_first_and_objects_keep_their_order() {
        let json = r#"{"language": "typescript", "code": "1", "entry": "src/main.ts", "files": [
            {"path": "a", "object": "x"}, {"path": "b", "content_base64": "Mg=="},
            {"path": "c", "object": "y"}
        ]}"#;
        let expected = [("src/main.ts", "1"), ("a", "3"), ("b", "2"), ("c", "4")]
            .map(|(path, content)| (path.to_owned(), content.to_owned()));
        assert_eq!(contents(json, &["3", "4"]).unwrap(), expected);
        assert_eq!(contents(json, &["3"]), Err(ContentsError::Object("c".into())));
    }

    #[test]
    fn a_program_can_be_one_of_the_files() {
        let json = r#"{"language": "python", "entry": "a.py", "files": [
            {"path": "b.py", "content": "2"}, {"path": "a.py", "content": "1"}
        ]}"#;
        let paths: Vec<String> =
            contents(json, &[]).unwrap().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["b.py", "a.py"]);
    }
}
