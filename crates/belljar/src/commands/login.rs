//! `belljar login` and `belljar logout`.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context, bail};
use belljar_client::{Client, ClientError};
use serde_json::json;

use crate::profile::{self, Profile, Profiles};
use crate::service_arguments::{LoginArguments, LogoutArguments};
use crate::{remote, show, table};

/// No token is nearly as long.
const MOST_TOKEN_BYTES: u64 = 4096;

/// Reads a token, checks it, and keeps it.
pub fn login(arguments: LoginArguments) -> anyhow::Result<ExitCode> {
    let url = arguments.url.clone().or_else(|| remote::variable("BELLJAR_URL")).unwrap_or_else(|| remote::LOCAL.to_owned());
    // Before anything is asked: an address that is none.
    Client::remote(&url, "bjr_")?;
    let token = read_token(&url)?;
    let client = Client::remote(&url, &token)?;
    let project = match remote::runtime()?.block_on(client.projects()) {
        Ok(projects) => projects.first().map(|project| project.name.to_string()),
        // It is a token, of one that may not look.
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
        table::print_json(&json!({"profile": arguments.profile.0, "url": url, "project": project}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let within = project.map_or_else(String::new, |project| format!(", project {project}"));
    show::note(&format!("logged in to {url}{within}; kept in {}", profile::path()?.display()));
    if url.starts_with("http://") && !is_local(&url) {
        show::note("this address is not encrypted: whoever carries the traffic can read the token");
    }
    if arguments.profile.0 != profile::DEFAULT {
        show::note(&format!("use it with --profile {}", arguments.profile.0));
    }
    Ok(ExitCode::SUCCESS)
}

fn is_local(url: &str) -> bool {
    ["http://127.", "http://localhost", "http://[::1]"].iter().any(|local| url.starts_with(local))
}

/// From a prompt that shows nothing, or from standard input: never from the command line, which others can read.
fn read_token(url: &str) -> anyhow::Result<String> {
    let text = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("token for {url}: ")).context("cannot read the token")?
    } else {
        let mut text = String::new();
        io::stdin().lock().take(MOST_TOKEN_BYTES).read_to_string(&mut text).context("cannot read the token from standard input")?;
        text
    };
    let token = text.trim();
    if token.is_empty() {
        bail!("there is no token; type it, or give it on standard input: belljar login < token.txt");
    }
    if token.contains(char::is_whitespace) {
        return Err(ClientError::Token.into());
    }
    Ok(token.to_owned())
}

/// Forgets a profile. The token still works, until it is revoked.
pub fn logout(arguments: LogoutArguments) -> anyhow::Result<ExitCode> {
    let mut profiles = Profiles::read()?;
    let Some(forgotten) = profiles.remove(&arguments.profile) else {
        bail!("there is no profile {}; there are: {}", arguments.profile.0, profiles.names());
    };
    profiles.write()?;
    if arguments.json {
        table::print_json(&json!({"profile": arguments.profile.0, "url": forgotten.url}))?;
    } else {
        show::note(&format!("forgot {}; its token works until it is revoked: belljar tokens revoke ID", forgotten.url));
    }
    Ok(ExitCode::SUCCESS)
}
