//! `belljar storage cp`: plans all copies first, and then makes several at once.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use belljar_client::{Client, ClientError, Upload};
use belljar_protocol::{ObjectName, ObjectRecord, PageRequest, plain};
use futures::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::hint::{WithHint, hinted};
use crate::object_scheme::SCHEME;
use crate::output_folder::OutputFolder;
use crate::service_arguments::CpArguments;
use crate::{exit, remote, show, table};

/// The number of concurrent copies. Copies of small files mostly wait for answers of the server.
const CONCURRENT_COPIES: usize = 4;
/// The size of the pieces in which a file is read.
const PIECE_BYTES: usize = 256 << 10;

/// A source or destination, as given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    /// The name of an object in storage, or a prefix of names.
    Object(&'a str),
    /// The path of a local file or folder.
    File(&'a Path),
    /// Standard input or standard output.
    Standard,
}

impl<'a> Place<'a> {
    fn parse(text: &'a str) -> Self {
        match text.strip_prefix(SCHEME) {
            Some(name) => Self::Object(name),
            None if text == "-" => Self::Standard,
            None => Self::File(Path::new(text)),
        }
    }
}

/// A planned copy.
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
    /// A download into a special file that is written and not replaced: `/dev/null`, a FIFO.
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

/// A finished copy.
#[derive(Debug, Serialize)]
struct Copied {
    from: String,
    to: String,
    size_bytes: u64,
    sha256: String,
}

/// Runs `belljar storage cp`.
pub fn run(arguments: &CpArguments) -> anyhow::Result<ExitCode> {
    let Some((destination, sources)) = arguments.paths.split_last() else {
        return Err(hinted("there is nothing to copy", "name a source and a destination"));
    };
    let (destination, sources): (_, Vec<_>) =
        (Place::parse(destination), sources.iter().map(|source| Place::parse(source)).collect());
    check(destination, &sources, arguments)?;
    remote::ask(&arguments.ask.server, async |client| {
        let mut copies = Vec::new();
        let mut failed = 0;
        for source in &sources {
            plan(
                &client,
                *source,
                destination,
                sources.len() > 1,
                arguments,
                &mut copies,
                &mut failed,
            )
            .await?;
        }
        if let [Copy::DownloadStandard { from }] = &copies[..] {
            return Ok(if to_stdout(&client, from).await? {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(exit::UNREAD)
            });
        }
        copy(&client, copies, failed, arguments).await
    })
}

fn check(
    destination: Place<'_>,
    sources: &[Place<'_>],
    arguments: &CpArguments,
) -> anyhow::Result<()> {
    let is_here = |place: &Place<'_>| !matches!(place, Place::Object(_));
    if is_here(&destination) && sources.iter().any(is_here) {
        return Err(hinted(
            "neither the source nor the destination is in storage",
            format!("write the name of an object as {SCHEME}NAME"),
        ));
    }
    if sources.len() > 1 && destination == Place::Standard {
        return Err(hinted(
            "only one object can be copied to standard output",
            "print several with `belljar storage cat`",
        ));
    }
    let has_standard = sources.contains(&Place::Standard) || destination == Place::Standard;
    if has_standard && (arguments.recursive || sources.len() > 1) {
        return Err(hinted("`-` is a single file", "leave out -r and the other sources"));
    }
    Ok(())
}

/// Adds the copies that a source stands for.
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
        (Place::Standard, Place::Object(to)) => {
            copies.push(Copy::UploadStandard { to: object_name(to)? });
        }
        (Place::File(path), Place::Object(prefix)) if arguments.recursive && path.is_dir() => {
            walk(path, prefix, copies, failed)?;
        }
        (Place::File(path), Place::Object(to)) => {
            let metadata =
                fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            if metadata.is_dir() {
                return Err(hinted(
                    format!("`{}` is a folder", path.display()),
                    "copy a folder and its contents with -r",
                ));
            }
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .with_context(|| format!("the name of `{}` is not UTF-8", path.display()))
                .hint("rename the file")?;
            let to = object_name(&name_under(to, name, is_one_of_several))?;
            // A special file has no length and is read to its end.
            copies.push(if metadata.is_file() {
                Copy::Upload { from: path.to_owned(), to, size: metadata.len() }
            } else {
                Copy::Upload { from: path.to_owned(), to, size: u64::MAX }
            });
        }
        (Place::Object(from), Place::Standard) => {
            copies.push(Copy::DownloadStandard { from: object_name(from)? });
        }
        (Place::Object(prefix), to) if arguments.recursive => {
            // `a` stands for everything under `a/`, as do `a/` and the empty prefix.
            let prefix = if prefix.is_empty() || prefix.ends_with('/') {
                prefix.to_owned()
            } else {
                format!("{prefix}/")
            };
            let found: Vec<ObjectRecord> = client.objects(&prefix).try_collect().await?;
            if found.is_empty() {
                return Err(hinted(
                    format!("there are no objects under `{SCHEME}{}`", plain::line(&prefix)),
                    "list the objects with `belljar storage ls`",
                ));
            }
            for record in found {
                let name = record
                    .name
                    .as_str()
                    .strip_prefix(&prefix)
                    .unwrap_or(record.name.as_str())
                    .to_owned();
                copies.push(match to {
                    Place::Object(to) => {
                        let to = object_name(&name_under(to, &name, true))?;
                        Copy::Within { from: record.name, to }
                    }
                    Place::File(folder) => {
                        Copy::Download { from: record, folder: folder.to_owned(), name }
                    }
                    Place::Standard => return Err(hinted("`-` is a single file", "leave out -r")),
                });
            }
        }
        (Place::Object(from), Place::Object(to)) => {
            let from = object_name(from)?;
            let to = object_name(&name_under(to, last_part(&from), is_one_of_several))?;
            copies.push(Copy::Within { from, to });
        }
        (Place::Object(from), Place::File(path)) => {
            let from = record_of(client, &object_name(from)?).await?;
            copies.push(download(from, path, is_one_of_several)?);
        }
        (Place::File(_) | Place::Standard, Place::File(_) | Place::Standard) => {
            bail!("neither the source nor the destination is in storage")
        }
    }
    Ok(())
}

fn object_name(text: &str) -> anyhow::Result<ObjectName> {
    if text.is_empty() || text.ends_with('/') {
        return Err(hinted(
            format!("`{SCHEME}{}` is a prefix, not an object", plain::line(text)),
            "name an object, or copy everything under the prefix with -r",
        ));
    }
    Ok(ObjectName::try_from(text)?)
}

/// Returns the name of a copy: the destination, or `name` under it if it is a folder.
fn name_under(destination: &str, name: &str, is_folder: bool) -> String {
    if destination.is_empty() || destination.ends_with('/') {
        format!("{destination}{name}")
    } else if is_folder {
        format!("{destination}/{name}")
    } else {
        destination.to_owned()
    }
}

fn last_part(name: &ObjectName) -> &str {
    name.as_str().rsplit('/').next().unwrap_or(name.as_str())
}

/// Returns the record of an object by its name.
async fn record_of(client: &Client, name: &ObjectName) -> anyhow::Result<ObjectRecord> {
    let page = client.objects_page(name.as_str(), &PageRequest::first(1)).await?;
    match page.objects.into_iter().next().filter(|record| record.name == *name) {
        Some(record) => Ok(record),
        None => Err(hinted(
            format!("object `{SCHEME}{name}` not found"),
            "list the objects with `belljar storage ls`",
        )),
    }
}

fn download(from: ObjectRecord, path: &Path, is_one_of_several: bool) -> anyhow::Result<Copy> {
    let is_folder =
        is_one_of_several || path.is_dir() || path.as_os_str().to_string_lossy().ends_with('/');
    if is_folder {
        let name = last_part(&from.name).to_owned();
        return Ok(Copy::Download { from, folder: path.to_owned(), name });
    }
    let is_special = fs::metadata(path).is_ok_and(|metadata| {
        metadata.file_type().is_char_device() || metadata.file_type().is_fifo()
    });
    if is_special {
        return Ok(Copy::DownloadInto { from, to: path.to_owned() });
    }
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .with_context(|| format!("`{}` is not the path of a file", path.display()))
        .hint("name a file")?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(Copy::Download { name: name.to_owned(), from, folder: folder.to_owned() })
}

/// Plans the upload of all files in a folder. Links, special files and files whose names are not
/// valid for objects are skipped and reported.
fn walk(
    folder: &Path,
    prefix: &str,
    copies: &mut Vec<Copy>,
    failed: &mut usize,
) -> anyhow::Result<()> {
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((at, within)) = folders.pop() {
        let cannot = || format!("cannot read the folder `{}`", at.display());
        let mut entries: Vec<_> = fs::read_dir(&at)
            .with_context(cannot)?
            .collect::<io::Result<_>>()
            .with_context(cannot)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, metadata) = (entry.path(), entry.metadata().with_context(cannot)?);
            let shown = || format!("`{}`", plain::line(&path.display().to_string()));
            let name = entry.file_name().to_str().map(|name| format!("{within}{name}"));
            match name {
                Some(name) if metadata.is_dir() => folders.push((path, format!("{name}/"))),
                Some(name) if metadata.is_file() => {
                    match ObjectName::try_from(name_under(prefix, &name, true)) {
                        Ok(to) => {
                            copies.push(Copy::Upload { from: path, to, size: metadata.len() });
                        }
                        Err(error) => {
                            let error = anyhow::Error::from(error)
                                .context(format!("cannot copy {}", shown()));
                            show::error(&error);
                            *failed += 1;
                        }
                    }
                }
                None => {
                    show::error(&hinted(
                        format!("cannot copy {}: its name is not UTF-8", shown()),
                        "rename the file",
                    ));
                    *failed += 1;
                }
                Some(_) => show::note(&format!("skipped {}: a link or a special file", shown())),
            }
        }
    }
    Ok(())
}

/// Makes the copies. The failure of one does not stop the others, unless it would fail all of them.
async fn copy(
    client: &Client,
    copies: Vec<Copy>,
    mut failed: usize,
    arguments: &CpArguments,
) -> anyhow::Result<ExitCode> {
    let is_one = copies.len() == 1 && failed == 0;
    let bar = progress(&copies);
    let mut done = futures::stream::iter(copies)
        .map(|copy| make(client, copy, arguments, &bar))
        .buffer_unordered(CONCURRENT_COPIES);
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
        let what = if let [one] = &copied[..] {
            plain::line(&one.to).into_owned()
        } else {
            format!("{} files", copied.len())
        };
        show::note(&format!("copied {what}, {bytes}"));
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns a progress bar, which is drawn on terminals only.
fn progress(copies: &[Copy]) -> ProgressBar {
    let size = |copy: &Copy| match copy {
        Copy::Upload { size: u64::MAX, .. } | Copy::UploadStandard { .. } => None,
        Copy::Upload { size, .. } => Some(*size),
        Copy::Download { from, .. } | Copy::DownloadInto { from, .. } => Some(from.size_bytes),
        Copy::DownloadStandard { .. } | Copy::Within { .. } => Some(0),
    };
    let (bar, style) = match copies.iter().map(size).sum::<Option<u64>>() {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:24} {bytes:>10} of {total_bytes}  {bytes_per_sec}  {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes:>10}  {bytes_per_sec}"),
    };
    bar.with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

async fn make(
    client: &Client,
    copy: Copy,
    arguments: &CpArguments,
    bar: &ProgressBar,
) -> anyhow::Result<Copied> {
    let in_storage = |name: &ObjectName| format!("{SCHEME}{name}");
    match copy {
        Copy::Upload { from, to, size } => {
            let file = tokio::fs::File::open(&from)
                .await
                .with_context(|| format!("cannot open `{}`", from.display()))
                .hint("make the file readable")?;
            let size_bytes = (size != u64::MAX).then_some(size);
            let record = upload(
                client,
                file,
                &to,
                size_bytes,
                content_type(arguments, &from),
                arguments,
                bar,
            )
            .await?;
            Ok(Copied {
                from: from.display().to_string(),
                to: in_storage(&to),
                size_bytes: record.size_bytes,
                sha256: record.sha256,
            })
        }
        Copy::UploadStandard { to } => {
            let kind = content_type(arguments, Path::new(to.as_str()));
            let record =
                upload(client, tokio::io::stdin(), &to, None, kind, arguments, bar).await?;
            Ok(Copied {
                from: "-".to_owned(),
                to: in_storage(&to),
                size_bytes: record.size_bytes,
                sha256: record.sha256,
            })
        }
        Copy::Download { from, folder, name } => {
            let to = folder.join(&name).display().to_string();
            let cannot = || format!("cannot write `{}`", plain::line(&to));
            let (partial, file) = OutputFolder::open(&folder)
                .and_then(|folder| folder.create(&name))
                .with_context(cannot)?;
            fill(client, &from.name, tokio::fs::File::from_std(file), &to, bar).await?;
            partial.keep().with_context(cannot)?;
            Ok(Copied {
                from: in_storage(&from.name),
                to,
                size_bytes: from.size_bytes,
                sha256: from.sha256,
            })
        }
        Copy::DownloadInto { from, to } => {
            let shown = to.display().to_string();
            let file = tokio::fs::File::options()
                .write(true)
                .open(&to)
                .await
                .with_context(|| format!("cannot open `{}`", plain::line(&shown)))?;
            fill(client, &from.name, file, &shown, bar).await?;
            Ok(Copied {
                from: in_storage(&from.name),
                to: shown,
                size_bytes: from.size_bytes,
                sha256: from.sha256,
            })
        }
        Copy::DownloadStandard { .. } => bail!("standard output takes one object"),
        Copy::Within { from, to } => {
            let record = client.copy_object(&from, &to).await?;
            Ok(Copied {
                from: in_storage(&from),
                to: in_storage(&to),
                size_bytes: record.size_bytes,
                sha256: record.sha256,
            })
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
    let pieces = ReaderStream::with_capacity(content, PIECE_BYTES)
        .inspect_ok(move |piece| bar.inc(piece.len() as u64));
    let upload =
        Upload { content_type, size_bytes, only_new: arguments.only_new, ..Upload::default() };
    Ok(client.put_object(to, &upload, pieces).await?)
}

async fn fill(
    client: &Client,
    from: &ObjectName,
    mut file: tokio::fs::File,
    to: &str,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let checked = |written: io::Result<()>| {
        written
            .with_context(|| format!("cannot write `{}`", plain::line(to)))
            .hint("free some space, or copy to another place")
    };
    let mut content = client.get_object(from).await?;
    while let Some(piece) = content.try_next().await? {
        checked(file.write_all(&piece).await)?;
        bar.inc(piece.len() as u64);
    }
    checked(file.flush().await)
}

/// Writes an object to standard output. Returns false if the reader is gone.
pub async fn to_stdout(client: &Client, name: &ObjectName) -> anyhow::Result<bool> {
    let mut content = client.get_object(name).await?;
    let mut stdout = tokio::io::stdout();
    let mut written = Ok(());
    while written.is_ok()
        && let Some(piece) = content.try_next().await?
    {
        written = stdout.write_all(&piece).await;
    }
    let written = match written {
        Ok(()) => stdout.flush().await,
        failed => failed,
    };
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write to standard output"),
    }
}

/// Returns whether an error concerns a single object, so that others can still be copied.
fn is_of_one(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { problem, .. }) => {
            matches!(problem.status, 404 | 409 | 412 | 413 | 422)
        }
        Some(ClientError::Checksum { .. } | ClientError::Changed(_) | ClientError::Content(_))
        | None => true,
        Some(_) => false,
    }
}

/// Returns the media type of the flag, or else that of the file extension if it is a usual one.
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
    fn names_in_storage_have_a_scheme() {
        assert_eq!(Place::parse("obj:a/b"), Place::Object("a/b"));
        assert_eq!(Place::parse("obj:"), Place::Object(""));
        assert_eq!(Place::parse("-"), Place::Standard);
        assert_eq!(Place::parse("./obj:a"), Place::File(Path::new("./obj:a")));
    }

    #[test]
    fn a_copy_in_a_folder_keeps_the_name_of_its_source() {
        for (destination, is_folder, expected) in
            [("", false, "own"), ("a/", false, "a/own"), ("a", false, "a"), ("a", true, "a/own")]
        {
            assert_eq!(name_under(destination, "own", is_folder), expected, "{destination}");
        }
    }
}
