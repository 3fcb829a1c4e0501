//! What a copy is bound to: what stands at the destination, the listed ETag, dates, and what of it failed.

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::{BucketSettings, ObjectProperties, Operation, SandboxOptions};

use crate::both::{
    PATHS, assert_all_copied, assert_failed, assert_skipped, copy, fail, key, keys, listed, put,
};
use crate::objects::sent;
use crate::support::{DESTINATION, SOURCE, World, message};

const FAILED: &str = "PreconditionFailed";

fn world() -> World {
    world_into(BucketSettings::default())
}

fn world_into(destination: BucketSettings) -> World {
    let world = World::with(SandboxOptions::default(), destination);
    put(&world, "k", &ObjectProperties::default());
    world
}

/// Puts other objects of the same keys at the destination.
fn put_there(world: &World) {
    for key in keys(&["k"]) {
        world
            .store()
            .put_object(DESTINATION, &key, "another", ObjectProperties::default())
            .unwrap();
    }
}

fn assert_left_alone(world: &World) {
    for key in keys(&["k"]) {
        let there = world.store().object(DESTINATION, &key).unwrap();
        assert_eq!(there.bytes(), b"another", "{key}");
    }
    world.assert_no_uploads();
}

const OLD: &str = "2001-01-01";
const OLDER: &str = "2000-01-01";
const FUTURE: &str = "2099-01-01";

#[tokio::test(flavor = "multi_thread")]
async fn dates_decide_by_both_paths() {
    let (since, until) = ("--if-modified-since", "--if-unmodified-since");
    for (flags, copied) in [
        (&[since, OLD][..], true),
        (&[since, FUTURE], false),
        (&[until, FUTURE], true),
        (&[until, OLD], false),
        (&[since, OLD, until, FUTURE], true),
        (&[since, OLDER, until, OLD], false),
        (&[since, FUTURE, until, "2099-02-01"], false),
    ] {
        let world = world();
        let run = copy(&world, &["k"], flags).await;
        run.expect(i32::from(!copied));
        if copied {
            assert_all_copied(&world, &keys(&["k"]));
            continue;
        }
        let rows = world.rows_by_key();
        for path in PATHS {
            let row = &rows[&key(path, "k")];
            assert_failed(row, FAILED, &[since, until, "--modified-after"]);
        }
        // S3 answers to the one, of the other the HEAD tells before anything is made.
        let copies = sent(&world, Operation::CopyObject, "small-k");
        assert_eq!(
            (copies.len(), copies[0].status),
            (1, Some(412)),
            "{flags:?}"
        );
        assert!(sent(&world, Operation::CreateMultipartUpload, "large-k").is_empty());
        assert_eq!(world.store().object_count(DESTINATION), 0, "{flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_412_is_about_the_condition_that_it_names() {
    let dates = ["--if-modified-since", FUTURE, "--overwrite", "never"];
    let listed_too = ["--source-changed", "fail", "--overwrite", "never"];
    for (flags, replaced, there, code) in [
        // Of the source and of the destination both fail: S3 names the source's.
        (&dates[..], false, true, FAILED),
        (&listed_too, true, true, "SourceChanged"),
        (&listed_too, false, true, "DestinationExists"),
        (&listed_too, false, false, ""),
    ] {
        let world = world();
        let all = keys(&["k"]);
        listed(&world, &all);
        if replaced {
            let store = world.store();
            for key in &all {
                let properties = ObjectProperties::default();
                store
                    .declare_object(
                        SOURCE,
                        key,
                        store.object(SOURCE, key).unwrap().size(),
                        9,
                        properties,
                    )
                    .unwrap();
            }
        }
        if there {
            put_there(&world);
        }
        let parts = [
            "--multipart-threshold",
            "17MiB",
            "--part-size",
            "17MiB",
            "--manifest-fields",
            "Bucket,Key,Size,ETag",
        ];
        let run = world.copy(&[&parts, flags].concat()).await;
        let fails = !["", "DestinationExists"].contains(&code);
        let rows = world.rows_by_key();
        let small = &rows["small-k"];
        match code {
            "" => assert_all_copied(&world, &all),
            "DestinationExists" => assert_skipped(small, code),
            code => assert_failed(small, code, &["source"]),
        }
        // A copy in parts looks at the destination before it looks at the source.
        if there {
            assert_skipped(&rows["large-k"], "DestinationExists");
            assert_left_alone(&world);
        }
        run.expect(i32::from(fails));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_412_that_names_nothing_is_about_what_was_asked() {
    for (flags, code, status) in [
        (
            &["--if-modified-since", OLD][..],
            FAILED,
            TaskStatus::Failed,
        ),
        (
            &["--source-changed", "fail"],
            "SourceChanged",
            TaskStatus::Failed,
        ),
        (
            &["--overwrite", "never"],
            "DestinationExists",
            TaskStatus::Skipped,
        ),
        // No condition of ours: a bucket policy's.
        (&[], FAILED, TaskStatus::Failed),
    ] {
        let world = world();
        listed(&world, &["small-k".to_owned()]);
        fail(&world, Operation::CopyObject, "small-k", 412, FAILED);
        let fields = ["--manifest-fields", "Bucket,Key,Size,ETag"];
        world.copy(&[&fields, flags].concat()).await;
        let row = world.row();
        assert_eq!(
            (row.status, row.error_code.as_str()),
            (status, code),
            "{row:?}"
        );
        let dated = message(&row, "hint")
            .to_string()
            .contains("--if-modified-since");
        assert_eq!(dated, flags.contains(&OLD), "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn never_and_if_different_leave_what_is_there() {
    let world = self::world();
    put_there(&world);
    copy(&world, &["k"], &["--overwrite", "never"])
        .await
        .expect(0);
    for row in world.rows() {
        assert_skipped(&row, "DestinationExists");
    }
    assert_left_alone(&world);

    // Equal bytes stay, also with other metadata; others are replaced.
    let world = self::world();
    let store = world.store();
    let other = ObjectProperties {
        content_type: Some("text/plain".to_owned()),
        ..ObjectProperties::default()
    };
    store
        .put_object(DESTINATION, "small-k", "content", other)
        .unwrap();
    store
        .put_object(
            DESTINATION,
            "large-k",
            "another",
            ObjectProperties::default(),
        )
        .unwrap();
    copy(&world, &["k"], &["--overwrite", "if-different"])
        .await
        .expect(0);
    let rows = world.rows_by_key();
    assert_skipped(&rows["small-k"], "DestinationEqual");
    assert_eq!(rows["large-k"].status, TaskStatus::Succeeded);
    assert_all_copied(&world, &keys(&["k"]));
    assert!(sent(&world, Operation::CopyObject, "small-k").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_enforces_conditional_writes() {
    let enforcing = || BucketSettings {
        enforces_conditional_writes: true,
        ..BucketSettings::default()
    };
    // S3 does not take conditions on CopyObject there, and the row is never copied without.
    let world = world_into(enforcing());
    copy(&world, &["k"], &["--overwrite", "never"])
        .await
        .expect(1);
    let rows = world.rows_by_key();
    let words = ["enforces conditional writes", "--multipart-threshold"];
    assert_failed(&rows["small-k"], "NotImplemented", &words);
    assert_eq!(rows["small-k"].http_status, Some(501));
    let copies = sent(&world, Operation::CopyObject, "small-k");
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].header("if-none-match"), Some("*"));
    assert!(world.store().object(DESTINATION, "small-k").is_none());
    assert_eq!(rows["large-k"].status, TaskStatus::Succeeded);
    world.assert_copied("large-k");

    // What the hint says: what is copied in parts can be.
    let world = world_into(enforcing());
    world.declare("medium", 6 << 20);
    world.manifest(format!("{SOURCE},medium,{}\n", 6 << 20));
    let lower = [
        "--manifest-fields",
        "Bucket,Key,Size",
        "--multipart-threshold",
        "5MiB",
        "--overwrite",
        "never",
    ];
    world.copy(&lower).await.expect(0);
    world.assert_copied("medium");

    // Without a condition it takes nothing.
    let world = world_into(enforcing());
    copy(&world, &["k"], &[]).await.expect(1);
    let rows = world.rows_by_key();
    for (path, operation) in PATHS
        .into_iter()
        .zip(["CopyObject", "CompleteMultipartUpload"])
    {
        let row = &rows[&key(path, "k")];
        let words = ["enforces conditional writes", "--overwrite never"];
        assert_failed(row, "AccessDenied", &words);
        assert_eq!(message(row, "operation"), operation);
    }
    assert_eq!(world.store().object_count(DESTINATION), 0);
    world.assert_no_uploads();
}
