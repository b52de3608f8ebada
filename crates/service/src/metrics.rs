//! Metrics, recorded through the `metrics` facade. The program that uses this crate installs the
//! recorder.

use belljar_protocol::{Status, Usage};
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Describes each metric.
pub(crate) fn describe() {
    describe_counter!("belljar_runs_accepted_total", "Runs that were accepted");
    describe_counter!("belljar_runs_ended_total", "Runs that ended, by status");
    describe_counter!("belljar_requests_refused_total", "Requests that were refused, by reason");
    describe_counter!("belljar_run_cpu_milliseconds_total", Unit::Milliseconds, "CPU time of runs");
    describe_histogram!(
        "belljar_run_wall_seconds",
        Unit::Seconds,
        "Time from a run's start to its end"
    );
    describe_gauge!("belljar_runs_running", "Running runs");
    describe_gauge!("belljar_runs_waiting", "Runs that wait for their turn");
    describe_counter!(
        "belljar_object_bytes_uploaded_total",
        Unit::Bytes,
        "Bytes of objects that were uploaded"
    );
    describe_counter!(
        "belljar_object_bytes_downloaded_total",
        Unit::Bytes,
        "Bytes of objects that were asked for"
    );
    describe_counter!("belljar_callbacks_total", "Callbacks that were tried, by result");
}

pub(crate) fn accepted() {
    counter!("belljar_runs_accepted_total").increment(1);
}

pub(crate) fn ended(status: Status, usage: &Usage) {
    counter!("belljar_runs_ended_total", "status" => status.name()).increment(1);
    histogram!("belljar_run_wall_seconds").record(usage.wall_ms / 1000.0);
    // Counters are integers, so fractions of a millisecond are lost.
    counter!("belljar_run_cpu_milliseconds_total")
        .increment((usage.cpu_user_ms + usage.cpu_system_ms) as u64);
}

pub(crate) fn refused(reason: &'static str) {
    counter!("belljar_requests_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn queue(running: u32, waiting: u32) {
    gauge!("belljar_runs_running").set(f64::from(running));
    gauge!("belljar_runs_waiting").set(f64::from(waiting));
}

pub(crate) fn uploaded(bytes: u64) {
    counter!("belljar_object_bytes_uploaded_total").increment(bytes);
}

pub(crate) fn downloaded(bytes: u64) {
    counter!("belljar_object_bytes_downloaded_total").increment(bytes);
}

pub(crate) fn called_back(result: &'static str) {
    counter!("belljar_callbacks_total", "result" => result).increment(1);
}
