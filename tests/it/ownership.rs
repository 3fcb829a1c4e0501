//! Who owns a copy: the table of `docs/ownership.md`, by both paths; and objects of a third account.

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::{
    COPY_ROLE, DESTINATION_ACCOUNT, SOURCE_ACCOUNT, STRANGER_ACCOUNT, role_arn,
};
use s3haul_sandbox::{
    BucketSettings, ObjectOwnership, ObjectProperties, Operation, SandboxOptions, canonical_user_id,
};
use serde_json::json;

use crate::both::{assert_all_copied, assert_failed, copy, key, keys, put};
use crate::objects::{IN_PARTS, sized_manifest};
use crate::support::{DESTINATION, SOURCE, World, message, read_report};

/// A bucket of another account than the role's, which lets the role in.
const THEIRS: &str = "theirs";

/// What a row of the table says of an ownership and an ACL: its cells for a role of the bucket's account and of
/// another.
struct Row {
    ownership: Option<ObjectOwnership>,
    acl: String,
    own: String,
    others: String,
}

fn table() -> Vec<Row> {
    let page = include_str!("../../docs/ownership.md");
    let lines = page.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut rows = Vec::new();
    for line in lines {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [ownership, acls, own, others] = cells[..] else {
            panic!("{line}")
        };
        let ownership = match ownership.trim_matches('`') {
            "never set" => None,
            name => Some(serde_json::from_value(json!(name)).unwrap()),
        };
        rows.extend(acls.split(", ").map(|acl| Row {
            ownership,
            acl: acl.to_owned(),
            own: own.to_owned(),
            others: others.to_owned(),
        }));
    }
    rows
}

fn flags(acl: &str) -> Vec<String> {
    let grants = [
        "--grant-full-control".to_owned(),
        format!("id={}", canonical_user_id(DESTINATION_ACCOUNT)),
        "--grant-read".to_owned(),
        format!("id={}", canonical_user_id(SOURCE_ACCOUNT)),
    ];
    match acl {
        "grants" => grants.to_vec(),
        acl => vec!["--acl".to_owned(), acl.to_owned()],
    }
}

/// A world with a bucket of this ownership in the role's account and one in another.
fn world(ownership: Option<ObjectOwnership>) -> World {
    let settings = BucketSettings {
        ownership,
        ..BucketSettings::default()
    };
    let world = World::with(SandboxOptions::default(), settings.clone());
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"AWS": role_arn(DESTINATION_ACCOUNT, COPY_ROLE)},
        "Action": "s3:*",
        "Resource": [format!("arn:aws:s3:::{THEIRS}"), format!("arn:aws:s3:::{THEIRS}/*")],
    }]});
    let settings = BucketSettings {
        policy: Some(policy.to_string()),
        ..settings
    };
    world
        .store()
        .create_bucket(THEIRS, STRANGER_ACCOUNT, "us-east-1", settings)
        .unwrap();
    put(&world, "k", &ObjectProperties::default());
    sized_manifest(&world, keys(&["k"]));
    world
}

/// Copies with an ACL into a bucket, and checks what the table's cell says.
async fn assert_cell(world: &World, row: &Row, bucket: &str, cell: &str) {
    let case = format!("{:?}, {}, {bucket}: {cell}", row.ownership, row.acl);
    let (account, others) = match bucket {
        THEIRS => (STRANGER_ACCOUNT, true),
        _ => (DESTINATION_ACCOUNT, false),
    };
    let job = format!("{bucket}-{}", row.acl);
    let mut command = world.command(&["copy"]);
    command
        .arg("--manifest")
        .arg(world.path("manifest.csv"))
        .args(["--to", &format!("s3://{bucket}/{job}/")])
        .args(["--role-arn", &role_arn(DESTINATION_ACCOUNT, COPY_ROLE)])
        .args(["--external-id", s3haul_sandbox::iam::EXTERNAL_ID])
        .args(["--endpoint-url", &world.sandbox.endpoint()])
        .args(["--destination-account", account])
        .args(["--job-id", &job, "--output", "json"])
        .args(IN_PARTS)
        .args(flags(&row.acl));
    world.sandbox.log().clear();
    let run = crate::support::Run::of(command).await;
    let refused = cell == "`AccessControlListNotSupported`";
    assert_eq!(run.code(), i32::from(refused), "{case}: {run:?}");
    let rows = read_report(&world.path("s3haul-report").join(format!("job-{job}")));
    assert_eq!(rows.len(), 2, "{case}");
    for ended in rows {
        let there = world
            .store()
            .object(bucket, &format!("{job}/{}", ended.key));
        if refused {
            let words = ["--acl bucket-owner-full-control", "--acl none", "--grant"];
            assert_failed(&ended, "AccessControlListNotSupported", &words);
            assert!(there.is_none(), "{case}");
            continue;
        }
        assert_eq!(ended.status, TaskStatus::Succeeded, "{case}: {ended:?}");
        let there = there.unwrap_or_else(|| panic!("{case}: nothing there"));
        let owner = match cell {
            "bucket owner" => account,
            "writer" if others => DESTINATION_ACCOUNT,
            cell => panic!("{cell}"),
        };
        assert_eq!(there.owner(), owner, "{case}, {}", ended.key);
        if row.ownership != Some(ObjectOwnership::BucketOwnerEnforced) {
            let canned = (!["none", "grants"].contains(&row.acl.as_str())).then_some(&*row.acl);
            assert_eq!(there.acl(), canned, "{case}, {}", ended.key);
            let grants = if row.acl == "grants" { 2 } else { 0 };
            assert_eq!(there.grants().len(), grants, "{case}, {}", ended.key);
        }
    }
    if refused {
        let log = world.sandbox.log();
        assert_eq!(log.count(Operation::UploadPartCopy), 0, "{case}");
    }
    assert_eq!(world.store().uploads(bucket), [], "{case}");
}

async fn assert_ownership(name: Option<ObjectOwnership>) {
    let world = world(name);
    let rows: Vec<_> = table()
        .into_iter()
        .filter(|row| row.ownership == name)
        .collect();
    let mut acls: Vec<_> = rows.iter().map(|row| row.acl.as_str()).collect();
    acls.sort_unstable();
    let all = ["bucket-owner-full-control", "grants", "none", "private"];
    assert_eq!(acls, [&all[..], &["public-read"]].concat(), "{name:?}");
    for row in &rows {
        assert_cell(&world, row, DESTINATION, &row.own).await;
        assert_cell(&world, row, THEIRS, &row.others).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_enforces_its_ownership() {
    assert_ownership(Some(ObjectOwnership::BucketOwnerEnforced)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_prefers_its_owner() {
    assert_ownership(Some(ObjectOwnership::BucketOwnerPreferred)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_whose_writers_own() {
    assert_ownership(Some(ObjectOwnership::ObjectWriter)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_never_set_its_ownership() {
    assert_ownership(None).await;
}

/// A world whose source bucket has objects of a third account, with an ACL, beside some of its own.
fn third_account(acl: Option<&str>) -> World {
    let world = World::new();
    set_ownership(&world, ObjectOwnership::ObjectWriter);
    let third = ObjectProperties {
        owner: Some(STRANGER_ACCOUNT.to_owned()),
        acl: acl.map(str::to_owned),
        ..ObjectProperties::default()
    };
    put(&world, "third", &third);
    put(&world, "own", &ObjectProperties::default());
    world
}

fn set_ownership(world: &World, ownership: ObjectOwnership) {
    let settings = BucketSettings {
        ownership: Some(ownership),
        ..world.store().settings(SOURCE).unwrap()
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn source_objects_of_a_third_account_fail_by_both_paths_and_the_hint_helps() {
    for (acl, enforces) in [
        (None, true),
        // The bucket's owner may read it then, and yet cannot let others in.
        (Some("bucket-owner-full-control"), false),
    ] {
        let world = third_account(acl);
        copy(&world, &["third", "own"], &[]).await.expect(1);
        let rows = world.rows_by_key();
        for (path, operation) in [("small", "CopyObject"), ("large", "HeadObject")] {
            let row = &rows[&key(path, "third")];
            let words = [
                "policy does not speak for objects that another account owns",
                "Ownership to BucketOwnerEnforced",
                "onto themselves",
            ];
            assert_failed(row, "AccessDenied", &words);
            assert_eq!(message(row, "operation"), operation);
            let own = &rows[&key(path, "own")];
            assert_eq!(own.status, TaskStatus::Succeeded, "{own:?}");
        }
        assert!(world.store().object(DESTINATION, "small-third").is_none());
        // What the hint says helps, either way.
        if enforces {
            set_ownership(&world, ObjectOwnership::BucketOwnerEnforced);
        } else {
            put(&world, "third", &ObjectProperties::default());
        }
        world.resume(&[]).await.expect(0);
        assert_all_copied(&world, &keys(&["third", "own"]));
    }
}
