//! `belljar mcp` with a server: each call is a run on the server. The flags bound what calls can
//! request, within the ceiling of the project.

use std::collections::BTreeMap;
use std::process::ExitCode;

use belljar_client::{Client, ClientError};
use belljar_mcp::{Executor, Mcp, RemoteBounds, RemoteExecutor, RemotePackages, standard_streams};
use belljar_protocol::{Ceiling, Limits, Policy, ProjectName, ProjectSettings};

use super::mcp;
use crate::arguments::McpArguments;
use crate::hint::hinted;
use crate::inputs::label;
use crate::object_scheme;
use crate::policy::{PolicyFile, variables};
use crate::remote;
use crate::service_arguments::RemoteMcpArguments;

/// The default maximum number of concurrent runs. The server has a queue and a maximum of its own.
const RUNS_AT_A_TIME: usize = 64;
/// The project of an operator that names none.
const DEFAULT_PROJECT: &str = "default";

/// Returns whether the flags ask for runs on a server.
pub fn is_requested(arguments: &McpArguments) -> anyhow::Result<bool> {
    let remote = &arguments.remote;
    if remote.remote || remote.server.is_given() {
        refuse_local_flags(arguments)?;
        return Ok(true);
    }
    let needs_server = [
        (!remote.labels.is_empty(), "--label"),
        (!remote.storage_read.is_empty(), "--storage-read"),
        (!remote.storage_write.is_empty(), "--storage-write"),
    ];
    match needs_server.iter().find(|(is_given, _)| *is_given) {
        Some((_, flag)) => Err(hinted(
            format!("{flag} is for runs on a server"),
            "add --remote, or name the server with --server URL",
        )),
        None => Ok(false),
    }
}

/// Refuses the flags that only the operator of a server can set.
fn refuse_local_flags(arguments: &McpArguments) -> anyhow::Result<()> {
    const PACKAGES: &str = "ask the operator of the server to set the packages of the project \
                            with `belljar projects set`";
    for (is_given, flag, hint) in [
        (
            arguments.allow_degraded,
            "--allow-degraded",
            "ask the operator to start the server with that flag",
        ),
        (!arguments.allow_packages.is_empty(), "--allow-package", PACKAGES),
        (!arguments.block_packages.is_empty(), "--block-package", PACKAGES),
    ] {
        if is_given {
            return Err(hinted(format!("{flag} cannot be set for runs on a server"), hint));
        }
    }
    Ok(())
}

/// Runs `belljar mcp` with a server, until the client closes standard input.
pub fn run(arguments: &McpArguments) -> anyhow::Result<ExitCode> {
    mcp::check_standard_input_of(arguments)?;
    let bounds = bounds(arguments)?;
    let labels = labels(&arguments.remote)?;
    let runs_at_a_time = arguments.runs_at_a_time.map_or(RUNS_AT_A_TIME, usize::from);
    remote::concluded(remote::client(&arguments.remote.server).and_then(|client| {
        let runtime = remote::runtime()?;
        let served = runtime.block_on(async {
            let project = project(&client, arguments.remote.server.project.as_ref()).await?;
            if let Some(project) = &project {
                check(&bounds, project)?;
            }
            let executor = RemoteExecutor::new(client, bounds, labels, project.as_ref());
            mcp::note_a_terminal();
            let (input, output) = standard_streams();
            let mcp = Mcp::new(Executor::Remote(Box::new(executor)), runs_at_a_time);
            Ok(mcp.serve(input, output, mcp::until_stopped()).await?)
        });
        // A thread may still be blocked on standard input if that is not a pipe.
        runtime.shutdown_background();
        served.map(|()| ExitCode::SUCCESS)
    }))
}

/// Returns the bounds that the flags and the policy file set.
fn bounds(arguments: &McpArguments) -> anyhow::Result<RemoteBounds> {
    let requested = PolicyFile::requested(&arguments.policy, &arguments.limits)?;
    if requested.packages.is_some() {
        return Err(hinted(
            "the policy file sets package rules, which only the operator of the server can do",
            "remove `packages` from the file",
        ));
    }
    let mut policy = requested.policy.unwrap_or_default();
    let prefixes = |given: &[String]| -> Vec<String> {
        given.iter().map(|prefix| object_scheme::strip(prefix).to_owned()).collect()
    };
    policy.storage.read.extend(prefixes(&arguments.remote.storage_read));
    policy.storage.write.extend(prefixes(&arguments.remote.storage_write));
    policy.env.extend(variables(&arguments.policy.env)?);
    policy.validate()?;
    let packages =
        if arguments.no_packages { RemotePackages::None } else { RemotePackages::OfServer };
    Ok(RemoteBounds { policy, limits: requested.limits, packages })
}

/// Returns the labels of each run.
fn labels(remote: &RemoteMcpArguments) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::from([("client".to_owned(), "mcp".to_owned())]);
    for text in &remote.labels {
        labels.extend([label(text)?]);
    }
    Ok(labels)
}

/// Returns the settings in force of the project, or `None` if the token may not read them.
async fn project(
    client: &Client,
    named: Option<&ProjectName>,
) -> Result<Option<ProjectSettings>, ClientError> {
    match settings(client, named).await {
        Err(error) if error.is_status(403) => Ok(None),
        settings => settings,
    }
}

async fn settings(
    client: &Client,
    named: Option<&ProjectName>,
) -> Result<Option<ProjectSettings>, ClientError> {
    let name = match (named, client.url()) {
        (Some(name), _) => Some(name.clone()),
        (None, None) => DEFAULT_PROJECT.parse().ok(),
        // The list of a token has its own project only.
        (None, Some(_)) => client.projects().await?.pop().map(|project| project.name),
    };
    let Some(name) = name else { return Ok(None) };
    Ok(client.project(&name).await?.in_force.map(|settings| *settings))
}

/// Refuses flags that exceed the ceiling of the project, because every call would be refused.
fn check(bounds: &RemoteBounds, project: &ProjectSettings) -> anyhow::Result<()> {
    // Variables are passed in `env` of a request, of which a project restricts the names only.
    let policy = Policy { env: BTreeMap::new(), ..bounds.policy.clone() };
    if let Some(name) = project.forbidden_variable(&bounds.policy.env.clone().into()) {
        return Err(hinted(
            format!("--env {name}: the project does not allow this environment variable"),
            "remove the flag, or ask the operator to allow the name in `env_names`",
        ));
    }
    let ceiling =
        Ceiling { policy: project.policy.clone(), limits: project.limits.over(Limits::MAX) };
    ceiling.check(&policy, &bounds.limits.over(Limits::MIN)).map_err(|widened| {
        hinted(
            format!("the flags exceed the ceiling of the project: {widened}"),
            "grant less, or ask the operator to raise the ceiling with `belljar projects set`",
        )
    })
}
