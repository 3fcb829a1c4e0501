//! The largest object that S3 has: 10,000 parts of 5 GiB, declared and not stored.

use std::time::Duration;

use s3haul_sandbox::Operation;
use tokio::process::Child;

use crate::objects::{sent, sized_manifest};
use crate::support::{DESTINATION, Run, World, message};

const GIB: u64 = 1 << 30;
/// 50 TB, which are 48.8 TiB.
const LARGEST: u64 = 10_000 * 5 * GIB;
/// What 10,000 parts may take above one small object, in KiB. A part is kept as its number, ETag and checksum, and
/// goes once more into the body of Complete, by way of the SDK's type of it: some 2 KiB each in all three forms at
/// once, 20 MiB of 10,000. Nothing else may grow, least of all with the 50 TB.
const MOST_KIB: u64 = 32 * 1024;

/// Waits for a program, and gives its peak of resident memory in KiB. What it takes last is Complete's body, for as
/// long as the server reads it: far longer than it is between two looks.
async fn peak_of(child: Child) -> (Run, u64) {
    let status = format!("/proc/{}/status", child.id().unwrap());
    // Half a minute where nothing else runs.
    let ended = Run::end_within(child, Duration::from_mins(10));
    tokio::pin!(ended);
    let mut peak = 0;
    loop {
        let look = tokio::time::timeout(Duration::from_millis(10), &mut ended);
        if let Ok(run) = look.await {
            return (run, peak);
        }
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        peak = kib.unwrap_or(peak);
    }
}

/// The peak of a job of one object.
async fn peak_of_copying(world: &World) -> u64 {
    sized_manifest(world, ["object"]);
    let mut command = world.copy_command();
    command.args(["--manifest-fields", "Bucket,Key,Size", "--max-rps", "none"]);
    let (run, peak) = peak_of(command.spawn().unwrap()).await;
    run.expect(0);
    world.assert_copied("object");
    assert!(peak > 0);
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_object_goes_in_10_000_parts_and_memory_stays_flat() {
    let small = World::new();
    small.put("object", "content");
    let least = peak_of_copying(&small).await;
    let world = World::new();
    world.declare("object", LARGEST);
    let most = peak_of_copying(&world).await;
    assert!(
        most < least + MOST_KIB,
        "{least} KiB for one small object, {most} for 50 TB"
    );

    let there = world.store().object(DESTINATION, "object").unwrap();
    assert_eq!(there.part_sizes().unwrap(), vec![5 * GIB; 10_000]);
    let row = world.row();
    assert_eq!(message(&row, "parts"), 10_000);
    assert_eq!(message(&row, "bytes"), LARGEST);
    assert_eq!(message(&row, "evidence"), "checksum");
    assert_eq!(
        sent(&world, Operation::UploadPartCopy, "object").len(),
        10_000
    );
    world.assert_no_uploads();
}
