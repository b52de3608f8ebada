//! The server: takes calls, runs several at once, and ends what nobody waits for.

use std::future::Future;
use std::sync::Arc;

use belljar_engine::{CeilingGrants, Engine, Run, RunEvent, RunOptions};
use belljar_environments::{Environments, RunPackages};
use belljar_protocol::{Ceiling, PackageOptions, PackagePolicy, plain};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Implementation, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer, ServerInitializeError, ServiceExt};
use rmcp::transport::async_rw::AsyncRwTransport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, answer, refusal};
use crate::arguments;
use crate::progress::Progress;
use crate::rest::Rest;
use crate::streams::Watched;
use crate::tool;

/// Calls that may wait for others to end, besides those that run. A client with more in flight does not look at what comes back.
const MOST_WAITING: usize = 100;
/// The longest message that is taken: a call with its files.
const MOST_MESSAGE_BYTES: usize = 64 << 20;

/// A server for one client.
#[derive(Debug)]
pub struct Mcp {
    engine: Engine,
    ceiling: Ceiling,
    /// The paths of the ceiling, opened when the server started.
    grants: Arc<CeilingGrants>,
    packages: Packages,
    tool: Tool,
    /// What the latest answers left out.
    rest: Rest,
    /// One for each run at a time.
    places: Semaphore,
    /// One for each call at a time.
    calls: Semaphore,
    /// Cancelled when the client is gone, or the server is to stop.
    closing: CancellationToken,
}

/// The packages that programs can have.
#[derive(Clone, Debug)]
pub struct Packages {
    /// Where they are kept.
    pub environments: Environments,
    /// Which ones they are.
    pub policy: PackagePolicy,
}

/// Why a client could not be served.
#[derive(Debug, thiserror::Error)]
pub enum McpError {
    /// What it said first is not how the protocol begins.
    #[error("the client did not begin as the Model Context Protocol does: {0}; check that an MCP client started this")]
    Begin(#[source] Box<ServerInitializeError>),
    /// The task that served it panicked.
    #[error("serving the client stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl Mcp {
    /// A server that runs at most `runs_at_a_time` programs at a time, under a ceiling, whose paths are `grants` of the same engine.
    pub fn new(engine: Engine, ceiling: Ceiling, grants: CeilingGrants, packages: Packages, runs_at_a_time: usize) -> Self {
        Self {
            tool: tool::tool(&ceiling, &packages.policy),
            rest: Rest::default(),
            grants: Arc::new(grants),
            engine,
            ceiling,
            packages,
            places: Semaphore::new(runs_at_a_time),
            calls: Semaphore::new(runs_at_a_time + MOST_WAITING),
            closing: CancellationToken::new(),
        }
    }

    /// Serves one client, until it closes its stream or `stop` is ready; then every run ends. The engine is the caller's to shut down.
    pub async fn serve<R, W>(self, input: R, output: W, stop: impl Future<Output = ()>) -> Result<(), McpError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let closing = self.closing.clone();
        let input = Watched::new(input, closing.clone());
        let transport = AsyncRwTransport::new_server(input, output).with_max_line_length(MOST_MESSAGE_BYTES);
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

    async fn call(&self, arguments: serde_json::Value, context: RequestContext<RoleServer>) -> CallToolResult {
        let (request, packages) = match arguments::request(arguments, &self.ceiling) {
            Ok(asked) => asked,
            Err(error) => return refusal(error),
        };
        let Packages { environments, policy } = self.packages.clone();
        let packages = RunPackages::new(environments, packages, PackageOptions::default(), policy, None);
        let options =
            RunOptions { environments: Some(Arc::new(packages)), ceiling: Some(Arc::clone(&self.grants)), ..RunOptions::default() };
        let Ok(_call) = self.calls.try_acquire() else {
            return refusal("too many calls are waiting already; wait for their answers before making more");
        };
        let progress = context.meta.get_progress_token().map(|token| Progress::new(context.peer.clone(), token));
        let place = tokio::select! {
            biased;
            () = context.ct.cancelled() => return refusal("the call was cancelled before it started"),
            () = self.closing.cancelled() => return refusal("the server is stopping"),
            place = self.places.acquire() => place,
        };
        // Dropped at the latest when this future is: that cancels it, too.
        let answered = self.run(self.engine.run_with(request, options), &context.ct, progress.as_ref()).await;
        drop(place);
        if let Some(progress) = progress {
            progress.finish().await;
        }
        answered
    }

    async fn run(&self, mut run: Run, cancelled: &CancellationToken, progress: Option<&Progress>) -> CallToolResult {
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
                (Some(RunEvent::Event(event)), Some(progress)) => progress.tell(event.kind),
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
            .with_server_info(Implementation::new("belljar", env!("CARGO_PKG_VERSION")).with_title("Belljar"))
            .with_instructions(
                "Runs JavaScript, TypeScript and Python in fresh, sealed sandboxes. Use run_code for anything that code answers better than \
                 thought: arithmetic, data, text processing, checking an idea.",
            )
    }

    async fn list_tools(&self, _: Option<PaginatedRequestParams>, _: RequestContext<RoleServer>) -> Result<ListToolsResult, ErrorData> {
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
                format!("there is no resource `{}`: only what the latest answers left out is kept", plain::line(&request.uri)),
                None,
            )),
        }
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        (name == tool::NAME).then(|| self.tool.clone())
    }

    async fn call_tool(&self, request: CallToolRequestParams, context: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        if request.name != tool::NAME {
            return Err(ErrorData::invalid_params(
                format!("there is no tool `{}`; there is {}", plain::line(&request.name), tool::NAME),
                None,
            ));
        }
        let arguments = serde_json::Value::Object(request.arguments.unwrap_or_default());
        Ok(self.call(arguments, context).await.into())
    }
}
