//! The full texts of the parts that are cut in the latest answers, kept in memory and readable as
//! resources.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use belljar_protocol::RunId;
use rmcp::model::{Resource, ResourceContents};

/// The maximum size and number of the texts that are kept. The oldest are dropped first.
const MAX_KEPT_BYTES: usize = 64 << 20;
const MAX_KEPT: usize = 100;

/// Returns the URI of a part of an outcome.
pub(crate) fn uri(run: &RunId, path: &str) -> String {
    format!("belljar://runs/{run}/{path}")
}

/// The full text of a part that is cut in an answer.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) uri: String,
    pub(crate) media_type: String,
    pub(crate) text: String,
}

/// The full texts that can be read as resources.
#[derive(Debug, Default)]
pub(crate) struct Rest(Mutex<VecDeque<Whole>>);

impl Rest {
    /// Adds texts of an answer, and drops the oldest ones beyond the maximum.
    pub(crate) fn keep(&self, wholes: Vec<Whole>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(wholes);
        while kept.len() > MAX_KEPT
            || kept.iter().map(|whole| whole.text.len()).sum::<usize>() > MAX_KEPT_BYTES
        {
            kept.pop_front();
        }
    }

    /// Returns all resources, newest first.
    pub(crate) fn list(&self) -> Vec<Resource> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let resource = |whole: &Whole| {
            let name = whole.uri.trim_start_matches("belljar://runs/");
            Resource::new(&whole.uri, name)
                .with_mime_type(&whole.media_type)
                .with_size(whole.text.len() as u64)
        };
        kept.iter().rev().map(resource).collect()
    }

    /// Returns the content of a resource.
    pub(crate) fn read(&self, uri: &str) -> Option<ResourceContents> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|whole| whole.uri == uri).map(|whole| {
            ResourceContents::TextResourceContents {
                uri: whole.uri.clone(),
                mime_type: Some(whole.media_type.clone()),
                text: whole.text.clone(),
                meta: None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(name: &str, bytes: usize) -> Whole {
        Whole {
            uri: format!("belljar://runs/{name}"),
            media_type: "text/plain".into(),
            text: "x".repeat(bytes),
        }
    }

    #[test]
    fn the_latest_can_be_read_and_the_oldest_are_dropped() {
        let rest = Rest::default();
        rest.keep((0..MAX_KEPT + 2).map(|number| whole(&number.to_string(), 1)).collect());
        assert!(rest.read("belljar://runs/1").is_none() && rest.read("belljar://runs/2").is_some());
        assert_eq!(rest.list().len(), MAX_KEPT);
        rest.keep(vec![whole("large", MAX_KEPT_BYTES)]);
        assert_eq!(rest.list().len(), 1);
        rest.keep(vec![whole("larger", MAX_KEPT_BYTES + 1)]);
        assert!(rest.list().is_empty(), "memory is bounded whatever a run returns");
    }
}
