//! An S3 Inventory as manifest, in every format.

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::{BucketSettings, ObjectProperties, Operation, SandboxOptions, Versioning};
use serde_json::json;

use crate::support::{Run, SOURCE, World, count, message, read_report};

/// Keys of the samples whose latest version is no delete marker.
const KEYS: [&str; 11] = [
    "plain", "a b", "a+b", "100%", "a%2Bb", "a,b", "q\"q", "ü/😀", "nl\nx", "/lead", "a//b",
];

fn sample(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/sample-manifests/inventory/{name}/2026-01-01T01-00Z/manifest.json")
}

/// A world that has what the samples list.
fn world() -> World {
    let world = World::with(SandboxOptions::default(), BucketSettings::default());
    let long = "k".repeat(300);
    for key in KEYS.into_iter().chain([long.as_str()]) {
        world.put(key, "content");
    }
    world
}

async fn copy(world: &World, name: &str, flags: &[(&str, &str)]) -> Run {
    let given = world
        .given()
        .set("--manifest", sample(name))
        .set("--job-id", name);
    let given = flags
        .iter()
        .fold(given, |given, (flag, value)| given.set(flag, *value));
    given.run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_versions_of_every_format_are_copied() {
    for name in ["csv", "parquet-snappy", "csv-current", "parquet-current"] {
        let world = world();
        let latest: &[_] = if name.ends_with("current") {
            &[]
        } else {
            &[("--versions", "latest")]
        };
        let run = copy(&world, name, latest).await;
        run.expect(0);
        assert_eq!(run.summary("succeeded"), 12, "{name}");
        assert_eq!(
            run.summary("filtered"),
            if latest.is_empty() { 0 } else { 14 },
            "{name}"
        );
        for key in KEYS {
            world.assert_copied(key);
        }
        // The size is listed: one request an object.
        assert_eq!(world.sandbox.log().count(Operation::CopyObject), 12);
        assert_eq!(world.sandbox.log().count(Operation::HeadObject), 0);
        // The same again says how it ended.
        let again = copy(&world, name, latest).await;
        again.expect(0);
        assert_eq!(world.sandbox.log().count(Operation::CopyObject), 12);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_versions_name_the_null_version_and_skip_delete_markers() {
    let settings = BucketSettings {
        versioning: Versioning::Enabled,
        policy: Some(crate::support::source_policy()),
        ..BucketSettings::default()
    };
    let world = World::new();
    world.store().remove_bucket(SOURCE);
    world
        .store()
        .create_bucket(
            SOURCE,
            s3haul_sandbox::iam::SOURCE_ACCOUNT,
            "us-east-1",
            settings,
        )
        .unwrap();
    let properties = ObjectProperties::default();
    world
        .store()
        .put_object(SOURCE, "plain", "content", properties)
        .unwrap();
    let run = copy(&world, "parquet-gzip", &[("--versions", "listed")]).await;
    // No version of these IDs is there.
    run.expect(1);
    assert_eq!(
        run.summary("errors"),
        json!({"InvalidArgument": 24, "NoSuchVersion": 1})
    );
    let copies = world.sandbox.log().of(Operation::CopyObject);
    let source = |end: &str| {
        let sources = copies
            .iter()
            .filter_map(|copy| copy.header("x-amz-copy-source"));
        sources.filter(|source| source.ends_with(end)).count()
    };
    assert_eq!(source("/plain?versionId=null"), 1);
    assert_eq!(source("?versionId=v2.11"), 0);
    let rows = read_report(&world.path("report/job-parquet-gzip"));
    assert_eq!(count(&rows, TaskStatus::Skipped), 1);
    let marker = rows
        .iter()
        .find(|row| row.status == TaskStatus::Skipped)
        .unwrap();
    assert_eq!(
        (marker.key.as_str(), marker.error_code.as_str()),
        ("dir/", "DeleteMarker")
    );
    assert_eq!(
        message(marker, "message"),
        "a delete marker has no content: nothing is copied"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_of_every_format_agree() {
    let world = World::new();
    let mut seen = Vec::new();
    for name in ["csv", "parquet-snappy", "parquet-gzip", "parquet-zstd"] {
        let given = world
            .given()
            .set("--manifest", sample(name))
            .set("--versions", "listed");
        let run = given.flag("--dry-run").run().await;
        run.expect(0);
        seen.push(serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap());
    }
    assert!(seen.iter().all(|estimate| *estimate == seen[0]));
    assert_eq!(
        (&seen[0]["rows"], &seen[0]["delete_markers"]),
        (&json!(26), &json!(1))
    );
    assert_eq!(seen[0]["archived"], 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn inventories_that_say_too_little_are_refused() {
    let world = world();
    let csv = || world.given().set("--manifest", sample("csv"));
    csv()
        .refused(2, &["lists all versions", "--versions latest"])
        .await;
    let fields = csv()
        .set("--manifest-fields", "Bucket,Key")
        .set("--versions", "latest");
    fields.refused(2, &["leave out --manifest-fields"]).await;
    let as_csv = csv().set("--manifest-format", "csv");
    as_csv.refused(2, &["is JSON, not CSV"]).await;
    world.manifest_of(["plain"]);
    let latest = world.given().set("--versions", "latest");
    latest
        .refused(2, &["--versions latest needs an inventory"])
        .await;
}
