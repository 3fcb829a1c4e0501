//! `manifest inspect`: what is in a manifest, whatever is wrong with it.

use s3haul_sandbox::iam::{COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID};
use s3haul_sandbox::{BucketSettings, ObjectProperties};
use serde_json::{Value, json};

use crate::support::{Run, World};

fn sample(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/sample-manifests/inventory/{name}/2026-01-01T01-00Z/manifest.json")
}

async fn inspect(world: &World, manifest: &str, more: &[&str]) -> Run {
    let mut command = world.command(&["manifest", "inspect", manifest]);
    command.args(more);
    Run::of(command).await
}

async fn inspected(world: &World, manifest: &str, more: &[&str]) -> Value {
    let mut flags = vec!["--output", "json"];
    flags.extend(more);
    let run = inspect(world, manifest, &flags).await;
    run.expect(0);
    serde_json::from_str(&run.stdout).unwrap()
}

fn without(mut counted: Value, members: &[&str]) -> Value {
    for member in members {
        counted.as_object_mut().unwrap().remove(*member).unwrap();
    }
    counted
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inventory_is_counted_without_being_told_how() {
    let world = World::new();
    let counted = inspected(&world, &sample("csv"), &[]).await;
    let expected = json!({
        "rows": 26, "filtered": 0, "bytes": 14_537, "unknown_sizes": 0,
        "noncurrent_versions": 13, "delete_markers": 1, "latest_delete_markers": 1,
        "archived": 11, "over_5gib": 0, "multipart_objects": 0, "parts": 0, "requests": 25,
        "copied_before": 0, "duplicates": 0, "duplicates_estimated": false, "bad_rows": 0,
        "encryption": {"SSE-S3": 25}, "bad": [],
        "storage_classes": {
            "GLACIER": {"rows": 11, "bytes": 6_116}, "STANDARD": {"rows": 14, "bytes": 8_421},
        },
    });
    let shown = without(counted.clone(), &["cost_usd", "sizes"]);
    assert_eq!(shown, expected);
    let objects = |class: &Value| (class["up_to"].clone(), class["objects"].clone());
    let sizes: Vec<_> = counted["sizes"]
        .as_array()
        .unwrap()
        .iter()
        .map(objects)
        .collect();
    assert_eq!(sizes[1], (json!("1KiB"), json!(22)));
    assert_eq!(sizes[2], (json!("64KiB"), json!(3)));
    for name in ["parquet-snappy", "parquet-zstd"] {
        assert_eq!(
            inspected(&world, &sample(name), &[]).await,
            counted,
            "{name}"
        );
    }
    let latest = inspected(&world, &sample("csv"), &["--versions", "latest"]).await;
    assert_eq!(
        (&latest["rows"], &latest["filtered"]),
        (&json!(12), &json!(14))
    );
    let some = inspected(&world, &sample("csv"), &["--include-prefix", "a"]).await;
    assert_eq!(some["rows"], 10);
    // A dry run says the same of the same rows.
    let dry = world
        .given()
        .set("--manifest", sample("csv"))
        .set("--versions", "listed")
        .flag("--dry-run")
        .run()
        .await;
    dry.expect(0);
    assert_eq!(serde_json::from_str::<Value>(&dry.stdout).unwrap(), counted);
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_shown_beside_the_good_ones() {
    let world = World::new();
    let gib = 1_u64 << 30;
    let manifest = world.manifest(format!(
        "source,a,{},GLACIER\nsource,b\nsource,a,{},GLACIER\nother,c,1,STANDARD\nsource,%zz,2,STANDARD\nsource,d,,\n",
        6 * gib,
        6 * gib
    ));
    let manifest = manifest.to_str().unwrap();
    let fields = [
        "--manifest-fields",
        "Bucket,Key,Size,StorageClass",
        "--key-encoding",
        "url",
    ];
    let counted = inspected(&world, manifest, &fields).await;
    let bad: Vec<_> = counted["bad"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bad| {
            (
                bad["line"].as_u64().unwrap(),
                bad["problem"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert_eq!(bad[0], (2, "it has 2 columns where 4 are expected"));
    assert_eq!((bad[1].0, bad[2].0), (4, 5));
    assert_eq!(counted["bad"][0]["file"], manifest);
    for (member, expected) in [
        ("rows", json!(3)),
        ("bad_rows", json!(3)),
        ("duplicates", json!(1)),
        ("over_5gib", json!(2)),
        ("unknown_sizes", json!(1)),
        ("archived", json!(2)),
        ("multipart_objects", json!(2)),
        ("parts", json!(96)),
        // Each: HEAD, tags, annotations, Create, 48 parts, Complete; and one CopyObject.
        ("requests", json!(2 * 53 + 1)),
        ("noncurrent_versions", json!(0)),
    ] {
        assert_eq!(counted[member], expected, "{member}");
    }
    let text = inspect(&world, manifest, &fields).await;
    text.expect(0);
    for words in [
        "3 rows, 12.0 GiB known of",
        "2 over 5 GiB",
        "1 duplicates, 3 bad rows",
        "line 4 (byte",
        "its bucket is other",
    ] {
        assert!(text.stdout.contains(words), "{words}: {}", text.stdout);
    }
    // Nothing but bad rows is shown too.
    let all_bad = world.manifest("source\nsource\n");
    let counted = inspected(
        &world,
        all_bad.to_str().unwrap(),
        &["--manifest-fields", "Bucket,Key"],
    )
    .await;
    assert_eq!(
        (&counted["rows"], &counted["bad_rows"]),
        (&json!(0), &json!(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_in_s3_is_inspected_there() {
    let world = World::new();
    let store = world.store();
    let settings = BucketSettings::default();
    store
        .create_bucket("manifests", DESTINATION_ACCOUNT, "ap-south-1", settings)
        .unwrap();
    let properties = ObjectProperties::default();
    store
        .put_object("manifests", "m.csv", "source,a\nsource,b\n", properties)
        .unwrap();
    let role = format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}");
    let endpoint = world.sandbox.endpoint();
    let access = [
        "--role-arn",
        &role,
        "--external-id",
        EXTERNAL_ID,
        "--endpoint-url",
        &endpoint,
    ];
    let counted = inspected(&world, "s3://manifests/m.csv", &access).await;
    assert_eq!(counted["rows"], 2);
    let none = inspect(&world, "s3://manifests/none.csv", &access).await;
    none.expect(2);
    let nobody = inspect(&world, "s3://manifests/m.csv", &[]).await;
    nobody.expect(2);
    assert!(
        nobody.stderr.contains("--role-arn is missing"),
        "{}",
        nobody.stderr
    );
    let stream = inspect(&world, "-", &[]).await;
    stream.expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_what_settings_read() {
    let world = World::new();
    let mib = 1 << 20;
    // One copy, and one in parts: HEAD, tags, annotations, Create, 2 parts, Complete.
    world.manifest(format!("source,small,{mib}\nsource,large,{}\n", 9 * mib));
    let fields = ["--manifest-fields", "Bucket,Key,Size", "--dry-run"];
    let parts = ["--multipart-threshold", "5MiB", "--part-size", "5MiB"];
    for (settings, requests) in [
        (&[][..], 1 + 7),
        (&["--storage-class", "preserve"], 2 + 7),
        (&["--tags", "none", "--annotations", "exclude"], 1 + 5),
        (&["--verify", "head"], 2 + 8),
        (&["--verify", "checksum"], 3 + 9),
        // A HEAD and blocks of 4 MiB of each side.
        (&["--verify", "full"], 1 + 4 + 7 + 8),
    ] {
        let run = world.copy(&[&fields[..], &parts, settings].concat()).await;
        assert_eq!(run.expect(0).summary("requests"), requests, "{settings:?}");
    }
    assert!(world.sandbox.log().entries().is_empty());
}
