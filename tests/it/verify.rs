//! `s3haul verify`: what is missing, different or cannot be compared is found, with as few requests as it
//! takes, and nothing is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use s3haul::job::manifest::key::encode;
use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::iam::{
    AccountsFile, COPY_ROLE, DESTINATION_ACCOUNT, Policy, STRANGER_ACCOUNT, Statement,
};
use s3haul_sandbox::{
    BucketSettings, ChecksumAlgorithm, Fault, FaultKind, LogEntry, ObjectOwnership,
    ObjectProperties, Operation, SandboxOptions, StorageClass, Versioning,
};
use serde_json::json;

use crate::bucket::{self, REPORTS};
use crate::given::{Given, VERIFYING};
use crate::objects::sent;
use crate::resume::{logged, terminate};
use crate::support::{
    DESTINATION, JOB, Run, SOURCE, World, count, message, read_report, source_policy,
};

/// Operations that change nothing.
const READS: [Operation; 9] = [
    Operation::HeadBucket,
    Operation::HeadObject,
    Operation::GetObject,
    Operation::GetObjectAttributes,
    Operation::GetObjectTagging,
    Operation::GetObjectAcl,
    Operation::GetBucketAcl,
    Operation::AssumeRole,
    Operation::GetCallerIdentity,
];

impl World {
    /// Lets the role read attributes of the source too.
    fn show_attributes(&self) {
        let policy = source_policy().replace(
            "\"s3:GetObject\",",
            "\"s3:GetObject\", \"s3:GetObjectAttributes\", \"s3:GetObjectVersionAttributes\",",
        );
        self.store()
            .set_bucket_policy(SOURCE, Some(&policy))
            .unwrap();
    }

    /// Puts an object where a copy of it would be.
    fn put_copy(&self, key: &str, bytes: &str, properties: ObjectProperties) {
        self.store()
            .put_object(DESTINATION, key, bytes.to_owned(), properties)
            .unwrap();
    }

    /// The manifest of keys with what a listing knows of them.
    fn listed(&self, keys: &[&str]) {
        let row = |key: &&str| {
            let object = self.store().object(SOURCE, key).unwrap();
            let (size, e_tag) = (object.size(), object.e_tag());
            format!("{SOURCE},{},{size},{e_tag}\n", encode(key))
        };
        self.manifest(keys.iter().map(row).collect::<String>());
    }

    fn folder_of(&self, job: &str) -> PathBuf {
        self.path("report").join(format!("job-{job}"))
    }

    /// The rows of the job that verifies, by key.
    fn verified(&self) -> BTreeMap<String, ReportRow> {
        let rows = read_report(&self.folder_of(VERIFYING));
        rows.into_iter().map(|row| (row.key.clone(), row)).collect()
    }

    /// The results file of a status of a job.
    fn results(&self, job: &str, status: TaskStatus) -> String {
        let folder = self.folder_of(job);
        let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let files = manifest["Results"].as_array().unwrap();
        let mut files = files
            .iter()
            .filter(|file| file["TaskExecutionStatus"] == status.as_str());
        let key = files.next().unwrap()["Key"].as_str().unwrap();
        assert!(files.next().is_none(), "{manifest}");
        self.path("report").join(key).to_str().unwrap().to_owned()
    }

    /// Nothing that the log has changed anything.
    #[track_caller]
    fn assert_only_read(&self) {
        let written: Vec<_> = self
            .sandbox
            .log()
            .entries()
            .into_iter()
            .filter(|entry| !READS.contains(&entry.operation))
            .collect();
        assert!(written.is_empty(), "{written:?}");
    }
}

const LISTED: &str = "Bucket,Key,Size,ETag";

/// The end of a row in a word: its code, or what proved it.
fn end(row: &ReportRow) -> String {
    match row.status {
        TaskStatus::Succeeded => message(row, "evidence").as_str().unwrap().to_owned(),
        _ => row.error_code.clone(),
    }
}

fn says(row: &ReportRow, words: &str) -> bool {
    let said = message(row, "message");
    said.as_str().is_some_and(|said| said.contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_copied_is_checked_and_mended_by_the_reports() {
    let world = World::new();
    let keys = ["kept", "a+b", "c d", "gone", "bytes", "type"];
    for key in keys {
        world.put(key, &format!("content of {key}"));
    }
    world.manifest_of(keys);
    world.copy(&[]).await.expect(0);
    world.store().delete_object(DESTINATION, "gone").unwrap();
    world.put_copy("bytes", "CONTENT of bytes", ObjectProperties::default());
    let other_type = ObjectProperties {
        content_type: Some("text/html".into()),
        ..ObjectProperties::default()
    };
    world.put_copy("type", "content of type", other_type);

    let copied = world.job().join("manifest.json");
    let verify = || {
        world
            .verifying()
            .set("--manifest", copied.to_str().unwrap())
            .set("--compare", "metadata")
    };
    world.sandbox.log().clear();
    let run = verify().run().await;
    for (member, value) in [
        ("rows", json!(6)),
        ("succeeded", json!(3)),
        ("errors", json!({"Missing": 1, "Different": 2})),
        ("evidence", json!({"checksum": 3})),
    ] {
        assert_eq!(run.expect(1).summary(member), value, "{member}");
    }
    let failed_files = world.folder_of(VERIFYING).join("manifest.json");
    assert!(
        run.stderr.contains(&format!(
            "s3haul copy --manifest {}",
            failed_files.display()
        )),
        "{}",
        run.stderr
    );
    world.assert_only_read();
    let rows = world.verified();
    for (key, words) in [
        ("gone", "no such object"),
        ("bytes", "unequal checksums or ETags"),
        ("type", "content-type"),
    ] {
        assert!(says(&rows[key], words), "{:?}", rows[key]);
    }
    assert_eq!(message(&rows["kept"], "by"), "verify");
    let there = world.store().object(DESTINATION, "kept").unwrap();
    assert_eq!(message(&rows["kept"], "e_tag"), there.e_tag());
    assert_eq!(message(&rows["kept"], "source_size"), 15);
    assert_eq!(message(&rows["kept"], "bytes"), 15);

    // What failed is copied, by the results file and by the report as a whole.
    let results = world.results(VERIFYING, TaskStatus::Failed);
    for (job, manifest) in [
        ("by-file", results),
        ("by-report", failed_files.to_str().unwrap().to_owned()),
    ] {
        world.sandbox.log().clear();
        let mend = world
            .given()
            .set("--job-id", job)
            .set("--manifest", manifest);
        assert_eq!(mend.run().await.expect(0).summary("succeeded"), 3);
        let mut copies: Vec<_> = world.sandbox.log().of(Operation::CopyObject);
        copies.sort_by(|a, b| a.key.cmp(&b.key));
        let copies: Vec<_> = copies.into_iter().map(|copy| copy.key).collect();
        assert_eq!(copies, ["bytes", "gone", "type"], "{job}");
    }

    // A resume looks again at what failed alone; all is well then.
    world.sandbox.log().clear();
    let resumed = resume(&world).await;
    for (member, value) in [("succeeded", 6), ("failed", 0), ("rows", 6)] {
        assert_eq!(resumed.expect(0).summary(member), value, "{member}");
    }
    assert_eq!(sent(&world, Operation::HeadObject, "kept").len(), 0);
    world.assert_only_read();
    let again = verify().set("--job-id", "again").run().await;
    assert_eq!(again.expect(0).summary("succeeded"), 6);
}

async fn resume(world: &World) -> Run {
    let mut command = world.command(&["resume"]);
    command
        .arg(world.folder_of(VERIFYING))
        .args(["--output", "json"]);
    Run::of(command).await
}

/// An object of 6 MiB in parts of 5 MiB, or of so many.
fn in_parts(bytes: u64) -> ObjectProperties {
    ObjectProperties {
        part_bytes: Some(bytes),
        ..ObjectProperties::default()
    }
}

fn under_kms() -> ObjectProperties {
    ObjectProperties {
        kms_key_id: Some("arn:aws:kms:us-east-1:222222222222:key/k".into()),
        ..ObjectProperties::default()
    }
}

fn bare(properties: ObjectProperties) -> ObjectProperties {
    ObjectProperties {
        without_checksum: true,
        ..properties
    }
}

/// Checksums over those of parts, which HEAD shows and only the parts' sizes make comparable.
fn composite(part_bytes: u64) -> ObjectProperties {
    ObjectProperties {
        checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
        ..in_parts(part_bytes)
    }
}

/// An object and what stands in the place of its copy: of equal bytes or not, and how a row ends by head,
/// checksum and full.
type Case = (
    &'static str,
    ObjectProperties,
    ObjectProperties,
    bool,
    [&'static str; 3],
);

fn cases() -> Vec<Case> {
    let plain = ObjectProperties::default;
    let mib = 1 << 20;
    vec![
        (
            "plain",
            plain(),
            plain(),
            true,
            ["checksum", "checksum", "full"],
        ),
        (
            "kms",
            under_kms(),
            plain(),
            true,
            ["checksum", "checksum", "full"],
        ),
        (
            "parts",
            in_parts(mib),
            plain(),
            true,
            ["checksum", "checksum", "full"],
        ),
        (
            "old",
            bare(plain()),
            bare(plain()),
            true,
            ["e_tag", "e_tag", "full"],
        ),
        (
            "old-kms",
            bare(under_kms()),
            plain(),
            true,
            ["NotComparable", "NotComparable", "full"],
        ),
        (
            "old-parts",
            bare(in_parts(mib)),
            plain(),
            true,
            ["NotComparable", "NotComparable", "full"],
        ),
        (
            "as-cut",
            composite(mib),
            composite(mib),
            true,
            ["checksum", "checksum", "full"],
        ),
        (
            "other-cut",
            composite(mib),
            composite(2 * mib),
            true,
            ["NotComparable", "NotComparable", "full"],
        ),
        ("not-plain", plain(), plain(), false, ["Different"; 3]),
        ("not-kms", under_kms(), plain(), false, ["Different"; 3]),
        (
            "not-old",
            bare(plain()),
            bare(plain()),
            false,
            ["Different"; 3],
        ),
        (
            "not-old-kms",
            bare(under_kms()),
            plain(),
            false,
            ["NotComparable", "NotComparable", "Different"],
        ),
        (
            "not-as-cut",
            composite(mib),
            composite(mib),
            false,
            ["NotComparable", "Different", "Different"],
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_strength_compares_what_it_can() {
    let world = World::new();
    world.show_attributes();
    let rows = cases();
    let bytes = "x".repeat(6 << 20);
    let last = format!("{}y", &bytes[1..]);
    for (key, source, copy, equal, _) in &rows {
        world.put_with(key, &bytes, source.clone());
        world.put_copy(key, if *equal { &bytes } else { &last }, copy.clone());
    }
    // The sizes tell at once, also of nothing.
    world.put("longer", "ab");
    world.put_copy("longer", "a", ObjectProperties::default());
    world.put("empty", "");
    world.put_copy("empty", "", ObjectProperties::default());
    let keys = rows.iter().map(|(key, ..)| *key);
    world.manifest_of(keys.chain(["longer", "empty"]));
    for (at, strength) in ["head", "checksum", "full"].into_iter().enumerate() {
        world.sandbox.log().clear();
        let report = world.path(strength);
        let run = world
            .verifying()
            .set("--verify", strength)
            .set("--report", report.to_str().unwrap());
        run.run().await.expect(1);
        world.assert_only_read();
        let found = read_report(&report.join(format!("job-{VERIFYING}")));
        let found: BTreeMap<_, _> = found.iter().map(|row| (row.key.as_str(), row)).collect();
        for (key, _, _, _, ends) in &rows {
            assert_eq!(
                end(found[key]),
                ends[at],
                "{strength} {key}: {:?}",
                found[key]
            );
        }
        assert_eq!(end(found["longer"]), "Different");
        assert!(says(found["longer"], "the source has 2 bytes, the copy 1"));
        assert_eq!(end(found["empty"]), ["checksum", "checksum", "full"][at]);
        for (row, words) in [("old-kms", "--verify full"), ("not-old", "copy it again")] {
            let row = found[row];
            if row.status == TaskStatus::Failed {
                let hint = message(row, "hint");
                assert!(hint.as_str().unwrap().contains(words), "{row:?}");
            }
        }
        let log = world.sandbox.log();
        let reads = log.count(Operation::GetObject) + log.count(Operation::GetObjectAttributes);
        assert_eq!(reads > 0, strength != "head", "{strength}");
        // Who sees it in HEADs asks no further.
        assert_eq!(sent(&world, Operation::GetObject, "not-plain").len(), 0);
        assert_eq!(
            sent(&world, Operation::GetObjectAttributes, "plain").len(),
            0
        );
    }
    let full = read_report(&world.path("full").join(format!("job-{VERIFYING}")));
    let differs = full.iter().find(|row| row.key == "not-as-cut").unwrap();
    assert!(
        says(differs, &format!("differ in byte {}", (6 << 20) - 1)),
        "{differs:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_manifest_lists_takes_one_request_a_row() {
    let world = World::new();
    let keys = ["a", "b", "c", "changed", "stale", "rewritten"];
    for key in keys {
        world.put(key, &format!("content of {key}"));
        world.put_copy(
            key,
            &format!("content of {key}"),
            ObjectProperties::default(),
        );
    }
    world.listed(&keys);
    // The copy is of the listed object, and another stands in its place now.
    world.put("changed", "CONTENT OF changed");
    world.put("stale", "CONTENT OF stale");
    world.put_copy("stale", "something else", ObjectProperties::default());
    world.put("rewritten", "both anew");
    world.put_copy("rewritten", "both anew", ObjectProperties::default());
    world.sandbox.log().clear();
    let run = world
        .verifying()
        .set("--manifest-fields", LISTED)
        .run()
        .await;
    run.expect(1);
    let evidence = json!({"e_tag": 4, "checksum": 1});
    assert_eq!(run.summary("evidence"), evidence);
    assert_eq!(run.summary("requests"), 8);
    world.assert_only_read();
    for key in keys {
        let heads = sent(&world, Operation::HeadObject, key);
        let asked = ["stale", "rewritten"].contains(&key);
        assert_eq!(heads.len(), 1 + usize::from(asked), "{key}");
    }
    let rows = world.verified();
    assert_eq!(message(&rows["rewritten"], "source_changed"), true);
    assert_eq!(rows["stale"].error_code, "Different");
    assert!(says(
        &rows["stale"],
        "the source has changed since the manifest was made"
    ));
    let listed = world.store().object(DESTINATION, "a").unwrap().e_tag();
    assert_eq!(message(&rows["a"], "source_e_tag"), listed);

    // A report says as much of what it has copied.
    world.manifest_of(["a", "b"]);
    world.copy(&["--verify", "head"]).await.expect(0);
    let manifest = world.job().join("manifest.json");
    world.sandbox.log().clear();
    let of_report = world
        .verifying()
        .set("--job-id", "of-report")
        .set("--manifest", manifest.to_str().unwrap());
    of_report.run().await.expect(0);
}

/// An object with metadata and tags.
fn rich() -> ObjectProperties {
    ObjectProperties {
        content_type: Some("text/plain".into()),
        cache_control: Some("no-cache".into()),
        metadata: BTreeMap::from([("who".into(), "me".into())]),
        tags: vec![("a".into(), "1".into()), ("b".into(), "2".into())],
        ..ObjectProperties::default()
    }
}

fn with(change: fn(&mut ObjectProperties)) -> ObjectProperties {
    let mut properties = rich();
    change(&mut properties);
    properties
}

/// What stands in the place of a copy of such an object, and what is said of its metadata and its tags.
fn alike() -> [(
    &'static str,
    ObjectProperties,
    Option<&'static str>,
    Option<&'static str>,
); 10] {
    [
        ("same", with(|_| ()), None, None),
        ("order", with(|p| p.tags.reverse()), None, None),
        (
            "type",
            with(|p| p.content_type = None),
            Some("content-type"),
            None,
        ),
        (
            "cache",
            with(|p| p.cache_control = None),
            Some("cache-control"),
            None,
        ),
        (
            "user",
            with(|p| drop(p.metadata.insert("who".into(), "you".into()))),
            Some("x-amz-meta-who"),
            None,
        ),
        (
            "more",
            with(|p| drop(p.metadata.insert("more".into(), "m".into()))),
            Some("x-amz-meta-more"),
            None,
        ),
        (
            "hidden",
            with(|p| p.missing_metadata = 1),
            Some("the source has 0 metadata entries"),
            None,
        ),
        (
            "value",
            with(|p| p.tags[0].1 = "3".into()),
            None,
            Some("the tag \"a\" has another value"),
        ),
        (
            "untagged",
            with(|p| p.tags.clear()),
            None,
            Some("the tag \"a\" is missing"),
        ),
        (
            "tagged",
            with(|p| p.tags.push(("c".into(), String::new()))),
            None,
            Some("the destination has the tag \"c\""),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_tags_are_compared_where_that_is_asked() {
    let world = World::new();
    let rows = alike();
    for (key, copy, ..) in &rows {
        world.put_with(key, "content", rich());
        world.put_copy(key, "content", copy.clone());
    }
    // What neither shows may differ.
    let hidden = || with(|p| p.missing_metadata = 1);
    world.put_with("both-hidden", "content", hidden());
    world.put_copy("both-hidden", "content", hidden());
    let keys: Vec<_> = rows
        .iter()
        .map(|(key, ..)| *key)
        .chain(["both-hidden"])
        .collect();
    world.listed(&keys);
    for compare in ["", "metadata", "tags", "metadata,tags"] {
        world.sandbox.log().clear();
        let report = world.path(&format!("report-{compare}"));
        let mut given = world
            .verifying()
            .set("--manifest-fields", LISTED)
            .set("--report", report.to_str().unwrap());
        if !compare.is_empty() {
            given = given.set("--compare", compare);
        }
        let run = given.run().await;
        assert_eq!(run.code(), i32::from(!compare.is_empty()), "{run:?}");
        world.assert_only_read();
        let found = read_report(&report.join(format!("job-{VERIFYING}")));
        let found: BTreeMap<_, _> = found.iter().map(|row| (row.key.as_str(), row)).collect();
        for (key, _, metadata, tags) in &rows {
            let metadata = metadata.filter(|_| compare.contains("metadata"));
            let said = metadata.or(tags.filter(|_| compare.contains("tags")));
            let row = found[key];
            match said {
                Some(said) => {
                    assert_eq!(row.error_code, "Different", "{compare} {row:?}");
                    assert!(says(row, said), "{compare} {row:?}");
                }
                None => assert_eq!(row.status, TaskStatus::Succeeded, "{compare} {row:?}"),
            }
        }
        let hidden = found["both-hidden"];
        let expected = if compare.contains("metadata") {
            "NotComparable"
        } else {
            ""
        };
        assert_eq!(hidden.error_code, expected, "{compare} {hidden:?}");
        // The source is asked for what is compared, and for nothing else.
        let heads = sent(&world, Operation::HeadObject, "same").len();
        assert_eq!(heads, 1 + usize::from(compare.contains("metadata")));
        let tags = sent(&world, Operation::GetObjectTagging, "same").len();
        assert_eq!(tags, 2 * usize::from(compare.contains("tags")));
    }
}

/// A bucket of a third account, in which whoever writes owns what it writes, and which lets all in.
const THEIRS: &str = "theirs";

#[tokio::test(flavor = "multi_thread")]
async fn acls_are_compared_with_the_one_that_is_asked_for() {
    let world = World::new();
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [format!("arn:aws:s3:::{THEIRS}"), format!("arn:aws:s3:::{THEIRS}/*")],
        }],
    });
    let settings = BucketSettings {
        ownership: Some(ObjectOwnership::ObjectWriter),
        policy: Some(policy.to_string()),
        ..BucketSettings::default()
    };
    world
        .store()
        .create_bucket(THEIRS, STRANGER_ACCOUNT, "us-east-1", settings)
        .unwrap();
    // The first is the bucket owner's own; the others are the role's.
    let objects = [
        ("own", None),
        ("public", Some("public-read")),
        ("signed", Some("authenticated-read")),
        ("given", Some("bucket-owner-full-control")),
        ("shown", Some("bucket-owner-read")),
        ("kept", Some("private")),
    ];
    for (key, acl) in objects {
        world.put(key, key);
        let properties = ObjectProperties {
            acl: acl.map(str::to_owned),
            owner: acl.map(|_| DESTINATION_ACCOUNT.to_owned()),
            ..ObjectProperties::default()
        };
        world
            .store()
            .put_object(THEIRS, key, key, properties)
            .unwrap();
    }
    let keys = objects.map(|(key, ..)| key);
    world.listed(&keys);
    for (acl, fitting, asks) in [
        (None, &["own", "given"][..], 1),
        (Some("bucket-owner-full-control"), &["own", "given"], 1),
        (Some("bucket-owner-read"), &["own", "shown"], 1),
        (Some("private"), &["own", "kept"], 0),
        (Some("public-read"), &["public"], 0),
        (Some("authenticated-read"), &["signed"], 0),
        (Some("public-read-write"), &[], 0),
    ] {
        world.sandbox.log().clear();
        let report = world.path(&format!("report-{acl:?}"));
        let mut given = world
            .verifying()
            .set("--manifest-fields", LISTED)
            .set("--compare", "acl")
            .set("--to", format!("s3://{THEIRS}"))
            .set("--destination-account", STRANGER_ACCOUNT)
            .set("--report", report.to_str().unwrap());
        if let Some(acl) = acl {
            given = given.set("--acl", acl);
        }
        given.run().await.expect(1);
        world.assert_only_read();
        for row in read_report(&report.join(format!("job-{VERIFYING}"))) {
            let fits = fitting.contains(&row.key.as_str());
            assert_eq!(
                end(&row),
                if fits { "e_tag" } else { "Different" },
                "{acl:?} {row:?}"
            );
            assert!(fits || says(&row, "--acl asks for"), "{row:?}");
        }
        let log = world.sandbox.log();
        assert_eq!(log.count(Operation::GetBucketAcl), asks, "{acl:?}");
        assert_eq!(log.count(Operation::GetObjectAcl), keys.len(), "{acl:?}");
    }
}

/// A world whose role is denied an action at the destination.
fn denied(action: &str) -> World {
    let mut accounts = AccountsFile::built_in();
    for account in &mut accounts.accounts {
        if account.id == DESTINATION_ACCOUNT {
            let role = account.roles.iter_mut().find(|role| role.name == COPY_ROLE);
            let at = format!("arn:aws:s3:::{DESTINATION}*");
            let deny = Policy::new(vec![Statement::deny(&[action], &[&at])]);
            role.unwrap().policies.push(deny);
        }
    }
    let options = SandboxOptions {
        accounts,
        ..SandboxOptions::default()
    };
    World::with(options, BucketSettings::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_is_told_what_to_allow() {
    let three = |world: &World| {
        for key in ["a", "b"] {
            world.put(key, key);
            world.put_copy(key, key, ObjectProperties::default());
        }
        world.manifest_of(["a", "b", "missing"]);
    };
    for (action, flag, value) in [
        ("s3:GetObjectTagging", "--compare", "tags"),
        ("s3:GetObjectAcl", "--compare", "acl"),
    ] {
        let world = denied(action);
        three(&world);
        let run = world.verifying().set(flag, value).run().await;
        let errors = json!({"AccessDenied": 2, "Missing": 1});
        assert_eq!(run.expect(1).summary("errors"), errors);
        let rows = world.verified();
        let hint = message(&rows["a"], "hint");
        assert!(hint.as_str().unwrap().contains(action), "{rows:?}");
    }
    // Nobody is told of objects that he may not read whether they are there.
    let world = denied("s3:GetObject");
    three(&world);
    let run = world.verifying().run().await;
    assert_eq!(run.expect(3).summary("errors"), json!({"AccessDenied": 3}));
    // What was not asked for needs no permission.
    let world = denied("s3:GetObjectTagging");
    three(&world);
    let untagged = world.verifying().set("--compare", "metadata").run().await;
    assert_eq!(untagged.expect(1).summary("errors"), json!({"Missing": 1}));
    // The source: what the manifest lists needs none of it.
    let world = World::new();
    three(&world);
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    let run = world.verifying().run().await;
    let errors = json!({"AccessDenied": 2, "Missing": 1});
    assert_eq!(run.expect(1).summary("errors"), errors);
    let rows = world.verified();
    let hint = message(&rows["a"], "hint");
    assert!(
        hint.as_str()
            .unwrap()
            .contains("s3:GetObject on the source"),
        "{rows:?}"
    );
    world.manifest_of(["a", "b"]);
    let refused = world.verifying().set("--job-id", "refused").run().await;
    assert!(
        refused
            .expect(3)
            .stderr
            .contains("the first 2 rows were all refused"),
        "{refused:?}"
    );
    world.listed(&["a", "b"]);
    let listed = world
        .verifying()
        .set("--job-id", "listed")
        .set("--manifest-fields", LISTED);
    listed.run().await.expect(0);
    // Who owns the bucket is asked before the first row.
    let world = denied("s3:GetBucketAcl");
    three(&world);
    let refused = world
        .verifying()
        .set("--compare", "acl")
        .refused(3, &["owns the destination bucket", "s3:GetBucketAcl"])
        .await;
    assert_eq!(
        world.sandbox.log().count(Operation::GetObjectAcl),
        0,
        "{refused:?}"
    );
    let private = world
        .verifying()
        .set("--compare", "acl")
        .set("--acl", "private");
    let run = private.run().await;
    assert_eq!(run.expect(1).summary("errors"), json!({"Missing": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_is_no_difference() {
    let world = World::new();
    world.put_copy("gone", "content", ObjectProperties::default());
    world.manifest_of(["gone"]);
    let run = world.verifying().run().await;
    assert_eq!(run.expect(1).summary("errors"), json!({"NotFound": 1}));
    let rows = world.verified();
    let hint = message(&rows["gone"], "hint");
    assert!(
        hint.as_str().unwrap().contains("nothing to compare with"),
        "{rows:?}"
    );
    let accepted = world
        .verifying()
        .set("--job-id", "accepted")
        .set("--failed-rows-exit", "0");
    accepted.run().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_compared_with_what_is_current() {
    let world = World::new();
    let versioned = BucketSettings {
        versioning: Versioning::Enabled,
        policy: Some(source_policy()),
        ..BucketSettings::default()
    };
    world.store().configure_bucket(SOURCE, versioned).unwrap();
    world.put("k", "old");
    let old = world.store().object(SOURCE, "k").unwrap().version_id;
    world.put("k", "new");
    let new = world.store().object(SOURCE, "k").unwrap().version_id;
    world.put_copy("k", "new", ObjectProperties::default());
    world.manifest(format!("{SOURCE},k,{old}\n{SOURCE},k,{new}\n"));
    let run = world.verifying().run().await;
    assert_eq!(run.expect(1).summary("errors"), json!({"Different": 1}));
    assert!(
        run.stderr.contains("compared with the current object"),
        "{}",
        run.stderr
    );
    let rows = read_report(&world.folder_of(VERIFYING));
    let succeeded = rows.iter().find(|row| row.status == TaskStatus::Succeeded);
    assert_eq!(succeeded.unwrap().version_id, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_command_line_again_and_another() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    let given = || world.verifying().set("--verify", "head");
    let first = given().run().await;
    assert_eq!(first.expect(1).summary("errors"), json!({"Missing": 1}));
    let arrived = world.sandbox.log().arrived();
    let again = given().run().await;
    assert_eq!(again.expect(1).summary("errors"), json!({"Missing": 1}));
    assert_eq!(world.sandbox.log().arrived(), arrived);
    for (other, named) in [
        (given().set("--verify", "full"), "--verify"),
        (given().set("--compare", "tags"), "--compare"),
        (given().variable("S3HAUL_COMPARE", "metadata"), "--compare"),
        (given().set("--compare", "acl"), "--compare, --acl"),
        (given().set("--to", "s3://destination/p/"), "--to"),
        (world.given().set("--job-id", VERIFYING), "the commands"),
    ] {
        let run = other.run().await;
        let said = format!("is the report of another job: {named} differ\n");
        let differs = run.expect(2).stderr.contains(&said)
            || named.starts_with("--compare,") && run.stderr.contains("--compare");
        assert!(differs, "{said}: {}", run.stderr);
    }
    // `report show` tells it as it was.
    let mut show = world.command(&["report", "show"]);
    show.arg(world.folder_of(VERIFYING));
    let shown = Run::of(show).await;
    assert!(
        shown.expect(1).stdout.contains("0 B verified, 1 requests"),
        "{shown:?}"
    );
    world.put_copy("a", "a", ObjectProperties::default());
    assert_eq!(resume(&world).await.expect(0).summary("succeeded"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_and_a_resume_lose_no_row() {
    let world = World::new();
    let keys: Vec<_> = (0..30).map(|n| format!("k{n:02}")).collect();
    for key in &keys {
        world.put(key, key);
        world.put_copy(key, key, ObjectProperties::default());
    }
    world.manifest_of(&keys);
    let slow = Fault::on(Operation::HeadObject, FaultKind::Latency(50));
    world.sandbox.faults().add(slow);
    let mut command = world.verifying().set("--concurrency", "2").command();
    let child = command.spawn().unwrap();
    let head = |entry: &LogEntry| entry.operation == Operation::HeadObject;
    logged(&world, 6, head).await;
    terminate(&child);
    let run = Run::end_of(child).await;
    assert_eq!(run.expect(4).summary("state"), "interrupted");
    let done = run.summary("succeeded").as_u64().unwrap();
    assert!((1..30).contains(&done), "{done}");
    world.sandbox.faults().clear();
    world.sandbox.log().clear();
    assert_eq!(resume(&world).await.expect(0).summary("succeeded"), 30);
    let heads = world.sandbox.log().count(Operation::HeadObject);
    assert_eq!(heads as u64, 2 * (30 - done));
    assert_eq!(
        count(
            &read_report(&world.folder_of(VERIFYING)),
            TaskStatus::Succeeded
        ),
        30
    );
    world.assert_only_read();
}

fn md5(text: &str) -> String {
    use md5::Digest;
    s3haul::job::report::passes::hex(&md5::Md5::digest(text))
}

/// Rows as S3 Batch Operations writes them.
fn batch_operations_rows() -> String {
    let row = |key: &str, end: &str| format!("{SOURCE},{key},,{end}\n");
    row("a%2Bb", "succeeded,200,,Successful")
        + &row("c+d", "failed,403,AccessDenied,\"Access, denied\"")
        + &row("%C3%BC", "succeeded,200,,Successful")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_results_file_is_a_manifest_as_it_is() {
    let world = World::new();
    for key in ["a+b", "c d", "ü"] {
        world.put(key, key);
    }
    world.manifest(batch_operations_rows());
    let run = world.copy(&[]).await;
    assert_eq!(run.expect(0).summary("succeeded"), 3);
    let run = world.verifying().run().await;
    assert_eq!(run.expect(0).summary("evidence"), json!({"checksum": 3}));
    // Bare plus signs are spaces in a report, though nothing else in it is encoded.
    world.manifest(format!("{SOURCE},c+d,,skipped,,DestinationExists,\n"));
    let plus = world.verifying().set("--job-id", "plus");
    plus.run().await.expect(0);
    // Other seven columns are none, and their names can be given.
    let other = format!("{SOURCE},a%2Bb,,done,200,,\n");
    world.manifest(&other);
    let none = world.verifying().set("--job-id", "none");
    let refused = none.clone().run().await;
    assert!(
        refused.expect(2).stderr.contains("has 7 columns"),
        "{refused:?}"
    );
    let named = none.set(
        "--manifest-fields",
        "Bucket,Key,Ignore,Ignore,Ignore,Ignore,Ignore",
    );
    named.run().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_s3_batch_operations_is_a_manifest() {
    let world = World::new();
    for key in ["a+b", "c d", "ü"] {
        world.put(key, key);
    }
    let folder = world.path("downloaded/job-f8fb9d89");
    std::fs::create_dir_all(folder.join("results")).unwrap();
    let rows = batch_operations_rows();
    let of = |status: &str| -> String {
        let lines = rows.lines().filter(|line| line.contains(status));
        lines.flat_map(|line| [line, "\n"]).collect()
    };
    let files = [("succeeded", "aa"), ("failed", "bb")].map(|(status, name)| {
        let rows = of(status);
        std::fs::write(folder.join(format!("results/{name}.csv")), &rows).unwrap();
        json!({
            "TaskExecutionStatus": status,
            "Bucket": "example-reports",
            "MD5Checksum": md5(&rows),
            "Key": format!("reports/job-f8fb9d89/results/{name}.csv"),
        })
    });
    let manifest = folder.join("manifest.json");
    let write = |results: serde_json::Value| {
        let json = json!({"Format": "Report_CSV_20180820", "Results": results});
        std::fs::write(&manifest, json.to_string()).unwrap();
    };
    write(json!(files));
    let path = manifest.to_str().unwrap();
    let on = |given: Given<'_>| given.set("--manifest", path).command();
    // `copy` takes what failed, `verify` what did not.
    let run = Run::of(on(world.given())).await;
    assert_eq!(run.expect(0).summary("rows"), 1);
    world.assert_copied("c d");
    let run = Run::of(on(world.verifying())).await;
    assert_eq!(run.expect(1).summary("errors"), json!({"Missing": 2}));
    let found = world.verified();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["%C3%BC", "a%2Bb"]);
    let dry = Run::of(on(world.given().flag("--dry-run"))).await;
    assert_eq!(dry.expect(0).summary("rows"), 1);
    let mut inspect = world.command(&["manifest", "inspect", path, "--output", "json"]);
    inspect.arg("--no-role");
    assert_eq!(Run::of(inspect).await.expect(0).summary("rows"), 1);
    // It is what it was, or it is not taken.
    let refused = |given: Given<'_>, words: &'static str| {
        let command = on(given.set("--job-id", "refused"));
        async move {
            let run = Run::of(command).await;
            let said = run.expect(2).stderr.replace('\n', " ");
            assert!(said.contains(words), "{words}: {said}");
        }
    };
    refused(
        world.verifying().set("--manifest-fields", "Bucket,Key"),
        "leave out --manifest-fields",
    )
    .await;
    refused(
        world.verifying().set("--min-size", "1"),
        "needs the column Size",
    )
    .await;
    refused(
        world.verifying().set("--include-prefix", "x"),
        "no rows that the filters select",
    )
    .await;
    std::fs::write(folder.join("results/aa.csv"), of("failed")).unwrap();
    refused(world.verifying(), "its MD5 is").await;
    // A job that goes on finds it out too.
    let resumed = Run::of(on(world.verifying())).await;
    assert_eq!(resumed.code(), 1, "{resumed:?}");
    // A row of other columns is shown by its file, and none is left out.
    let bad = format!("{}{SOURCE},k,,succeeded,200\n", of("succeeded"));
    std::fs::write(folder.join("results/aa.csv"), &bad).unwrap();
    let mut file = files[0].clone();
    file["MD5Checksum"] = json!(md5(&bad));
    write(json!([file]));
    refused(
        world.verifying(),
        "results/aa.csv has 1 bad row   line 3 (byte ",
    )
    .await;
    write(json!([files[1]]));
    refused(world.verifying(), "lists no rows that succeeded").await;
    write(json!([files[0]]));
    refused(world.given(), "lists no failed rows").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_read_on_from_where_a_job_stopped() {
    for in_s3 in [false, true] {
        read_on(in_s3).await;
    }
}

async fn read_on(in_s3: bool) {
    let world = bucket::world();
    let keys: Vec<_> = (0..40).map(|n| format!("k {n:02}")).collect();
    for key in &keys {
        world.put(key, key);
    }
    // Of both kinds of rows, so that there are two files to read.
    for key in keys.iter().take(20) {
        world.put_copy(key, key, ObjectProperties::default());
    }
    world.manifest_of(&keys);
    let copied = world.copy(&["--overwrite", "never"]).await;
    assert_eq!(copied.expect(0).summary("skipped"), 20);
    let mut manifest = world.job().join("manifest.json");
    if in_s3 {
        let results = std::fs::read_dir(world.job().join("results")).unwrap();
        let results = results.map(|entry| entry.unwrap().path());
        for path in results.chain([manifest]) {
            let key = path.strip_prefix(world.path("report")).unwrap();
            let (key, content) = (format!("old/{}", key.display()), std::fs::read(&path));
            let properties = ObjectProperties::default();
            world
                .store()
                .put_object(REPORTS, &key, content.unwrap(), properties)
                .unwrap();
        }
        manifest = format!("s3://{REPORTS}/old/job-{JOB}/manifest.json").into();
    }
    let slow = Fault::on(Operation::HeadObject, FaultKind::Latency(50));
    world.sandbox.faults().add(slow);
    let given = world
        .verifying()
        .set("--manifest", manifest.to_str().unwrap());
    let child = given
        .clone()
        .set("--concurrency", "2")
        .command()
        .spawn()
        .unwrap();
    let head = |entry: &LogEntry| entry.operation == Operation::HeadObject;
    logged(&world, 60, head).await;
    terminate(&child);
    Run::end_of(child).await.expect(4);
    world.sandbox.faults().clear();
    let run = given.run().await;
    assert_eq!(run.expect(0).summary("succeeded"), 40);
    let mut found: Vec<_> = world.verified().into_keys().collect();
    found.sort();
    let all: Vec<_> = keys.iter().map(|key| encode(key)).collect();
    assert_eq!(found, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_content_of_a_report_is_not_looked_for() {
    let world = World::new();
    for key in ["kept", "deleted"] {
        world.put(key, key);
    }
    world.manifest_of(["kept", "deleted"]);
    world.copy(&[]).await.expect(0);
    world.store().delete_object(DESTINATION, "deleted").unwrap();
    // As a job writes it that leaves delete markers out, or replays them.
    let results = world.results(JOB, TaskStatus::Succeeded);
    let rows = std::fs::read_to_string(&results).unwrap();
    for (job, by, code) in [
        ("replayed", "marker", ""),
        ("skipped", "copy", "DeleteMarker"),
    ] {
        let by = format!("\"\"by\"\":\"\"{by}\"\"");
        let code = format!(",200,{code},");
        let mut written = String::new();
        for line in rows.lines() {
            let line = if line.contains(",deleted,") {
                let line = line.replace("\"\"by\"\":\"\"copy\"\"", &by);
                line.replace(",200,,", &code)
            } else {
                line.to_owned()
            };
            written += &(line + "\n");
        }
        assert_ne!(written, rows);
        let folder = world.path(job);
        std::fs::create_dir_all(folder.join("results")).unwrap();
        std::fs::write(folder.join("results/aa.csv"), &written).unwrap();
        let file = json!({
            "TaskExecutionStatus": "succeeded",
            "MD5Checksum": md5(&written),
            "Key": format!("{job}/results/aa.csv"),
        });
        let manifest = json!({"Format": "Report_CSV_20180820", "Results": [file]});
        let path = folder.join("manifest.json");
        std::fs::write(&path, manifest.to_string()).unwrap();
        let run = world
            .verifying()
            .set("--job-id", job)
            .set("--manifest", path.to_str().unwrap())
            .run()
            .await;
        assert_eq!(run.expect(0).summary("succeeded"), 1, "{job}");
        assert_eq!(run.summary("skipped"), 1, "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_it_is_read_is_not_called_different() {
    let world = World::new();
    world.put("k", "content");
    world.put_copy("k", "content", ObjectProperties::default());
    world.manifest_of(["k"]);
    let changed = FaultKind::Error {
        status: 412,
        code: "PreconditionFailed".into(),
        message: String::new(),
        retry_after: None,
    };
    world
        .sandbox
        .faults()
        .add(Fault::on(Operation::GetObject, changed));
    let run = world.verifying().set("--verify", "full").run().await;
    assert_eq!(run.expect(1).summary("errors"), json!({"NotComparable": 1}));
    assert!(says(
        &world.verified()["k"],
        "written again while it was read"
    ));
    world.sandbox.faults().clear();
    let resumed = resume(&world).await;
    assert_eq!(resumed.expect(0).summary("evidence"), json!({"full": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_object_is_verified_but_not_read() {
    let world = World::new();
    let archived = ObjectProperties {
        storage_class: StorageClass::Glacier,
        ..ObjectProperties::default()
    };
    world.put_with("k", "content", archived);
    world.put_copy("k", "content", ObjectProperties::default());
    world.manifest_of(["k"]);
    let head = world.verifying().set("--job-id", "head");
    head.run().await.expect(0);
    let run = world.verifying().set("--verify", "full").run().await;
    let errors = json!({"InvalidObjectState": 1});
    assert_eq!(run.expect(1).summary("errors"), errors);
    let rows = world.verified();
    let hint = message(&rows["k"], "hint");
    assert!(
        hint.as_str().unwrap().contains("restore it first"),
        "{rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_from_stdin_and_a_prefix() {
    let world = World::new();
    world.put("a/1", "1");
    world.put_copy("b/1", "1", ObjectProperties::default());
    let given = world
        .verifying()
        .set("--to", format!("s3://{DESTINATION}/b/"))
        .set("--strip-prefix", "a/")
        .stdin(format!("{SOURCE},a/1\n{SOURCE},c/1\nother,a/1\n"));
    let run = given.run().await;
    let errors = json!({"PrefixNotFound": 1, "InvalidManifestRow": 1});
    assert_eq!(run.expect(1).summary("errors"), errors);
    assert_eq!(run.summary("succeeded"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_under_customer_keys_are_read_with_them() {
    let world = World::new();
    let key_file = |name: &str, byte: u8| {
        std::fs::write(world.path(name), [byte; 32]).unwrap();
        let key = s3haul_s3::CustomerKey::from_file_content(&[byte; 32]).unwrap();
        ObjectProperties {
            customer_key_md5: Some(key.md5()),
            without_checksum: true,
            ..ObjectProperties::default()
        }
    };
    world.put_with("k", "content", key_file("source-key", 7));
    world.put_copy("k", "content", key_file("key", 8));
    world.put_with("of-source", "content", key_file("source-key", 7));
    world.put_copy("of-source", "content", ObjectProperties::default());
    let keyed = |job: &str, strength: &str| {
        world
            .verifying()
            .set("--job-id", job)
            .set("--verify", strength)
            .set("--source-sse-c-key-file", "source-key")
            .set("--sse-c-key-file", "key")
    };
    // Its ETag says nothing.
    world.manifest_of(["of-source"]);
    let head = keyed("head", "head").without("--sse-c-key-file");
    let run = head.run().await;
    assert_eq!(run.expect(1).summary("errors"), json!({"NotComparable": 1}));
    world.manifest_of(["k"]);
    let run = keyed("full", "full").run().await;
    assert_eq!(run.expect(0).summary("evidence"), json!({"full": 1}));
    world.assert_only_read();
    let without = keyed("without", "full").without("--sse-c-key-file");
    assert_ne!(without.run().await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_nothing_is_refused() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    let refused = [
        (world.verifying().set("--versions", "all"), "--versions all"),
        (world.verifying().set("--acl", "private"), "--compare acl"),
        (
            world.verifying().set("--compare", "owner"),
            "write a list of metadata, tags and acl",
        ),
        (
            world.verifying().set("--compare", ""),
            "write a list of metadata, tags and acl",
        ),
        (world.verifying().set("--verify", "response"), "--verify"),
        (world.verifying().set("--part-size", "auto"), "--part-size"),
        (world.verifying().set("--work-dir", "."), "--work-dir"),
        (
            world.verifying().set("--report", "s3://b--x-s3/p"),
            "directory buckets are not supported",
        ),
        (
            world.verifying().set("--sse-c-key-file", "none"),
            "--sse-c-key-file",
        ),
    ];
    for (given, words) in refused {
        given.refused(2, &[words]).await;
    }
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vanishes_while_it_is_read_is_told_by_its_side() {
    let world = World::new();
    world.put("k", "content");
    let properties = ObjectProperties::default();
    let store = world.store();
    store
        .put_object(DESTINATION, "to/k", "content", properties)
        .unwrap();
    world.manifest_of(["k"]);
    for (key, code, words) in [
        ("to/k", "Missing", "no such object"),
        ("k", "NoSuchKey", "nothing to compare with"),
    ] {
        let gone = FaultKind::Error {
            status: 404,
            code: "NoSuchKey".into(),
            message: "The specified key does not exist.".into(),
            retry_after: None,
        };
        let fault = Fault::on(Operation::GetObject, gone).key(key);
        let fault = world.sandbox.faults().add(fault);
        let verifying = world.verifying().set("--job-id", code);
        let to = format!("s3://{DESTINATION}/to/");
        let run = verifying
            .set("--to", &to)
            .set("--verify", "full")
            .run()
            .await;
        assert_eq!(run.expect(1).summary("errors"), json!({code: 1}));
        let rows = crate::support::read_report(std::path::Path::new(
            run.summary("report").as_str().unwrap(),
        ));
        assert!(rows[0].message.contains(words), "{rows:?}");
        fault.remove();
    }
}
