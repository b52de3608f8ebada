//! The rich results of a run: text is printed as the program displays it, and everything else is
//! saved with the artifacts, or named with the flag that saves it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use belljar_protocol::{Bytes, Outcome, RichResult, plain};

use crate::commands::logs;
use crate::hint::WithHint;
use crate::output_folder::OutputFolder;
use crate::show;

/// The maximum number of displayed results that a note describes.
const MAX_NAMED: usize = 5;

/// Prints a result on standard output, if it is text that people read as it is.
pub fn print(result: &RichResult) -> io::Result<()> {
    if !is_printed(&result.media_type) {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    let text = logs::shown(result.data.trim_end_matches('\n'), out.is_terminal());
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints one line about the results that are not printed and would be lost.
pub fn note(results: &[RichResult]) {
    let lost: Vec<String> = saved(results)
        .map(|result| format!("{} ({})", result.media_type, Bytes(content(result).len() as u64)))
        .collect();
    if lost.is_empty() {
        return;
    }
    let more = lost.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named = lost.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    show::note(&format!("displayed {named}{more}, which --artifacts FOLDER saves"));
}

/// Saves the results that are not printed in a folder, as `display-1.png` and so on. The names of
/// artifacts are not used again.
pub fn save(outcome: &Outcome, folder: &Path, into: &OutputFolder) -> anyhow::Result<()> {
    let mut numbers = 1_u32..;
    for result in saved(&outcome.results) {
        let name = numbers
            .by_ref()
            .map(|number| format!("display-{number}.{}", extension(&result.media_type)))
            .find(|name| !outcome.artifacts.iter().any(|artifact| artifact.name == *name))
            .context("there are too many displayed results")?;
        let path = folder.join(&name).display().to_string();
        let shown = plain::line(&path);
        into.create(&name)
            .and_then(|(partial, mut file)| {
                file.write_all(&content(result))?;
                partial.keep()
            })
            .with_context(|| format!("cannot save the displayed result `{shown}`"))
            .hint("free some space, or name another folder with --artifacts")?;
        show::note(&format!("saved {shown}"));
    }
    Ok(())
}

fn saved(results: &[RichResult]) -> impl Iterator<Item = &RichResult> {
    results.iter().filter(|result| !is_printed(&result.media_type))
}

/// Returns whether a terminal can show results of this type. HTML is text, but not for people.
fn is_printed(media_type: &str) -> bool {
    matches!(
        essence(media_type),
        "text/plain" | "text/markdown" | "text/latex" | "text/csv" | "application/json"
    )
}

fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Returns the content as bytes. Types that are not text have it in base64.
fn content(result: &RichResult) -> Cow<'_, [u8]> {
    let essence = essence(&result.media_type);
    let is_text = essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("json")
        || essence == "application/javascript";
    match BASE64.decode(&result.data) {
        Ok(bytes) if !is_text => bytes.into(),
        _ => result.data.as_bytes().into(),
    }
}

/// Returns the file name extension of a media type, which the program chose.
fn extension(media_type: &str) -> &'static str {
    match essence(media_type) {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/svg+xml" => "svg",
        "application/pdf" => "pdf",
        "text/html" => "html",
        json if json.ends_with("json") => "json",
        text if text.starts_with("text/") => "txt",
        _ => "bin",
    }
}
