//! Logs, on stderr: text for people, JSON for collectors.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::UtcTime;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// A line of text an event.
    Text,
    /// A JSON object an event.
    Json,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogLevel {
    /// Somebody must act.
    Error,
    /// Odd, but whole.
    Warn,
    /// Start, stop, summary.
    Info,
    /// The fate of each row.
    Debug,
    /// Everything of s3haul's.
    Trace,
}

/// Starts logging. The SDK's own events stay out: they are about requests, which errors tell.
pub(super) fn start(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let filter = EnvFilter::new(format!("off,s3haul={level},s3haul_s3={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        // A log that cannot be written is no reason to stop a copy.
        .log_internal_errors(false)
        .with_timer(UtcTime::rfc_3339());
    // A second start, in a test, changes nothing.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
