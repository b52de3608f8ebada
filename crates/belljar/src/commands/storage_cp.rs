//! `belljar storage cp`: first what is to be copied where, then the copying, several at a time.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use belljar_client::{Client, Upload};
use belljar_protocol::{ObjectName, ObjectRecord};
use futures::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use super::storage::{SCHEME, is_of_one, to_stdout};
use crate::beneath::Folder;
use crate::service_arguments::CpArguments;
use crate::{exit, remote, show, table};

/// Copies under way at one time: small files wait for answers, not for bytes.
const AT_A_TIME: usize = 4;
/// Bytes of a file that are read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// One end of a copy, as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    /// In storage: a name, or the beginning of names.
    Object(&'a str),
    /// Here.
    File(&'a Path),
    /// Standard input or output.
    Standard,
}

impl<'a> Place<'a> {
    fn of(text: &'a str) -> Self {
        match text.strip_prefix(SCHEME) {
            Some(name) => Self::Object(name),
            None if text == "-" => Self::Standard,
            None => Self::File(Path::new(text)),
        }
    }
}

/// One copy that is to be made.
#[derive(Debug)]
enum Copy {
    Upload {
        from: PathBuf,
        to: ObjectName,
        size: u64,
    },
    UploadStandard {
        to: ObjectName,
    },
    Download {
        from: ObjectRecord,
        folder: PathBuf,
        name: String,
    },
    /// Into what is no file to be replaced: `/dev/null`, a FIFO.
    DownloadInto {
        from: ObjectRecord,
        to: PathBuf,
    },
    DownloadStandard {
        from: ObjectName,
    },
    Within {
        from: ObjectName,
        to: ObjectName,
    },
}

/// A copy that was made.
#[derive(Debug, Serialize)]
struct Copied {
    from: String,
    to: String,
    size_bytes: u64,
    sha256: String,
}

/// Copies.
pub fn run(arguments: &CpArguments) -> anyhow::Result<ExitCode> {
    let Some((destination, sources)) = arguments.paths.split_last() else {
        bail!("there is nothing to copy; give a source and a destination")
    };
    let (destination, sources): (_, Vec<_>) = (Place::of(destination), sources.iter().map(|source| Place::of(source)).collect());
    check(destination, &sources, arguments)?;
    remote::ask(&arguments.ask.server, async |client| {
        let mut copies = Vec::new();
        let mut failed = 0;
        for source in &sources {
            plan(&client, *source, destination, sources.len() > 1, arguments, &mut copies, &mut failed).await?;
        }
        if let [Copy::DownloadStandard { from }] = &copies[..] {
            return Ok(if to_stdout(&client, from).await? { ExitCode::SUCCESS } else { ExitCode::from(exit::UNREAD) });
        }
        copy(&client, copies, failed, arguments).await
    })
}

fn check(destination: Place<'_>, sources: &[Place<'_>], arguments: &CpArguments) -> anyhow::Result<()> {
    let is_here = |place: &Place<'_>| !matches!(place, Place::Object(_));
    if is_here(&destination) && sources.iter().any(is_here) {
        bail!("neither side is in storage; write the name of an object as {SCHEME}NAME");
    }
    if sources.len() > 1 && destination == Place::Standard {
        bail!("only one object can be written to standard output; belljar storage cat takes several");
    }
    let has_standard = sources.contains(&Place::Standard) || destination == Place::Standard;
    if has_standard && (arguments.recursive || sources.len() > 1) {
        bail!("`-` is one file; leave out -r and the other sources");
    }
    Ok(())
}

/// Finds out what one source means.
async fn plan(
    client: &Client,
    source: Place<'_>,
    destination: Place<'_>,
    is_one_of_several: bool,
    arguments: &CpArguments,
    copies: &mut Vec<Copy>,
    failed: &mut usize,
) -> anyhow::Result<()> {
    match (source, destination) {
        (Place::Standard, Place::Object(to)) => copies.push(Copy::UploadStandard { to: name_of(to)? }),
        (Place::File(path), Place::Object(prefix)) if arguments.recursive && path.is_dir() => walk(path, prefix, copies, failed)?,
        (Place::File(path), Place::Object(to)) => {
            let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
            if metadata.is_dir() {
                bail!("{} is a folder; copy it with all that is in it with -r", path.display());
            }
            let own = path
                .file_name()
                .and_then(|name| name.to_str())
                .with_context(|| format!("{} has a name that is not UTF-8; rename it", path.display()))?;
            let to = name_of(&beneath(to, own, is_one_of_several))?;
            // What has no length of its own is read to its end.
            copies.push(if metadata.is_file() {
                Copy::Upload { from: path.to_owned(), to, size: metadata.len() }
            } else {
                Copy::Upload { from: path.to_owned(), to, size: u64::MAX }
            });
        }
        (Place::Object(from), Place::Standard) => copies.push(Copy::DownloadStandard { from: name_of(from)? }),
        (Place::Object(prefix), to) if arguments.recursive => {
            // `a` means what is beneath `a/`; `a/` and `` say so themselves.
            let prefix = if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
            let found: Vec<ObjectRecord> = client.objects(&prefix).try_collect().await?;
            if found.is_empty() {
                bail!("there is nothing beneath {SCHEME}{}; belljar storage ls shows what there is", table::printable(&prefix));
            }
            for record in found {
                let own = record.name.as_str().strip_prefix(&prefix).unwrap_or(record.name.as_str()).to_owned();
                copies.push(match to {
                    Place::Object(to) => Copy::Within { to: name_of(&beneath(to, &own, true))?, from: record.name },
                    Place::File(folder) => Copy::Download { from: record, folder: folder.to_owned(), name: own },
                    Place::Standard => bail!("`-` is one file; leave out -r"),
                });
            }
        }
        (Place::Object(from), Place::Object(to)) => {
            let from = name_of(from)?;
            let to = name_of(&beneath(to, last_part(&from), is_one_of_several))?;
            copies.push(Copy::Within { from, to });
        }
        (Place::Object(from), Place::File(path)) => {
            let from = record_of(client, &name_of(from)?).await?;
            copies.push(download(from, path, is_one_of_several)?);
        }
        (Place::File(_) | Place::Standard, Place::File(_) | Place::Standard) => bail!("neither side is in storage"),
    }
    Ok(())
}

fn name_of(text: &str) -> anyhow::Result<ObjectName> {
    if text.is_empty() || text.ends_with('/') {
        bail!("{SCHEME}{} is no object but what names begin with; name one, or copy all beneath it with -r", table::printable(text));
    }
    Ok(ObjectName::try_from(text)?)
}

/// The name of a copy: as given, or its own beneath a prefix.
fn beneath(destination: &str, own: &str, is_folder: bool) -> String {
    if destination.is_empty() || destination.ends_with('/') {
        format!("{destination}{own}")
    } else if is_folder {
        format!("{destination}/{own}")
    } else {
        destination.to_owned()
    }
}

fn last_part(name: &ObjectName) -> &str {
    name.as_str().rsplit('/').next().unwrap_or(name.as_str())
}

/// What is known of an object, found by its name.
async fn record_of(client: &Client, name: &ObjectName) -> anyhow::Result<ObjectRecord> {
    let page = client.objects_page(name.as_str(), 1, None).await?;
    match page.objects.into_iter().next().filter(|record| record.name == *name) {
        Some(record) => Ok(record),
        None => bail!("there is no object {SCHEME}{name}; belljar storage ls shows what there is"),
    }
}

fn download(from: ObjectRecord, path: &Path, is_one_of_several: bool) -> anyhow::Result<Copy> {
    let is_folder = is_one_of_several || path.is_dir() || path.as_os_str().to_string_lossy().ends_with('/');
    if is_folder {
        let name = last_part(&from.name).to_owned();
        return Ok(Copy::Download { from, folder: path.to_owned(), name });
    }
    let is_special = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device() || metadata.file_type().is_fifo());
    if is_special {
        return Ok(Copy::DownloadInto { from, to: path.to_owned() });
    }
    let name = path.file_name().and_then(|name| name.to_str()).with_context(|| format!("{} names no file; name one", path.display()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Copy::Download { name: name.to_owned(), from, folder: folder.to_owned() })
}

/// All files of a folder. Links and what is no file are left out, and told; so is what no object can be called.
fn walk(folder: &Path, prefix: &str, copies: &mut Vec<Copy>, failed: &mut usize) -> anyhow::Result<()> {
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((at, within)) = folders.pop() {
        let cannot = || format!("cannot read the folder {}", at.display());
        let mut entries: Vec<_> = fs::read_dir(&at).with_context(cannot)?.collect::<io::Result<_>>().with_context(cannot)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, metadata) = (entry.path(), entry.metadata().with_context(cannot)?);
            let shown = || table::printable(&path.display().to_string());
            let name = entry.file_name().to_str().map(|name| format!("{within}{name}"));
            match name {
                Some(name) if metadata.is_dir() => folders.push((path, format!("{name}/"))),
                Some(name) if metadata.is_file() => match ObjectName::try_from(beneath(prefix, &name, true)) {
                    Ok(to) => copies.push(Copy::Upload { from: path, to, size: metadata.len() }),
                    Err(error) => {
                        show::error(&anyhow::anyhow!("{} was not copied: {error}", shown()));
                        *failed += 1;
                    }
                },
                None => {
                    show::error(&anyhow::anyhow!("{} was not copied: its name is not UTF-8; rename it", shown()));
                    *failed += 1;
                }
                Some(_) => show::note(&format!("{} was left out: it is a link, or no file", shown())),
            }
        }
    }
    Ok(())
}

/// Makes the copies. One that fails by itself does not hold up the others.
async fn copy(client: &Client, copies: Vec<Copy>, mut failed: usize, arguments: &CpArguments) -> anyhow::Result<ExitCode> {
    let is_one = copies.len() == 1 && failed == 0;
    let bar = progress(&copies);
    let mut done = futures::stream::iter(copies).map(|copy| make(client, copy, arguments, &bar)).buffer_unordered(AT_A_TIME);
    let mut copied = Vec::new();
    while let Some(made) = done.next().await {
        match made {
            Ok(made) => copied.push(made),
            Err(error) if is_one || !is_of_one(&error) => {
                bar.finish_and_clear();
                return Err(error);
            }
            Err(error) => {
                bar.suspend(|| show::error(&error));
                failed += 1;
            }
        }
    }
    bar.finish_and_clear();
    if arguments.ask.json {
        table::print_json(&serde_json::json!({"copied": copied, "failed": failed}))?;
    } else {
        let bytes = table::size(copied.iter().map(|made| made.size_bytes).sum());
        let what = if let [one] = &copied[..] { table::printable(&one.to) } else { format!("{} files", copied.len()) };
        show::note(&format!("copied {what}, {bytes}"));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// On a terminal; elsewhere nothing is drawn.
fn progress(copies: &[Copy]) -> ProgressBar {
    let size = |copy: &Copy| match copy {
        Copy::Upload { size: u64::MAX, .. } | Copy::UploadStandard { .. } => None,
        Copy::Upload { size, .. } => Some(*size),
        Copy::Download { from, .. } | Copy::DownloadInto { from, .. } => Some(from.size_bytes),
        Copy::DownloadStandard { .. } | Copy::Within { .. } => Some(0),
    };
    let (bar, style) = match copies.iter().map(size).sum::<Option<u64>>() {
        Some(total) => (ProgressBar::new(total), "{bar:24} {bytes:>10} of {total_bytes}  {bytes_per_sec}  {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes:>10}  {bytes_per_sec}"),
    };
    bar.with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

async fn make(client: &Client, copy: Copy, arguments: &CpArguments, bar: &ProgressBar) -> anyhow::Result<Copied> {
    let in_storage = |name: &ObjectName| format!("{SCHEME}{name}");
    match copy {
        Copy::Upload { from, to, size } => {
            let file = tokio::fs::File::open(&from).await.with_context(|| format!("cannot open {}; make it readable", from.display()))?;
            let size_bytes = (size != u64::MAX).then_some(size);
            let record = upload(client, file, &to, size_bytes, content_type(arguments, &from), arguments, bar).await?;
            Ok(Copied { from: from.display().to_string(), to: in_storage(&to), size_bytes: record.size_bytes, sha256: record.sha256 })
        }
        Copy::UploadStandard { to } => {
            let kind = content_type(arguments, Path::new(to.as_str()));
            let record = upload(client, tokio::io::stdin(), &to, None, kind, arguments, bar).await?;
            Ok(Copied { from: "-".to_owned(), to: in_storage(&to), size_bytes: record.size_bytes, sha256: record.sha256 })
        }
        Copy::Download { from, folder, name } => {
            let to = folder.join(&name).display().to_string();
            let cannot = || format!("cannot write {}", table::printable(&to));
            let (partial, file) = Folder::open(&folder).and_then(|folder| folder.create(&name)).with_context(cannot)?;
            fill(client, &from.name, tokio::fs::File::from_std(file), &to, bar).await?;
            partial.keep().with_context(cannot)?;
            Ok(Copied { from: in_storage(&from.name), to, size_bytes: from.size_bytes, sha256: from.sha256 })
        }
        Copy::DownloadInto { from, to } => {
            let shown = to.display().to_string();
            let file = tokio::fs::File::options().write(true).open(&to).await.with_context(|| format!("cannot open {shown}"))?;
            fill(client, &from.name, file, &shown, bar).await?;
            Ok(Copied { from: in_storage(&from.name), to: shown, size_bytes: from.size_bytes, sha256: from.sha256 })
        }
        Copy::DownloadStandard { .. } => bail!("standard output takes one object"),
        Copy::Within { from, to } => {
            let record = client.copy_object(&from, &to).await?;
            Ok(Copied { from: in_storage(&from), to: in_storage(&to), size_bytes: record.size_bytes, sha256: record.sha256 })
        }
    }
}

async fn upload(
    client: &Client,
    content: impl tokio::io::AsyncRead + Send + 'static,
    to: &ObjectName,
    size_bytes: Option<u64>,
    content_type: Option<String>,
    arguments: &CpArguments,
    bar: &ProgressBar,
) -> anyhow::Result<ObjectRecord> {
    let bar = bar.clone();
    let pieces = ReaderStream::with_capacity(content, PIECE_BYTES).inspect_ok(move |piece| bar.inc(piece.len() as u64));
    let upload = Upload { content_type, size_bytes, only_new: arguments.only_new, ..Upload::default() };
    Ok(client.put_object(to, &upload, pieces).await?)
}

async fn fill(client: &Client, from: &ObjectName, mut file: tokio::fs::File, to: &str, bar: &ProgressBar) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}; make room there, or copy to another place", table::printable(to));
    let mut content = client.get_object(from).await?;
    while let Some(piece) = content.try_next().await? {
        file.write_all(&piece).await.with_context(cannot)?;
        bar.inc(piece.len() as u64);
    }
    file.flush().await.with_context(cannot)
}

/// What was said, else what the extension tells of the kinds that programs hand on.
fn content_type(arguments: &CpArguments, path: &Path) -> Option<String> {
    let by_extension = || {
        Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => "text/csv",
            "css" => "text/css",
            "gif" => "image/gif",
            "gz" => "application/gzip",
            "htm" | "html" => "text/html",
            "jpeg" | "jpg" => "image/jpeg",
            "js" | "mjs" => "text/javascript",
            "json" => "application/json",
            "md" => "text/markdown",
            "ndjson" | "jsonl" => "application/x-ndjson",
            "parquet" => "application/vnd.apache.parquet",
            "pdf" => "application/pdf",
            "png" => "image/png",
            "py" => "text/x-python",
            "svg" => "image/svg+xml",
            "tar" => "application/x-tar",
            "tsv" => "text/tab-separated-values",
            "log" | "txt" => "text/plain",
            "webp" => "image/webp",
            "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "xml" => "application/xml",
            "yaml" | "yml" => "application/yaml",
            "zip" => "application/zip",
            _ => return None,
        })
    };
    arguments.content_type.clone().or_else(|| by_extension().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_storage_says_so() {
        assert_eq!(Place::of("obj:a/b"), Place::Object("a/b"));
        assert_eq!(Place::of("obj:"), Place::Object(""));
        assert_eq!(Place::of("-"), Place::Standard);
        assert_eq!(Place::of("./obj:a"), Place::File(Path::new("./obj:a")));
    }

    #[test]
    fn a_copy_is_called_as_its_source_where_the_destination_is_a_folder() {
        for (destination, is_folder, expected) in [("", false, "own"), ("a/", false, "a/own"), ("a", false, "a"), ("a", true, "a/own")] {
            assert_eq!(beneath(destination, "own", is_folder), expected, "{destination}");
        }
    }
}
