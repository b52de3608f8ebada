//! The code of a run that was accepted earlier.

use serde::{Deserialize, Serialize};

use crate::ids::RunId;
use crate::language::Language;
use crate::run_record::RunRecord;
use crate::submission::{RunSubmission, SubmittedFile};

/// The program of a run and the files next to it, as they were submitted. It never contains
/// variables, parameters, standard input, or the content of objects.
///
/// ```
/// let code: belljar_protocol::RunCode = serde_json::from_str(r#"{
///   "id": "run_019a", "language": "python", "entry": "main.py", "code_sha256": "e3b0",
///   "code": "print(open('a.csv').read())",
///   "files": [{"path": "a.csv", "content": "1,2"}, {"path": "b.csv", "object": "inputs/b.csv"}]
/// }"#).unwrap();
/// assert_eq!(code.file("main.py").unwrap().content, code.code);
/// assert_eq!(code.file("b.csv").unwrap().object.as_deref(), Some("inputs/b.csv"));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunCode {
    /// Id of the run.
    pub id: RunId,
    /// Language of the program.
    pub language: Language,
    /// Name of the program among the run's files.
    pub entry: String,
    /// SHA-256 of the program, hexadecimal.
    pub code_sha256: String,
    /// Text of the program. Null if the program was submitted in base64 or is an object; it is then
    /// one of `files`.
    pub code: Option<String>,
    /// The other files, each with its content, or with the name of the object that it was copied
    /// from.
    pub files: Vec<SubmittedFile>,
}

impl RunCode {
    /// Returns the code of a run from its record and its submission.
    pub fn of(record: RunRecord, submission: RunSubmission) -> Self {
        let RunSubmission { mut code, mut files, .. } = submission;
        if let Some(at) = files.iter().position(|file| file.path.as_str() == record.entry)
            && files[at].content.is_some()
        {
            code = files.remove(at).content;
        }
        Self {
            id: record.id,
            language: record.language,
            entry: record.entry,
            code_sha256: record.code_sha256,
            code,
            files,
        }
    }

    /// Returns the file with a path, which may be that of the program.
    pub fn file(&self, path: &str) -> Option<SubmittedFile> {
        self.all_files().find(|file| file.path.as_str() == path)
    }

    /// Returns all files, the program first if it is text.
    pub fn all_files(&self) -> impl Iterator<Item = SubmittedFile> {
        let program = self.code.as_ref().and_then(|code| {
            Some(SubmittedFile {
                path: self.entry.as_str().try_into().ok()?,
                content: Some(code.clone()),
                content_base64: None,
                object: None,
            })
        });
        program.into_iter().chain(self.files.iter().cloned())
    }
}
