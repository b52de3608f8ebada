//! The traces of callers, which those of the server continue.

use belljar_protocol::TraceParent;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes a span, which nothing has entered yet, part of the trace of a caller.
pub fn continue_trace(span: &Span, parent: &TraceParent) {
    let trace = TraceId::from_hex(parent.trace_id());
    let (Ok(trace), Ok(caller)) = (trace, SpanId::from_hex(parent.span_id())) else { return };
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let caller = SpanContext::new(trace, caller, flags, true, TraceState::default());
    // It fails if no traces are exported, and then there is nothing to continue.
    let _ = span.set_parent(Context::new().with_remote_span_context(caller));
}
