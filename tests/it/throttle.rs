//! Kind: throttling slows the job and fails nothing; requests in flight are bounded; sessions are renewed.

use std::time::{Duration, Instant};

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::{BucketSettings, Fault, FaultKind, LogEntry, Operation, SandboxOptions, When};

use crate::objects::{IN_PARTS, LARGE, PARTS, sized_manifest};
use crate::support::{World, count};

fn slow(world: &World, operation: Operation, milliseconds: u64) {
    let fault = Fault::on(operation, FaultKind::Latency(milliseconds));
    world.sandbox.faults().add(fault);
}

/// Small objects with large ones between them.
fn mixed(world: &World, small: usize, large: usize) -> Vec<String> {
    let mut keys = Vec::new();
    for n in 0..small {
        keys.push(format!("small-{n:04}"));
        world.put(&keys[keys.len() - 1], "content");
        if large > 0 && n % (small / large) == small / large / 2 {
            keys.push(format!("large-{n:04}"));
            world.declare(&keys[keys.len() - 1], LARGE);
        }
    }
    sized_manifest(world, &keys);
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_throttled_waits() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    let slow_down = |when| {
        let kind = FaultKind::Error {
            status: 503,
            code: "SlowDown".to_owned(),
            message: String::new(),
            retry_after: None,
        };
        Fault::on(Operation::HeadBucket, kind).when(when)
    };
    let fault = world.sandbox.faults().add(slow_down(When::First(5)));
    world.copy(&[]).await.expect(0);
    assert_eq!(fault.hits(), 5);
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    world.sandbox.faults().add(slow_down(When::Every));
    let given = world.given();
    given
        .refused(3, &["503: ServiceUnavailable", "begin again later"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_rows_above_the_rate_that_is_served() {
    let world = World::new();
    world.small_objects(1_000);
    let kind = FaultKind::SlowDownAbove {
        requests_per_second: 100.0,
    };
    let storm = world
        .sandbox
        .faults()
        .add(Fault::on(Operation::CopyObject, kind));
    let run = world.copy(&[]).await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), 1_000);
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), 1_000);
    assert!(storm.hits() > 0);
    assert_eq!(run.summary("throttled"), storm.hits());
    assert_eq!(run.summary("requests"), 1_000 + storm.hits());
    // Answers are not delayed, so that bounding the requests in flight bounds no rate: one at a time is refused
    // thousands of times.
    assert!(storm.hits() <= 500, "{}", storm.hits());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_end_are_renewed() {
    let options = SandboxOptions {
        min_session_seconds: 1,
        ..SandboxOptions::default()
    };
    let world = World::with(options, BucketSettings::default());
    let keys = mixed(&world, 40, 4);
    slow(&world, Operation::CopyObject, 400);
    slow(&world, Operation::UploadPartCopy, 400);
    let mut flags = IN_PARTS.to_vec();
    flags.extend(["--role-duration", "2s", "--concurrency", "4"]);
    let begun = Instant::now();
    let run = world.copy(&flags).await;
    run.expect(0);
    assert!(begun.elapsed() > Duration::from_secs(5));
    assert_eq!(run.summary("succeeded"), keys.len());
    let sessions = world.sandbox.log().count(Operation::AssumeRole);
    // Three quarters of two seconds each.
    assert!((3..=10).contains(&sessions), "{sessions}");
    world.assert_no_uploads();
    for key in &keys {
        world.assert_copied(key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_early_is_renewed_once_for_all() {
    let world = World::new();
    let keys = mixed(&world, 100, 4);
    // Old credentials are refused until there are new ones.
    let kind = FaultKind::ExpireToken;
    for operation in [Operation::CopyObject, Operation::UploadPartCopy] {
        let expired = Fault::on(operation, kind.clone());
        world
            .sandbox
            .faults()
            .add(expired.when(s3haul_sandbox::When::FromTo(10, 11)));
    }
    let mut flags = IN_PARTS.to_vec();
    flags.extend(["--concurrency", "8"]);
    let run = world.copy(&flags).await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), keys.len());
    let sessions = world.sandbox.log().count(Operation::AssumeRole);
    // The first, and at most one for each refusal.
    assert!((2..=5).contains(&sessions), "{sessions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_large_objects_share_the_requests_in_flight() {
    let world = World::new();
    let keys = mixed(&world, 200, 10);
    slow(&world, Operation::CopyObject, 10);
    slow(&world, Operation::UploadPartCopy, 10);
    let mut flags = IN_PARTS.to_vec();
    flags.extend(["--concurrency", "6"]);
    world.copy(&flags).await.expect(0);
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), keys.len());
    let log = world.sandbox.log();
    assert_eq!(log.max_in_flight(), 6);
    assert_eq!(log.count(Operation::CopyObject), 200);
    assert_eq!(log.count(Operation::UploadPartCopy), 10 * PARTS);
    // Neither lane waits for the other.
    let entries = log.entries();
    let places = |operation| {
        let of = |entry: &LogEntry| entry.operation == operation;
        (
            entries.iter().position(of).unwrap(),
            entries.iter().rposition(of).unwrap(),
        )
    };
    let (small, large) = (
        places(Operation::CopyObject),
        places(Operation::UploadPartCopy),
    );
    assert!(
        large.0 < small.1 && small.0 < large.1,
        "{small:?} {large:?}"
    );
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_a_second_are_bounded() {
    let world = World::new();
    world.small_objects(150);
    let begun = Instant::now();
    world.copy(&["--max-rps", "100"]).await.expect(0);
    // A burst of a tenth of a second, then ten milliseconds each.
    assert!(
        begun.elapsed() > Duration::from_millis(1_300),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 150);
}
