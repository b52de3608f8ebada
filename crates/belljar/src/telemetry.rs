//! The telemetry of a server: a log on standard error, metrics, and traces by OTLP if configured.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use belljar_protocol::plain;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::hint::WithHint;
use crate::server_config::{LogFormat, TelemetryConfig};

/// The buckets of run durations in seconds, from a fork to a long run.
const WALL_BUCKETS: [f64; 12] =
    [0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];
/// The timeout of sending a batch of traces.
const EXPORT_TIME: Duration = Duration::from_secs(10);
/// The interval at which the metrics aggregate their recent values.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The telemetry of a running server.
pub struct Telemetry {
    /// Returns the metrics in the text format of Prometheus.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up log, metrics and traces. It must be called once in a process, inside the async
    /// runtime.
    pub fn start(config: &TelemetryConfig) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(&config.log)
            .with_context(|| format!("`{}` is not a valid log filter", config.log))
            .hint("write info, or warn,belljar_service=debug")?;
        let traces = config.otlp_endpoint.as_deref().map(traces).transpose()?;
        let log = match config.format {
            LogFormat::Text => {
                let coloured = crate::show::is_coloured();
                let writer = if coloured { LogWriter::ColouredText } else { LogWriter::Text };
                tracing_subscriber::fmt::layer()
                    .with_ansi(coloured)
                    .with_writer(move || writer)
                    .boxed()
            }
            LogFormat::Json => {
                tracing_subscriber::fmt::layer().json().with_writer(|| LogWriter::Json).boxed()
            }
        };
        // The filter of traces is independent of that of the log.
        let ours = Targets::new()
            .with_target("belljar_api", LevelFilter::INFO)
            .with_target("belljar_service", LevelFilter::INFO);
        let spans = traces.as_ref().map(|provider| {
            tracing_opentelemetry::layer().with_tracer(provider.tracer("belljar")).with_filter(ours)
        });
        tracing_subscriber::registry()
            .with(log.with_filter(filter))
            .with(spans)
            .try_init()
            .context("cannot set up the log")?;

        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Full("belljar_run_wall_seconds".to_owned()),
                &WALL_BUCKETS,
            )
            .and_then(PrometheusBuilder::install_recorder)
            .context("cannot set up the metrics")?;
        let upkeep = handle.clone();
        tokio::spawn(async move {
            let mut due = tokio::time::interval(UPKEEP_EVERY);
            loop {
                due.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { metrics: Arc::new(move || handle.render()), traces })
    }

    /// Sends the remaining traces.
    pub fn end(self) {
        let Some(traces) = self.traces else { return };
        // The shutdown blocks until the thread of the exporter has ended.
        let ended = std::thread::spawn(move || traces.shutdown()).join();
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("cannot send the remaining traces");
        }
    }
}

/// A writer to standard error that prints each event as one line, whatever programs and clients put
/// into its fields.
#[derive(Clone, Copy)]
enum LogWriter {
    Text,
    ColouredText,
    Json,
}

impl LogWriter {
    /// Returns the line of an event. The layer writes each event at once, with its line end.
    fn line(self, event: &str) -> String {
        let event = event.strip_suffix('\n').unwrap_or(event);
        let line = match self {
            Self::Text => plain::line(event).into_owned(),
            // The layer itself escapes ESC in fields (tracing-subscriber 0.3.20), so the remaining
            // ones are those of its colours.
            Self::ColouredText => {
                event.split('\x1b').map(plain::line).collect::<Vec<_>>().join("\x1b")
            }
            Self::Json => plain::json(event).into_owned(),
        };
        line + "\n"
    }
}

impl Write for LogWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(self.line(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn traces(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    // OTLP over HTTP has a path for traces.
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    // The exporter runs in a thread outside the async runtime. A blocking client cannot be created
    // inside the runtime either.
    let client =
        std::thread::spawn(|| reqwest::blocking::Client::builder().timeout(EXPORT_TIME).build());
    let client = client
        .join()
        .map_err(|_| anyhow::anyhow!("setting up the export of traces panicked"))?
        .context("cannot set up the export of traces")?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(url)
        .build()
        .with_context(|| format!("cannot send traces to `{endpoint}`"))?;
    let resource = Resource::builder().with_service_name("belljar").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_the_log_is_one_line() {
        let event = "WARN run failed why=a\r\n2026-01-01 INFO forged\u{202e}\u{9b}2J\n";
        assert_eq!(
            LogWriter::Text.line(event),
            "WARN run failed why=a\\r\\n2026-01-01 INFO forged\\u{202e}\\u{9b}2J\n"
        );
        assert_eq!(
            LogWriter::ColouredText.line("\x1b[33mWARN\x1b[0m a\nb\n"),
            "\x1b[33mWARN\x1b[0m a\\nb\n"
        );
        assert_eq!(LogWriter::Json.line("{\"why\":\"a\u{202e}\"}\n"), "{\"why\":\"a\\u202e\"}\n");
    }
}
