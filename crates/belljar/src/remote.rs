//! The choice of the server that a command uses, and of the credentials for it.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use belljar_client::{Client, ClientError};

use crate::hint::{WithHint, hinted};
use crate::profile::{self, Profiles};
use crate::refusals::address_to_user;
use crate::service_arguments::ServerArguments;
use crate::{home, show};

/// The default URL of a server.
pub const LOCAL: &str = "http://127.0.0.1:8411";
/// The scheme of the URL of a socket.
const SOCKET: &str = "unix:";

/// Runs a command that uses a server. Exit code 1 means that the server failed or refused, and its
/// error is printed here. Wrong usage is returned as an error.
pub fn ask<F: Future<Output = anyhow::Result<ExitCode>>>(
    server: &ServerArguments,
    ask: impl FnOnce(Client) -> F,
) -> anyhow::Result<ExitCode> {
    concluded(client(server).and_then(|client| runtime()?.block_on(ask(client))))
}

/// Returns the exit code of a command that uses a server, as [`ask`] does.
pub fn concluded(done: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match done {
        Err(mut error)
            if error.downcast_ref::<ClientError>().is_some_and(|error| !is_usage(error)) =>
        {
            address_to_user(&mut error);
            show::error(&error);
            Ok(ExitCode::FAILURE)
        }
        done => done,
    }
}

/// Returns whether an error is wrong usage, found before any request was sent.
pub fn is_usage(error: &ClientError) -> bool {
    matches!(error, ClientError::Url { .. } | ClientError::Token)
}

/// Returns an async runtime with one thread, which is enough for a client.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}

/// Returns the value of an environment variable, unless it is unset or empty.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns a client of the chosen server: that of the flags, or else of `BELLJAR_URL`, or else of
/// the profile `default`, or else of this home.
pub fn client(arguments: &ServerArguments) -> anyhow::Result<Client> {
    let token = variable("BELLJAR_TOKEN");
    if let Some(name) = &arguments.profile {
        let profiles = Profiles::read()?;
        let known = profiles
            .get(&name.0)
            .with_context(|| format!("profile `{}` not found among: {}", name.0, profiles.names()))
            .with_hint(|| format!("create it with `belljar login URL --profile {}`", name.0))?;
        return remote(&known.url, &known.token, arguments);
    }
    if let Some(url) = arguments.server.clone().or_else(|| variable("BELLJAR_URL")) {
        if let Some(path) = url.strip_prefix(SOCKET) {
            return socket(Path::new(path.strip_prefix("//").unwrap_or(path)), arguments);
        }
        // An invalid URL is reported as such, and not as one without a token.
        Client::remote(&url, "bjr_")?;
        let Some(token) =
            token.or(Profiles::read()?.of_url(&url).map(|profile| profile.token.clone()))
        else {
            return Err(hinted(
                format!("there is no token for {url}"),
                format!(
                    "set BELLJAR_TOKEN, or save a token with `belljar login {url} --profile NAME`"
                ),
            ));
        };
        return remote(&url, &token, arguments);
    }
    let profiles = Profiles::read()?;
    match (profiles.get(profile::DEFAULT), token) {
        (Some(known), token) => {
            remote(&known.url, token.as_deref().unwrap_or(&known.token), arguments)
        }
        // A caller with a token expects its scopes, not the rights of the operator.
        (None, Some(token)) => remote(LOCAL, &token, arguments),
        (None, None) => socket(&home::socket()?, arguments),
    }
}

fn remote(url: &str, token: &str, arguments: &ServerArguments) -> anyhow::Result<Client> {
    if arguments.project.is_some() {
        return Err(hinted(
            "--project is for the operator, and a token belongs to one project",
            "leave it out, or use the socket of the server with --server unix:PATH",
        ));
    }
    Ok(Client::remote(url, token)?)
}

fn socket(path: &Path, arguments: &ServerArguments) -> anyhow::Result<Client> {
    if !path.exists() {
        return Err(anyhow::Error::new(ClientError::Unreachable {
            server: format!("the server on {}", path.display()),
            why: "socket not found".to_owned(),
        }));
    }
    let client = Client::socket(path)?;
    Ok(match &arguments.project {
        Some(project) => client.in_project(project),
        None => client,
    })
}
