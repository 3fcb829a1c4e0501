//! Logs, on stderr: text for people, JSON for collectors.

use std::io::Write;
use std::sync::OnceLock;

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

/// The form that was asked for; text until then.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// What is said whatever is logged.
const SAID: &str = "said";

/// Whether a collector takes each line of stderr for a JSON object.
pub(super) fn is_json() -> bool {
    FORMAT.get() == Some(&LogFormat::Json)
}

/// Says something on stderr, as an event where log lines are JSON.
pub(super) fn say(words: &str) {
    if is_json() {
        tracing::info!(target: SAID, "{words}");
    } else {
        let _ = writeln!(std::io::stderr(), "{words}");
    }
}

/// Says what has failed, and what to do.
pub(super) fn fail(words: &str, hint: Option<&str>) {
    if is_json() {
        tracing::error!(target: SAID, hint, "{words}");
        return;
    }
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "{words}");
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "hint: {hint}");
    }
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
    let filter = EnvFilter::new(format!("off,{SAID}=info,s3haul={level},s3haul_s3={level}"));
    let _ = FORMAT.set(format);
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
