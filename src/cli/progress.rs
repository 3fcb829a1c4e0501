//! What is seen of a running job on stderr.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::job::summary::Size;
use crate::job::{Progress, blocking};

/// Time between two lines of the plain form.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProgressMode {
    /// A bar on a terminal, else nothing.
    Auto,
    /// A bar.
    Bar,
    /// A line every ten seconds.
    Plain,
    /// Nothing.
    None,
}

/// Shows progress until it is dropped.
pub(super) async fn show(mode: ProgressMode, progress: Arc<Progress>) {
    match mode {
        ProgressMode::None => std::future::pending().await,
        ProgressMode::Auto if !std::io::stderr().is_terminal() => std::future::pending().await,
        ProgressMode::Auto | ProgressMode::Bar => bar(progress).await,
        ProgressMode::Plain => plain(progress).await,
    }
}

/// Shows a line that changes until it is dropped: on a terminal a spinner beside it, else nothing.
pub(super) async fn show_line(mode: ProgressMode, line: impl Fn() -> String) {
    let spinner = match mode {
        ProgressMode::None => return std::future::pending().await,
        ProgressMode::Auto if !std::io::stderr().is_terminal() => {
            return std::future::pending().await;
        }
        ProgressMode::Auto | ProgressMode::Bar => true,
        ProgressMode::Plain => false,
    };
    let started = Instant::now();
    if spinner {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let bar = Wiped(bar);
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            ticks.tick().await;
            bar.0.set_message(line());
            bar.0.tick();
        }
    }
    let mut ticks = tokio::time::interval(PLAIN_INTERVAL);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let seconds = started.elapsed().as_secs();
        let _ = writeln!(std::io::stderr(), "{seconds} s: {}", line());
    }
}

/// Wipes the bar when the job ends, so that the summary stands alone.
struct Wiped(ProgressBar);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

async fn bar(progress: Arc<Progress>) {
    let bar = Wiped(ProgressBar::with_draw_target(
        Some(0),
        ProgressDrawTarget::stderr(),
    ));
    let template = "{bar:30} {pos}/{len} rows{msg} {per_sec} ETA {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.0.set_style(style);
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let (bar, progress) = (bar.0.clone(), Arc::clone(&progress));
        // A terminal that is held (Ctrl-S) holds this thread, not the job's.
        blocking(move || {
            bar.set_length(progress.rows.load(Ordering::Relaxed));
            bar.set_position(progress.done.load(Ordering::Relaxed));
            bar.set_message(details(&progress));
        })
        .await;
    }
}

async fn plain(progress: Arc<Progress>) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(PLAIN_INTERVAL);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let done = progress.done.load(Ordering::Relaxed);
        let rows = progress.rows.load(Ordering::Relaxed);
        let seconds = started.elapsed().as_secs();
        let line = format!("{seconds} s: {done}/{rows} rows{}", details(&progress));
        blocking(move || {
            let _ = writeln!(std::io::stderr(), "{line}");
        })
        .await;
    }
}

fn details(progress: &Progress) -> String {
    let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let (pass, failed) = (load(&progress.pass), load(&progress.failed));
    let (bytes, throttled) = (load(&progress.bytes), load(&progress.throttled));
    let pass = if pass > 0 {
        format!(" of pass {pass}")
    } else {
        String::new()
    };
    let mut details = format!("{pass}, {failed} failed");
    if bytes > 0 {
        details = format!("{details}, {}", Size(bytes));
    }
    if throttled > 0 {
        details = format!("{details}, {throttled} throttled");
    }
    details
}
