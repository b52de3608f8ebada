//! `belljar tokens`: manages the tokens of a project.

use std::process::ExitCode;

use belljar_protocol::{NewToken, Scope, Timestamp, TokenList, TokenRecord};
use serde_json::json;

use crate::service_arguments::{
    AskArguments, CreateTokenArguments, RevokeTokenArguments, TokensCommand,
};
use crate::{remote, show, table};

/// Runs a subcommand of `belljar tokens`.
pub fn run(command: TokensCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokensCommand::Create(arguments) => create(&arguments),
        TokensCommand::List(ask) => list(&ask),
        TokensCommand::Revoke(arguments) => revoke(&arguments),
    }
}

/// Creates a token. Only the token goes to standard output, so that it can be piped to where it
/// belongs without being shown.
fn create(arguments: &CreateTokenArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let expires_in_ms = arguments.expires.map(|time| time.0);
        let issued = client
            .create_token(&NewToken {
                name: arguments.name.clone(),
                scopes: arguments.scopes.clone(),
                expires_in_ms,
            })
            .await?;
        if arguments.ask.json {
            table::print_json(&issued)?;
            return Ok(ExitCode::SUCCESS);
        }
        let until = issued
            .record
            .expires_at
            .map_or_else(|| "until it is revoked".to_owned(), |at| format!("until {at}"));
        show::note(&format!(
            "{} allows {} {until} (the token is never shown again)",
            issued.record.id,
            scopes(&issued.record)
        ));
        table::write(&format!("{}\n", issued.token))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn list(ask: &AskArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&ask.server, async |client| {
        let tokens = client.tokens().await?;
        if ask.json {
            table::print_json(&TokenList { tokens })?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows = tokens.iter().map(|token| {
            let used = token
                .last_used_at
                .map_or_else(|| "never".to_owned(), |at| format!("{} ago", table::age(at)));
            [token.id.clone(), state(token), used, scopes(token), token.name.clone()]
        });
        table::print(["ID", "STATE", "USED", "SCOPES", "NAME"], &rows.collect::<Vec<_>>())?;
        Ok(ExitCode::SUCCESS)
    })
}

fn scopes(token: &TokenRecord) -> String {
    token.scopes.iter().map(|scope| Scope::name(*scope)).collect::<Vec<_>>().join(",")
}

fn state(token: &TokenRecord) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(at)) if at <= Timestamp::now() => "expired".to_owned(),
        (None, Some(at)) => {
            format!("until {}", table::moment(at).split(' ').next().unwrap_or_default())
        }
        (None, None) => "valid".to_owned(),
    }
}

fn revoke(arguments: &RevokeTokenArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        client.revoke_token(&arguments.id).await?;
        if arguments.ask.json {
            table::print_json(&json!({"revoked": arguments.id}))?;
        } else {
            show::note(&format!("revoked {}", arguments.id));
        }
        Ok(ExitCode::SUCCESS)
    })
}
