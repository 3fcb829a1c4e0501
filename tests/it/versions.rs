//! `--versions all`: every version of every key, of each the older before the newer ones.

use std::collections::BTreeMap;
use std::time::Duration;

use md5::{Digest, Md5};
use s3haul::job::manifest::key::encode;
use s3haul::job::report::passes::hex;
use s3haul::job::report::row::{ReportRow, TaskStatus, write_line};
use s3haul_sandbox::iam::{COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID};
use s3haul_sandbox::{
    BucketSettings, Fault, FaultKind, ObjectProperties, Operation, SandboxOptions, Versioning, When,
};
use serde_json::json;

use crate::given::Given;
use crate::guards::error;
use crate::keys::odd_keys;
use crate::objects::{LARGE, sent};
use crate::resume::{hung, kill, logged};
use crate::support::{DESTINATION, Run, SOURCE, World, count, message, source_policy};

const SCHEMA: &str = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate";
const DENIED: &str = "AccessDenied";

/// A world whose buckets keep versions.
pub(crate) fn world() -> World {
    let world = World::with(SandboxOptions::default(), versioned());
    keep_versions(&world);
    world
}

fn versioned() -> BucketSettings {
    BucketSettings {
        versioning: Versioning::Enabled,
        ..BucketSettings::default()
    }
}

fn denied() -> FaultKind {
    error(403, DENIED)
}

/// The source keeps versions from now on, and lets them be listed.
fn keep_versions(world: &World) {
    let listing = "[\"s3:ListBucket\", \"s3:ListBucketVersions\"]";
    let settings = BucketSettings {
        policy: Some(source_policy().replace("\"s3:ListBucket\"", listing)),
        ..versioned()
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
}

/// Puts so many versions of a key.
fn put(world: &World, key: &str, versions: usize) {
    for n in 1..=versions {
        world.put(key, &format!("{key} {n}"));
    }
}

fn delete(world: &World, key: &str) {
    world.store().delete_object(SOURCE, key).unwrap();
}

/// Writes an inventory of all versions of the source, in no order. Versions of a key are a minute
/// apart, but the latest, which is dated before all others: an object that was uploaded in parts is dated
/// by the beginning of its upload.
pub(crate) fn inventory(world: &World) {
    inventory_of(world, SCHEMA);
}

fn inventory_of(world: &World, schema: &str) {
    let versions = world.store().versions(SOURCE);
    let mut rows = Vec::new();
    for (at, version) in versions.iter().enumerate() {
        let newer = versions[..at].iter().rev();
        let newer = newer.take_while(|other| other.key == version.key).count();
        let minute = if newer == 0 { 0 } else { 1_000 - newer };
        let cell = |column: &str| match column {
            "Bucket" => SOURCE.to_owned(),
            "Key" => encode(&version.key),
            // Written before the bucket had versions.
            "VersionId" if version.version_id == "null" => String::new(),
            "VersionId" => version.version_id.clone(),
            "IsLatest" => version.is_latest.to_string(),
            "IsDeleteMarker" => version.is_delete_marker().to_string(),
            "Size" => version
                .object
                .as_ref()
                .map(|object| object.size().to_string())
                .unwrap_or_default(),
            "LastModifiedDate" => {
                format!("2026-01-01T{:02}:{:02}:00.000Z", minute / 60, minute % 60)
            }
            other => panic!("{other}"),
        };
        let mut line = Vec::new();
        write_line(&mut line, schema.split(", ").map(cell));
        rows.push(line);
    }
    fastrand::Rng::with_seed(7).shuffle(&mut rows);
    let data = rows.concat();
    let manifest = json!({
        "sourceBucket": SOURCE,
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1767225600000",
        "fileFormat": "CSV",
        "fileSchema": schema,
        "files": [{
            "key": "data/rows.csv",
            "size": data.len(),
            "MD5checksum": hex(&Md5::digest(&data)),
        }],
    });
    std::fs::create_dir_all(world.path("data")).unwrap();
    std::fs::write(world.path("data/rows.csv"), data).unwrap();
    world.manifest(manifest.to_string());
}

fn all(world: &World) -> Given<'_> {
    world.given().set("--versions", "all")
}

pub(crate) fn replay(world: &World) -> Given<'_> {
    all(world).set("--delete-markers", "replay")
}

/// The versions of a bucket by key, newest first: their content, none of delete markers.
fn versions(world: &World, bucket: &str, markers: bool) -> BTreeMap<String, Vec<Option<Vec<u8>>>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for version in world.store().versions(bucket) {
        let content = version.object.map(|object| object.bytes());
        if markers || content.is_some() {
            keys.entry(version.key).or_default().push(content);
        }
    }
    keys
}

/// The destination has what the source has, in its order.
#[track_caller]
pub(crate) fn assert_same(world: &World, markers: bool) {
    let source = versions(world, SOURCE, markers);
    assert_eq!(versions(world, DESTINATION, markers), source);
}

fn work_files(world: &World) -> Vec<String> {
    let files = std::fs::read_dir(world.job().join("work")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("sorted")).collect();
    names.sort();
    names
}

/// Error codes of a key's rows by version.
fn codes(rows: &[ReportRow], key: &str) -> BTreeMap<String, String> {
    let of_key = rows.iter().filter(|row| row.key == key);
    of_key
        .map(|row| (row.version_id.clone(), row.error_code.clone()))
        .collect()
}

/// Odd keys of three versions, one of them older than the bucket's versioning; delete markers at the end
/// and in the middle.
pub(crate) fn fill(world: &World) -> usize {
    let settings = world.store().settings(SOURCE).unwrap();
    let off = BucketSettings {
        versioning: Versioning::Unversioned,
        ..settings
    };
    world.store().configure_bucket(SOURCE, off).unwrap();
    world.put("null", "null 0");
    keep_versions(world);
    put(world, "null", 2);
    let keys = odd_keys();
    for key in &keys {
        put(world, key, 3);
    }
    put(world, "middle", 1);
    delete(world, "middle");
    put(world, "middle", 1);
    for key in ["gone", "gone too"] {
        put(world, key, 2);
        delete(world, key);
    }
    delete(world, "never was");
    world.store().versions(SOURCE).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_lands_in_its_place_and_delete_markers_too() {
    let world = world();
    let rows = fill(&world);
    inventory(&world);
    let run = replay(&world).run().await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), rows);
    assert!(
        run.stderr.contains(&format!("sorting {rows} rows")),
        "{}",
        run.stderr
    );
    assert_same(&world, true);
    for key in ["gone", "gone too", "never was"] {
        assert!(world.store().object(DESTINATION, key).is_none(), "{key}");
    }
    // One request a version, and one that asks whether versions are kept.
    let log = world.sandbox.log();
    assert_eq!(log.count(Operation::DeleteObject), 4);
    assert_eq!(log.count(Operation::CopyObject), rows - 4);
    assert_eq!(log.count(Operation::GetBucketVersioning), 1);
    assert_eq!(log.count(Operation::HeadObject), 0);
    assert_eq!(work_files(&world), Vec::<String>::new());
    let rows = world.rows();
    let marker = rows.iter().find(|row| row.key == "never%20was").unwrap();
    assert_eq!(message(marker, "by"), "marker");
    assert!(message(marker, "version_id").is_string() && message(marker, "e_tag").is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_delete_markers_let_deleted_keys_reappear_and_say_so() {
    let world = world();
    fill(&world);
    inventory(&world);
    let words = [
        "the latest version of 3 keys is a delete marker",
        "--delete-markers",
    ];
    all(&world).refused(2, &words).await;
    let skip = all(&world).variable("S3HAUL_DELETE_MARKERS", "skip");
    let run = skip.run().await;
    run.expect(0);
    assert!(
        run.stderr.contains("3 deleted keys will reappear"),
        "{}",
        run.stderr
    );
    assert_eq!(run.summary("skipped"), 4);
    assert_same(&world, false);
    assert!(world.store().object(DESTINATION, "gone").is_some());
    assert_eq!(world.sandbox.log().count(Operation::DeleteObject), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_stops_at_its_first_failure_and_the_resume_goes_on_there() {
    let world = world();
    for key in ["a", "refused", "z"] {
        put(&world, key, 3);
    }
    put(&world, "deleted", 2);
    delete(&world, "deleted");
    inventory(&world);
    for (key, nth) in [("refused", 2), ("deleted", 1)] {
        let fault = Fault::on(Operation::CopyObject, denied()).key(key);
        world.sandbox.faults().add(fault.when(When::Nth(nth)));
    }
    let run = replay(&world).run().await;
    run.expect(1);
    assert_eq!(
        run.summary("errors"),
        json!({ "AccessDenied": 2, "EarlierVersionFailed": 3 })
    );
    // Unsent.
    assert_eq!(sent(&world, Operation::CopyObject, "refused").len(), 2);
    assert_eq!(sent(&world, Operation::CopyObject, "deleted").len(), 1);
    assert_eq!(world.sandbox.log().count(Operation::DeleteObject), 0);
    let versions = world.store().versions(SOURCE);
    let newest_first = versions.iter().filter(|version| version.key == "refused");
    let codes = codes(&world.rows(), "refused");
    let codes: Vec<_> = newest_first
        .map(|version| codes[&version.version_id].as_str())
        .collect();
    assert_eq!(codes, ["EarlierVersionFailed", DENIED, ""]);
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_same(&world, true);
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), 12);
    assert_eq!(work_files(&world), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_chain_it_goes_on_there() {
    let world = world();
    for n in 0..20 {
        put(&world, &format!("k{n:02}"), 3);
    }
    inventory(&world);
    for key in ["k03", "k17"] {
        let second = Fault::on(Operation::CopyObject, FaultKind::Hang).key(key);
        world.sandbox.faults().add(second.when(When::Nth(2)));
    }
    let child = all(&world).command().spawn().unwrap();
    logged(&world, 58 - 4, |entry| {
        entry.operation == Operation::CopyObject && entry.status == Some(200)
    })
    .await;
    durable_at_least(&world, 56).await;
    kill(child).await;
    logged(&world, 2, hung).await;
    assert_eq!(work_files(&world), ["sorted-0.csv", "sorted-0.csv.seal"]);
    // It is a cache.
    std::fs::remove_file(world.job().join("work/sorted-0.csv")).unwrap();
    world.sandbox.log().clear();
    world.resume(&[]).await.expect(0);
    assert_same(&world, true);
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 4);
    // What was in flight is not known: each end of a chain is looked at.
    assert_eq!(world.sandbox.log().count(Operation::HeadObject), 2);
    assert_eq!(work_files(&world), Vec::<String>::new());
}

/// Waits until so many outcomes are in the first journal.
async fn durable_at_least(world: &World, least: usize) {
    let needle = b"\"outcome\"";
    let journal = world.job().join("work/journal-00000001");
    let found = || {
        let journal = std::fs::read(&journal).unwrap_or_default();
        journal
            .windows(needle.len())
            .filter(|at| at == needle)
            .count()
    };
    for _ in 0..6_000 {
        if found() >= least {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never are {least} outcomes durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_failed_before_a_crash_stays_broken_in_its_pass() {
    let world = world();
    put(&world, "k", 3);
    put(&world, "other", 2);
    inventory(&world);
    let first = Fault::on(Operation::CopyObject, denied()).key("k");
    world.sandbox.faults().add(first.when(When::Nth(1)));
    let second = Fault::on(Operation::CopyObject, FaultKind::Hang).key("other");
    world.sandbox.faults().add(second.when(When::Nth(2)));
    let child = all(&world).command().spawn().unwrap();
    logged(&world, 2, |entry| entry.operation == Operation::CopyObject).await;
    durable_at_least(&world, 4).await;
    kill(child).await;
    // As if the process had died right behind the first failure.
    let journal = world.job().join("work/journal-00000001");
    keep_frames(&journal, |record| !record.contains("EarlierVersionFailed"));
    world.sandbox.faults().clear();
    world.sandbox.log().clear();
    let run = all(&world).run().await;
    run.expect(1);
    assert_eq!(
        run.summary("errors"),
        json!({ "AccessDenied": 1, "EarlierVersionFailed": 2 })
    );
    assert_eq!(sent(&world, Operation::CopyObject, "k"), []);
    world.resume(&[]).await.expect(0);
    assert_same(&world, true);
}

/// Leaves frames out of a journal.
fn keep_frames(journal: &std::path::Path, keep: impl Fn(&str) -> bool) {
    let bytes = std::fs::read(journal).unwrap();
    let (mut kept, mut rest) = (Vec::new(), &bytes[..]);
    while let Some(length) = rest.get(..4) {
        let end = 8 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let (frame, more) = rest.split_at(end);
        if keep(std::str::from_utf8(&frame[8..]).unwrap()) {
            kept.extend_from_slice(frame);
        }
        rest = more;
    }
    assert!(kept.len() < bytes.len());
    std::fs::write(journal, kept).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_chain_of_many_pieces_lands_in_order() {
    let world = world();
    put(&world, "k", 150);
    inventory(&world);
    let fault = Fault::on(Operation::CopyObject, denied()).key("k");
    world.sandbox.faults().add(fault.when(When::Nth(70)));
    let run = all(&world).run().await;
    run.expect(1);
    assert_eq!(
        run.summary("errors"),
        json!({ "AccessDenied": 1, "EarlierVersionFailed": 80 })
    );
    world.resume(&[]).await.expect(0);
    assert_same(&world, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_versions_keep_their_place() {
    let world = world();
    for n in 0..4 {
        let key = format!("k{n}");
        put(&world, &key, 1);
        world.declare(&key, LARGE);
        put(&world, &key, 1);
        world.declare(&key, LARGE);
    }
    inventory(&world);
    let parts = all(&world)
        .set("--multipart-threshold", "17MiB")
        .set("--part-size", "17MiB");
    parts.run().await.expect(0);
    world.assert_no_uploads();
    let sizes = |bucket| -> Vec<_> {
        let versions = world.store().versions(bucket).into_iter();
        versions
            .map(|version| (version.key, version.object.unwrap().size()))
            .collect()
    };
    assert_eq!(sizes(DESTINATION), sizes(SOURCE));
    let log = world.sandbox.log();
    assert_eq!(log.count(Operation::CompleteMultipartUpload), 8);
    assert_eq!(log.count(Operation::CopyObject), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_that_lands_late_is_found_and_mended() {
    let world = world();
    put(&world, "k", 2);
    put(&world, "gone", 1);
    delete(&world, "gone");
    inventory(&world);
    for key in ["k", "gone"] {
        let lost = Fault::on(Operation::CopyObject, FaultKind::AnswerLost).key(key);
        world.sandbox.faults().add(lost.when(When::Nth(1)));
        // Time for something to land between the last write and the look.
        let look = Fault::on(Operation::HeadObject, FaultKind::Latency(700)).key(key);
        world.sandbox.faults().add(look);
    }
    let child = replay(&world).command().spawn().unwrap();
    logged(&world, 6, |entry| {
        entry.status.is_some_and(|status| status < 300)
            && matches!(
                entry.operation,
                Operation::CopyObject | Operation::DeleteObject
            )
            || entry.fault.as_deref() == Some("answer_lost")
    })
    .await;
    for key in ["k", "gone"] {
        let late = format!("{key} 1");
        let properties = ObjectProperties::default();
        world
            .store()
            .put_object(DESTINATION, key, late, properties)
            .unwrap();
    }
    let run = Run::end_of(child).await;
    run.expect(1);
    assert_eq!(run.summary("errors"), json!({ "DestinationConflict": 2 }));
    world.sandbox.faults().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert!(world.store().object(DESTINATION, "gone").is_none());
    world.assert_copied("k");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_keeps_no_versions_is_refused() {
    for (versioning, word) in [
        (Versioning::Unversioned, "is off"),
        (Versioning::Suspended, "is suspended"),
    ] {
        let destination = BucketSettings {
            versioning,
            ..BucketSettings::default()
        };
        let world = World::with(SandboxOptions::default(), destination);
        keep_versions(&world);
        put(&world, "k", 2);
        inventory(&world);
        let words = ["a destination that keeps versions", word];
        all(&world).refused(2, &words).await;

        // Who may not ask learns it from the answers, and deletes nothing.
        let ask = Fault::on(Operation::GetBucketVersioning, denied());
        world.sandbox.faults().add(ask);
        replay(&world).refused(3, &["cannot ask whether"]).await;
        let run = all(&world).run().await;
        run.expect(1);
        assert!(
            run.stderr.contains("s3:GetBucketVersioning"),
            "{}",
            run.stderr
        );
        assert_eq!(
            run.summary("errors"),
            json!({ "DestinationNotVersioned": 1, "EarlierVersionFailed": 1 })
        );
        assert_eq!(world.sandbox.log().count(Operation::CopyObject), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_ordered_or_sorted_is_refused() {
    let world = world();
    put(&world, "k", 2);
    let dateless = SCHEMA.replace(", LastModifiedDate", "");
    inventory_of(&world, &dateless);
    let words = ["--versions all needs the column LastModifiedDate"];
    all(&world).refused(2, &words).await;
    world.manifest("source,k,v1\n");
    let words = ["--versions all needs the column VersionId"];
    all(&world).refused(2, &words).await;
    let fields = "Bucket,Key,VersionId";
    let words = ["--versions all needs the column LastModifiedDate"];
    let named = all(&world).set("--manifest-fields", fields);
    named.refused(2, &words).await;
    world.manifest("source,k,v1,\n");
    let fields = format!("{fields},LastModifiedDate");
    let named = all(&world).set("--manifest-fields", fields);
    named.refused(2, &["it has no LastModifiedDate"]).await;

    inventory(&world);
    for overwrite in ["never", "if-different"] {
        let given = all(&world).set("--overwrite", overwrite);
        given.refused(2, &["--versions all", "--overwrite"]).await;
    }
    let lone = world.given().set("--delete-markers", "skip");
    lone.refused(2, &["--delete-markers", "--versions all"])
        .await;
    // It has no room for anything.
    let full = all(&world).set("--work-dir", "/proc");
    full.refused(2, &["bytes in /proc, which has 0 bytes free", "--work-dir"])
        .await;
    let nowhere = all(&world).set("--work-dir", "/nowhere");
    nowhere
        .refused(2, &["cannot find --work-dir /nowhere"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_older_version_is_not_taken_for_one_that_was_never_written() {
    let world = world();
    for _ in 0..2 {
        world.put("k", "the same");
    }
    inventory(&world);
    let reset = Fault::on(Operation::CopyObject, FaultKind::Reset).key("k");
    world
        .sandbox
        .faults()
        .add(reset.when(When::FromTo(2, 1_000)));
    let twice = || all(&world).set("--max-attempts", "2");
    let conflict = json!({ "DestinationConflict": 1 });
    let run = twice().run().await;
    run.expect(1);
    assert_eq!(run.summary("errors"), conflict);
    // Which version the older row made is not known any more.
    let run = world.resume(&["--max-attempts", "2"]).await;
    run.expect(1);
    assert_eq!(run.summary("errors"), conflict);
    assert_eq!(world.store().versions(DESTINATION).len(), 1);
    world.sandbox.faults().clear();
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_same(&world, true);
    // Each pass before could not tell: it might be there twice.
    assert_eq!(run.summary("in_doubt"), 1);
    let rows = world.rows();
    let doubted = rows.iter().filter(|row| message(row, "in_doubt") == true);
    assert_eq!(doubted.count(), 1, "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_long_chain_waits_for_proof_of_access() {
    let world = world();
    for n in 0..9 {
        put(&world, &format!("a{n}"), 1);
    }
    put(&world, "long", 1_000);
    inventory(&world);
    let fault = Fault::on(Operation::CopyObject, denied());
    world.sandbox.faults().add(fault);
    let run = all(&world).run().await;
    run.expect(3);
    assert_eq!(run.summary("errors")[DENIED], 10);
    // Those that went together with the first.
    let behind = run.summary("errors")["EarlierVersionFailed"].as_u64();
    assert!(behind.unwrap_or_default() < 64, "{behind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sort_that_fails_in_a_resume_leaves_the_state_that_the_exit_code_says() {
    let world = world();
    put(&world, "k", 3);
    inventory(&world);
    let hang = Fault::on(Operation::CopyObject, FaultKind::Hang).key("k");
    world.sandbox.faults().add(hang.when(When::Nth(2)));
    let child = all(&world).command().spawn().unwrap();
    durable_at_least(&world, 1).await;
    kill(child).await;
    world.sandbox.faults().clear();
    std::fs::remove_file(world.job().join("work/sorted-0.csv")).unwrap();
    // Its data file alone: the manifest is what it was.
    let data = world.path("data/rows.csv");
    let whole = std::fs::read(&data).unwrap();
    std::fs::write(&data, &whole[..whole.len() / 2]).unwrap();
    let run = world.resume(&[]).await;
    run.expect(3);
    assert_eq!(world.checkpoint()["state"], "failed");
    std::fs::write(&data, whole).unwrap();
    world.resume(&[]).await.expect(0);
    assert_same(&world, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_dir_is_left_as_it_was() {
    let world = world();
    put(&world, "k", 3);
    put(&world, "l", 2);
    inventory(&world);
    let work = world.path("work");
    std::fs::create_dir(&work).unwrap();
    let hang = Fault::on(Operation::CopyObject, FaultKind::Hang).key("l");
    world.sandbox.faults().add(hang.when(When::Nth(2)));
    let given = all(&world).set("--work-dir", work.to_str().unwrap());
    let child = given.command().spawn().unwrap();
    durable_at_least(&world, 4).await;
    let there = || std::fs::read_dir(&work).unwrap().count();
    assert_eq!(there(), 2);
    kill(child).await;
    world.sandbox.faults().clear();
    given.run().await.expect(0);
    assert_same(&world, true);
    assert_eq!(there(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_id_have_each_their_sorted_rows_in_a_work_dir() {
    let world = world();
    put(&world, "k", 3);
    inventory(&world);
    let work = world.path("work");
    std::fs::create_dir(&work).unwrap();
    let there = || std::fs::read_dir(&work).unwrap().count();
    let job = |report: &str| {
        all(&world)
            .set("--work-dir", work.to_str().unwrap())
            .set("--report", world.path(report).to_str().unwrap())
    };
    let hang = Fault::on(Operation::CopyObject, FaultKind::Hang).key("k");
    world.sandbox.faults().add(hang);
    let mut children = Vec::new();
    for report in ["one", "two"] {
        children.push(job(report).command().spawn().unwrap());
    }
    let began = |report: &&str| world.path(report).join("job-test/job.json").exists();
    for _ in 0..6_000 {
        if ["one", "two"].iter().all(began) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(there(), 4);
    for child in children {
        kill(child).await;
    }
    world.sandbox.faults().clear();
    // As if it had died before its report was there.
    std::fs::remove_dir_all(world.path("one")).unwrap();
    for (report, left) in [("one", 2), ("two", 0)] {
        job(report).run().await.expect(0);
        assert_eq!(there(), left);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sorted_rows_that_are_damaged_are_sorted_again() {
    let world = world();
    put(&world, "k", 5);
    inventory(&world);
    let hang = Fault::on(Operation::CopyObject, FaultKind::Hang).key("k");
    world.sandbox.faults().add(hang.when(When::Nth(2)));
    let child = all(&world).command().spawn().unwrap();
    durable_at_least(&world, 1).await;
    kill(child).await;
    world.sandbox.faults().clear();
    let sorted = world.job().join("work/sorted-0.csv");
    let content = std::fs::read_to_string(&sorted).unwrap();
    let lines: Vec<_> = content.split_inclusive('\n').collect();
    std::fs::write(&sorted, lines[..4].concat()).unwrap();
    world.resume(&[]).await.expect(0);
    assert_same(&world, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_of_all_versions_is_a_manifest() {
    let world = world();
    // Most likely within one second, which is all that a listing tells.
    let keys: Vec<_> = (0..20).map(|n| format!("k {n}")).collect();
    for key in &keys {
        put(&world, key, 2);
    }
    let role = format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}");
    let address = format!("s3://{SOURCE}");
    let mut create = world.command(&["manifest", "create", &address, "--versions", "all"]);
    let fields = "Bucket,Key,VersionId,LastModifiedDate,IsLatest";
    create
        .args(["--role-arn", &role, "--external-id", EXTERNAL_ID])
        .args(["--endpoint-url", &world.sandbox.endpoint()])
        .args(["--fields", fields, "--output-file", "manifest.csv"]);
    Run::of(create).await.expect(0);
    let given = all(&world).set("--manifest-fields", fields);
    let run = given.run().await;
    run.expect(0);
    assert_same(&world, true);
    assert!(run.stderr.contains("no delete markers"), "{}", run.stderr);
    assert!(!run.stderr.contains("nothing tells"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_nothing_tells_apart_are_counted() {
    let world = world();
    let fields = "Bucket,Key,VersionId,LastModifiedDate,IsLatest";
    put(&world, "k", 4);
    let versions = world.store().versions(SOURCE);
    let row = |id: &str, latest: &str| format!("{SOURCE},k,{id},2026-01-01T00:00:00Z,{latest}\n");
    let ids: Vec<_> = versions
        .iter()
        .map(|version| version.version_id.as_str())
        .collect();
    let given = || all(&world).set("--manifest-fields", fields);
    world.manifest(row(ids[0], "yes"));
    given().refused(2, &["neither true nor false"]).await;
    // The newest comes first.
    let rows = ids.iter().zip(["TRUE", "false", "", "false"]);
    let rows: Vec<_> = rows.map(|(id, latest)| row(id, latest)).collect();
    world.manifest(rows.concat());
    let run = given().run().await;
    run.expect(0);
    let words = "2 versions have the key, the date and the IsLatest of another";
    assert!(run.stderr.contains(words), "{}", run.stderr);
    let newest = |bucket| world.store().object(bucket, "k").unwrap().bytes();
    assert_eq!(newest(DESTINATION), newest(SOURCE));
}
