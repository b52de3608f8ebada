//! The server: accepts calls, runs several at once, and cancels those that no client waits for.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use belljar_engine::{CeilingGrants, Engine, Run, RunEvent, RunHost};
use belljar_protocol::{Audience, Ceiling, Explain, LimitTerms, Limits, plain};
use belljar_runner::{GrantedAccess, Packages, PreparedRun};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Implementation,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ReadResourceResult, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer, ServerInitializeError, ServiceExt};
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, answer, refusal};
use crate::arguments::{RequestedRun, requested_run};
use crate::progress::Progress;
use crate::rest::Rest;
use crate::streams::Watched;
use crate::tool;

/// The maximum number of calls that wait for others to end. A client with more in flight does not
/// read the answers.
const MAX_WAITING: usize = 100;
/// The maximum size of a message, such as a call with its files.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// A server of the Model Context Protocol for one client.
#[derive(Debug)]
pub struct Mcp {
    engine: Engine,
    ceiling: Ceiling,
    /// The limits of a call that requests none, if the ceiling is not lower.
    defaults: Limits,
    /// The paths of the ceiling, opened when the server started.
    grants: Arc<CeilingGrants>,
    packages: Packages,
    tool: Tool,
    /// The full texts that the latest answers left out.
    rest: Rest,
    /// One permit for each concurrent run.
    running: Semaphore,
    /// One permit for each concurrent call, running or waiting.
    calls: Semaphore,
    /// Cancelled when the client disconnects or the server stops.
    closing: CancellationToken,
}

/// The error of serving a client.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// The first message of the client is not that of the protocol.
    #[error("expected an `initialize` request of the Model Context Protocol: {0}")]
    Begin(#[source] Box<ServerInitializeError>),
    /// The task that serves the client panicked.
    #[error("serving the client stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl Explain for McpError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Begin(_) => Some("check that an MCP client started this server".into()),
            Self::Stopped(_) => None,
        }
    }
}

/// The error of a call that does not start.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("too many calls are waiting")]
    Busy,
    #[error("the call was cancelled before it started")]
    Cancelled,
    #[error("the server is stopping")]
    Stopping,
}

impl Explain for CallError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Busy => Some("wait for answers before you make more calls".into()),
            Self::Cancelled | Self::Stopping => None,
        }
    }
}

impl Mcp {
    /// Returns a server that runs at most `runs_at_a_time` programs at once, under a ceiling.
    /// `grants` are the paths of that ceiling, opened by the same engine. Limits that a call omits
    /// are those of a local run on this machine.
    pub fn new(
        engine: Engine,
        ceiling: Ceiling,
        grants: CeilingGrants,
        packages: Packages,
        runs_at_a_time: usize,
    ) -> Self {
        let defaults = engine.machine().local_defaults();
        Self {
            tool: tool::tool(&ceiling, defaults, packages.policy()),
            rest: Rest::default(),
            grants: Arc::new(grants),
            engine,
            ceiling,
            defaults,
            packages,
            running: Semaphore::new(runs_at_a_time),
            calls: Semaphore::new(runs_at_a_time + MAX_WAITING),
            closing: CancellationToken::new(),
        }
    }

    /// Serves one client until it closes its stream or `stop` is ready. Then every run is
    /// cancelled. The caller shuts down the engine.
    pub async fn serve<R, W>(
        self,
        input: R,
        output: W,
        stop: impl Future<Output = ()>,
    ) -> Result<(), McpError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let closing = self.closing.clone();
        let input = Watched::new(input, closing.clone());
        let transport =
            AsyncRwTransport::new_server(input, output).with_max_line_length(MAX_MESSAGE_BYTES);
        let served = async {
            match self.serve_with_ct(transport, CancellationToken::new()).await {
                Ok(service) => {
                    service.waiting().await?;
                    Ok(())
                }
                Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
                Err(error) => Err(McpError::Begin(Box::new(error))),
            }
        };
        tokio::select! {
            served = served => served,
            () = stop => {
                closing.cancel();
                Ok(())
            }
        }
    }

    async fn call(
        &self,
        arguments: serde_json::Value,
        context: RequestContext<RoleServer>,
    ) -> CallToolResult {
        let RequestedRun { submission, contents, permit } =
            match requested_run(arguments, &self.ceiling, self.defaults) {
                Ok(requested) => requested,
                Err(error) => return refusal(&error),
            };
        let access = GrantedAccess::under_ceiling(permit, Arc::clone(&self.grants));
        let packages = self.packages.clone();
        let terms = LimitTerms {
            audience: Audience::Model,
            requested: submission.limits,
            defaults: self.defaults,
            most: self.ceiling.limits,
            ..LimitTerms::default()
        };
        let host = RunHost { terms, ..RunHost::default() };
        let PreparedRun { request, host, .. } =
            PreparedRun::new(&submission, contents, access, packages, host);
        let Ok(_call) = self.calls.try_acquire() else {
            return refusal(&CallError::Busy);
        };
        let progress = context
            .meta
            .get_progress_token()
            .map(|token| Progress::new(context.peer.clone(), token));
        let permit = tokio::select! {
            biased;
            () = context.ct.cancelled() => return refusal(&CallError::Cancelled),
            () = self.closing.cancelled() => return refusal(&CallError::Stopping),
            permit = self.running.acquire() => permit,
        };
        // Dropping this future drops the run, which cancels it.
        let answered =
            self.run(self.engine.run_with(request, host), &context.ct, progress.as_ref()).await;
        drop(permit);
        if let Some(progress) = progress {
            progress.finish().await;
        }
        answered
    }

    async fn run(
        &self,
        mut run: Run,
        cancelled: &CancellationToken,
        progress: Option<&Progress>,
    ) -> CallToolResult {
        let canceller = run.canceller();
        let mut is_cancelled = false;
        loop {
            let event = tokio::select! {
                biased;
                () = cancelled.cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    canceller.cancel();
                    continue;
                }
                () = self.closing.cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    canceller.cancel();
                    continue;
                }
                event = run.next_event() => event,
            };
            match (event, progress) {
                (None, _) => break,
                (Some(RunEvent::Event(event)), Some(progress)) => progress.send(event.kind),
                _ => {}
            }
        }
        let Answer { result, wholes } = answer(run.finished().await);
        self.rest.keep(wholes);
        result
    }
}

impl ServerHandler for Mcp {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().enable_resources().build())
            .with_server_info(
                Implementation::new("belljar", env!("CARGO_PKG_VERSION")).with_title("Belljar"),
            )
            .with_instructions(
                "Runs JavaScript, TypeScript and Python in fresh, isolated sandboxes. Use run_code \
                 for every task that code solves better than reasoning: arithmetic, data, text \
                 processing, checking an idea.",
            )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![self.tool.clone()]))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(self.rest.list()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        match self.rest.read(&request.uri) {
            Some(contents) => Ok(ReadResourceResult::new(vec![contents]).into()),
            None => Err(ErrorData::resource_not_found(
                format!(
                    "there is no resource `{}`: only what the latest answers left out is kept",
                    plain::line(&request.uri)
                ),
                None,
            )),
        }
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        (name == tool::NAME).then(|| self.tool.clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if request.name != tool::NAME {
            return Err(ErrorData::invalid_params(
                format!("there is no tool `{}`, only `{}`", plain::line(&request.name), tool::NAME),
                None,
            ));
        }
        let arguments = serde_json::Value::Object(request.arguments.unwrap_or_default());
        Ok(self.call(arguments, context).await.into())
    }
}
