//! Archived sources: S3's answer decides, a restore is asked for and never waited for.

use std::fmt::Write as _;

use s3haul_sandbox::{
    ArchiveTier, BucketSettings, Fault, FaultKind, ObjectProperties, Operation, RestoreState,
    RestoreTier, SandboxOptions, StorageClass, Versioning,
};
use serde_json::json;

use crate::both::{
    PATHS, allow_source, asked, assert_all_copied, assert_failed, assert_skipped, assert_succeeded,
    copy, fail, key, keys, put,
};
use crate::support::{DESTINATION, SOURCE, World, message};

/// The archives that there are.
const ARCHIVES: [&str; 4] = ["glacier", "deep", "tier", "deep-tier"];
const RESTORE: [&str; 6] = [
    "--archived",
    "restore",
    "--restore-tier",
    "bulk",
    "--restore-days",
    "3",
];
const IN_PROGRESS: &str = "RestoreInProgress";

fn archived(which: &str, restore: RestoreState) -> ObjectProperties {
    let (storage_class, archive_tier) = match which {
        "glacier" => (StorageClass::Glacier, None),
        "deep" => (StorageClass::DeepArchive, None),
        "tier" => (
            StorageClass::IntelligentTiering,
            Some(ArchiveTier::ArchiveAccess),
        ),
        _ => (
            StorageClass::IntelligentTiering,
            Some(ArchiveTier::DeepArchiveAccess),
        ),
    };
    ObjectProperties {
        storage_class,
        archive_tier,
        restore,
        ..ObjectProperties::default()
    }
}

/// A world with an object of every archive for each path; the role may ask for restores.
fn world() -> World {
    let world = World::new();
    allow_source(&world, &["s3:RestoreObject"]);
    for which in ARCHIVES {
        put(&world, which, &archived(which, RestoreState::None));
    }
    world
}

fn restores(world: &World) -> usize {
    world.sandbox.log().count(Operation::RestoreObject)
}

fn finish(world: &World, keys: &[String]) {
    for key in keys {
        world.store().finish_restore(SOURCE, key, 1).unwrap();
    }
}

/// What was sent to the source: it is read, and asked to restore.
fn assert_source_untouched(world: &World) {
    for entry in world.sandbox.log().entries() {
        let reads = matches!(
            entry.operation,
            Operation::HeadBucket
                | Operation::HeadObject
                | Operation::GetObjectTagging
                | Operation::ListObjectAnnotations
        );
        let restores = entry.operation == Operation::RestoreObject;
        assert!(entry.bucket != SOURCE || reads || restores, "{entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_objects_fail() {
    let world = world();
    let run = copy(&world, &ARCHIVES, &[]).await;
    run.expect(1);
    assert_eq!(run.summary("errors"), json!({"InvalidObjectState": 8}));
    for row in world.rows() {
        assert_failed(&row, "InvalidObjectState", &["--archived restore"]);
        assert_eq!(row.http_status, Some(403));
    }
    assert_eq!(restores(&world), 0);
    // S3 answers so to the first part only.
    assert_eq!(
        world.sandbox.log().count(Operation::CreateMultipartUpload),
        4
    );
    world.assert_no_uploads();
    assert_source_untouched(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_objects_are_skipped() {
    let world = world();
    let run = copy(&world, &ARCHIVES, &["--archived", "skip"]).await;
    run.expect(0);
    assert_eq!(run.summary("skipped"), 8);
    for row in world.rows() {
        assert_skipped(&row, "Archived");
    }
    assert_eq!(restores(&world), 0);
    assert_eq!(world.store().object_count(DESTINATION), 0);
    world.assert_no_uploads();
    assert_source_untouched(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_asked_for_once_and_a_resume_finishes() {
    let world = world();
    let all = keys(&ARCHIVES);
    let run = copy(&world, &ARCHIVES, &RESTORE).await;
    run.expect(1);
    assert_eq!(run.summary("errors"), json!({IN_PROGRESS: 8}));
    for row in world.rows() {
        assert_failed(&row, IN_PROGRESS, &["run resume"]);
        let said = message(&row, "message");
        assert!(said.as_str().unwrap().contains("was asked for"), "{row:?}");
    }
    for which in ARCHIVES {
        // What comes back from Intelligent-Tiering's archives stays.
        let days = (!which.contains("tier")).then_some(3);
        for path in PATHS {
            let object = world.store().object(SOURCE, &key(path, which)).unwrap();
            let asked = object.ongoing_restore();
            assert_eq!(asked, Some((days, RestoreTier::Bulk)), "{which}");
        }
    }
    assert_eq!(restores(&world), 8);
    world.assert_no_uploads();

    // It is not there yet, and is not asked for again.
    world.resume(&[]).await.expect(1);
    for row in world.rows() {
        assert_failed(&row, IN_PROGRESS, &["run resume"]);
        let said = message(&row, "message");
        assert!(said.as_str().unwrap().contains("under way"), "{row:?}");
    }
    assert_eq!(restores(&world), 8);

    // Half of it is there.
    let (small, large): (Vec<_>, Vec<_>) = all
        .iter()
        .cloned()
        .partition(|key| key.starts_with("small"));
    finish(&world, &small);
    let run = world.resume(&[]).await;
    assert_eq!(run.expect(1).summary("errors"), json!({IN_PROGRESS: 4}));
    finish(&world, &large);
    let run = world.resume(&[]).await;
    assert_eq!(run.expect(0).summary("succeeded"), 8);
    assert_all_copied(&world, &all);
    assert_eq!(restores(&world), 8);
    for key in all {
        let there = world.store().object(DESTINATION, &key).unwrap();
        assert_eq!(there.storage_class(), StorageClass::Standard);
    }
    assert_source_untouched(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_somebody_else_asked_for_is_under_way() {
    let world = World::new();
    allow_source(&world, &["s3:RestoreObject"]);
    // The HEAD shows it; or somebody asks between HEAD and RestoreObject.
    put(&world, "shown", &archived("glacier", RestoreState::Ongoing));
    put(&world, "asked", &archived("glacier", RestoreState::None));
    for path in PATHS {
        let key = key(path, "asked");
        let code = "RestoreAlreadyInProgress";
        fail(&world, Operation::RestoreObject, &key, 409, code);
    }
    copy(&world, &["shown", "asked"], &RESTORE).await.expect(1);
    for row in world.rows() {
        assert_failed(&row, IN_PROGRESS, &["run resume"]);
        let said = message(&row, "message");
        assert!(said.as_str().unwrap().contains("under way"), "{row:?}");
        let requests = usize::from(row.key.contains("asked"));
        let sent = asked(&world, Operation::RestoreObject, SOURCE, &row.key);
        assert_eq!(sent, requests, "{row:?}");
    }
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_class_that_a_manifest_lists_decides_nothing() {
    let world = World::new();
    let done = RestoreState::Done { days: 1 };
    put(&world, "restored", &archived("glacier", done));
    let ran_out = RestoreState::Done { days: 0 };
    put(&world, "ran-out", &archived("glacier", ran_out));
    put(&world, "standard", &ObjectProperties::default());
    put(&world, "archived", &archived("deep", RestoreState::None));
    let mut rows = String::new();
    for (which, class) in [
        ("restored", "GLACIER"),
        ("ran-out", "STANDARD"),
        ("standard", "GLACIER"),
        ("archived", "STANDARD"),
    ] {
        for key in keys(&[which]) {
            let size = world.store().object(SOURCE, &key).unwrap().size();
            writeln!(rows, "{SOURCE},{key},{size},{class}").unwrap();
        }
    }
    world.manifest(rows);
    let parts = [
        "--multipart-threshold",
        "17MiB",
        "--part-size",
        "17MiB",
        "--manifest-fields",
        "Bucket,Key,Size,StorageClass",
    ];
    world
        .copy(&[&parts[..], &["--archived", "skip"]].concat())
        .await
        .expect(0);
    let rows = world.rows_by_key();
    for path in PATHS {
        for which in ["restored", "standard"] {
            let evidence = if path == "small" {
                "response"
            } else {
                "checksum"
            };
            assert_succeeded(&rows[&key(path, which)], evidence);
        }
        for which in ["ran-out", "archived"] {
            assert_skipped(&rows[&key(path, which)], "Archived");
        }
    }
    assert_all_copied(&world, &keys(&["restored", "standard"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_in_progress_are_no_failures_that_stop_a_job() {
    let world = World::new();
    allow_source(&world, &["s3:RestoreObject"]);
    let names: Vec<_> = (0..1_100).map(|n| format!("k{n}")).collect();
    for name in &names {
        world.put_with(name, "1", archived("glacier", RestoreState::None));
    }
    world.manifest_of(&names);
    // Neither its first ten rows nor all 1,100 of them count.
    let run = world
        .copy(&["--archived", "restore", "--max-rps", "none"])
        .await;
    assert_eq!(run.expect(1).summary("errors"), json!({IN_PROGRESS: 1_100}));
    assert_eq!(restores(&world), 1_100);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_s3_does_not_restore_says_why() {
    // A role that may not ask.
    let world = World::new();
    put(&world, "glacier", &archived("glacier", RestoreState::None));
    put(&world, "plain", &ObjectProperties::default());
    copy(&world, &["glacier", "plain"], &RESTORE)
        .await
        .expect(1);
    let rows = world.rows_by_key();
    for path in PATHS {
        let row = &rows[&key(path, "glacier")];
        assert_failed(row, "AccessDenied", &["s3:RestoreObject"]);
        assert_eq!(message(row, "operation"), "RestoreObject");
    }
    world.assert_no_uploads();

    // No expedited retrievals from Deep Archive, nor where S3 has no room for them.
    let world = self::world();
    let full = "GlacierExpeditedRetrievalNotAvailable";
    for path in PATHS {
        let key = key(path, "tier");
        fail(&world, Operation::RestoreObject, &key, 503, full);
    }
    let expedited = ["--archived", "restore", "--restore-tier", "expedited"];
    copy(&world, &ARCHIVES, &expedited).await.expect(1);
    let rows = world.rows_by_key();
    for path in PATHS {
        assert_failed(&rows[&key(path, "glacier")], IN_PROGRESS, &[]);
        assert_failed(
            &rows[&key(path, "tier")],
            full,
            &["--restore-tier standard"],
        );
        for which in ["deep", "deep-tier"] {
            let words = ["--restore-tier standard"];
            assert_failed(&rows[&key(path, which)], "InvalidArgument", &words);
        }
    }
    // For a want of room too it is asked once.
    assert_eq!(restores(&world), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_version_stops_its_chain_until_it_is_there() {
    for fate in ["restore", "skip"] {
        let versioned = BucketSettings {
            versioning: Versioning::Enabled,
            ..BucketSettings::default()
        };
        let world = World::with(SandboxOptions::default(), versioned.clone());
        let settings = world.store().settings(SOURCE).unwrap();
        let settings = BucketSettings {
            versioning: Versioning::Enabled,
            ..settings
        };
        world.store().configure_bucket(SOURCE, settings).unwrap();
        allow_source(&world, &["s3:GetObjectVersion", "s3:RestoreObject"]);
        let glacier = archived("glacier", RestoreState::None);
        let plain = ObjectProperties::default();
        for properties in [&plain, &glacier, &plain] {
            put(&world, "k", properties);
        }
        let mut rows = String::new();
        let mut minute = 30;
        for version in world.store().versions(SOURCE) {
            minute -= 1;
            let size = version.object.as_ref().unwrap().size();
            let (key, id, latest) = (&version.key, &version.version_id, version.is_latest);
            let date = format!("2026-01-01T00:{minute:02}:00.000Z");
            writeln!(rows, "{SOURCE},{key},{id},{size},{date},{latest}").unwrap();
        }
        world.manifest(rows);
        let flags = [
            "--manifest-fields",
            "Bucket,Key,VersionId,Size,LastModifiedDate,IsLatest",
            "--versions",
            "all",
            "--multipart-threshold",
            "17MiB",
            "--part-size",
            "17MiB",
            "--archived",
            fate,
        ];
        let run = world.copy(&flags).await;
        if fate == "skip" {
            // Of an archived newest version an older one would become current.
            run.expect(2);
            assert!(
                run.stderr.contains("--archived skip and --versions all"),
                "{}",
                run.stderr
            );
            continue;
        }
        let errors = json!({IN_PROGRESS: 2, "EarlierVersionFailed": 2});
        assert_eq!(run.expect(1).summary("errors"), errors);
        assert_eq!(world.store().versions(DESTINATION).len(), 2);
        world.assert_no_uploads();
        // The version was asked for, not the key.
        for entry in world.sandbox.log().of(Operation::RestoreObject) {
            assert!(entry.parameter("versionId").is_some(), "{entry:?}");
        }
        assert_eq!(restores(&world), 2);
        finish(&world, &keys(&["k"]));
        world.resume(&[]).await.expect(0);
        let there = world.store().versions(DESTINATION);
        assert_eq!(there.len(), 6);
        assert_all_copied(&world, &keys(&["k"]));
        assert_eq!(restores(&world), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_for_an_archived_source_that_stays_is_named() {
    for fate in ["fail", "skip", "restore"] {
        let world = world();
        let refused = FaultKind::Error {
            status: 403,
            code: "AccessDenied".to_owned(),
            message: String::new(),
            retry_after: None,
        };
        let refused = Fault::on(Operation::AbortMultipartUpload, refused);
        world.sandbox.faults().add(refused);
        copy(&world, &["glacier"], &["--archived", fate])
            .await
            .expect(1);
        let upload = world.store().uploads(DESTINATION).remove(0).upload_id;
        let row = &world.rows_by_key()["large-glacier"];
        assert_failed(
            row,
            "AccessDenied",
            &[&upload, "AbortIncompleteMultipartUpload"],
        );
        assert_eq!(message(row, "operation"), "AbortMultipartUpload");
    }
}
