//! How fast rows are read: `read_manifest MANIFEST` looks at a whole manifest, then reads its rows, on one
//! thread, and prints seconds, rows a second and the peak of resident memory. `inventory.py` runs it.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench that cannot run has nothing to say"
)]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use s3haul::job::manifest::{ManifestOptions, Position, Source, Versions, survey};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let path = std::env::args().find(|argument| argument.contains("manifest.json"));
    // `cargo bench` runs every bench without an argument.
    let Some(path) = path.map(PathBuf::from) else {
        return;
    };
    let options = ManifestOptions {
        versions: Some(Versions::Listed),
        ..ManifestOptions::default()
    };
    let started = Instant::now();
    let survey = survey(&path, &options).expect("a good manifest");
    told("survey", survey.rows, started);
    let started = Instant::now();
    let mut source = Source::manifest(&path, &survey, &options, Position::default());
    let mut rows = 0;
    while let Some(row) = source.next_row().expect("a good manifest") {
        black_box(row);
        rows += 1;
    }
    told("read", rows, started);
}

fn told(what: &str, rows: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.unwrap_or_default().trim();
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    let millions = rows as f64 / seconds / 1e6;
    println!("{what}: {rows} rows in {seconds:.2} s, {millions:.2} million a second, peak {peak}");
}
