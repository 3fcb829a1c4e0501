//! Who may what: the first rows as proof, the failure threshold, both accounts' policies, ACLs,
//! owners, regions, MFA.

use std::fmt::Write as _;

use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::iam::{
    COPY_ROLE, Condition, DESTINATION_ACCOUNT, DESTINATION_ADMIN_ACCESS_KEY_ID,
    DESTINATION_ADMIN_SECRET_ACCESS_KEY, EXTERNAL_ID, Policy, PolicyKind, PrincipalBlock, Role,
    SOURCE_ACCOUNT, STRANGER_ACCOUNT, Statement, role_arn, user_arn,
};
use s3haul_sandbox::{
    AccountsFile, BucketSettings, MFA_CODE, ObjectOwnership, ObjectProperties, Operation,
    SandboxOptions, StorageClass, Versioning,
};
use serde_json::{Value, json};

use crate::support::{DESTINATION, Run, SOURCE, World, count, message, source_policy};

fn copies(world: &World) -> usize {
    world.sandbox.log().count(Operation::CopyObject)
}

/// A bucket's policy of one statement.
fn policy(statement: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

fn copy_role() -> String {
    role_arn(DESTINATION_ACCOUNT, COPY_ROLE)
}

/// Lets the role read these objects of the source bucket.
fn readable(resources: &Value) -> String {
    policy(&json!({
        "Effect": "Allow",
        "Principal": {"AWS": copy_role()},
        "Action": ["s3:GetObject", "s3:GetObjectTagging"],
        "Resource": resources,
    }))
}

/// A sandbox in which the role that copies is another.
fn world_with_role(change: impl FnOnce(&mut Role)) -> World {
    let mut accounts = AccountsFile::built_in();
    let mut roles = accounts
        .accounts
        .iter_mut()
        .flat_map(|account| &mut account.roles);
    change(roles.find(|role| role.name == COPY_ROLE).unwrap());
    let options = SandboxOptions {
        accounts,
        ..SandboxOptions::default()
    };
    World::with(options, BucketSettings::default())
}

/// A world whose destination bucket is of this ownership.
fn world_of(ownership: ObjectOwnership) -> World {
    let settings = BucketSettings {
        ownership: Some(ownership),
        ..BucketSettings::default()
    };
    World::with(SandboxOptions::default(), settings)
}

/// A manifest with sizes: `small`, and `large`, which is copied in parts of 5 MiB.
fn two_sizes(world: &World, properties: &ObjectProperties) {
    world.put_with("small", "12345", properties.clone());
    world
        .store()
        .declare_object(SOURCE, "large", 12 << 20, 1, properties)
        .unwrap();
    world.manifest("source,small,5\nsource,large,12582912\n");
}

const TWO_SIZES: [(&str, &str); 3] = [
    ("--manifest-fields", "Bucket,Key,Size"),
    ("--multipart-threshold", "5MiB"),
    ("--part-size", "5MiB"),
];

/// Copies both, with pairs of flags and values.
async fn copy_two_sizes(world: &World, more: &[(&str, &str)]) -> Run {
    let given = TWO_SIZES
        .iter()
        .chain(more)
        .fold(world.given(), |given, (flag, value)| {
            given.set(flag, *value)
        });
    given.run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_ten_rows_all_refused_stop_the_job() {
    let world = World::new();
    world.small_objects(30);
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    let run = world.copy(&[]).await;
    run.expect(3);
    assert_eq!(copies(&world), 10);
    assert_eq!(run.summary("errors"), json!({"AccessDenied": 10}));
    assert_eq!(run.summary("state"), "failed");
    assert_eq!(world.checkpoint()["state"], "failed");
    assert!(!world.job().join("manifest.json").exists());
    let words = "the first 10 rows were all refused for want of access: the job was stopped\n\
                 hint: once the cause is mended, go on with: s3haul resume ";
    assert!(run.stderr.contains(words), "{}", run.stderr);

    // Nothing is mended: ten more, and no retry of the first.
    world.resume(&[]).await.expect(3);
    assert_eq!(copies(&world), 20);

    world
        .store()
        .set_bucket_policy(SOURCE, Some(&source_policy()))
        .unwrap();
    let run = world.resume(&[]).await;
    assert_eq!(run.expect(0).summary("succeeded"), 30);
    assert_eq!(copies(&world), 50);
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), 30);
    for n in 0..30 {
        world.assert_copied(&format!("k{n:05}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_than_ten_rows_all_refused_stop_it_too() {
    let world = World::new();
    world.small_objects(3);
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    let run = world.copy(&[]).await;
    run.expect(3);
    assert_eq!((copies(&world), run.summary("state")), (3, "failed".into()));
    assert!(
        run.stderr.contains("the first 3 rows were all refused"),
        "{}",
        run.stderr
    );
    world
        .store()
        .set_bucket_policy(SOURCE, Some(&source_policy()))
        .unwrap();
    world.resume(&[]).await.expect(0);
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_the_first_ten_is_enough_to_go_on() {
    let world = World::new();
    world.small_objects(30);
    let one = readable(&json!("arn:aws:s3:::source/k00007"));
    world.store().set_bucket_policy(SOURCE, Some(&one)).unwrap();
    let run = world.copy(&[]).await;
    run.expect(1);
    assert_eq!(
        (run.summary("succeeded"), run.summary("failed")),
        (1.into(), 29.into())
    );
    assert_eq!(copies(&world), 30);
    let rows = world.rows();
    assert_eq!(rows.len(), 30);
    for row in rows.iter().filter(|row| row.status == TaskStatus::Failed) {
        assert_eq!(
            (row.http_status, row.error_code.as_str()),
            (Some(403), "AccessDenied")
        );
        let hint = message(row, "hint");
        for word in ["s3:GetObject", "the source bucket's", "s3:PutObjectAcl"] {
            assert!(hint.as_str().unwrap().contains(word), "{hint}");
        }
        assert_eq!(message(row, "operation"), "CopyObject");
        assert!(!message(row, "request_id").is_null() && !message(row, "ended_at").is_null());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fail_otherwise_are_no_refusal() {
    let world = World::new();
    world.manifest_of((0..12).map(|n| format!("gone{n}")));
    let run = world.copy(&[]).await;
    assert_eq!(run.expect(1).summary("errors"), json!({"NoSuchKey": 12}));
}

/// A manifest of rows of which those that `gone` picks are missing.
fn many_rows(world: &World, rows: usize, gone: impl Fn(usize) -> bool) {
    let key = |n: usize| format!("{}{n}", if gone(n) { "gone" } else { "there" });
    for n in (0..rows).filter(|n| !gone(*n)) {
        world.put(&key(n), "1");
    }
    world.manifest_of((0..rows).map(key));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failure_threshold_stops_a_job() {
    let world = World::new();
    // 52 % fail, at any time since the beginning.
    many_rows(&world, 1100, |n| n % 2 == 0 || n % 50 == 1);
    let run = world.copy(&["--concurrency", "4"]).await;
    run.expect(3);
    let sent = copies(&world);
    assert!((1000..1050).contains(&sent), "{sent}");
    assert_eq!(run.summary("state"), "failed");
    assert!(
        run.stderr.contains("over the --failure-threshold"),
        "{}",
        run.stderr
    );
    let ended = |member: &str| run.summary(member).as_u64().unwrap();
    assert_eq!(ended("succeeded") + ended("failed"), sent as u64);

    // A resume counts anew: what is left of pass 0, then a pass that has no threshold.
    let run = world.resume(&["--concurrency", "4"]).await;
    run.expect(1);
    assert_eq!(
        (run.summary("succeeded"), run.summary("failed")),
        (528.into(), 572.into())
    );
    assert_eq!(world.rows().len(), 1100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_of_none_stops_nothing() {
    let world = World::new();
    many_rows(&world, 1010, |n| n % 2 == 0 || n % 50 == 1);
    let run = world.copy(&["--failure-threshold", "none"]).await;
    assert_eq!(run.expect(1).summary("failed"), 526);
    assert_eq!(copies(&world), 1010);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_pass_has_no_threshold() {
    let world = World::new();
    many_rows(&world, 1115, |n| n % 10 != 0);
    // Nine of ten fail, and all rows of the next pass do.
    let run = world.copy(&["--failure-threshold", "91"]).await;
    assert_eq!(run.expect(1).summary("failed"), 1003);
    let run = world.resume(&[]).await;
    assert_eq!(run.expect(1).summary("failed"), 1003);
    assert_eq!(copies(&world), 1115 + 1003);
}

/// Tagged objects whose tags may not be read: their rows fail, and nothing lands untagged.
async fn assert_tags_are_not_lost(world: &World) {
    let tags = vec![("k".to_owned(), "v".to_owned())];
    let tagged = ObjectProperties {
        tags,
        ..ObjectProperties::default()
    };
    two_sizes(world, &tagged);
    world.put("plain", "12345");
    world.manifest("source,small,5\nsource,large,12582912\nsource,plain,5\n");
    let run = copy_two_sizes(world, &[]).await;
    run.expect(1);
    let rows = world.rows_by_key();
    for (key, operation) in [("small", "CopyObject"), ("large", "GetObjectTagging")] {
        let row = &rows[key];
        assert_eq!(
            (row.status, row.error_code.as_str()),
            (TaskStatus::Failed, "AccessDenied")
        );
        assert_eq!(message(row, "operation"), operation);
        assert!(
            message(row, "hint")
                .as_str()
                .unwrap()
                .contains("s3:GetObjectTagging"),
            "{row:?}"
        );
        assert!(world.store().object(DESTINATION, key).is_none());
    }
    assert_eq!(rows["plain"].status, TaskStatus::Succeeded);
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_read_tags() {
    let world = world_with_role(|role| {
        let tagging = Statement::deny(&["s3:GetObjectTagging"], &["*"]);
        role.policies.push(Policy::new(vec![tagging]));
    });
    assert_tags_are_not_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_bucket_that_does_not_show_tags() {
    let world = World::new();
    let without: Value = serde_json::from_str(&source_policy()).unwrap();
    let without = without
        .to_string()
        .replace("s3:GetObjectTagging", "s3:GetObjectAcl");
    world
        .store()
        .set_bucket_policy(SOURCE, Some(&without))
        .unwrap();
    assert_tags_are_not_lost(&world).await;
}

fn denied(actions: &[&str]) -> World {
    world_with_role(|role| {
        let denied = Statement::deny(actions, &["*"]);
        role.policies.push(Policy::new(vec![denied]));
    })
}

/// What a role may not do, and what becomes of an object that is copied whole and of one that goes in parts: the
/// request that is refused of each, with a word of its hint, or none.
struct Denied {
    action: &'static str,
    tags: usize,
    annotations: usize,
    small: Option<&'static str>,
    large: Option<(&'static str, &'static str)>,
    /// The object of the other row stands at the destination all the same, without what could not be carried.
    stands: bool,
}

const COPY: Option<&str> = Some("CopyObject");

const DENIED: [Denied; 8] = [
    Denied {
        action: "s3:GetObjectAnnotation",
        tags: 0,
        annotations: 1,
        small: COPY,
        large: Some(("GetObjectAnnotation", "--annotations exclude")),
        stands: false,
    },
    Denied {
        action: "s3:GetObjectAnnotation",
        tags: 1,
        annotations: 0,
        small: None,
        large: None,
        stands: false,
    },
    // A copy in parts cannot know that there are none; CopyObject lists none.
    Denied {
        action: "s3:ListObjectAnnotations",
        tags: 0,
        annotations: 0,
        small: None,
        large: Some(("ListObjectAnnotations", "--annotations exclude")),
        stands: false,
    },
    Denied {
        action: "s3:ListObjectAnnotations",
        tags: 0,
        annotations: 1,
        small: None,
        large: Some(("ListObjectAnnotations", "--annotations exclude")),
        stands: false,
    },
    Denied {
        action: "s3:PutObjectAnnotation",
        tags: 0,
        annotations: 1,
        small: COPY,
        large: Some(("PutObjectAnnotation", "stands at the destination without")),
        stands: true,
    },
    Denied {
        action: "s3:PutObjectTagging",
        tags: 1,
        annotations: 0,
        small: COPY,
        large: Some(("CreateMultipartUpload", "s3:PutObjectAcl")),
        stands: false,
    },
    // Over what a header takes.
    Denied {
        action: "s3:PutObjectTagging",
        tags: 10,
        annotations: 0,
        small: COPY,
        large: Some(("PutObjectTagging", "stands at the destination without")),
        stands: true,
    },
    Denied {
        action: "s3:GetObjectTagging",
        tags: 0,
        annotations: 1,
        small: None,
        large: Some(("GetObjectTagging", "--tags none")),
        stands: false,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_carried_fails_its_row_by_both_paths() {
    for case in DENIED {
        let world = denied(&[case.action]);
        let tag = |n| (format!("k{n}"), "é".repeat(120));
        let properties = ObjectProperties {
            tags: (0..case.tags).map(tag).collect(),
            annotations: (0..case.annotations)
                .map(|n| (format!("a{n}"), "text".to_owned()))
                .collect(),
            ..ObjectProperties::default()
        };
        two_sizes(&world, &properties);
        // A row that is not refused, so that the job goes on.
        world.put("plain", "12345");
        world.manifest("source,small,5\nsource,large,12582912\nsource,plain,5\n");
        let run = copy_two_sizes(&world, &[]).await;
        let rows = world.rows_by_key();
        let refused = [
            (
                "small",
                case.small.map(|operation| (operation, case.action)),
            ),
            ("large", case.large),
        ];
        for (key, refused) in refused {
            let row = &rows[key];
            let told = format!("{}: {row:?}", case.action);
            let Some((operation, word)) = refused else {
                assert_eq!(row.status, TaskStatus::Succeeded, "{told}");
                continue;
            };
            run.expect(1);
            assert_eq!(
                (row.status, row.error_code.as_str()),
                (TaskStatus::Failed, "AccessDenied"),
                "{told}"
            );
            assert_eq!(message(row, "operation"), operation, "{told}");
            let hint = message(row, "hint");
            for word in [case.action, word] {
                assert!(hint.as_str().unwrap().contains(word), "{told}");
            }
            let stands = world.store().object(DESTINATION, key).is_some();
            assert_eq!(stands, case.stands && key == "large", "{told}");
        }
        world.assert_no_uploads();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_takes_no_permission() {
    let actions = ["s3:*Annotation*", "s3:*Tagging"];
    let world = denied(&actions);
    let properties = ObjectProperties {
        tags: vec![("k".to_owned(), "v".to_owned())],
        annotations: [("a".to_owned(), "text".to_owned())].into(),
        ..ObjectProperties::default()
    };
    two_sizes(&world, &properties);
    let without = [("--tags", "none"), ("--annotations", "exclude")];
    copy_two_sizes(&world, &without).await.expect(0);
    for key in ["small", "large"] {
        world.assert_copied(key);
        let there = world.store().object(DESTINATION, key).unwrap();
        assert!(there.tags().is_empty() && there.annotations().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_looks_and_restores_name_their_actions() {
    let archived = ObjectProperties {
        storage_class: StorageClass::Glacier,
        ..ObjectProperties::default()
    };
    for (action, properties, flags, operation) in [
        (
            "s3:GetObjectAttributes",
            ObjectProperties::default(),
            ("--verify", "checksum"),
            "GetObjectAttributes",
        ),
        (
            "s3:RestoreObject",
            archived,
            ("--archived", "restore"),
            "RestoreObject",
        ),
    ] {
        let world = denied(&[action]);
        two_sizes(&world, &properties);
        world.put("plain", "12345");
        world.manifest("source,small,5\nsource,large,12582912\nsource,plain,5\n");
        copy_two_sizes(&world, &[flags]).await.expect(1);
        let row = &world.rows_by_key()["small"];
        assert_eq!(message(row, "operation"), operation);
        let hint = message(row, "hint");
        assert!(hint.as_str().unwrap().contains(action), "{hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_write() {
    let world = world_with_role(|role| {
        role.policies.push(Policy::new(vec![Statement::deny(
            &["s3:PutObject"],
            &["*"],
        )]));
    });
    two_sizes(&world, &ObjectProperties::default());
    copy_two_sizes(&world, &[]).await.expect(3);
    assert_eq!(
        world.checkpoint()["counts"]["errors"],
        json!({"AccessDenied": 2})
    );
    assert_eq!(world.store().object_count(DESTINATION), 0);
    world.assert_no_uploads();
}

/// The ACL header of every request that makes an object.
fn acls(world: &World) -> Vec<Option<String>> {
    let log = world.sandbox.log().entries();
    log.iter()
        .filter(|entry| {
            matches!(
                entry.operation,
                Operation::CopyObject | Operation::CreateMultipartUpload
            )
        })
        .map(|entry| entry.header("x-amz-acl").map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_owner_gets_full_control() {
    let sent = Some("bucket-owner-full-control".to_owned());
    for ownership in [
        ObjectOwnership::BucketOwnerEnforced,
        ObjectOwnership::ObjectWriter,
    ] {
        let world = world_of(ownership);
        two_sizes(&world, &ObjectProperties::default());
        copy_two_sizes(&world, &[]).await.expect(0);
        assert_eq!(acls(&world), [sent.clone(), sent.clone()]);
        for key in ["small", "large"] {
            let copy = world.store().object(DESTINATION, key).unwrap();
            if ownership == ObjectOwnership::ObjectWriter {
                assert_eq!(copy.acl(), sent.as_deref());
            }
            world.assert_copied(key);
        }
        // Nothing of it goes with parts, which take no ACL.
        for part in world.sandbox.log().of(Operation::UploadPartCopy) {
            assert_eq!(part.header("x-amz-acl"), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acl_is_sent_if_none_is_wanted() {
    // Nor is s3:PutObjectAcl needed then.
    let world = world_with_role(|role| {
        role.policies.push(Policy::new(vec![Statement::deny(
            &["s3:PutObjectAcl"],
            &["*"],
        )]));
    });
    two_sizes(&world, &ObjectProperties::default());
    copy_two_sizes(&world, &[("--acl", "none")]).await.expect(0);
    assert_eq!(acls(&world), [None, None]);
    copy_two_sizes(&world, &[("--job-id", "with-acl")])
        .await
        .expect(3);
}

/// Expects that both rows failed with this code, and that the hint names all of `words`.
fn assert_both_failed(world: &World, code: &str, words: &[&str]) {
    let rows = world.rows();
    assert_eq!(count(&rows, TaskStatus::Failed), 2);
    let of = |row: &ReportRow| (row.error_code.clone(), message(row, "hint"));
    for (error_code, hint) in rows.iter().map(of) {
        assert_eq!(error_code, code);
        for word in words {
            assert!(hint.as_str().unwrap().contains(word), "{hint}");
        }
    }
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn acls_that_the_bucket_does_not_take() {
    let world = world_of(ObjectOwnership::BucketOwnerEnforced);
    two_sizes(&world, &ObjectProperties::default());
    copy_two_sizes(&world, &[("--acl", "public-read")])
        .await
        .expect(1);
    let words = ["--acl bucket-owner-full-control", "--acl none"];
    assert_both_failed(&world, "AccessControlListNotSupported", &words);
    // It takes them where they are not disabled.
    let world = world_of(ObjectOwnership::ObjectWriter);
    two_sizes(&world, &ObjectProperties::default());
    copy_two_sizes(&world, &[("--acl", "public-read")])
        .await
        .expect(0);
    for key in ["small", "large"] {
        assert_eq!(
            world.store().object(DESTINATION, key).unwrap().acl(),
            Some("public-read")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_of_another_account_that_demands_the_acl() {
    let world = World::new();
    let role = copy_role();
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": role},
                "Action": "s3:*",
                "Resource": ["arn:aws:s3:::theirs", "arn:aws:s3:::theirs/*"],
            },
            {
                "Effect": "Deny",
                "Principal": {"AWS": role},
                "Action": "s3:PutObject",
                "Resource": "arn:aws:s3:::theirs/*",
                "Condition": {
                    "StringNotEquals": {"s3:x-amz-acl": "bucket-owner-full-control"},
                },
            },
        ],
    });
    let settings = BucketSettings {
        ownership: Some(ObjectOwnership::BucketOwnerPreferred),
        policy: Some(policy.to_string()),
        ..BucketSettings::default()
    };
    world
        .store()
        .create_bucket("theirs", STRANGER_ACCOUNT, "us-east-1", settings)
        .unwrap();
    world.put("small", "12345");
    world.manifest("source,small\n");
    let theirs = |acl: &str, report: &str| {
        let given = world.given().set("--to", "s3://theirs").set("--acl", acl);
        given
            .set("--destination-account", STRANGER_ACCOUNT)
            .set("--job-id", report)
    };
    theirs("none", "none").run().await.expect(3);
    assert!(world.store().object("theirs", "small").is_none());
    theirs("bucket-owner-full-control", "full")
        .run()
        .await
        .expect(0);
    assert_eq!(
        world.store().object("theirs", "small").unwrap().owner(),
        STRANGER_ACCOUNT
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_expected_on_every_request() {
    let world = World::new();
    let tags = vec![("k".to_owned(), "v".to_owned())];
    two_sizes(
        &world,
        &ObjectProperties {
            tags,
            ..ObjectProperties::default()
        },
    );
    let more = [
        ("--source-account", SOURCE_ACCOUNT),
        ("--overwrite", "if-different"),
    ];
    copy_two_sizes(&world, &more).await.expect(0);
    copy_two_sizes(&world, &[more[0], more[1], ("--job-id", "again")]).await;
    let mut seen = std::collections::BTreeSet::new();
    for entry in world.sandbox.log().entries() {
        let expected = entry.header("x-amz-expected-bucket-owner");
        let account = match entry.bucket.as_str() {
            SOURCE => SOURCE_ACCOUNT,
            DESTINATION => DESTINATION_ACCOUNT,
            other => {
                assert_eq!((other, expected), ("", None), "{entry:?}");
                continue;
            }
        };
        // A region is asked of anybody: no owner is needed to be told it.
        if entry.operation != Operation::HeadBucket {
            assert_eq!(expected, Some(account), "{entry:?}");
        }
        if matches!(
            entry.operation,
            Operation::CopyObject | Operation::UploadPartCopy
        ) {
            let source = entry.header("x-amz-source-expected-bucket-owner");
            assert_eq!(source, Some(SOURCE_ACCOUNT), "{entry:?}");
        }
        if expected == Some(account) {
            seen.insert((account, entry.operation.as_str()));
        }
    }
    for operation in ["HeadBucket", "HeadObject", "GetObjectTagging"] {
        assert!(
            seen.contains(&(SOURCE_ACCOUNT, operation)),
            "{operation}: {seen:?}"
        );
    }
    for operation in [
        "HeadBucket",
        "HeadObject",
        "CopyObject",
        "CreateMultipartUpload",
        "UploadPartCopy",
        "CompleteMultipartUpload",
    ] {
        assert!(
            seen.contains(&(DESTINATION_ACCOUNT, operation)),
            "{operation}: {seen:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_owner_is_expected_where_any_will_do() {
    let world = World::new();
    two_sizes(&world, &ObjectProperties::default());
    copy_two_sizes(&world, &[("--destination-account", "any")])
        .await
        .expect(0);
    for entry in world.sandbox.log().entries() {
        assert!(
            !entry.headers.keys().any(|name| name.contains("owner")),
            "{entry:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_regions_are_found() {
    let world = World::new();
    world.store().remove_bucket(SOURCE);
    world.store().remove_bucket(DESTINATION);
    let settings = BucketSettings {
        policy: Some(source_policy()),
        ..BucketSettings::default()
    };
    world
        .store()
        .create_bucket(SOURCE, SOURCE_ACCOUNT, "eu-central-1", settings)
        .unwrap();
    let settings = BucketSettings::default();
    world
        .store()
        .create_bucket(DESTINATION, DESTINATION_ACCOUNT, "ap-southeast-2", settings)
        .unwrap();
    two_sizes(&world, &ObjectProperties::default());
    // The sandbox refuses what is signed for another region.
    for (job, region) in [
        ("none", None),
        ("other", Some("us-west-2")),
        ("one", Some("eu-central-1")),
    ] {
        let mut given = world
            .given()
            .set("--job-id", job)
            .set("--manifest-fields", "Bucket,Key,Size");
        given = given.set("--multipart-threshold", "5MiB");
        if let Some(region) = region {
            given = given.variable("AWS_REGION", region);
        }
        given.run().await.expect(0);
        world.assert_copied("small");
        world.assert_copied("large");
    }
    let named = world
        .given()
        .set("--job-id", "named")
        .set("--region", "ap-southeast-2");
    let named = named.set("--source-region", "eu-central-1");
    named
        .set("--manifest-fields", "Bucket,Key,Size")
        .run()
        .await
        .expect(0);
    // Nor may a wrong one be believed.
    let wrong = world
        .given()
        .set("--job-id", "wrong")
        .set("--region", "eu-west-3");
    let wrong = wrong
        .set("--manifest-fields", "Bucket,Key,Size")
        .run()
        .await;
    assert_ne!(wrong.code(), 0, "{wrong:?}");
    for word in ["the destination bucket destination", "--region"] {
        assert!(wrong.stderr.contains(word), "{word}: {}", wrong.stderr);
    }
    assert!(!world.path("report/job-wrong").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_copied_across_partitions() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    // As given: no request is needed to know it.
    world.sandbox.log().clear();
    let named = world.given().set("--region", "us-gov-west-1");
    let named = named.set("--source-region", "us-east-1");
    let words = [
        "us-east-1 is of partition aws,",
        "us-gov-west-1 of aws-us-gov",
        "--source-region",
    ];
    named.refused(2, &words).await;
    let role = world
        .given()
        .set("--role-arn", "arn:aws-cn:iam::222222222222:role/r");
    let role = role.set("--region", "us-east-1").without("--endpoint-url");
    let words = [
        "the destination's region us-east-1 is of partition aws,",
        "role/r of aws-cn",
    ];
    role.refused(2, &words).await;
    assert!(world.sandbox.log().entries().is_empty());
    // As found.
    world.store().remove_bucket(SOURCE);
    let settings = BucketSettings {
        policy: Some(source_policy()),
        ..BucketSettings::default()
    };
    world
        .store()
        .create_bucket(SOURCE, SOURCE_ACCOUNT, "cn-north-1", settings)
        .unwrap();
    world
        .given()
        .refused(2, &["cn-north-1 is of partition aws-cn"])
        .await;
    assert_eq!(copies(&world), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_asks_for_mfa() {
    let world = world_with_role(|role| {
        let values = vec!["true".to_owned()];
        let mfa = Condition::new("Bool", "aws:MultiFactorAuthPresent", values).unwrap();
        let user = PrincipalBlock::aws(&[&user_arn(DESTINATION_ACCOUNT, "operator")]);
        let id = Condition::string_equals("sts:ExternalId", EXTERNAL_ID);
        role.trust_policy = Policy::new(vec![Statement::trust(user).when(id).when(mfa)]);
    });
    world.put("a", "a");
    world.manifest_of(["a"]);
    let serial = "arn:aws:iam::222222222222:mfa/operator";
    world
        .given()
        .refused(3, &["cannot be assumed", "--mfa-serial"])
        .await;
    let mfa = || world.given().set("--mfa-serial", serial);
    let wrong = mfa().set("--mfa-code", "654321");
    wrong
        .refused(
            3,
            &["no session can be had with MFA device", serial, "hint:"],
        )
        .await;
    // There is no terminal to ask on.
    mfa().refused(2, &[serial, "give --mfa-code"]).await;
    world.sandbox.log().clear();
    mfa().set("--mfa-code", MFA_CODE).run().await.expect(0);
    world.assert_copied("a");
    let log = world.sandbox.log();
    assert_eq!(log.count(Operation::GetSessionToken), 1);
    assert_eq!(log.count(Operation::AssumeRole), 1);
    assert_eq!(world.row().status, TaskStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_base_identity_copies_where_no_role_is_wanted() {
    let world = World::new();
    let admin = user_arn(DESTINATION_ACCOUNT, "destination-admin");
    let policy = source_policy().replace(&copy_role(), &admin);
    world
        .store()
        .set_bucket_policy(SOURCE, Some(&policy))
        .unwrap();
    world.put("a", "a");
    world.manifest_of(["a"]);
    let admin_copies = || {
        world
            .given()
            .without("--role-arn")
            .without("--external-id")
            .flag("--no-role")
            .variable("AWS_ACCESS_KEY_ID", DESTINATION_ADMIN_ACCESS_KEY_ID)
            .variable("AWS_SECRET_ACCESS_KEY", DESTINATION_ADMIN_SECRET_ACCESS_KEY)
    };
    admin_copies().run().await.expect(0);
    let log = world.sandbox.log();
    assert_eq!(log.count(Operation::AssumeRole), 0);
    assert_eq!(
        log.of(Operation::CopyObject)[0].principal.as_deref(),
        Some(admin.as_str())
    );
    // Nobody's in particular is expected, unless it is said.
    let owners =
        |entry: &s3haul_sandbox::LogEntry| entry.header("x-amz-expected-bucket-owner").is_some();
    assert!(!log.entries().iter().any(owners));
    let other = admin_copies()
        .set("--job-id", "other")
        .set("--destination-account", STRANGER_ACCOUNT);
    let run = other.run().await;
    run.expect(3);
    assert!(
        run.stderr.contains("--destination-account"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("the role's"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requester_pays() {
    let world = World::new();
    let settings = world.store().settings(SOURCE).unwrap();
    let settings = BucketSettings {
        requester_pays: true,
        ..settings
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
    two_sizes(&world, &ObjectProperties::default());
    copy_two_sizes(&world, &[]).await.expect(3);
    assert_eq!(world.store().object_count(DESTINATION), 0);
    let pays = TWO_SIZES
        .iter()
        .fold(world.given(), |given, (flag, value)| {
            given.set(flag, *value)
        });
    pays.flag("--requester-pays")
        .set("--job-id", "pays")
        .run()
        .await
        .expect(0);
    world.assert_copied("small");
    world.assert_copied("large");
}

/// What `policy` prints under this name.
async fn printed(document: &str, flags: &[&str]) -> String {
    let nobody = World::new();
    let mut command = nobody.command(&["policy", "--document", document]);
    command
        .args(["--source", "s3://source", "--to", "s3://destination"])
        .args(["--source-account", SOURCE_ACCOUNT, "--role-arn"])
        .arg(copy_role())
        .args(["--base", &user_arn(DESTINATION_ACCOUNT, "operator")])
        .args(flags);
    let run = Run::of(command).await;
    run.expect(0);
    run.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_policies_are_enough_for_rows_with_and_without_versions() {
    for (fields, missing) in [
        ("Bucket,Key,VersionId,Size", "NoSuchVersion"),
        ("Bucket,Key,Ignore,Size", "NoSuchKey"),
    ] {
        let flags = ["--manifest-fields", fields, "--overwrite", "if-different"];
        let of_role = printed("job-permissions", &flags).await;
        let of_source = printed("source-bucket-policy", &flags).await;
        let world = world_with_role(|role| {
            role.policies = vec![Policy::parse(&of_role, PolicyKind::Identity).unwrap()];
        });
        for (bucket, policy) in [(SOURCE, Some(of_source)), (DESTINATION, None)] {
            let settings = BucketSettings {
                versioning: Versioning::Enabled,
                policy,
                ..BucketSettings::default()
            };
            world.store().configure_bucket(bucket, settings).unwrap();
        }
        tagged_in_two_sizes_are_copied(&world, fields).await;
        // A missing object is told from a forbidden one.
        world.manifest("source,gone,null,5\n");
        let given = world.given().set("--manifest-fields", fields);
        let run = given.set("--job-id", "gone").run().await;
        assert_eq!(run.expect(1).summary("errors"), json!({missing: 1}));
    }
}

/// Copies a small and a large object, twice, with tags that fit the header of Create, and with some that do not.
async fn tagged_in_two_sizes_are_copied(world: &World, fields: &str) {
    let long = |n: usize| (format!("key{n}"), "v".repeat(250));
    for (name, tags) in [
        ("few", vec![long(0)]),
        ("many", (0..10).map(long).collect()),
    ] {
        let tagged = ObjectProperties {
            tags,
            ..ObjectProperties::default()
        };
        let mut rows = String::new();
        for size in [5, 12 << 20] {
            let key = format!("{name}-{size}");
            let store = world.store();
            let version = store
                .declare_object(SOURCE, &key, size, 1, &tagged)
                .unwrap();
            writeln!(rows, "source,{key},{version},{size}").unwrap();
        }
        world.manifest(rows);
        for overwrite in ["always", "if-different"] {
            let given = TWO_SIZES
                .iter()
                .fold(world.given(), |given, (flag, value)| {
                    given.set(flag, *value)
                });
            let given = given
                .set("--manifest-fields", fields)
                .set("--overwrite", overwrite)
                .set("--job-id", format!("{name}-{overwrite}"));
            given.run().await.expect(0);
        }
        for size in [5, 12 << 20] {
            let key = format!("{name}-{size}");
            world.assert_copied(&key);
            let copy = world.store().object(DESTINATION, &key).unwrap();
            assert_eq!(copy.tags(), tagged.tags);
        }
    }
}
