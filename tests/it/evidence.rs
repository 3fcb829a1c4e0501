//! What proves a copy: `--verify` in its four strengths and `--part-size match-source`, by both paths, with as few
//! requests as it takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use s3haul::job::report::row::ReportRow;
use s3haul_sandbox::{
    BucketSettings, ChecksumAlgorithm, ChecksumType, Fault, FaultKind, LogEntry, ObjectProperties,
    Operation, Versioning, When,
};
use serde_json::{Value, json};

use crate::both::{
    PATHS, allow_source, assert_all_copied, assert_failed, assert_succeeded, course, key, keys,
    listed, notes, put, refused_role,
};
use crate::objects::{LARGE, PARTS, sent};
use crate::support::{DESTINATION, Run, SOURCE, World, message};

const MIB: u64 = 1 << 20;
const PART_BYTES: u64 = 17 * MIB;
/// Flags for manifests that list sizes and ETags, under which objects of [`LARGE`] bytes go in three parts.
const LISTED: [&str; 6] = [
    "--multipart-threshold",
    "17MiB",
    "--part-size",
    "17MiB",
    "--manifest-fields",
    "Bucket,Key,Size,ETag",
];

fn world() -> World {
    let world = World::new();
    allow_source(&world, &["s3:GetObjectAttributes"]);
    world
}

/// In parts of these bytes: of the small object several too.
fn in_parts(path: &str, part_bytes: u64) -> ObjectProperties {
    ObjectProperties {
        part_bytes: Some(if path == "small" { 5 } else { part_bytes }),
        ..ObjectProperties::default()
    }
}

/// A source, and what proves a copy of it by CopyObject and in parts: by S3's answer, which `--verify response`
/// and, where there is none, `--verify head` go by; and by checksums.
struct Source {
    name: &'static str,
    properties: fn(&str) -> ObjectProperties,
    by_answer: [&'static str; 2],
    by_checksum: [&'static str; 2],
}

const SOURCES: [Source; 8] = [
    Source {
        name: "plain",
        properties: |_| ObjectProperties::default(),
        by_answer: ["e_tag", "checksum"],
        by_checksum: ["checksum", "checksum"],
    },
    Source {
        name: "parts",
        properties: |path| in_parts(path, PART_BYTES),
        by_answer: ["response", "checksum"],
        by_checksum: ["checksum", "checksum"],
    },
    Source {
        name: "kms",
        properties: |_| ObjectProperties {
            kms_key_id: Some("arn:aws:kms:eu-west-1:111111111111:key/k".to_owned()),
            ..ObjectProperties::default()
        },
        by_answer: ["response", "checksum"],
        by_checksum: ["checksum", "checksum"],
    },
    Source {
        name: "without",
        properties: |_| ObjectProperties {
            without_checksum: true,
            ..ObjectProperties::default()
        },
        by_answer: ["e_tag", "response"],
        by_checksum: ["e_tag", "none"],
    },
    Source {
        name: "parts-without",
        properties: |path| ObjectProperties {
            without_checksum: true,
            ..in_parts(path, PART_BYTES)
        },
        by_answer: ["response", "e_tag"],
        by_checksum: ["none", "e_tag"],
    },
    // SHA sums of parts, which equal parts have alike.
    Source {
        name: "composite",
        properties: |path| ObjectProperties {
            checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
            ..in_parts(path, PART_BYTES)
        },
        by_answer: ["response", "checksum"],
        by_checksum: ["none", "checksum"],
    },
    Source {
        name: "composite-other",
        properties: |path| ObjectProperties {
            checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
            ..in_parts(path, 13 * MIB)
        },
        by_answer: ["response", "response"],
        by_checksum: ["none", "none"],
    },
    Source {
        name: "crc32",
        properties: |path| ObjectProperties {
            checksum_algorithm: Some(ChecksumAlgorithm::Crc32),
            checksum_type: Some(ChecksumType::FullObject),
            ..in_parts(path, 13 * MIB)
        },
        by_answer: ["response", "checksum"],
        by_checksum: ["checksum", "checksum"],
    },
];

fn put_source(world: &World, source: &Source) {
    let store = world.store();
    for path in PATHS {
        let (key, properties) = (key(path, source.name), (source.properties)(path));
        if path == "small" {
            store
                .put_object(SOURCE, &key, "content", properties)
                .unwrap();
        } else {
            store
                .declare_object(SOURCE, &key, LARGE, 1, properties)
                .unwrap();
        }
    }
}

/// The requests of a copy by itself.
fn copying(path: &str) -> Vec<String> {
    let on = |operation: Operation, bucket: &str| format!("{} {bucket}", operation.as_str());
    if path == "small" {
        return vec![on(Operation::CopyObject, DESTINATION)];
    }
    let mut requests = vec![
        on(Operation::HeadObject, SOURCE),
        on(Operation::GetObjectTagging, SOURCE),
        on(Operation::ListObjectAnnotations, SOURCE),
        on(Operation::CreateMultipartUpload, DESTINATION),
    ];
    requests.extend(vec![on(Operation::UploadPartCopy, DESTINATION); PARTS]);
    requests.push(on(Operation::CompleteMultipartUpload, DESTINATION));
    requests
}

fn evidence_of(rows: &BTreeMap<String, ReportRow>) -> Value {
    let mut counts = BTreeMap::<String, u64>::new();
    for row in rows.values() {
        let evidence = message(row, "evidence").as_str().unwrap().to_owned();
        *counts.entry(evidence).or_default() += 1;
    }
    json!(counts)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_strength_takes_as_few_requests_as_it_can() {
    for verify in ["response", "head", "checksum"] {
        let world = world();
        for source in &SOURCES {
            put_source(&world, source);
        }
        let names: Vec<_> = SOURCES.iter().map(|source| source.name).collect();
        let all = keys(&names);
        listed(&world, &all);
        let run = world
            .copy(&[&LISTED[..], &["--verify", verify]].concat())
            .await;
        run.expect(0);
        assert_all_copied(&world, &all);
        let rows = world.rows_by_key();
        assert_eq!(run.summary("evidence"), evidence_of(&rows), "{verify}");
        for source in &SOURCES {
            for (at, path) in PATHS.into_iter().enumerate() {
                let (by_answer, by_checksum) = (source.by_answer[at], source.by_checksum[at]);
                let key = key(path, source.name);
                let (row, mut expected) = (&rows[&key], copying(path));
                let evidence = match verify {
                    "head" if by_answer == "response" => {
                        expected.push(format!("HeadObject {DESTINATION}"));
                        "head"
                    }
                    "checksum" if by_answer != "checksum" => {
                        for bucket in [SOURCE, DESTINATION] {
                            expected.push(format!("GetObjectAttributes {bucket}"));
                        }
                        // Nothing that compares leaves what the answer is worth, and a note.
                        let compares = by_checksum != "none";
                        assert_ne!(notes(row, "not verified"), compares, "{row:?}");
                        if compares { by_checksum } else { by_answer }
                    }
                    _ => by_answer,
                };
                assert_succeeded(row, evidence);
                assert_eq!(course(&world, &key), expected, "{verify}, {key}");
            }
        }
    }
}

/// Bytes that are not alike, true digests and three blocks of 4 MiB.
fn bytes(changed: Option<usize>) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..9 * MIB).map(|n| (n % 251) as u8).collect();
    if let Some(at) = changed {
        bytes[at] ^= 1;
    }
    bytes
}

/// Flags under which an object of [`bytes`] is large.
const SIZED: [&str; 6] = [
    "--multipart-threshold",
    "5MiB",
    "--part-size",
    "5MiB",
    "--manifest-fields",
    "Bucket,Key,Size",
];

/// Writes a manifest of keys with sizes.
fn sized(world: &World, keys: &[&str]) {
    let mut rows = String::new();
    for key in keys {
        let size = world.store().object(SOURCE, key).unwrap().size();
        writeln!(rows, "{SOURCE},{key},{size}").unwrap();
    }
    world.manifest(rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn full_reads_both_objects_in_blocks() {
    let world = world();
    let plain = ObjectProperties::default();
    let without = ObjectProperties {
        without_checksum: true,
        part_bytes: Some(6 * MIB),
        ..ObjectProperties::default()
    };
    let store = world.store();
    for (which, properties) in [("plain", &plain), ("without", &without)] {
        let (small, large) = (key("small", which), key("large", which));
        store
            .put_object(SOURCE, &small, "content", properties)
            .unwrap();
        store
            .put_object(SOURCE, &large, bytes(None), properties)
            .unwrap();
    }
    world.put("small-empty", "");
    let all = keys(&["plain", "without"]);
    let mut names: Vec<_> = all.iter().map(String::as_str).collect();
    names.push("small-empty");
    sized(&world, &names);
    let run = world
        .copy(&[&SIZED[..], &["--verify", "full"]].concat())
        .await;
    run.expect(0);
    assert_eq!(run.summary("evidence"), json!({"full": 5}));
    for name in names {
        assert_succeeded(&world.rows_by_key()[name], "full");
        let requests = course(&world, name);
        for bucket in [SOURCE, DESTINATION] {
            let count = |operation: &str| {
                let wanted = format!("{operation} {bucket}");
                requests
                    .iter()
                    .filter(|request| **request == wanted)
                    .count()
            };
            let blocks = match name {
                "small-empty" => 0,
                name if name.starts_with("small") => 1,
                _ => 3,
            };
            assert_eq!(count("GetObject"), blocks, "{name}: {requests:?}");
            // The copy in parts has had its own HEAD of the source.
            let heads = 1 + usize::from(bucket == SOURCE && name.starts_with("large"));
            assert_eq!(count("HeadObject"), heads, "{name}: {requests:?}");
        }
    }
    // Each block of an object is one that was looked at.
    for get in world.sandbox.log().of(Operation::GetObject) {
        assert!(get.header("if-match").is_some() && get.header("range").is_some());
    }
}

/// What happens between the answer to a copy and the look behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meanwhile {
    /// The source becomes another, and then somebody puts the copy again: what is there is not the source.
    Differs,
    /// The source becomes another one.
    SourceWritten,
    SourceRemoved,
    CopyReplaced,
    CopyRemoved,
}

/// At which byte the other content differs.
const AT: usize = 5 * (1 << 20) + 3;

fn content(path: &str, changed: bool) -> Vec<u8> {
    match (path, changed) {
        ("small", false) => b"content".to_vec(),
        ("small", true) => b"contEnt".to_vec(),
        (_, changed) => bytes(changed.then_some(AT)),
    }
}

async fn next_second() {
    let now = time::OffsetDateTime::now_utc();
    let left = 1_000_000_000 - u64::from(now.nanosecond());
    tokio::time::sleep(Duration::from_nanos(left) + Duration::from_millis(20)).await;
}

/// Copies one object while something happens before the copy is looked at.
async fn copy_meanwhile(path: &str, verify: &str, meanwhile: Meanwhile) -> (World, Run) {
    copy_meanwhile_of(world(), path, &["--verify", verify], meanwhile).await
}

async fn copy_meanwhile_of(
    world: World,
    path: &str,
    flags: &[&str],
    meanwhile: Meanwhile,
) -> (World, Run) {
    let (verify, mut flags) = (flags[1], flags.to_vec());
    let (properties, store) = (ObjectProperties::default(), world.store());
    store
        .put_object(SOURCE, path, content(path, false), &properties)
        .unwrap();
    if verify == "head" {
        // Without a size the source is looked at too.
        world.manifest_of([path]);
    } else {
        sized(&world, &[path]);
        flags.extend(SIZED);
    }
    let (operation, nth) = match (verify, path) {
        ("checksum", _) => (Operation::GetObjectAttributes, 1),
        (_, "small") => (Operation::HeadObject, 1),
        // Before a copy in parts the source is looked at, and what must not be overwritten too.
        _ => (
            Operation::HeadObject,
            2 + u64::from(flags.contains(&"never")),
        ),
    };
    // The look is sent again until it has happened.
    let held = Fault::on(operation, FaultKind::internal_error());
    let held = world
        .sandbox
        .faults()
        .add(held.when(When::FromTo(nth, u64::MAX)));
    let mut command = world.copy_command();
    let child = command.args(flags).spawn().unwrap();
    let wrote = |entry: &LogEntry| {
        let writes = [Operation::CopyObject, Operation::CompleteMultipartUpload];
        writes.contains(&entry.operation)
    };
    let log = world.sandbox.log();
    log.wait_until(|entries| entries.iter().any(wrote)).await;
    let put = |bucket: &str, changed: bool, properties: &ObjectProperties| {
        store
            .put_object(bucket, path, content(path, changed), properties)
            .unwrap()
    };
    match meanwhile {
        Meanwhile::Differs => {
            put(SOURCE, true, &properties);
            next_second().await;
            let as_copied = ObjectProperties {
                part_bytes: (path == "large").then_some(5 * MIB),
                ..ObjectProperties::default()
            };
            put(DESTINATION, false, &as_copied);
        }
        Meanwhile::SourceWritten => drop(put(SOURCE, true, &properties)),
        Meanwhile::SourceRemoved => store.delete_object(SOURCE, path).unwrap(),
        Meanwhile::CopyReplaced => drop(put(DESTINATION, true, &properties)),
        Meanwhile::CopyRemoved => store.delete_object(DESTINATION, path).unwrap(),
    }
    held.remove();
    let run = Run::end_of(child).await;
    (world, run)
}

/// Paths and strengths. By checksums a copy in parts is proved when it is answered.
const LOOKS: [(&str, &str); 4] = [
    ("small", "head"),
    ("small", "checksum"),
    ("small", "full"),
    ("large", "full"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_the_source_fails_its_row_and_a_resume_copies_it_again() {
    // Of a copy in parts the source's ETag is known, and another one is another object's.
    let looks = LOOKS.into_iter().filter(|(path, _)| *path == "small");
    let looks = looks.map(|(path, verify)| async move {
        let (world, run) = copy_meanwhile(path, verify, Meanwhile::Differs).await;
        run.expect(1);
        let row = world.row();
        assert_failed(&row, "VerificationFailed", &["run resume"]);
        let said = match verify {
            "full" => "source and copy differ in byte 4",
            _ => "source and copy have unequal checksums or ETags",
        };
        assert_eq!(message(&row, "message"), said);
        world.resume(&[]).await.expect(0);
        world.assert_copied(path);
    });
    futures::future::join_all(looks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_copy_that_must_not_be_overwritten_is_left_alone() {
    let flags = ["--verify", "full", "--overwrite", "never"];
    let differs = Meanwhile::Differs;
    let (world, run) = copy_meanwhile_of(world(), "small", &flags, differs).await;
    run.expect(1);
    let words = ["with --overwrite never remove it first"];
    assert_failed(&world.row(), "VerificationFailed", &words);
    world.resume(&[]).await.expect(1);
    assert_failed(&world.row(), "DestinationConflict", &[]);
    // What the hint says.
    world.store().delete_object(DESTINATION, "small").unwrap();
    world.resume(&[]).await.expect(0);
    assert_succeeded(&world.row(), "full");
    world.assert_copied("small");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_was_refused_is_made_up_for() {
    for overwrite in ["always", "never"] {
        let world = world();
        put_source(&world, &SOURCES[3]);
        let all = keys(&["without"]);
        listed(&world, &all);
        let refused = FaultKind::Error {
            status: 403,
            code: "AccessDenied".to_owned(),
            message: String::new(),
            retry_after: None,
        };
        let refused = Fault::on(Operation::GetObjectAttributes, refused);
        let refused = world.sandbox.faults().add(refused);
        let flags = ["--verify", "checksum", "--overwrite", overwrite];
        world.copy(&[&LISTED[..], &flags].concat()).await.expect(1);
        for row in world.rows() {
            assert_failed(&row, "AccessDenied", &["was copied"]);
        }
        refused.remove();
        world.resume(&[]).await.expect(0);
        assert_all_copied(&world, &all);
        let rows = world.rows_by_key();
        for path in PATHS {
            let row = &rows[&key(path, "without")];
            // What must not be overwritten is found, and looked at; else it is written again.
            assert_eq!(message(row, "in_doubt"), true, "{row:?}");
            let evidence = match (path, overwrite) {
                ("small", _) => "e_tag",
                (_, "never") => "found",
                _ => "response",
            };
            assert_succeeded(row, evidence);
            assert_eq!(notes(row, "not verified"), path == "large", "{row:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_meanwhile_is_told_from_a_bad_copy() {
    use Meanwhile::{CopyRemoved, CopyReplaced, SourceRemoved, SourceWritten};
    let cases = LOOKS.into_iter().flat_map(|look| {
        [SourceWritten, SourceRemoved, CopyReplaced, CopyRemoved].map(|case| (look, case))
    });
    let looks = cases.map(|((path, verify), meanwhile)| async move {
        let case = format!("{path}, {verify}, {meanwhile:?}");
        let (world, run) = copy_meanwhile(path, verify, meanwhile).await;
        let row = world.row();
        if meanwhile == CopyRemoved {
            assert_failed(
                &row,
                "VerificationFailed",
                &["is not there any more", "run resume"],
            );
            run.expect(1);
            world.resume(&[]).await.expect(0);
            world.assert_copied(path);
            return;
        }
        assert_eq!(run.code(), 0, "{case}: {row:?}");
        let by_answer = if path == "small" {
            "response"
        } else {
            "checksum"
        };
        assert_succeeded(&row, by_answer);
        let note = match meanwhile {
            SourceWritten => "not verified: the source was written again",
            SourceRemoved => "not verified: the source was removed",
            _ => "not verified: the copy was replaced by somebody else",
        };
        assert!(notes(&row, note), "{case}: {row:?}");
    });
    futures::future::join_all(looks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_is_at_the_version_that_was_copied() {
    let cases = LOOKS
        .into_iter()
        .flat_map(|look| [Versioning::Enabled, Versioning::Suspended].map(|kept| (look, kept)));
    let looks = cases.map(|((path, verify), versioning)| async move {
        let world = world();
        let versions = ["s3:GetObjectVersionAttributes", "s3:GetObjectAttributes"];
        allow_source(&world, &versions);
        let settings = world.store().settings(SOURCE).unwrap();
        let settings = BucketSettings {
            versioning,
            ..settings
        };
        world.store().configure_bucket(SOURCE, settings).unwrap();
        let meanwhile = Meanwhile::SourceWritten;
        let flags = ["--verify", verify];
        let (world, run) = copy_meanwhile_of(world, path, &flags, meanwhile).await;
        run.expect(0);
        let row = world.row();
        // The null version is the one that is written over.
        let kept = versioning == Versioning::Enabled;
        let by_answer = if path == "small" {
            "response"
        } else {
            "checksum"
        };
        // Two HEADs show checksums as well.
        let by_look = if verify == "head" { "checksum" } else { verify };
        assert_succeeded(&row, if kept { by_look } else { by_answer });
        let noted = notes(&row, "not verified: the source was written again");
        assert_eq!(noted, !kept, "{path}, {verify}: {row:?}");
    });
    futures::future::join_all(looks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_look_fails_the_row_behind_the_copy() {
    for (verify, action) in [
        ("head", "s3:GetObject"),
        ("checksum", "s3:GetObject"),
        ("checksum", "s3:GetObjectAttributes"),
        ("full", "s3:GetObject"),
    ] {
        let world = refused_role(&[action], DESTINATION);
        allow_source(&world, &["s3:GetObjectAttributes"]);
        let parts = SOURCES
            .iter()
            .find(|source| source.name == "composite-other");
        put_source(&world, parts.unwrap());
        let all = keys(&["composite-other"]);
        listed(&world, &all);
        let run = world
            .copy(&[&LISTED[..], &["--verify", verify]].concat())
            .await;
        run.expect(1);
        assert_all_copied(&world, &all);
        for row in world.rows() {
            let words = ["was copied", "--verify", "s3:GetObject", action];
            assert_failed(&row, "AccessDenied", &words);
        }
    }
    // The source's bucket does not show them.
    let world = World::new();
    put(&world, "k", &ObjectProperties::default());
    listed(&world, &keys(&["k"]));
    let run = world
        .copy(&[&LISTED[..], &["--verify", "checksum"]].concat())
        .await;
    run.expect(1);
    let rows = world.rows_by_key();
    assert_failed(
        &rows["small-k"],
        "AccessDenied",
        &["s3:GetObjectAttributes on both sides"],
    );
    // By its answer it was proved already.
    assert_succeeded(&rows["large-k"], "checksum");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_is_looked_at_too() {
    for (verify, evidence) in [
        ("response", "found"),
        ("head", "found"),
        ("checksum", "checksum"),
        ("full", "full"),
    ] {
        let world = world();
        let store = world.store();
        world.put("small", "content");
        store
            .put_object(SOURCE, "large", bytes(None), ObjectProperties::default())
            .unwrap();
        sized(&world, &["small", "large"]);
        for operation in [Operation::CopyObject, Operation::CompleteMultipartUpload] {
            let lost = Fault::on(operation, FaultKind::AnswerLost).when(When::First(1));
            world.sandbox.faults().add(lost);
        }
        let flags = ["--overwrite", "never", "--verify", verify];
        let run = world.copy(&[&SIZED[..], &flags].concat()).await;
        run.expect(0);
        assert_eq!(run.summary("evidence"), json!({evidence: 2}));
        assert_eq!(run.summary("in_doubt"), 2);
        for row in world.rows() {
            assert_succeeded(&row, evidence);
            assert_eq!(message(&row, "in_doubt"), true, "{row:?}");
        }
    }
}

/// Flags of `match-source`, with a threshold that says otherwise.
const MATCHING: [&str; 4] = [
    "--part-size",
    "match-source",
    "--multipart-threshold",
    "17MiB",
];

/// The HEADs of a key's source: which part each asked for.
fn heads(world: &World, key: &str) -> Vec<Option<u32>> {
    let heads = sent(world, Operation::HeadObject, key);
    heads.iter().map(LogEntry::part_number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sources_layout_takes_one_head_more_of_its_first_part() {
    for with_e_tags in [true, false] {
        let world = world();
        put(&world, "whole", &ObjectProperties::default());
        for path in PATHS {
            let properties = ObjectProperties {
                checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
                part_bytes: Some(if path == "small" { 5 * MIB } else { 13 * MIB }),
                ..ObjectProperties::default()
            };
            let size = if path == "small" { 12 * MIB } else { LARGE };
            let key = key(path, "parts");
            world
                .store()
                .declare_object(SOURCE, &key, size, 3, properties)
                .unwrap();
        }
        let all = keys(&["whole", "parts"]);
        listed(&world, &all);
        let fields = if with_e_tags {
            "Bucket,Key,Size,ETag"
        } else {
            "Bucket,Key,Size,Ignore"
        };
        let fields = ["--manifest-fields", fields];
        world
            .copy(&[&MATCHING[..], &fields].concat())
            .await
            .expect(0);
        assert_all_copied(&world, &all);
        let rows = world.rows_by_key();
        for name in all {
            let (source, there) = (
                world.store().object(SOURCE, &name).unwrap(),
                world.store().object(DESTINATION, &name).unwrap(),
            );
            // Equal ETags are what it is for; the checksum's algorithm is kept as well.
            assert_eq!(there.e_tag(), source.e_tag(), "{name}");
            assert_eq!(there.checksum(), source.checksum(), "{name}");
            let row = &rows[&name];
            let whole = name.ends_with("whole");
            assert_eq!(message(row, "by"), if whole { "copy" } else { "multipart" });
            // Without a HEAD there is the listed ETag; with one the source's checksum, which is told first.
            let listed = with_e_tags && whole;
            assert_succeeded(row, if listed { "e_tag" } else { "checksum" });
            let parts = match (with_e_tags, name.as_str()) {
                (true, "small-whole" | "large-whole") => vec![],
                (false, "small-whole" | "large-whole") => vec![None],
                // What a small row's HEAD shows sends it to the other lane, which looks for itself.
                (false, "small-parts") => vec![None, None, Some(1)],
                _ => vec![None, Some(1)],
            };
            assert_eq!(heads(&world, &name), parts, "{with_e_tags}, {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_e_tag_that_cannot_be_kept_is_noted() {
    let world = world();
    // Sizes of parts; the first one tells the others, or seems to.
    for (name, sizes) in [
        ("seems", vec![17 * MIB, 13 * MIB, 21 * MIB]),
        ("differs", vec![13 * MIB, 17 * MIB, 21 * MIB]),
        ("alike", vec![17 * MIB, 17 * MIB, 17 * MIB]),
    ] {
        let uneven = ObjectProperties {
            part_sizes: sizes,
            ..ObjectProperties::default()
        };
        world
            .store()
            .declare_object(SOURCE, name, LARGE, 1, uneven)
            .unwrap();
    }
    let names = ["seems", "differs", "alike"].map(str::to_owned);
    listed(&world, &names);
    let fields = ["--manifest-fields", "Bucket,Key,Size,ETag"];
    world
        .copy(&[&MATCHING[..], &fields].concat())
        .await
        .expect(0);
    assert_all_copied(&world, &names);
    let rows = world.rows_by_key();
    for name in &names {
        let noted = notes(&rows[name], "the ETag is not the source's");
        assert_eq!(noted, name != "alike", "{:?}", rows[name]);
    }
}
