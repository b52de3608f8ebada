//! `belljar login` and `belljar logout`: save and remove the token of a server.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use anyhow::Context;
use belljar_client::{Client, ClientError};
use serde_json::json;

use crate::hint::hinted;
use crate::profile::{self, Profile, Profiles};
use crate::service_arguments::{LoginArguments, LogoutArguments};
use crate::{remote, show, table};

/// The maximum size of the input that is read as a token. A token is far shorter.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Reads a token, checks it with the server, and saves it.
pub fn login(arguments: LoginArguments) -> anyhow::Result<ExitCode> {
    let url = arguments
        .url
        .clone()
        .or_else(|| remote::variable("BELLJAR_URL"))
        .unwrap_or_else(|| remote::LOCAL.to_owned());
    // Rejects an invalid URL before the prompt.
    Client::remote(&url, "bjr_")?;
    let token = read_token(&url)?;
    let client = Client::remote(&url, &token)?;
    let project = match remote::runtime()?.block_on(client.projects()) {
        Ok(projects) => projects.first().map(|project| project.name.to_string()),
        // The token is valid, but its scopes do not allow listing projects.
        Err(error) if error.is_status(403) => None,
        Err(error) => {
            show::error(&error.into());
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut profiles = Profiles::read()?;
    let url = client.url().unwrap_or(&url).to_owned();
    profiles.set(&arguments.profile, Profile { url: url.clone(), token });
    profiles.write()?;
    if arguments.json {
        table::print_json(
            &json!({"profile": arguments.profile.0, "url": url, "project": project}),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let within = project.map_or_else(String::new, |project| format!(", project {project}"));
    show::note(&format!("logged in to {url}{within} (saved in {})", profile::path()?.display()));
    if url.starts_with("http://") && !is_local(&url) {
        show::note(
            "the connection is not encrypted: anyone on the network path can read the token",
        );
    }
    if arguments.profile.0 != profile::DEFAULT {
        show::note(&format!("use it with --profile {}", arguments.profile.0));
    }
    Ok(ExitCode::SUCCESS)
}

fn is_local(url: &str) -> bool {
    ["http://127.", "http://localhost", "http://[::1]"].iter().any(|local| url.starts_with(local))
}

/// Reads the token from a hidden prompt or from standard input. It is never a command-line
/// argument, because other users can read those.
fn read_token(url: &str) -> anyhow::Result<String> {
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("token for {url}: ")).context("cannot read the token")?
    } else {
        let mut text = String::new();
        io::stdin()
            .lock()
            .take(MAX_TOKEN_BYTES)
            .read_to_string(&mut text)
            .context("cannot read the token from standard input")?;
        text
    };
    let token = text.trim();
    if token.is_empty() {
        return Err(hinted(
            "the token is empty",
            "type the token, or pass it on standard input: belljar login < token.txt",
        ));
    }
    if token.contains(char::is_whitespace) {
        return Err(ClientError::Token.into());
    }
    Ok(token.to_owned())
}

/// Removes a profile. Its token remains valid until it is revoked.
pub fn logout(arguments: LogoutArguments) -> anyhow::Result<ExitCode> {
    let mut profiles = Profiles::read()?;
    let Some(removed) = profiles.remove(&arguments.profile) else {
        anyhow::bail!("profile `{}` not found among: {}", arguments.profile.0, profiles.names());
    };
    profiles.write()?;
    if arguments.json {
        table::print_json(&json!({"profile": arguments.profile.0, "url": removed.url}))?;
    } else {
        show::note(&format!(
            "removed the token for {}, which is valid until `belljar tokens revoke ID`",
            removed.url
        ));
    }
    Ok(ExitCode::SUCCESS)
}
