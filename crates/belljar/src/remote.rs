//! Which server a command speaks to, and as whom.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use belljar_client::{Client, ClientError};

use crate::profile::{self, Profiles};
use crate::service_arguments::ServerArguments;
use crate::{home, show};

/// Where a server listens when nobody says.
pub const LOCAL: &str = "http://127.0.0.1:8411";
/// What the address of a socket begins with.
const SOCKET: &str = "unix:";

/// Asks a server something. An error of its own is told here: wrong usage is 2, what the server did not do is 1.
pub fn ask<F: Future<Output = anyhow::Result<ExitCode>>>(
    server: &ServerArguments,
    ask: impl FnOnce(Client) -> F,
) -> anyhow::Result<ExitCode> {
    match client(server).and_then(|client| runtime()?.block_on(ask(client))) {
        Err(error) if error.downcast_ref::<ClientError>().is_some_and(|error| !is_usage(error)) => {
            show::error(&error);
            Ok(ExitCode::FAILURE)
        }
        answered => answered,
    }
}

/// Whether what was asked for cannot be meant: nothing was asked of a server.
pub fn is_usage(error: &ClientError) -> bool {
    matches!(error, ClientError::Url { .. } | ClientError::Token)
}

/// What a conversation with a server needs: one thread is enough.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")
}

/// A variable that is set to something.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The server that is meant: of the flags, else of `BELLJAR_URL`, else of the profile `default`, else of this home.
pub fn client(arguments: &ServerArguments) -> anyhow::Result<Client> {
    let token = variable("BELLJAR_TOKEN");
    if let Some(name) = &arguments.profile {
        let profiles = Profiles::read()?;
        let known = profiles.get(&name.0).with_context(|| {
            format!("there is no profile {}, there are: {}; `belljar login URL --profile {0}` makes it", name.0, profiles.names())
        })?;
        return remote(&known.url, &known.token, arguments);
    }
    if let Some(url) = arguments.server.clone().or_else(|| variable("BELLJAR_URL")) {
        if let Some(path) = url.strip_prefix(SOCKET) {
            return socket(Path::new(path.strip_prefix("//").unwrap_or(path)), arguments);
        }
        // An address that is none is told as such, before anybody looks for its token.
        Client::remote(&url, "bjr_")?;
        let Some(token) = token.or(Profiles::read()?.of_url(&url).map(|profile| profile.token.clone())) else {
            bail!("there is no token for {url}; set BELLJAR_TOKEN, or keep one with `belljar login {url} --profile NAME`");
        };
        return remote(&url, &token, arguments);
    }
    let profiles = Profiles::read()?;
    match (profiles.get(profile::DEFAULT), token) {
        (Some(known), token) => remote(&known.url, token.as_deref().unwrap_or(&known.token), arguments),
        // Whoever gives a token wants to be no more than it allows: not the operator.
        (None, Some(token)) => remote(LOCAL, &token, arguments),
        (None, None) => socket(&home::socket()?, arguments),
    }
}

fn remote(url: &str, token: &str, arguments: &ServerArguments) -> anyhow::Result<Client> {
    if arguments.project.is_some() {
        bail!(
            "--project is for the operator, and a token is for one project; leave it out, or use the server's socket with --server unix:PATH"
        );
    }
    Ok(Client::remote(url, token)?)
}

fn socket(path: &Path, arguments: &ServerArguments) -> anyhow::Result<Client> {
    if !path.exists() {
        bail!(ClientError::Unreachable { server: format!("the server on {}", path.display()), why: "there is no such socket".to_owned() });
    }
    let client = Client::socket(path)?;
    Ok(match &arguments.project {
        Some(project) => client.in_project(project),
        None => client,
    })
}
