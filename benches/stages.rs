//! What the program itself does for a row: read it, plan it, record its end.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot set up has nothing to say"
)]

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use s3haul::job::manifest::{
    Facts, ManifestFormat, ManifestOptions, Place, Position, Rename, Row, Source, survey,
};
use s3haul::job::outcome::{By, Cost, Ended, Evidence, Success, record};
use s3haul::job::plan::{PlanOptions, plan};
use s3haul::job::report::journal::{Record, write_frame};

const ROWS: u64 = 100_000;

fn row(ordinal: u64) -> Row {
    let key = format!("photos/2026/11/22/img {ordinal:08}.jpg");
    Row {
        ordinal,
        after: Place::default(),
        spelt: Some(key.replace(' ', "%20")),
        key,
        version_id: None,
        facts: Facts {
            size: Some(ordinal),
            ..Facts::default()
        },
        problem: None,
        is_latest: false,
        copied_before: None,
        behind_older: false,
        doubted: false,
    }
}

fn manifest(c: &mut Criterion) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    for ordinal in 0..ROWS {
        writeln!(file, "example-source,{}", row(ordinal).spelling()).expect("room for a manifest");
    }
    let options = ManifestOptions {
        format: ManifestFormat::Csv,
        ..ManifestOptions::default()
    };
    let mut group = c.benchmark_group("manifest");
    group.throughput(Throughput::Elements(ROWS)).sample_size(10);
    group.bench_function("survey", |b| {
        b.iter(|| survey(file.path(), &options).expect("a good manifest"));
    });
    let survey = survey(file.path(), &options).expect("a good manifest");
    group.bench_function("rows", |b| {
        b.iter(|| {
            let start = Position::default();
            let mut source = Source::manifest(file.path(), &survey, &options, start);
            while let Some(row) = source.next_row().expect("a good manifest") {
                black_box(row);
            }
        });
    });
    group.finish();
}

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("row");
    group
        .throughput(Throughput::Elements(1))
        .measurement_time(Duration::from_secs(2));
    let (rename, options) = (Rename::default(), PlanOptions::default());
    group.bench_function("plan", |b| {
        let plan = |row| plan(row, None, &rename, &options);
        b.iter_batched(|| row(7), plan, BatchSize::SmallInput);
    });
    let ended = Ended::Succeeded(Box::new(Success {
        e_tag: "9b2cf535f27731c974343645a3985328".to_owned(),
        version_id: None,
        bytes: Some(7),
        parts: None,
        by: By::Copy,
        evidence: Evidence::Response,
        source_e_tag: None,
        source_version_id: None,
        source_size: Some(7),
        source_last_modified: None,
        source_changed: false,
        in_doubt: false,
        notes: Vec::new(),
    }));
    let cost = Cost {
        tally: s3haul_s3::Tally::default(),
        elapsed: Duration::from_millis(30),
    };
    group.bench_function("record and frame", |b| {
        let mut frames = Vec::new();
        b.iter_batched(
            || row(7),
            |row| {
                frames.clear();
                let outcome = record("example-source", row, &ended, &cost);
                write_frame(&mut frames, &Record::Outcome(outcome)).expect("a small frame");
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(stages, manifest, rows);
criterion_main!(stages);
