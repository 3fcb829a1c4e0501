//! `manifest create`: what is in a bucket, in a manifest that `copy` reads.

use std::collections::{BTreeMap, BTreeSet};

use s3haul::job::manifest::key::{KeyEncoding, decode, encode};
use s3haul_sandbox::iam::{COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID};
use s3haul_sandbox::{
    BucketSettings, Fault, FaultKind, ObjectProperties, Operation, StorageClass, Versioning, When,
};
use tokio::process::Command;

use crate::keys::odd_keys;
use crate::support::{DESTINATION, Run, SOURCE, World, source_policy};

impl World {
    /// `manifest create` with the flags that every test needs.
    fn create_command(&self, more: &[&str]) -> Command {
        self.create_command_of(&format!("s3://{SOURCE}"), more)
    }

    fn create_command_of(&self, address: &str, more: &[&str]) -> Command {
        let mut command = self.command(&["manifest", "create", address]);
        let role = format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}");
        command
            .args(["--role-arn", &role, "--external-id", EXTERNAL_ID])
            .args(["--endpoint-url", &self.sandbox.endpoint()])
            .args(more);
        command
    }

    /// Objects without the manifest of [`World::small_objects`].
    fn objects(&self, count: usize) {
        for n in 0..count {
            self.put(&format!("k{n:05}"), "x");
        }
    }

    async fn create(&self, more: &[&str]) -> Run {
        Run::of(self.create_command(more)).await
    }

    /// Changes the source bucket's settings. Versions may be listed too.
    fn configure(&self, change: impl FnOnce(&mut BucketSettings)) {
        let mut settings = self.store().settings(SOURCE).unwrap();
        let policy = source_policy();
        let listing = policy.replace(
            "\"s3:ListBucket\"",
            "[\"s3:ListBucket\", \"s3:ListBucketVersions\"]",
        );
        assert_ne!(policy, listing);
        settings.policy = Some(listing);
        change(&mut settings);
        self.store().configure_bucket(SOURCE, settings).unwrap();
    }

    fn lists(&self) -> usize {
        let log = self.sandbox.log();
        log.count(Operation::ListObjectsV2) + log.count(Operation::ListObjectVersions)
    }

    /// The files beside the manifest: none but those that a test made.
    fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.path("")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

/// The fields of a manifest's rows.
fn rows(manifest: &str) -> Vec<Vec<String>> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(manifest.as_bytes());
    let records = reader.into_records().map(Result::unwrap);
    records
        .map(|record| record.iter().map(str::to_owned).collect())
        .collect()
}

/// The keys of a manifest `Bucket,Key,…`, in their order.
fn keys(manifest: &str) -> Vec<String> {
    let key = |row: Vec<String>| {
        assert_eq!(row[0], SOURCE);
        decode(row[1].as_bytes(), KeyEncoding::Url)
            .unwrap()
            .into_owned()
    };
    rows(manifest).into_iter().map(key).collect()
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_listed_copied_and_listed_again() {
    let world = World::new();
    let odd = odd_keys();
    for key in &odd {
        world.put(key, &format!("content of {key}"));
    }
    world.configure(|settings| settings.page_entries = 3);
    let manifest = world.path("manifest.csv");
    let manifest = manifest.to_str().unwrap();
    let fields = "Key,Bucket,Size,ETag,LastModifiedDate,StorageClass";
    let flags = [
        "--output-file",
        manifest,
        "--output",
        "json",
        "--fields",
        fields,
    ];
    let run = world.create(&flags).await;
    run.expect(0);
    assert_eq!(run.summary("manifest"), manifest);
    assert_eq!(run.summary("manifest_fields"), fields);
    assert_eq!(run.summary("rows"), odd.len());
    let bytes: usize = odd.iter().map(|key| key.len() + "content of ".len()).sum();
    assert_eq!(run.summary("bytes"), bytes);
    assert!(run.stderr.contains(&format!("--manifest-fields {fields}")));
    assert_eq!(world.files(), ["manifest.csv"]);

    let copied = world.given().set("--manifest-fields", fields);
    copied.set("--source-changed", "fail").run().await.expect(0);
    for key in &odd {
        world.assert_copied(key);
    }
    assert_eq!(world.store().object_count(DESTINATION), odd.len());
    // The destination is listed as the source of another job would be.
    let address = format!("s3://{DESTINATION}");
    let owner = ["--source-account", DESTINATION_ACCOUNT];
    let command = world.create_command_of(&address, &owner);
    let listed = Run::of(command).await;
    listed.expect(0);
    let copied: BTreeSet<_> = rows(&listed.stdout).into_iter().collect();
    let expected = odd
        .iter()
        .map(|key| vec![DESTINATION.to_owned(), encode(key)]);
    assert_eq!(copied, expected.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_listed_and_copied() {
    let world = World::new();
    world.configure(|settings| {
        settings.versioning = Versioning::Enabled;
        settings.page_entries = 4;
    });
    let odd = odd_keys();
    let mut versions = BTreeMap::new();
    for n in 0..3 {
        for key in &odd {
            let put = world.store().put_object(
                SOURCE,
                key,
                format!("{n} of {key}"),
                ObjectProperties::default(),
            );
            versions.insert((encode(key), put.unwrap()), n);
        }
    }
    world.store().delete_object(SOURCE, "plain").unwrap();
    let manifest = world.path("manifest.csv");
    let manifest = manifest.to_str().unwrap();
    let flags = [
        "--versions",
        "all",
        "--output-file",
        manifest,
        "--output",
        "json",
    ];
    let run = world.create(&flags).await;
    run.expect(0);
    assert_eq!(run.summary("rows"), versions.len());
    assert_eq!(run.summary("delete_markers"), 1);
    let written = std::fs::read_to_string(manifest).unwrap();
    let listed: Vec<_> = rows(&written)
        .into_iter()
        .map(|row| (row[1].clone(), row[2].clone()))
        .collect();
    assert_eq!(listed.len(), versions.len());
    assert!(listed.iter().all(|listed| versions.contains_key(listed)));
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), versions.len());
    world.copy(&[]).await.expect(0);
    assert_eq!(world.store().object_count(DESTINATION), odd.len());

    // The current versions alone, each by its ID: no deleted object.
    let run = world.create(&["--fields", "Bucket,Key,VersionId"]).await;
    run.expect(0);
    let listed = rows(&run.stdout);
    assert_eq!(listed.len(), odd.len() - 1);
    for row in listed {
        let key = decode(row[1].as_bytes(), KeyEncoding::Url).unwrap();
        let current = world.store().object(SOURCE, &key).unwrap();
        assert_eq!(row[2], current.version_id, "{key}");
    }
    let run = world
        .create(&["--versions", "all", "--fields", "Bucket,Key"])
        .await;
    run.expect(2);
    assert!(run.stderr.contains("needs the column VersionId"), "{run:?}");
}

/// Keys of several shapes: folders, a long beginning in common, numbers, odd ones.
fn many_keys(count: usize) -> Vec<String> {
    let odd = odd_keys();
    let short = odd.iter().filter(|key| key.len() < 100).collect::<Vec<_>>();
    (0..count)
        .map(|n| match n % 4 {
            0 => format!("logs/account-0123456789/region/2026/{:02}/{n}", n / 4 % 28),
            1 => format!("flat-{n:07}"),
            2 => format!("{}{n}", short[n % short.len()]),
            _ => format!("{n:x}/{}", short[n % short.len()]),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_keys_are_listed_exactly_once() {
    let world = World::new();
    let put = many_keys(6000);
    for key in &put {
        world.put(key, "x");
    }
    let put = sorted(put);
    world.configure(|settings| settings.page_entries = 20);
    // Answers come in another order than requests went out, and some do not come at all.
    let faults = world.sandbox.faults();
    let slow = Fault::on(Operation::ListObjectsV2, FaultKind::Latency(20));
    faults.add(slow.when(When::Probability { p: 0.2, seed: 3 }));
    for (kind, seed) in [
        (FaultKind::CutBody, 5),
        (FaultKind::internal_error(), 6),
        (FaultKind::Reset, 7),
        (FaultKind::slow_down(), 8),
    ] {
        let fault = Fault::on(Operation::ListObjectsV2, kind);
        faults.add(fault.when(When::Probability { p: 0.01, seed }));
    }
    for concurrency in ["auto", "3"] {
        world.sandbox.log().clear();
        let run = world.create(&["--concurrency", concurrency]).await;
        run.expect(0);
        assert_eq!(sorted(keys(&run.stdout)), put);
        // Pages, a probe for each, and the short pages at the ends of ranges.
        assert!(world.lists() < 3 * 300, "{}", world.lists());
        let split = world.sandbox.log().of(Operation::ListObjectsV2);
        let split = split
            .iter()
            .filter(|list| list.parameter("start-after").is_some());
        assert!(split.count() > 10);
    }
    faults.clear();
    world.sandbox.log().clear();
    let run = world.create(&["--concurrency", "1"]).await;
    run.expect(0);
    assert_eq!(keys(&run.stdout), put);
    assert_eq!(world.lists(), 300);

    let prefixes = ["--match-any-prefix", "flat-", "--match-any-prefix", "logs/"];
    let run = world.create(&prefixes).await;
    run.expect(0);
    let chosen = put
        .iter()
        .filter(|key| key.starts_with("flat-") || key.starts_with("logs/"));
    assert_eq!(
        sorted(keys(&run.stdout)),
        chosen.cloned().collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_to_begin_behind_a_key_is_listed_flat() {
    let world = World::new();
    world.objects(300);
    world.configure(|settings| settings.page_entries = 10);
    let faults = world.sandbox.faults();
    for (status, code) in [
        (403, "AccessDenied"),
        (400, "InvalidArgument"),
        (501, "NotImplemented"),
    ] {
        let kind = FaultKind::Error {
            status,
            code: code.to_owned(),
            message: String::new(),
            retry_after: None,
        };
        let refused = Fault::on(Operation::ListObjectsV2, kind).with_parameter("start-after");
        let refused = faults.add(refused);
        world.sandbox.log().clear();
        let run = world.create(&[]).await;
        run.expect(0);
        assert_eq!(keys(&run.stdout).len(), 300);
        assert!((1..=16).contains(&refused.hits()), "{}", refused.hits());
        assert_eq!(world.lists() as u64, 30 + refused.hits());
        assert!(run.stderr.contains(code), "{run:?}");
        faults.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_is_not_whole_leaves_no_manifest() {
    let world = World::new();
    world.objects(300);
    world.configure(|settings| settings.page_entries = 10);
    let manifest = world.path("made.csv");
    let manifest = manifest.to_str().unwrap();
    std::fs::write(manifest, "what was there before\n").unwrap();
    let before = world.files();
    let refused = |status, code: &str| FaultKind::Error {
        status,
        code: code.to_owned(),
        message: "no".to_owned(),
        retry_after: None,
    };
    for (kind, code, words) in [
        (refused(403, "AccessDenied"), 3, "s3:ListBucketVersions"),
        (refused(404, "NoSuchBucket"), 2, "NoSuchBucket"),
        (
            FaultKind::internal_error(),
            4,
            "give the same command again",
        ),
        (FaultKind::CutBody, 4, "cut off"),
    ] {
        let fault = Fault::on(Operation::ListObjectsV2, kind.clone());
        // In the middle, and for good.
        world
            .sandbox
            .faults()
            .add(fault.when(When::FromTo(12, u64::MAX)));
        for shuffle in [&[][..], &["--shuffle", "3"]] {
            let flags = [&["--output-file", manifest, "--max-attempts", "2"], shuffle].concat();
            let run = world.create(&flags).await;
            run.expect(code);
            assert!(run.stderr.contains(words), "{kind:?}: {run:?}");
            assert_eq!(run.stdout, "");
            assert_eq!(world.files(), before);
        }
        world.sandbox.faults().clear();
    }
    let left = std::fs::read_to_string(manifest).unwrap();
    assert_eq!(left, "what was there before\n");
    // And when it is whole it replaces what was there.
    world.create(&["--output-file", manifest]).await.expect(0);
    assert_eq!(keys(&std::fs::read_to_string(manifest).unwrap()).len(), 300);
    assert_eq!(world.files(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_no_manifest() {
    let world = World::new();
    world.objects(30);
    world.configure(|settings| settings.page_entries = 10);
    let hangs = Fault::on(Operation::ListObjectsV2, FaultKind::Hang);
    world
        .sandbox
        .faults()
        .add(hangs.when(When::FromTo(2, u64::MAX)));
    let child = world
        .create_command(&["--output-file", "made.csv"])
        .spawn()
        .unwrap();
    let log = world.sandbox.log();
    log.wait_until(|log| {
        log.iter()
            .filter(|e| e.operation == Operation::ListObjectsV2)
            .count()
            > 1
    })
    .await;
    let id = child.id().unwrap().to_string();
    let killed = Command::new("kill").args(["-TERM", &id]).status().await;
    assert!(killed.unwrap().success());
    let run = Run::end_of(child).await;
    run.expect(4);
    assert!(run.stderr.contains("no manifest was made"), "{run:?}");
    assert_eq!(world.files(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn filters() {
    let world = World::new();
    world.put("logs/a.gz", "12345");
    world.put("logs/b.txt", "123456");
    world.put("data/a.gz", "1234567");
    let cold = ObjectProperties {
        storage_class: StorageClass::Glacier,
        ..ObjectProperties::default()
    };
    world.put_with("data/cold logs", "12345678", cold);
    let now = world
        .store()
        .object(SOURCE, "logs/a.gz")
        .unwrap()
        .last_modified;
    let at = |hours: i64| {
        let at = now + time::Duration::hours(hours);
        at.format(&time::format_description::well_known::Rfc3339)
            .unwrap()
    };
    let (earlier, later) = (at(-1), at(1));
    let all = "data/a.gz data/cold+logs logs/a.gz logs/b.txt";
    #[rustfmt::skip]
    let table: [(&[&str], &str); 14] = [
        (&["--match-any-prefix", "logs/"], "logs/a.gz logs/b.txt"),
        (&["--match-any-suffix", ".gz", "--match-any-suffix", ".txt"], "data/a.gz logs/a.gz logs/b.txt"),
        (&["--match-any-substring", "logs"], "data/cold+logs logs/a.gz logs/b.txt"),
        (&["--match-any-substring", "logs", "--match-any-suffix", ".gz"], "logs/a.gz"),
        (&["--object-size-greater-than", "5"], "data/a.gz data/cold+logs logs/b.txt"),
        (&["--object-size-less-than", "7"], "logs/a.gz logs/b.txt"),
        (&["--match-any-storage-class", "GLACIER"], "data/cold+logs"),
        (&["--match-any-storage-class", "STANDARD"], "data/a.gz logs/a.gz logs/b.txt"),
        (&["--created-after", &earlier], all),
        (&["--created-after", &later], ""),
        (&["--created-before", &later], all),
        (&["--created-before", &earlier], ""),
        (&["--match-any-prefix", "l", "--match-any-prefix", "logs/"], "logs/a.gz logs/b.txt"),
        (&[], all),
    ];
    for (flags, expected) in table {
        let run = world.create(flags).await;
        run.expect(0);
        let listed = sorted(keys(&run.stdout)).join(" ");
        assert_eq!(listed, expected.replace('+', " "), "{flags:?}");
        let empty = run.stderr.contains("the manifest is empty");
        assert_eq!(empty, expected.is_empty(), "{run:?}");
    }
    let mut command = world.create_command(&["--output", "json", "--output-file", "made.csv"]);
    command.env("S3HAUL_MATCH_ANY_SUFFIX", r#"[".gz"]"#);
    let run = Run::of(command).await;
    run.expect(0);
    assert_eq!(
        (run.summary("rows"), run.summary("filtered")),
        (2.into(), 2.into())
    );
    assert_eq!(run.summary("bytes"), 12);

    // What a listing does not tell is refused by name, before any request.
    let before = world.sandbox.log().arrived();
    for (flag, value) in [
        ("--eligible-for-replication", "true"),
        ("--object-replication-statuses", "COMPLETED"),
        ("--match-any-object-encryption", "SSE-KMS"),
        ("--match-any-storage-class", "COLD"),
        ("--fields", "Bucket"),
        ("--fields", "Bucket,Key,Ignore"),
        ("--shuffle", "1"),
        ("--output-file", "no/such/folder.csv"),
        ("--output-file", "."),
        ("--output-file", "s3://destination/"),
    ] {
        let run = world.create(&[flag, value]).await;
        run.expect(2);
        let named = run.stderr.contains(flag) || run.stderr.contains("cannot write the manifest");
        assert!(named, "{run:?}");
    }
    assert_eq!(world.sandbox.log().arrived(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_shuffled_whole() {
    let world = World::new();
    world.objects(90);
    let plain = world.create(&["--concurrency", "1"]).await;
    let shuffled = world
        .create(&["--concurrency", "1", "--shuffle", "3"])
        .await;
    shuffled.expect(0);
    let (plain, shuffled) = (keys(&plain.stdout), keys(&shuffled.stdout));
    assert_eq!(&shuffled[..4], ["k00000", "k00030", "k00060", "k00001"]);
    assert_eq!(sorted(shuffled), plain);
    let flags = ["--shuffle", "1000", "--output-file", "made.csv"];
    world.create(&flags).await.expect(0);
    let made = std::fs::read_to_string(world.path("made.csv")).unwrap();
    assert_eq!(sorted(keys(&made)), plain);
    assert_eq!(world.files(), ["made.csv"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_goes_to_s3() {
    let world = World::new();
    world.objects(50);
    let to = format!("s3://{DESTINATION}/manifests/a b.csv");
    let put = world
        .sandbox
        .faults()
        .add(Fault::on(Operation::PutObject, FaultKind::internal_error()).when(When::First(1)));
    let run = world
        .create(&["--output-file", &to, "--output", "json"])
        .await;
    run.expect(0);
    assert_eq!(put.hits(), 1);
    let object = world
        .store()
        .object(DESTINATION, "manifests/a b.csv")
        .unwrap();
    assert_eq!(run.summary("e_tag"), object.e_tag());
    assert_eq!(run.summary("manifest"), to);
    let written = String::from_utf8(object.bytes()).unwrap();
    assert_eq!(keys(&written).len(), 50);
    let sent = &world.sandbox.log().of(Operation::PutObject)[0];
    let owner = sent.header("x-amz-expected-bucket-owner");
    assert_eq!(owner, Some(DESTINATION_ACCOUNT));

    // The source is another account's, and is not written to in passing.
    let run = world
        .create(&["--output-file", &format!("s3://{SOURCE}/m.csv")])
        .await;
    run.expect(3);
    assert!(run.stderr.contains("--destination-account"), "{run:?}");
    world.sandbox.faults().add(Fault::on(
        Operation::PutObject,
        FaultKind::Error {
            status: 403,
            code: "AccessDenied".to_owned(),
            message: String::new(),
            retry_after: None,
        },
    ));
    let run = world.create(&["--output-file", &to]).await;
    run.expect(3);
    assert!(run.stderr.contains("s3:PutObject"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_stdout_may_be_slow_or_go() {
    let world = World::new();
    let name = "a long name, so that a pipe is soon full ".repeat(5);
    let put: Vec<_> = (0..3000).map(|n| format!("{n:04}{name}")).collect();
    for key in &put {
        world.put(key, "x");
    }
    world.configure(|settings| settings.page_entries = 50);
    let flags = ["--attempt-timeout", "2s", "--max-attempts", "1"];
    // Nothing is taken until no more is asked for, and then for longer than an attempt may take.
    let child = world.create_command(&flags).spawn().unwrap();
    let log = world.sandbox.log();
    let (mut before, mut after) = (usize::MAX, 0);
    while before != after {
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
        (before, after) = (after, world.lists());
    }
    assert!((1..59).contains(&after), "{after}");
    let run = Run::end_of(child).await;
    run.expect(0);
    assert_eq!(sorted(keys(&run.stdout)), put);
    let lists = log.of(Operation::ListObjectsV2);
    assert!(lists.iter().all(|entry| entry.status == Some(200)));

    let mut child = world.create_command(&[]).spawn().unwrap();
    drop(child.stdout.take());
    let run = Run::end_of(child).await;
    run.expect(4);
    assert!(
        run.stderr.contains("cannot write the manifest to stdout"),
        "{run:?}"
    );
}
