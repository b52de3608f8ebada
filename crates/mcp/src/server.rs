//! The server: accepts calls, runs several at once, and cancels those that no client waits for.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use belljar_protocol::{Explain, plain};
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
use tokio_util::task::TaskTracker;

use crate::answer::{Answer, answer, refusal};
use crate::arguments::submission;
use crate::call::{CallError, Ending};
use crate::executor::{Executor, Program};
use crate::progress::Progress;
use crate::rest::Rest;
use crate::streams::Watched;
use crate::tool;

/// The maximum number of calls that wait for others to end. A client with more in flight does not
/// read the answers.
const MAX_WAITING: usize = 100;
/// The maximum size of a message, such as a call with its files.
const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// The time that calls have to cancel their runs after the client disconnected. Runs on this
/// machine end at once; a server may have to be reached again first.
const MAX_CANCEL_TIME: Duration = Duration::from_secs(10);

/// A server of the Model Context Protocol for one client.
#[derive(Debug)]
pub struct Mcp {
    executor: Executor,
    tool: Tool,
    /// The full texts that the latest answers left out.
    rest: Rest,
    /// One permit for each concurrent run.
    running: Semaphore,
    /// One permit for each concurrent call, running or waiting.
    calls: Semaphore,
    /// Cancelled when the client disconnects or the server stops.
    closing: CancellationToken,
    /// Calls that have not ended.
    in_flight: TaskTracker,
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

impl Mcp {
    /// Returns a server that runs at most `runs_at_a_time` programs at once.
    pub fn new(executor: Executor, runs_at_a_time: usize) -> Self {
        Self {
            tool: tool::tool(&executor.terms()),
            rest: Rest::default(),
            executor,
            running: Semaphore::new(runs_at_a_time),
            calls: Semaphore::new(runs_at_a_time + MAX_WAITING),
            closing: CancellationToken::new(),
            in_flight: TaskTracker::new(),
        }
    }

    /// Serves one client until it closes its stream or `stop` is ready. Then every run is
    /// cancelled. The caller shuts down the engine, if there is one.
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
        let (closing, in_flight) = (self.closing.clone(), self.in_flight.clone());
        let input = Watched::new(input, closing.clone());
        let transport =
            AsyncRwTransport::new_server(input, output).with_max_line_length(MAX_MESSAGE_BYTES);
        // Boxed, because the future of the handshake is large.
        let served = Box::pin(async {
            match self.serve_with_ct(transport, CancellationToken::new()).await {
                Ok(service) => {
                    service.waiting().await?;
                    Ok(())
                }
                Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
                Err(error) => Err(McpError::Begin(Box::new(error))),
            }
        });
        let served = tokio::select! {
            served = served => served,
            () = stop => Ok(()),
        };
        closing.cancel();
        in_flight.close();
        // A server that cannot be reached does not keep this process alive.
        let _ = tokio::time::timeout(MAX_CANCEL_TIME, in_flight.wait()).await;
        served
    }

    async fn call(
        &self,
        arguments: serde_json::Value,
        context: RequestContext<RoleServer>,
    ) -> CallToolResult {
        let _in_flight = self.in_flight.token();
        let program =
            match submission(arguments).and_then(|submission| self.executor.accept(submission)) {
                Ok(program) => program,
                Err(error) => return refusal(&error),
            };
        let Ok(_call) = self.calls.try_acquire() else {
            return refusal(&CallError::Busy);
        };
        let progress = context
            .meta
            .get_progress_token()
            .map(|token| Progress::new(context.peer.clone(), token));
        let ending = Ending { cancelled: &context.ct, closing: &self.closing };
        let answered = self.run(program, &ending, progress.as_ref()).await;
        if let Some(progress) = progress {
            progress.finish().await;
        }
        answered.unwrap_or_else(|error| refusal(&error))
    }

    /// Runs a program once it is its turn, and returns the answer.
    async fn run(
        &self,
        program: Program<'_>,
        ending: &Ending<'_>,
        progress: Option<&Progress>,
    ) -> Result<CallToolResult, CallError> {
        let permit = tokio::select! {
            biased;
            reason = ending.wanted() => return Err(reason),
            permit = self.running.acquire() => permit,
        };
        let ended = program.execute(ending, progress).await?;
        drop(permit);
        let Answer { result, wholes } = tokio::select! {
            biased;
            reason = ending.wanted() => return Err(reason),
            answer = answer(ended) => answer,
        };
        self.rest.keep(wholes);
        Ok(result)
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
