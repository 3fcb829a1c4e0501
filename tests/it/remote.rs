//! Manifests that lie in S3, in either account.

use std::io::Write;
use std::path::Path;

use s3haul_sandbox::iam::{
    DESTINATION_ACCOUNT, SOURCE_ACCOUNT, SOURCE_ADMIN_ACCESS_KEY_ID, SOURCE_ADMIN_SECRET_ACCESS_KEY,
};
use s3haul_sandbox::{
    BucketSettings, Fault, FaultHandle, FaultKind, ObjectProperties, Operation, When,
};

use crate::given::Given;
use crate::guards::error;
use crate::support::{SOURCE, World};

/// A bucket of the destination account, in a region of its own.
const MANIFESTS: &str = "manifests";
/// The one that the samples name.
const INVENTORIES: &str = "inventories";

fn world() -> World {
    let world = World::new();
    for bucket in [MANIFESTS, INVENTORIES] {
        let settings = BucketSettings::default();
        world
            .store()
            .create_bucket(bucket, DESTINATION_ACCOUNT, "ap-south-1", settings)
            .unwrap();
    }
    world
}

fn put(world: &World, bucket: &str, key: &str, content: impl Into<Vec<u8>>) {
    let properties = ObjectProperties::default();
    world
        .store()
        .put_object(bucket, key, content.into(), properties)
        .unwrap();
}

/// Three small objects, and their manifest as an object.
fn three(world: &World) -> Vec<u8> {
    let path = world.small_objects(3);
    std::fs::read(path).unwrap()
}

fn gzip(members: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for member in members {
        let level = flate2::Compression::default();
        let mut encoder = flate2::write::GzEncoder::new(&mut all, level);
        encoder.write_all(member).unwrap();
        encoder.finish().unwrap();
    }
    all
}

/// Every copy is refused for want of access.
fn refuse_copies(world: &World) -> FaultHandle {
    let denied = Fault::on(Operation::CopyObject, error(403, "AccessDenied"));
    world.sandbox.faults().add(denied)
}

fn of<'w>(world: &'w World, key: &str) -> Given<'w> {
    world
        .given()
        .set("--manifest", format!("s3://{MANIFESTS}/{key}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_manifest_is_read_where_it_lies() {
    let world = world();
    let manifest = three(&world);
    let (first, rest) = manifest.split_at(9);
    let manifests = [
        ("plain.csv", manifest.clone()),
        ("odd dir/ü+%41.csv", manifest.clone()),
        ("two-members.csv.gz", gzip(&[first, rest])),
    ];
    for (n, (key, content)) in manifests.into_iter().enumerate() {
        put(&world, MANIFESTS, key, content);
        let run = of(&world, key)
            .set("--job-id", format!("job{n}"))
            .run()
            .await;
        run.expect(0);
        assert_eq!(run.summary("succeeded"), 3, "{key}");
        let again = of(&world, key)
            .set("--job-id", format!("job{n}"))
            .run()
            .await;
        again.expect(0);
    }
    for n in 0..3 {
        world.assert_copied(&format!("k{n:05}"));
    }
    let reads = world.sandbox.log().of(Operation::GetObject);
    assert!(reads.iter().all(|read| read.header("if-match").is_some()));
    // A job that is over needs its manifest no more, but another one under its name is another job.
    put(&world, MANIFESTS, "plain.csv", b"source,other\n".to_vec());
    let other = of(&world, "plain.csv").set("--job-id", "job0").run().await;
    other.expect(2);
    assert!(
        other.stderr.contains("has changed since the job began"),
        "{}",
        other.stderr
    );
}

/// The same, compressed, on disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_manifest_on_disk_is_read() {
    let world = world();
    let manifest = three(&world);
    world.manifest(gzip(&[&manifest]));
    let run = world.given().run().await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), 3);
    let half = gzip(&[&manifest]);
    world.manifest(&half[..half.len() / 2]);
    let truncated = world.given().set("--report", "elsewhere").run().await;
    truncated.expect(2);
    assert!(
        truncated.stderr.contains("cannot read the manifest"),
        "{}",
        truncated.stderr
    );
}

fn credentials_of_source(world: &World) -> String {
    let path = world.path("credentials");
    let profile = format!(
        "[reader]\naws_access_key_id = {SOURCE_ADMIN_ACCESS_KEY_ID}\n\
         aws_secret_access_key = {SOURCE_ADMIN_SECRET_ACCESS_KEY}\n"
    );
    std::fs::write(&path, profile).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_reads_a_manifest_that_who_copies_may_not() {
    let world = world();
    let manifest = three(&world);
    let settings = BucketSettings::default();
    world
        .store()
        .create_bucket("private", SOURCE_ACCOUNT, "us-west-2", settings)
        .unwrap();
    put(&world, "private", "m.csv", manifest);
    let given = || world.given().set("--manifest", "s3://private/m.csv");
    given()
        .refused(
            3,
            &[
                "cannot read the manifest s3://private/m.csv",
                "--manifest-profile",
            ],
        )
        .await;
    let run = given()
        .set("--manifest-profile", "reader")
        .variable("AWS_SHARED_CREDENTIALS_FILE", credentials_of_source(&world))
        .run()
        .await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), 3);
    // Only the manifest is read so: what copies is the role.
    let copies = world.sandbox.log().of(Operation::CopyObject);
    let role = copies.iter().all(|copy| {
        let identity = copy.principal.as_deref().unwrap_or_default();
        identity.contains("s3haul-copy")
    });
    assert!(role, "{copies:?}");
}

/// Puts a sample with its data files where its manifest says they are.
fn put_sample(world: &World, name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-manifests/inventory");
    let folder = root.join(name);
    for part in ["2026-01-01T01-00Z", "data"] {
        for file in std::fs::read_dir(folder.join(part)).unwrap() {
            let file = file.unwrap();
            let key = format!(
                "lists/source/{name}/{part}/{}",
                file.file_name().to_str().unwrap()
            );
            put(
                world,
                INVENTORIES,
                &key,
                std::fs::read(file.path()).unwrap(),
            );
        }
    }
    format!("s3://{INVENTORIES}/lists/source/{name}/2026-01-01T01-00Z/manifest.json")
}

#[tokio::test(flavor = "multi_thread")]
async fn inventories_are_read_where_they_lie() {
    let world = world();
    for key in ["plain", "a b", "nl\nx"] {
        world.put(key, "content");
    }
    for name in ["csv", "parquet-snappy"] {
        let given = world
            .given()
            .set("--manifest", put_sample(&world, name))
            .set("--versions", "latest")
            .set("--job-id", name);
        let run = given.run().await;
        run.expect(1);
        assert_eq!(run.summary("rows"), 12, "{name}");
        assert_eq!(run.summary("succeeded"), 3, "{name}");
        world.assert_copied("nl\nx");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_files_that_are_not_whole_are_refused() {
    for name in ["csv", "parquet-snappy"] {
        let world = world();
        let manifest = put_sample(&world, name);
        let data: Vec<_> = world
            .store()
            .objects(INVENTORIES)
            .into_iter()
            .filter(|object| object.key.contains("/data/"))
            .collect();
        let given = || {
            world
                .given()
                .set("--manifest", manifest.clone())
                .set("--versions", "latest")
        };
        put(
            &world,
            INVENTORIES,
            &data[0].key,
            b"something else".to_vec(),
        );
        given()
            .refused(2, &[data[0].key.as_str(), "MD5", "manifest.json lists"])
            .await;
        world
            .store()
            .delete_object(INVENTORIES, &data[0].key)
            .unwrap();
        given()
            .refused(2, &[data[0].key.as_str(), "cannot read"])
            .await;
        put(
            &world,
            INVENTORIES,
            &format!("lists/source/{name}/2026-01-01T01-00Z/manifest.checksum"),
            b"00000000000000000000000000000000".to_vec(),
        );
        given().refused(2, &["manifest.checksum"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_pinned_by_its_etag() {
    let world = world();
    let manifest = three(&world);
    put(&world, MANIFESTS, "m.csv", manifest.clone());
    of(&world, "m.csv")
        .set("--manifest-etag", "\"0123\"")
        .refused(2, &["--manifest-etag asks for 0123"])
        .await;
    of(&world, "m.csv")
        .variable("S3HAUL_MANIFEST_ETAG", "4567")
        .refused(2, &["--manifest-etag asks for 4567"])
        .await;
    let e_tag = world.store().object(MANIFESTS, "m.csv").unwrap().e_tag();
    // Every copy is refused: the job stops with its report begun.
    let fault = refuse_copies(&world);
    let run = of(&world, "m.csv")
        .set("--manifest-etag", e_tag)
        .run()
        .await;
    run.expect(3);
    fault.remove();
    put(&world, MANIFESTS, "m.csv", b"source,other\n".to_vec());
    let changed = world.resume(&[]).await;
    // All rows are done for their pass: nothing of the manifest is needed any more.
    changed.expect(0);
    assert_eq!(changed.summary("succeeded"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_manifest_under_the_same_name_is_refused_by_a_resume() {
    let world = world();
    let path = world.small_objects(40);
    let manifest = std::fs::read(path).unwrap();
    put(&world, MANIFESTS, "m.csv", manifest.clone());
    let fault = refuse_copies(&world);
    // The first ten rows are refused, the others have not been run.
    of(&world, "m.csv").run().await.expect(3);
    fault.remove();
    put(&world, MANIFESTS, "m.csv", b"source,other\n".to_vec());
    let changed = world.resume(&[]).await;
    changed.expect(2);
    assert!(
        changed.stderr.contains("has changed since the job began"),
        "{}",
        changed.stderr
    );
    put(&world, MANIFESTS, "m.csv", manifest);
    let run = world.resume(&[]).await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said() {
    let world = world();
    of(&world, "none.csv")
        .refused(2, &["cannot read the manifest s3://manifests/none.csv"])
        .await;
    let given = || world.given();
    given()
        .set("--manifest", "s3://no-such-bucket/m.csv")
        .refused(2, &["the manifest's bucket no-such-bucket does not exist"])
        .await;
    for (address, word) in [
        ("s3://manifests", "names no object"),
        ("s3://manifests/dir/", "names no object"),
        ("s3:///m.csv", "the bucket is missing"),
    ] {
        given().set("--manifest", address).refused(2, &[word]).await;
    }
    assert_eq!(world.sandbox.log().count(Operation::GetObject), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_manifest_survives_broken_connections() {
    let world = world();
    let rows: Vec<_> = (0..60_000)
        .map(|n| format!("{SOURCE},{n:08}/{}\n", "k".repeat(60)))
        .collect();
    put(&world, MANIFESTS, "long.csv", rows.concat());
    let faults = world.sandbox.faults();
    let some = |p, seed| When::Probability { p, seed };
    faults.add(Fault::on(Operation::GetObject, FaultKind::CutBody).when(some(0.3, 1)));
    faults.add(Fault::on(Operation::GetObject, FaultKind::Reset).when(some(0.2, 2)));
    faults.add(Fault::on(Operation::GetObject, FaultKind::slow_down()).when(some(0.1, 3)));
    let run = of(&world, "long.csv").flag("--dry-run").run().await;
    run.expect(0);
    assert_eq!(run.summary("rows"), 60_000);
    assert_eq!(run.summary("duplicates"), 0);
    let requests = world.sandbox.log().count(Operation::GetObject);
    assert!(requests > 10, "{requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_wait_for_a_manifest() {
    let world = world();
    let rows = 0..20_000;
    let rows: Vec<_> = rows
        .map(|n| format!("{SOURCE},{n:08}/{}\n", "k".repeat(100)))
        .collect();
    world.put(&format!("{:08}/{}", 0, "k".repeat(100)), "content");
    put(&world, MANIFESTS, "long.csv", rows.concat());
    // The survey reads three blocks; of the job's own reading no more than the first comes.
    let hang = Fault::on(Operation::GetObject, FaultKind::Hang).when(When::FromTo(5, 99));
    world.sandbox.faults().add(hang);
    let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(200));
    world.sandbox.faults().add(slow);
    let mut child = of(&world, "long.csv").command().spawn().unwrap();
    for _ in 0..600 {
        if world.sandbox.log().count(Operation::CopyObject) > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let limit = std::time::Duration::from_secs(40);
    let status = tokio::time::timeout(limit, child.wait()).await;
    let status = status.expect("it waits for S3").unwrap();
    assert_eq!(status.code(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_s3_does_not_answer_may_be_tried_again() {
    let world = world();
    put(&world, MANIFESTS, "m.csv", three(&world));
    let failing = error(500, "InternalError");
    for operation in [Operation::HeadObject, Operation::GetObject] {
        let fault = Fault::on(operation, failing.clone());
        let fault = world.sandbox.faults().add(fault);
        of(&world, "m.csv")
            .set("--max-attempts", "2")
            .refused(3, &["cannot read the manifest s3://manifests/m.csv", "500"])
            .await;
        fault.remove();
    }
    of(&world, "m.csv").run().await.expect(0);
    // Who needs a manifest no more does not need it to be there.
    let manifest = world.store().object(MANIFESTS, "m.csv").unwrap().bytes();
    world.store().delete_object(MANIFESTS, "m.csv").unwrap();
    of(&world, "m.csv").run().await.expect(0);
    put(&world, MANIFESTS, "m.csv", manifest);
    // Another manifest than the one asked for is none of a job that has ended either.
    let other = of(&world, "m.csv")
        .set("--manifest-etag", "0123")
        .run()
        .await;
    other.expect(2);
    assert!(
        other.stderr.contains("--manifest-etag asks for 0123"),
        "{}",
        other.stderr
    );
}
