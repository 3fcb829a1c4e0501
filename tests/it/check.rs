//! `check`: each finding as it passes and as it does not, what a check leaves, and `copy` behind one.

use std::collections::BTreeMap;

use s3haul_sandbox::iam::{
    COPY_ROLE, Condition, DESTINATION_ACCOUNT, EXTERNAL_ID, Key, Policy, PrincipalBlock, Role,
    SOURCE_ACCOUNT, STRANGER_ACCOUNT, Statement, role_arn, user_arn,
};
use s3haul_sandbox::{
    AccountsFile, BucketSettings, Fault, FaultKind, LifecycleRule, ObjectOwnership,
    ObjectProperties, Operation, SandboxOptions, StorageClass, Versioning, When,
};
use serde_json::{Value, json};

use crate::given::Given;
use crate::support::{DESTINATION, JOB, Run, SOURCE, World, source_policy};
use crate::words::assert_said;

/// What a check found, by the ID.
struct Found {
    findings: BTreeMap<String, Value>,
    run: Run,
}

impl Found {
    #[track_caller]
    fn outcome(&self, id: &str) -> &str {
        self.finding(id)["outcome"].as_str().unwrap()
    }

    #[track_caller]
    fn finding(&self, id: &str) -> &Value {
        let found = self.findings.get(id);
        found.unwrap_or_else(|| panic!("no {id}: {:#?}", self.findings))
    }

    /// Expects an outcome, and words somewhere in the finding.
    #[track_caller]
    fn expect(&self, id: &str, outcome: &str, words: &[&str]) -> &Self {
        let finding = self.finding(id);
        assert_eq!(finding["outcome"], outcome, "{finding:#}");
        let told = finding.to_string();
        for word in words {
            assert!(told.contains(word), "{word:?} is missing: {finding:#}");
        }
        self
    }

    /// How many of an outcome.
    fn of(&self, outcome: &str) -> Vec<&str> {
        let of = |(_, finding): &(&String, &Value)| finding["outcome"] == outcome;
        let found = self.findings.iter().filter(of);
        found.map(|(id, _)| id.as_str()).collect()
    }
}

/// Runs a check, which ends with 3 if and only if something fails.
async fn found(given: Given<'_>) -> Found {
    let run = given.run().await;
    let json: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    let mut findings = BTreeMap::new();
    for finding in json["findings"].as_array().unwrap() {
        let id = finding["id"].as_str().unwrap().to_owned();
        let page = finding["documentation"].as_str().unwrap();
        assert!(page.starts_with("https://docs.aws.amazon.com/"), "{page}");
        findings.entry(id).or_insert_with(|| finding.clone());
    }
    let found = Found { findings, run };
    let code = if found.of("fail").is_empty() { 0 } else { 3 };
    found.run.expect(code);
    assert_eq!(json["exit_code"], code);
    found
}

/// A bucket in which nothing is wanting.
fn good_destination() -> BucketSettings {
    BucketSettings {
        lifecycle: vec![LifecycleRule {
            abort_incomplete_multipart_upload_days: Some(7),
            ..LifecycleRule::default()
        }],
        ..BucketSettings::default()
    }
}

/// Two small objects with their sizes, and a bucket in which nothing is wanting.
fn good_world() -> World {
    world_of(SandboxOptions::default(), good_destination())
}

fn world_of(options: SandboxOptions, destination: BucketSettings) -> World {
    let world = World::with(options, destination);
    objects(&world, &ObjectProperties::default());
    world
}

fn objects(world: &World, properties: &ObjectProperties) {
    for key in ["a", "b"] {
        world.put_with(key, "12345", properties.clone());
    }
    world.manifest("source,a,5\nsource,b,5\n");
}

/// The check of those objects.
fn checking(world: &World) -> Given<'_> {
    world.checking().set("--manifest-fields", "Bucket,Key,Size")
}

fn accounts(change: impl FnOnce(&mut Role)) -> SandboxOptions {
    let mut accounts = AccountsFile::built_in();
    let mut roles = accounts.accounts.iter_mut().flat_map(|a| &mut a.roles);
    change(roles.find(|role| role.name == COPY_ROLE).unwrap());
    SandboxOptions {
        accounts,
        ..SandboxOptions::default()
    }
}

/// The role without these actions.
fn without(actions: &[&str]) -> SandboxOptions {
    let denied = Statement::deny(actions, &["*"]);
    accounts(|role| role.policies.push(Policy::new(vec![denied])))
}

/// A policy of the source by which the role may do these.
fn allow(world: &World, bucket: &str, actions: &[&str]) {
    let role = role_arn(DESTINATION_ACCOUNT, COPY_ROLE);
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": role}, "Action": actions,
        "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
    }]});
    world
        .store()
        .set_bucket_policy(bucket, Some(&policy.to_string()))
        .unwrap();
}

const READ: [&str; 5] = [
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectTagging",
    "s3:ListObjectAnnotations",
    "s3:ListBucket",
];

/// Nothing of a check is left, and the source was only read.
fn assert_nothing_left(world: &World) {
    assert!(world.store().uploads(DESTINATION).is_empty());
    assert!(world.store().uploads(SOURCE).is_empty());
    assert_eq!(world.store().versions(DESTINATION).len(), 0);
    assert_eq!(world.store().versions(SOURCE).len(), 2);
    for entry in world.sandbox.log().entries() {
        let name = entry.operation.as_str();
        let reads = ["Head", "Get", "List"]
            .iter()
            .any(|verb| name.starts_with(verb));
        assert!(reads || entry.bucket != SOURCE, "{entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_world_passes_and_nothing_is_left() {
    let world = good_world();
    allow(
        &world,
        SOURCE,
        &[
            READ.as_slice(),
            &["s3:GetBucketRequestPayment", "s3:GetBucketVersioning"],
        ]
        .concat(),
    );
    let found = found(checking(&world).set("--source-account", SOURCE_ACCOUNT)).await;
    let passed = [
        "clock-skew",
        "destination-abort",
        "destination-bucket",
        "destination-encryption",
        "destination-lifecycle",
        "destination-object-lock",
        "destination-owner",
        "destination-ownership",
        "destination-read",
        "destination-region",
        "destination-tagging",
        "destination-uploads",
        "destination-versioning",
        "destination-write",
        "identity-base",
        "identity-role",
        "manifest",
        "report-place",
        "source-annotations",
        "source-bucket",
        "source-owner",
        "source-read",
        "source-region",
        "source-requester-pays",
        "source-tags",
        "source-versioning",
    ];
    assert_eq!(found.of("pass"), passed, "{:#?}", found.findings);
    // And what no request shows that leaves nothing behind.
    let unseen = ["destination-unseen", "source-unseen"];
    assert_eq!(found.of("unknown"), unseen);
    found
        .expect("source-unseen", "unknown", &["s3:GetObjectAnnotation"])
        .expect("destination-unseen", "unknown", &["s3:PutObjectAnnotation"]);
    assert_eq!(found.findings.len(), passed.len() + unseen.len());
    found.expect(
        "destination-ownership",
        "pass",
        &["BucketOwnerEnforced", "--acl none is enough"],
    );
    assert_nothing_left(&world);
    // Where copies are written, and by exactly the headers that they have.
    let created = world.sandbox.log().of(Operation::CreateMultipartUpload);
    assert_eq!(
        created[0].header("x-amz-acl"),
        Some("bucket-owner-full-control")
    );
    assert_eq!(
        created[0].header("x-amz-expected-bucket-owner"),
        Some(DESTINATION_ACCOUNT)
    );
    assert!(!world.path("report").exists());
}

/// Every flag that has something asked, and objects that have all: the most requests that there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_takes_sixty_requests_at_most() {
    let key = format!("arn:aws:kms:eu-west-1:{SOURCE_ACCOUNT}:key/k");
    let world = World::with(
        SandboxOptions::default(),
        BucketSettings {
            object_lock: true,
            versioning: Versioning::Enabled,
            ..BucketSettings::default()
        },
    );
    let settings = BucketSettings {
        versioning: Versioning::Enabled,
        ..world.store().settings(SOURCE).unwrap()
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
    let all = [
        READ.as_slice(),
        &[
            "s3:GetObjectVersionTagging",
            "s3:GetObjectAnnotation",
            "s3:GetObjectVersionAnnotation",
        ],
        &[
            "s3:GetObjectAttributes",
            "s3:GetObjectVersionAttributes",
            "s3:GetBucketVersioning",
        ],
    ];
    allow(&world, SOURCE, &all.concat());
    let rich = ObjectProperties {
        kms_key_id: Some(key),
        annotations: [("note".to_owned(), "text".to_owned())].into(),
        tags: vec![("k".to_owned(), "v".to_owned())],
        ..ObjectProperties::default()
    };
    for n in 0..200 {
        world.put_with(&format!("k{n}"), "12345", rich.clone());
    }
    let version = |key: &str| {
        let versions = world.store().versions(SOURCE);
        versions
            .iter()
            .find(|v| v.key == key)
            .unwrap()
            .version_id
            .clone()
    };
    let rows: String = (0..200)
        .map(|n| match n {
            70 => format!("source,k{n},5,{}\n", version("k70")),
            90 => format!("source,k{n},9,{}\n", version("k90")),
            _ => format!("source,k{n},5,{}\n", version(&format!("k{n}"))),
        })
        .collect();
    world.manifest(rows);
    let found = found(
        world
            .checking()
            .set("--manifest-fields", "Bucket,Key,Size,VersionId")
            .set("--verify", "checksum")
            .set("--object-lock-mode", "GOVERNANCE")
            .set("--object-lock-retain-until", "2040-01-01")
            .set("--source-account", SOURCE_ACCOUNT)
            .set("--report", "s3://destination/reports"),
    )
    .await;
    assert!(found.of("fail").is_empty(), "{:#?}", found.findings);
    found
        .expect("source-kms", "pass", &["arn:aws:kms"])
        .expect("source-attributes", "pass", &[])
        .expect("source-versioning", "pass", &["enabled"])
        .expect("source-annotations", "pass", &[])
        .expect("destination-object-lock", "pass", &[])
        .expect("destination-unseen", "unknown", &["s3:PutObjectAnnotation"])
        .expect("report-place", "pass", &["s3://destination/reports"]);
    let requests = world.sandbox.log().entries().len();
    assert!((30..=60).contains(&requests), "{requests}");
    assert!(world.store().versions(DESTINATION).is_empty());
    assert!(world.store().uploads(DESTINATION).is_empty());

    // And where all is refused, each of which is looked into.
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    world.sandbox.log().clear();
    let refused = found_of_refusals(&world).await;
    refused.expect("source-read", "fail", &["s3:GetObjectVersion"]);
    let requests = world.sandbox.log().entries().len();
    assert!(requests <= 60, "{requests}");
}

async fn found_of_refusals(world: &World) -> Found {
    found(
        world
            .checking()
            .set("--manifest-fields", "Bucket,Key,Size,VersionId")
            .set("--source-account", SOURCE_ACCOUNT),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_works_is_told_and_who_may_not_become_the_role() {
    let world = good_world();
    let role = role_arn(DESTINATION_ACCOUNT, COPY_ROLE);
    found(checking(&world))
        .await
        .expect(
            "identity-base",
            "pass",
            &["user/operator", DESTINATION_ACCOUNT],
        )
        .expect("identity-role", "pass", &[&role, "s3haul-test"]);

    // The external ID is another, or none.
    for given in [
        checking(&world).set("--external-id", "other"),
        checking(&world).without("--external-id"),
    ] {
        let found = found(given).await;
        found.expect(
            "identity-role",
            "fail",
            &[
                "AssumeRole: 403 AccessDenied",
                "--external-id",
                "not authorized",
            ],
        );
        let finding = found.finding("identity-role");
        let statement = &finding["statement"];
        assert_eq!(finding["account"], DESTINATION_ACCOUNT);
        assert_eq!(statement["Action"], json!(["sts:AssumeRole"]));
        let operator = format!("arn:aws:iam::{DESTINATION_ACCOUNT}:user/operator");
        assert_eq!(statement["Principal"]["AWS"], operator);
        // Nothing else can be asked, but for where the report goes.
        assert_eq!(found.findings.len(), 3, "{:#?}", found.findings);
        found.expect("report-place", "pass", &[]);
    }

    // The key is nobody's.
    let found = found(checking(&world).variable("AWS_SECRET_ACCESS_KEY", "wrong")).await;
    found.expect("identity-base", "fail", &["SignatureDoesNotMatch"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_nothing_renews_are_warned_of() {
    let world = good_world();
    let operator = user_arn(DESTINATION_ACCOUNT, "operator");
    let keys = world.sandbox.begin_session(&operator, "session", 3600);
    let keys = keys.unwrap();
    let given = checking(&world)
        .variable("AWS_ACCESS_KEY_ID", keys.access_key_id)
        .variable("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
        .variable("AWS_SESSION_TOKEN", keys.session_token);
    found(given)
        .await
        .expect("identity-base", "warning", &["nothing renews it"]);
}

/// Not every store knows GetCallerIdentity: that is no word against the credentials.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_say_who_asks_fails_nothing() {
    let world = good_world();
    let unknown = FaultKind::Error {
        status: 405,
        code: "MethodNotAllowed".to_owned(),
        message: String::new(),
        retry_after: None,
    };
    world
        .sandbox
        .faults()
        .add(Fault::on(Operation::GetCallerIdentity, unknown));
    let found = found(checking(&world)).await;
    found.expect("identity-base", "unknown", &["405 MethodNotAllowed"]);
    assert_eq!(found.outcome("identity-role"), "pass");
    found.run.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_that_are_absent_elsewhere_or_anothers() {
    let world = good_world();
    let found_ = found(checking(&world).set("--to", "s3://absent")).await;
    found_.expect("destination-bucket", "fail", &["does not exist", "404"]);
    // Nothing more is asked of it.
    assert!(!found_.findings.contains_key("destination-write"));

    world.manifest("gone,a,5\n");
    found(checking(&world))
        .await
        .expect("source-bucket", "fail", &["does not exist"]);
    world.manifest("source,a,5\nsource,b,5\n");

    let regions = checking(&world)
        .set("--region", "eu-west-1")
        .set("--source-region", "us-east-1");
    found(regions)
        .await
        .expect("destination-region", "fail", &["--region us-east-1"])
        .expect("source-region", "fail", &["--source-region eu-west-1"])
        .expect("destination-write", "pass", &[])
        .expect("source-read", "pass", &[]);

    let china = BucketSettings::default();
    let store = world.store();
    store
        .create_bucket("china", DESTINATION_ACCOUNT, "cn-north-1", china)
        .unwrap();
    found(checking(&world).set("--to", "s3://china"))
        .await
        .expect(
            "source-region",
            "fail",
            &["another partition", "cn-north-1"],
        );

    let owners = checking(&world)
        .set("--destination-account", STRANGER_ACCOUNT)
        .set("--source-account", STRANGER_ACCOUNT);
    world.sandbox.log().clear();
    let found_ = found(owners).await;
    found_
        .expect(
            "destination-owner",
            "fail",
            &["--destination-account", STRANGER_ACCOUNT],
        )
        .expect(
            "source-owner",
            "fail",
            &["--source-account", STRANGER_ACCOUNT],
        );
    // Nothing is written to a bucket that is another's.
    assert_eq!(world.writes(), 0);
    assert_nothing_left(&world);
}

/// Without s3:ListBucket a bucket does not say whose it is; which requests pass does.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_may_not_be_looked_at() {
    let world = good_world();
    allow(&world, SOURCE, &["s3:GetObject", "s3:GetObjectTagging"]);
    let found_ = found(checking(&world).set("--source-account", STRANGER_ACCOUNT)).await;
    found_
        .expect("source-bucket", "unknown", &["s3:ListBucket", "403"])
        .expect("source-owner", "unknown", &[])
        .expect(
            "source-read",
            "fail",
            &["200 without the expected owner", "--source-account"],
        );
    // It is the one permission that a copy does without.
    let found_ = found(checking(&world)).await;
    found_.expect("source-read", "pass", &[]);
    assert!(found_.of("fail").is_empty(), "{:#?}", found_.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_source_names_the_statement_for_its_account() {
    let world = good_world();
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    let found_ = found(checking(&world)).await;
    found_.expect(
        "source-read",
        "fail",
        &["2 of 2", "GetObject: 403 AccessDenied", "likely"],
    );
    let statement = &found_.finding("source-read")["statement"];
    assert_eq!(statement["Action"], json!(["s3:GetObject"]));
    assert_eq!(statement["Resource"], json!(["arn:aws:s3:::source/*"]));
    let role = role_arn(DESTINATION_ACCOUNT, COPY_ROLE);
    assert_eq!(statement["Principal"]["AWS"], role);
    found_.expect(
        "source-requester-pays",
        "unknown",
        &["GetBucketRequestPayment: 403"],
    );

    // The statement as it is printed mends it.
    let policy = json!({"Version": "2012-10-17", "Statement": [statement]});
    world
        .store()
        .set_bucket_policy(SOURCE, Some(&policy.to_string()))
        .unwrap();
    let found_ = found(checking(&world)).await;
    found_.expect("source-read", "pass", &[]);

    // Some can be read: it may be those objects' owner.
    let some = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": role}, "Action": ["s3:GetObject", "s3:GetObjectTagging"],
        "Resource": "arn:aws:s3:::source/a"}]});
    world
        .store()
        .set_bucket_policy(SOURCE, Some(&some.to_string()))
        .unwrap();
    let found_ = found(checking(&world)).await;
    found_.expect("source-read", "likely", &["another account owns"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_an_object_are_a_warning() {
    let world = good_world();
    world.manifest("source,a,5\nsource,gone,5\n");
    found(checking(&world))
        .await
        .expect("source-read", "warning", &["NoSuchKey", "gone"]);
}

/// A HEAD of what is archived passes, and a copy of it does not.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_archived_are_told() {
    let world = good_world();
    let archived = ObjectProperties {
        storage_class: StorageClass::Glacier,
        ..ObjectProperties::default()
    };
    for (keys, outcome, words) in [
        (&["a"][..], "warning", "1 of 2 rows"),
        (&["a", "b"], "likely", "2 of 2 rows"),
    ] {
        for key in keys {
            world.put_with(key, "12345", archived.clone());
        }
        found(checking(&world)).await.expect(
            "source-read",
            outcome,
            &[words, "--archived", "InvalidObjectState"],
        );
    }
    found(checking(&world).set("--archived", "skip"))
        .await
        .expect("source-read", "pass", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_annotations_and_checksums_that_may_not_be_read() {
    let world = good_world();
    allow(&world, SOURCE, &["s3:GetObject", "s3:ListBucket"]);
    // None of the objects is copied in parts.
    let found_ = found(checking(&world).set("--verify", "checksum")).await;
    found_
        .expect(
            "source-tags",
            "likely",
            &[
                "s3:GetObjectTagging",
                "--tags none",
                "GetObjectTagging: 403",
            ],
        )
        .expect(
            "source-annotations",
            "warning",
            &["s3:ListObjectAnnotations", "--annotations exclude"],
        )
        .expect("source-attributes", "fail", &["s3:GetObjectAttributes"]);
    // Some is.
    world.manifest("source,a,5\nsource,b,9999999999\n");
    let found_ = found(checking(&world).set("--verify", "checksum")).await;
    found_
        .expect("source-tags", "fail", &[])
        .expect("source-annotations", "fail", &[]);
    // None are wanted.
    let found_ = found(
        checking(&world)
            .set("--tags", "none")
            .set("--annotations", "exclude"),
    )
    .await;
    for id in ["source-tags", "source-annotations", "source-attributes"] {
        assert!(!found_.findings.contains_key(id), "{id}");
    }
    assert!(found_.of("fail").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_take_permissions_of_their_own() {
    let world = good_world();
    let settings = BucketSettings {
        versioning: Versioning::Enabled,
        ..world.store().settings(SOURCE).unwrap()
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
    world.put("v", "12345");
    let version = world.store().object(SOURCE, "v").unwrap().version_id;
    world.manifest(format!("source,v,{version}\n"));
    let checking = || {
        world
            .checking()
            .set("--manifest-fields", "Bucket,Key,VersionId")
    };
    allow(&world, SOURCE, &["s3:GetObject", "s3:ListBucket"]);
    let found_ = found(checking()).await;
    found_.expect(
        "source-read",
        "fail",
        &["s3:GetObjectVersion", "200 without the version"],
    );
    found_.expect(
        "source-versioning",
        "unknown",
        &["GetBucketVersioning: 403"],
    );
    allow(
        &world,
        SOURCE,
        &[READ.as_slice(), &["s3:GetBucketVersioning"]].concat(),
    );
    let found_ = found(checking()).await;
    found_
        .expect("source-read", "pass", &[])
        .expect("source-versioning", "pass", &["enabled"]);
}

/// Copies in parts are pinned to a version, also where rows name none.
#[tokio::test(flavor = "multi_thread")]
async fn large_objects_of_a_source_with_versions() {
    let world = good_world();
    let settings = BucketSettings {
        versioning: Versioning::Enabled,
        ..world.store().settings(SOURCE).unwrap()
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
    world.declare("large", 12 << 20);
    world.manifest("source,large,12582912\n");
    let checking = || checking(&world).set("--multipart-threshold", "5MiB");
    let current = ["s3:GetObject", "s3:GetObjectTagging", "s3:ListBucket"];
    allow(&world, SOURCE, &current);
    let found_ = found(checking()).await;
    found_.expect("source-read", "fail", &["s3:GetObjectVersion"]);
    allow(
        &world,
        SOURCE,
        &[&current[..], &["s3:GetObjectVersion"]].concat(),
    );
    let found_ = found(checking()).await;
    found_.expect("source-read", "pass", &[]).expect(
        "source-tags",
        "fail",
        &["s3:GetObjectVersionTagging"],
    );
    let unseen = found_.finding("source-unseen").to_string();
    assert!(!unseen.contains("VersionTagging"), "{unseen}");
    assert!(unseen.contains("s3:GetObjectVersionAnnotation"), "{unseen}");
}

/// What a flag makes the job do that leaves something is not tried, and said.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_job_can_show_is_unknown() {
    let world = good_world();
    let found_ = found(checking(&world).set("--archived", "restore")).await;
    found_.expect("source-unseen", "unknown", &["s3:RestoreObject"]);
    let found_ = found(
        checking(&world)
            .set("--annotations", "exclude")
            .set("--tags", "none"),
    )
    .await;
    for id in ["source-unseen", "destination-unseen"] {
        assert!(!found_.findings.contains_key(id), "{:#?}", found_.findings);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_for_the_source() {
    let world = good_world();
    let settings = BucketSettings {
        requester_pays: true,
        ..world.store().settings(SOURCE).unwrap()
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
    let found_ = found(checking(&world)).await;
    found_.expect(
        "source-read",
        "fail",
        &["--requester-pays", "200 with x-amz-request-payer"],
    );
    allow(
        &world,
        SOURCE,
        &[READ.as_slice(), &["s3:GetBucketRequestPayment"]].concat(),
    );
    let found_ = found(checking(&world).flag("--requester-pays")).await;
    found_.expect("source-read", "pass", &[]).expect(
        "source-requester-pays",
        "pass",
        &["the job says so"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_and_acl() {
    use ObjectOwnership::{BucketOwnerEnforced, BucketOwnerPreferred, ObjectWriter};
    for (ownership, acl, across, outcome, word) in [
        (
            Some(BucketOwnerEnforced),
            "bucket-owner-full-control",
            false,
            "pass",
            "--acl none is enough",
        ),
        (
            Some(BucketOwnerEnforced),
            "none",
            false,
            "pass",
            "owner owns",
        ),
        (
            Some(BucketOwnerEnforced),
            "private",
            false,
            "fail",
            "ACLs disabled",
        ),
        (
            Some(BucketOwnerPreferred),
            "private",
            false,
            "pass",
            "is of the destination's account",
        ),
        (
            Some(ObjectWriter),
            "bucket-owner-full-control",
            false,
            "pass",
            "--acl none is enough",
        ),
        (
            Some(BucketOwnerPreferred),
            "bucket-owner-full-control",
            true,
            "pass",
            "owner owns",
        ),
        (
            Some(BucketOwnerPreferred),
            "none",
            true,
            "warning",
            "may not be able to read",
        ),
        (
            Some(ObjectWriter),
            "bucket-owner-full-control",
            true,
            "warning",
            "full control",
        ),
        (
            None,
            "none",
            true,
            "warning",
            "OwnershipControlsNotFoundError",
        ),
    ] {
        let settings = BucketSettings {
            ownership,
            ..good_destination()
        };
        let world = world_of(SandboxOptions::default(), settings.clone());
        let mut given = checking(&world).set("--acl", acl);
        if across {
            let theirs = world.store();
            theirs
                .create_bucket("theirs", SOURCE_ACCOUNT, "us-east-1", settings)
                .unwrap();
            allow(&world, "theirs", &["s3:*"]);
            given = given
                .set("--to", "s3://theirs")
                .set("--destination-account", SOURCE_ACCOUNT);
        }
        let found_ = found(given).await;
        let case = format!("{ownership:?} {acl} {across}: {:#?}", found_.findings);
        assert_eq!(found_.outcome("destination-ownership"), outcome, "{case}");
        found_.expect("destination-ownership", outcome, &[word]);
        if outcome == "fail" {
            found_.expect(
                "destination-write",
                "fail",
                &["AccessControlListNotSupported", "--acl none"],
            );
        } else {
            assert_eq!(found_.outcome("destination-write"), "pass", "{case}");
        }
    }
}

/// Settings that may not be read are unknown, and fail nothing.
#[tokio::test(flavor = "multi_thread")]
async fn settings_that_may_not_be_read() {
    let options = without(&[
        "s3:GetBucketOwnershipControls",
        "s3:GetBucketVersioning",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:GetBucketObjectLockConfiguration",
    ]);
    let settings = BucketSettings {
        object_lock: true,
        versioning: Versioning::Enabled,
        ..good_destination()
    };
    let world = world_of(options, settings);
    let found_ = found(checking(&world).set("--object-lock-legal-hold", "on")).await;
    for id in [
        "destination-ownership",
        "destination-versioning",
        "destination-encryption",
        "destination-lifecycle",
        "destination-object-lock",
    ] {
        found_.expect(id, "unknown", &["403 AccessDenied", "explicit deny"]);
    }
    assert!(found_.of("fail").is_empty(), "{:#?}", found_.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_versions_and_lifecycle_as_the_job_wants_them() {
    let world = world_of(SandboxOptions::default(), BucketSettings::default());
    let hold = checking(&world).set("--object-lock-legal-hold", "on");
    found(hold)
        .await
        .expect(
            "destination-object-lock",
            "fail",
            &["ObjectLockConfigurationNotFoundError"],
        )
        .expect("destination-write", "likely", &["InvalidRequest"])
        .expect(
            "destination-lifecycle",
            "warning",
            &["NoSuchLifecycleConfiguration", "7 days"],
        )
        .expect("destination-versioning", "pass", &["versioning is off"]);

    world.manifest("source,a,null,2026-01-01T00:00:00Z\n");
    let all = || {
        world
            .checking()
            .set("--manifest-fields", "Bucket,Key,VersionId,LastModifiedDate")
            .set("--versions", "all")
    };
    found(all())
        .await
        .expect("destination-versioning", "fail", &["--versions all"])
        .expect("source-versioning", "unknown", &[]);
    for (versioning, outcome) in [
        (Versioning::Suspended, "fail"),
        (Versioning::Enabled, "pass"),
    ] {
        let settings = BucketSettings {
            versioning,
            ..BucketSettings::default()
        };
        world
            .store()
            .configure_bucket(DESTINATION, settings)
            .unwrap();
        found(all())
            .await
            .expect("destination-versioning", outcome, &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_permission_that_a_write_takes() {
    let lock = BucketSettings {
        object_lock: true,
        versioning: Versioning::Enabled,
        ..good_destination()
    };
    let flags: &[(&str, &str)] = &[
        ("--object-lock-mode", "GOVERNANCE"),
        ("--object-lock-retain-until", "2040-01-01"),
        ("--object-lock-legal-hold", "on"),
        ("--tags", "replace"),
        ("--tag", "a=b"),
    ];
    for action in [
        "s3:PutObject",
        "s3:PutObjectAcl",
        "s3:PutObjectTagging",
        "s3:PutObjectRetention",
        "s3:PutObjectLegalHold",
    ] {
        // Within the account S3 names the action and the policy.
        let options = accounts(|role| remove(role, action));
        let world = world_of(options, lock.clone());
        let given = flags.iter().fold(checking(&world), |given, (flag, value)| {
            given.set(flag, *value)
        });
        let found_ = found(given).await;
        found_.expect(
            "destination-write",
            "fail",
            &[
                action,
                "no identity-based policy allows",
                "CreateMultipartUpload: 403",
            ],
        );
        let finding = found_.finding("destination-write");
        assert_eq!(finding["account"], DESTINATION_ACCOUNT);
        assert_eq!(finding["statement"]["Action"], json!([action]));
        assert!(finding["statement"]["Principal"].is_null());
        assert_nothing_left(&world);

        // Across accounts it says no more than that it refuses: which requests pass tells.
        let world = world_of(SandboxOptions::default(), BucketSettings::default());
        let theirs = BucketSettings {
            policy: Some(all_but(action)),
            ..lock.clone()
        };
        let store = world.store();
        store
            .create_bucket("theirs", SOURCE_ACCOUNT, "us-east-1", theirs)
            .unwrap();
        let given = flags
            .iter()
            .fold(checking(&world), |given, (flag, value)| {
                given.set(flag, *value)
            })
            .set("--to", "s3://theirs/p/")
            .set("--destination-account", SOURCE_ACCOUNT);
        let found_ = found(given).await;
        found_.expect(
            "destination-write",
            "fail",
            &["Access Denied", "likely", action],
        );
        let finding = found_.finding("destination-write");
        assert_eq!(finding["account"], SOURCE_ACCOUNT);
        assert_eq!(
            finding["statement"]["Action"],
            json!([action]),
            "{finding:#}"
        );
        assert_eq!(
            finding["statement"]["Resource"],
            json!(["arn:aws:s3:::theirs/p/*"])
        );
        let told = finding["evidence"].as_str().unwrap();
        assert_eq!(
            told.contains("200 without"),
            action != "s3:PutObject",
            "{told}"
        );
        assert!(store.uploads("theirs").is_empty());
        assert!(store.versions("theirs").is_empty());
    }
}

/// Takes an action from a role.
fn remove(role: &mut Role, action: &str) {
    for policy in &mut role.policies {
        let json = serde_json::to_string(policy).unwrap();
        let quoted = format!("\"{action}\"");
        *policy = serde_json::from_str(&json.replace(&quoted, "\"s3:GetBucketTagging\"")).unwrap();
    }
}

/// A bucket's policy that lets the role do all but one action.
fn all_but(action: &str) -> String {
    let role = role_arn(DESTINATION_ACCOUNT, COPY_ROLE);
    let resources = json!(["arn:aws:s3:::theirs", "arn:aws:s3:::theirs/*"]);
    let statement = |effect: &str, action: &str| json!({"Effect": effect, "Principal": {"AWS": role}, "Action": action, "Resource": resources});
    let statements = [statement("Allow", "s3:*"), statement("Deny", action)];
    json!({"Version": "2012-10-17", "Statement": statements}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_only_some_objects_have() {
    let world = world_of(
        accounts(|role| remove(role, "s3:PutObjectTagging")),
        good_destination(),
    );
    let found_ = found(checking(&world)).await;
    found_.expect("destination-write", "pass", &[]).expect(
        "destination-tagging",
        "likely",
        &["s3:PutObjectTagging", "--tags none"],
    );
    objects(
        &world,
        &ObjectProperties {
            tags: vec![("k".to_owned(), "v".to_owned())],
            ..ObjectProperties::default()
        },
    );
    let found_ = found(checking(&world)).await;
    found_.expect("destination-write", "fail", &["s3:PutObjectTagging"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_cannot_be_aborted_is_named() {
    for (manifest, outcome) in [
        ("source,a,5\n", "warning"),
        ("source,a,9999999999\n", "likely"),
        ("source,a,\n", "likely"),
    ] {
        let world = world_of(
            accounts(|role| remove(role, "s3:AbortMultipartUpload")),
            good_destination(),
        );
        world.manifest(manifest);
        let found_ = found(checking(&world).set("--tags", "none")).await;
        let [upload] = &world.store().uploads(DESTINATION)[..] else {
            panic!("{:?}", world.store().uploads(DESTINATION));
        };
        found_.expect(
            "destination-abort",
            outcome,
            &[
                "s3:AbortMultipartUpload",
                &upload.key,
                &upload.upload_id,
                "abort-multipart-upload",
            ],
        );
        assert!(upload.key.starts_with("s3haul-check-"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_settles_doubts_is_a_warning() {
    for (action, id) in [
        ("s3:ListMultipartUploadParts", "destination-uploads"),
        ("s3:ListBucketMultipartUploads", "destination-uploads"),
        ("s3:GetObject", "destination-read"),
    ] {
        let world = world_of(SandboxOptions::default(), good_destination());
        let role = role_arn(DESTINATION_ACCOUNT, COPY_ROLE);
        let deny = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Deny", "Principal": {"AWS": role}, "Action": action,
            "Resource": ["arn:aws:s3:::destination", "arn:aws:s3:::destination/*"]}]});
        world
            .store()
            .set_bucket_policy(DESTINATION, Some(&deny.to_string()))
            .unwrap();
        let found_ = found(checking(&world)).await;
        found_.expect(id, "warning", &[]);
        assert!(found_.of("fail").is_empty(), "{:#?}", found_.findings);
        assert_nothing_left(&world);
        if id == "destination-read" {
            let found_ = found(checking(&world).set("--overwrite", "if-different")).await;
            found_.expect(id, "likely", &[]);
        }
    }
}

/// An answer that is lost leaves an upload, whose key is nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_answer_is_lost_is_aborted() {
    let world = good_world();
    let fault = Fault::on(Operation::CreateMultipartUpload, FaultKind::AnswerLost);
    let lost = world.sandbox.faults().add(fault.when(When::First(1)));
    let found_ = found(checking(&world)).await;
    assert_eq!(lost.hits(), 1);
    found_.expect("destination-write", "unknown", &["CreateMultipartUpload"]);
    assert_nothing_left(&world);
}

/// One upload that stays is enough: no other is begun for its tags, or to find out what is refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_uploads_are_begun_than_can_be_aborted() {
    let refused = accounts(|role| {
        for action in ["s3:AbortMultipartUpload", "s3:PutObjectAcl"] {
            remove(role, action);
        }
    });
    // Another account's bucket, whose refusals do not say why: what passes without the ACL does.
    let world = world_of(refused, good_destination());
    let theirs = BucketSettings {
        policy: Some(all_but("s3:PutObjectAcl")),
        ..good_destination()
    };
    world
        .store()
        .create_bucket("theirs", SOURCE_ACCOUNT, "us-east-1", theirs)
        .unwrap();
    let found_ = found(checking(&world).set("--acl", "none")).await;
    found_.expect("destination-abort", "warning", &["cannot be aborted"]);
    assert_eq!(world.store().uploads(DESTINATION).len(), 1);
    let given = checking(&world)
        .set("--to", "s3://theirs")
        .set("--destination-account", SOURCE_ACCOUNT)
        .set("--tags", "replace")
        .repeat("--tag", "k=v");
    let found_ = found(given).await;
    found_.expect("destination-write", "fail", &["200 without its ACL"]);
    assert_eq!(world.store().uploads("theirs").len(), 1);
}

/// S3 that has no time is asked again to abort, longer than for anything else.
#[tokio::test(flavor = "multi_thread")]
async fn an_abort_is_not_given_up_soon() {
    let world = good_world();
    let error = FaultKind::Error {
        status: 503,
        code: "SlowDown".to_owned(),
        message: String::new(),
        retry_after: None,
    };
    let fault = Fault::on(Operation::AbortMultipartUpload, error).when(When::First(5));
    let faults = world.sandbox.faults().add(fault);
    found(checking(&world))
        .await
        .expect("destination-abort", "pass", &[]);
    assert_eq!(faults.hits(), 5);
    assert_nothing_left(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_whose_answer_is_lost_is_deleted() {
    let world = good_world();
    let fault = Fault::on(Operation::PutObject, FaultKind::AnswerLost);
    let lost = world.sandbox.faults().add(fault);
    found(checking(&world).flag("--probe-object")).await.expect(
        "probe-object",
        "pass",
        &["deleted again"],
    );
    assert_eq!(lost.hits(), 1);
    assert_nothing_left(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_nothing() {
    let world = good_world();
    let fault = Fault::on(Operation::CreateMultipartUpload, FaultKind::Latency(1000));
    world.sandbox.faults().add(fault);
    let child = checking(&world).command().spawn().unwrap();
    let log = world.sandbox.log();
    while log.arrived() < 15 || log.in_flight() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let run = Run::end_of(child).await;
    run.expect(4);
    assert_eq!(run.stdout, "");
    assert_nothing_left(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_as_the_flags_and_the_bucket_have_it() {
    let own = format!("arn:aws:kms:us-east-1:{DESTINATION_ACCOUNT}:key/own");
    let other = format!("arn:aws:kms:us-east-1:{SOURCE_ACCOUNT}:key/other");
    for (default, flags, outcome, word) in [
        (None, &[][..], "pass", "AES256"),
        (Some(&own), &[], "pass", "GetBucketEncryption: aws:kms"),
        (Some(&other), &[], "warning", "another account"),
        (Some(&other), &[("--sse", "AES256")], "pass", "SSE-S3"),
        (None, &[("--sse", "aws:kms")], "pass", "aws/s3"),
        (
            None,
            &[("--sse", "aws:kms"), ("--sse-kms-key-id", own.as_str())],
            "pass",
            own.as_str(),
        ),
    ] {
        let settings = BucketSettings {
            kms_key_id: default.cloned(),
            ..good_destination()
        };
        let world = world_of(SandboxOptions::default(), settings);
        let given = flags.iter().fold(checking(&world), |given, (flag, value)| {
            given.set(flag, *value)
        });
        let found_ = found(given).await;
        found_.expect("destination-encryption", outcome, &[word]);
        found_.expect("destination-write", "pass", &[]);
    }
}

/// Keys of both accounts, whose policies are asked.
fn keyed(source_lets_in: bool, role_may: &[&str]) -> (SandboxOptions, String, String) {
    let source_key = format!("arn:aws:kms:eu-west-1:{SOURCE_ACCOUNT}:key/s");
    let own_key = format!("arn:aws:kms:us-east-1:{DESTINATION_ACCOUNT}:key/d");
    let mut options = accounts(|role| {
        let statement = Statement::allow(role_may, &["*"]);
        role.policies.push(Policy::new(vec![statement]));
    });
    for account in &mut options.accounts.accounts {
        let (arn, lets_in) = match account.id.as_str() {
            SOURCE_ACCOUNT => (&source_key, source_lets_in),
            DESTINATION_ACCOUNT => (&own_key, true),
            _ => continue,
        };
        let whom = if lets_in {
            DESTINATION_ACCOUNT
        } else {
            STRANGER_ACCOUNT
        };
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
            "Principal": {"AWS": whom}, "Action": "kms:*", "Resource": "*"}]});
        account.keys.push(Key {
            arn: arn.clone(),
            policy: serde_json::from_value(policy).unwrap(),
        });
    }
    (options, source_key, own_key)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_may_not_be_used() {
    let both: &[&str] = &["kms:Decrypt", "kms:GenerateDataKey"];
    for (lets_in, may, read, write) in [
        (true, both, "pass", "pass"),
        (false, both, "fail", "pass"),
        (true, &["kms:GenerateDataKey"][..], "fail", "pass"),
        (true, &["kms:Decrypt"][..], "pass", "fail"),
    ] {
        let (options, source_key, own_key) = keyed(lets_in, may);
        let settings = BucketSettings {
            kms_key_id: Some(own_key.clone()),
            ..good_destination()
        };
        let world = world_of(options, settings);
        objects(
            &world,
            &ObjectProperties {
                kms_key_id: Some(source_key.clone()),
                ..ObjectProperties::default()
            },
        );
        // Of unknown size: some may be copied in parts.
        world.manifest("source,a,\nsource,b,5\n");
        let found_ = found(checking(&world)).await;
        let case = format!("{lets_in} {may:?}: {:#?}", found_.findings);
        assert_eq!(found_.outcome("source-kms"), read, "{case}");
        assert_eq!(found_.outcome("destination-write"), write, "{case}");
        found_.expect(
            "destination-kms-decrypt",
            "unknown",
            &["kms:Decrypt", &own_key],
        );
        if read == "fail" {
            let finding = found_.finding("source-kms");
            found_.expect(
                "source-kms",
                "fail",
                &["kms:Decrypt", &source_key, "GetObject: 403"],
            );
            let account = if lets_in {
                DESTINATION_ACCOUNT
            } else {
                SOURCE_ACCOUNT
            };
            assert_eq!(finding["account"], account, "{case}");
            assert_eq!(
                finding["statement"]["Principal"].is_null(),
                lets_in,
                "{case}"
            );
        }
        if write == "fail" {
            found_.expect(
                "destination-write",
                "fail",
                &["kms:GenerateDataKey", &own_key],
            );
        }
        assert!(world.store().uploads(DESTINATION).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ() {
    for (ahead, outcome) in [
        (0, "pass"),
        (-120, "warning"),
        (120, "warning"),
        (600, "warning"),
    ] {
        let options = SandboxOptions {
            clock_ahead_seconds: ahead,
            ..SandboxOptions::default()
        };
        let world = world_of(options, good_destination());
        let found_ = found(checking(&world)).await;
        let word = match ahead {
            0 => "within a minute",
            1.. => "behind S3's",
            _ => "ahead of S3's",
        };
        found_.expect("clock-skew", outcome, &[word]);
        // Requests are signed by S3's clock, so that the job is not kept from running.
        copying(&world).run().await.expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_cannot_be_read() {
    let world = good_world();
    found(checking(&world))
        .await
        .expect("manifest", "pass", &["2 rows", "bucket source"]);
    let found_ = found(checking(&world).set("--manifest", "absent.csv")).await;
    found_.expect("manifest", "fail", &["absent.csv"]);
    // The rest is looked at all the same.
    found_.expect("destination-write", "pass", &[]);
    assert!(!found_.findings.contains_key("source-read"));
    let found_ = found(checking(&world).set("--manifest", "s3://absent/manifest.csv")).await;
    found_.expect("manifest", "fail", &["absent"]);
    world.manifest("source,a,x\n");
    found(checking(&world))
        .await
        .expect("manifest", "fail", &["line 1"]);
    found(checking(&world).stdin("source,a,5\n"))
        .await
        .expect("manifest", "pass", &["1 rows"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_of_reports() {
    let world = good_world();
    std::fs::write(world.path("file"), "").unwrap();
    let under_file = world.path("file/report").to_str().unwrap().to_owned();
    found(checking(&world).set("--report", under_file))
        .await
        .expect(
            "report-place",
            "fail",
            &["cannot make a folder", "--report"],
        );
    let nested = world.path("a/b/c").to_str().unwrap().to_owned();
    found(checking(&world).set("--report", nested))
        .await
        .expect("report-place", "pass", &[]);
    assert!(!world.path("a").exists());

    let in_s3 = |place: &str| checking(&world).set("--report", place);
    found(in_s3("s3://destination/reports"))
        .await
        .expect("report-place", "pass", &["read again"]);
    assert_nothing_left(&world);
    found(in_s3("s3://absent/reports"))
        .await
        .expect("report-place", "fail", &["does not exist"]);
    // The source's policy lets nobody write.
    let found_ = found(in_s3("s3://source/reports")).await;
    found_.expect("report-place", "fail", &["s3:PutObject", "PutObject: 403"]);
    let resource = &found_.finding("report-place")["statement"]["Resource"];
    assert_eq!(*resource, json!(["arn:aws:s3:::source/reports/*"]));
    // What the looks need is on the bucket and on its objects.
    let blind = world_of(
        accounts(|role| remove(role, "s3:ListBucket")),
        good_destination(),
    );
    let found_ = found(checking(&blind).set("--report", "s3://destination/r")).await;
    found_.expect("report-place", "fail", &["s3:ListBucket"]);
    let resource = &found_.finding("report-place")["statement"]["Resource"];
    let both = json!(["arn:aws:s3:::destination/r/*", "arn:aws:s3:::destination"]);
    assert_eq!(*resource, both);
    // A store that puts whatever is asked is none for a report.
    let settings = BucketSettings {
        ignores_conditional_writes: true,
        ..good_destination()
    };
    world
        .store()
        .configure_bucket(DESTINATION, settings)
        .unwrap();
    found(in_s3("s3://destination/reports")).await.expect(
        "report-place",
        "fail",
        &["does not honour If-Match", "deleted again"],
    );
    assert_eq!(world.store().versions(DESTINATION).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_put_only_when_that_is_asked() {
    let probing = |world: &World| -> Found {
        tokio::task::block_in_place(|| {
            let given = checking(world).flag("--probe-object");
            tokio::runtime::Handle::current().block_on(found(given))
        })
    };
    // Deleted again where there are no versions, and where the version may be.
    let world = good_world();
    probing(&world).expect("probe-object", "pass", &["deleted again"]);
    assert_nothing_left(&world);
    let settings = BucketSettings {
        versioning: Versioning::Enabled,
        ..good_destination()
    };
    let may_delete = accounts(|role| {
        let statement = Statement::allow(&["s3:DeleteObjectVersion"], &["*"]);
        role.policies.push(Policy::new(vec![statement]));
    });
    let world = world_of(may_delete.clone(), settings.clone());
    probing(&world).expect("probe-object", "pass", &["deleted again"]);
    assert_nothing_left(&world);
    let suspended = BucketSettings {
        versioning: Versioning::Suspended,
        ..good_destination()
    };
    let world = world_of(may_delete.clone(), suspended);
    probing(&world).expect("probe-object", "pass", &["deleted again"]);
    assert_nothing_left(&world);
    // None is put that the bucket would keep from being deleted, or may, as far as is known.
    let retaining = BucketSettings {
        object_lock: true,
        default_retention_days: Some(1),
        ..settings.clone()
    };
    let world = world_of(may_delete, retaining);
    probing(&world).expect("probe-object", "unknown", &["retain"]);
    assert_nothing_left(&world);
    let world = world_of(
        without(&["s3:GetBucketObjectLockConfiguration"]),
        settings.clone(),
    );
    probing(&world).expect("probe-object", "unknown", &["cannot be read"]);
    assert_nothing_left(&world);
    // Else it stays, and is named.
    let world = world_of(SandboxOptions::default(), settings);
    let found_ = probing(&world);
    let [left] = &world.store().versions(DESTINATION)[..] else {
        panic!("{:?}", world.store().versions(DESTINATION));
    };
    let version = left.version_id.clone();
    found_.expect("probe-object", "warning", &["stays", &left.key, &version]);

    for (flag, value, word) in [
        ("--object-lock-legal-hold", "on", "--object-lock"),
        ("--storage-class", "DEEP_ARCHIVE", "DEEP_ARCHIVE"),
        ("--storage-class", "GLACIER_IR", "GLACIER_IR"),
    ] {
        let given = checking(&world).flag("--probe-object").set(flag, value);
        given.refused(2, &["--probe-object", word]).await;
    }
}

/// A role's own bucket, in which nobody else's policy is asked.
fn own_bucket(world: &World, requester_pays: bool) {
    let settings = BucketSettings {
        requester_pays,
        ..BucketSettings::default()
    };
    let store = world.store();
    store
        .create_bucket("own", DESTINATION_ACCOUNT, "us-east-1", settings)
        .unwrap();
    for key in ["a", "b"] {
        let properties = ObjectProperties::default();
        store
            .put_object("own", key, "12345".to_owned(), properties)
            .unwrap();
    }
}

/// Who pays for reading a bucket of its own is not asked to say so.
#[tokio::test(flavor = "multi_thread")]
async fn an_own_bucket_whose_requesters_pay() {
    let world = world_of(
        accounts(|role| {
            let all = Statement::allow(&["s3:*"], &["*"]);
            role.policies.push(Policy::new(vec![all]));
        }),
        good_destination(),
    );
    own_bucket(&world, true);
    world.manifest("own,a,5\nown,b,5\n");
    found(checking(&world))
        .await
        .expect("source-requester-pays", "warning", &["--requester-pays"])
        .expect("source-read", "pass", &[]);
    copying(&world).run().await.expect(0);
}

/// Within an account S3 names what is lacking: the right to know that there is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_not_taken_for_a_refused_one() {
    let world = world_of(
        accounts(|role| {
            let read = ["s3:GetObject", "s3:GetObjectTagging"];
            let read = Statement::allow(&read, &["arn:aws:s3:::own/*"]);
            remove(role, "s3:ListBucket");
            role.policies.push(Policy::new(vec![read]));
        }),
        good_destination(),
    );
    own_bucket(&world, false);
    world.manifest("own,gone,5\n");
    let found_ = found(checking(&world)).await;
    found_.expect("source-read", "likely", &["s3:ListBucket", "no object"]);
    let resource = &found_.finding("source-read")["statement"]["Resource"];
    assert_eq!(*resource, json!(["arn:aws:s3:::own"]));
}

/// One object of many that cannot be decrypted keeps no other from being copied.
#[tokio::test(flavor = "multi_thread")]
async fn some_rows_that_cannot_be_read_stop_no_job() {
    let (options, source_key, _) = keyed(false, &["kms:Decrypt", "kms:GenerateDataKey"]);
    let world = world_of(options, good_destination());
    let locked_up = ObjectProperties {
        kms_key_id: Some(source_key),
        ..ObjectProperties::default()
    };
    world.put_with("b", "12345", locked_up);
    found(checking(&world))
        .await
        .expect("source-kms", "likely", &["kms:Decrypt"]);
    let run = copying(&world).run().await;
    run.expect(1);
    assert_eq!(run.summary("succeeded"), 1);
}

/// No request depends on what STS says of who asks.
#[tokio::test(flavor = "multi_thread")]
async fn sts_that_does_not_answer_keeps_nobody_waiting() {
    let world = good_world();
    let silent = Fault::on(Operation::GetCallerIdentity, FaultKind::Hang);
    let silent = world.sandbox.faults().add(silent);
    let given = checking(&world)
        .without("--role-arn")
        .without("--external-id")
        .flag("--no-role")
        .set("--destination-account", DESTINATION_ACCOUNT);
    let began = std::time::Instant::now();
    let found_ = found(given).await;
    found_.expect("identity-base", "unknown", &["no answer in 10 s"]);
    assert_eq!(silent.hits(), 1);
    assert!(began.elapsed().as_secs() < 25, "{:?}", began.elapsed());
}

/// S3 that has no time is no refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_throttles_fails_nothing() {
    for operation in [Operation::HeadBucket, Operation::PutObject] {
        let world = good_world();
        let error = FaultKind::Error {
            status: 503,
            code: "SlowDown".to_owned(),
            message: String::new(),
            retry_after: None,
        };
        world.sandbox.faults().add(Fault::on(operation, error));
        let given = match operation {
            Operation::HeadBucket => checking(&world),
            _ => checking(&world).set("--report", "s3://destination/reports"),
        };
        let id = match operation {
            Operation::HeadBucket => "destination-bucket",
            _ => "report-place",
        };
        found(given).await.expect(id, "unknown", &["503"]);
        assert_nothing_left(&world);
    }
}

/// Stores like S3 may take requests for any region, and call theirs by another name.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_serves_the_region_that_was_given() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = good_world();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            // Of a bucket, which no key follows.
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap().trim_matches('/');
            let is_bucket = head.starts_with("HEAD") && !path.contains('/');
            let status = if is_bucket { "200 OK" } else { "501 Not Implemented" };
            let answer = format!(
                "HTTP/1.1 {status}\r\nx-amz-bucket-region: default\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let given = checking(&world)
        .set("--endpoint-url", store)
        .set("--sts-endpoint-url", world.sandbox.endpoint())
        .flag("--force-path-style")
        .set("--region", "us-east-1")
        .set("--source-region", "us-east-1");
    found(given)
        .await
        .expect("destination-region", "pass", &["default"])
        .expect("source-region", "pass", &["default"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_that_are_for_copy_alone() {
    let world = good_world();
    for flag in ["--dry-run", "--skip-check"] {
        checking(&world)
            .flag(flag)
            .refused(2, &[flag, "is for copy"])
            .await;
    }
    // An environment in which jobs do without one may be checked.
    let given = checking(&world).variable("S3HAUL_SKIP_CHECK", "true");
    given.run().await.expect(0);
}

/// `copy` as a user gives it.
fn copying(world: &World) -> Given<'_> {
    world
        .given()
        .set("--manifest-fields", "Bucket,Key,Size")
        .without_variable("S3HAUL_SKIP_CHECK")
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_looks_first() {
    let world = good_world();
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    let words = [
        "the job would fail",
        "source-read",
        "s3:GetObject",
        "--skip-check",
        "GetObject: 403",
    ];
    let run = copying(&world).run().await;
    run.expect(3);
    assert_eq!(run.stdout, "");
    for word in words {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("pass"), "{}", run.stderr);
    assert!(!world.path("report").exists());
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 0);
    assert_nothing_left(&world);
    // It begins all the same where that is asked, and the first rows tell.
    copying(&world).flag("--skip-check").run().await.expect(3);
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 2);

    // A resume does not look again, nor does the same command line.
    world
        .store()
        .set_bucket_policy(SOURCE, Some(&source_policy()))
        .unwrap();
    world.sandbox.log().clear();
    copying(&world).run().await.expect(1);
    world.resume(&[]).await.expect(0);
    let created = world.sandbox.log().count(Operation::CreateMultipartUpload);
    assert_eq!(created, 0);
    for key in ["a", "b"] {
        world.assert_copied(key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_fail_stops_no_job() {
    // Warnings and what is unknown, and tags that nothing has.
    let world = world_of(
        accounts(|role| {
            remove(role, "s3:PutObjectTagging");
            remove(role, "s3:GetBucketOwnershipControls");
        }),
        BucketSettings::default(),
    );
    let run = copying(&world).set("--log-level", "warn").run().await;
    run.expect(0);
    assert_eq!(run.summary("succeeded"), 2);
    assert!(run.stderr.contains("destination-tagging"), "{}", run.stderr);
    assert!(
        !run.stderr.contains("destination-ownership"),
        "{}",
        run.stderr
    );
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 2);
    world.assert_no_uploads();
    let checkpoint = world.checkpoint();
    assert_eq!(checkpoint["state"], "complete");
    assert_eq!(
        world.job().file_name().unwrap().to_str().unwrap(),
        format!("job-{JOB}")
    );
}

/// What is printed for people.
async fn printed(name: &str, given: Given<'_>) {
    assert_said(name, &given.set("--output", "text").run().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed() {
    let world = good_world();
    printed("check_good", checking(&world)).await;
    let options = accounts(|role| remove(role, "s3:PutObjectAcl"));
    let world = world_of(options, BucketSettings::default());
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    printed("check_bad", checking(&world)).await;
    let external = Condition::string_equals("sts:ExternalId", "another");
    let trusted = PrincipalBlock::aws(&[&format!("arn:aws:iam::{DESTINATION_ACCOUNT}:root")]);
    let trust = Policy::new(vec![Statement::trust(trusted).when(external)]);
    let world = world_of(
        accounts(|role| role.trust_policy = trust),
        good_destination(),
    );
    let given = checking(&world).set("--external-id", EXTERNAL_ID);
    printed("check_no_role", given).await;
}
