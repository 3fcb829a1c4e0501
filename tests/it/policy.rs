//! The printed policies: a job passes with them and nothing else, and what becomes of it without any one
//! of their actions is the table of `docs/access.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::{
    COPY_ROLE, DESTINATION_ACCOUNT, Key, Policy, SOURCE_ACCOUNT, STRANGER_ACCOUNT, user_arn,
};
use s3haul_sandbox::{
    AccountsFile, BucketSettings, ObjectOwnership, ObjectProperties, SandboxOptions, StorageClass,
    VersionView, Versioning,
};
use serde_json::{Value, json};

use crate::given::Given;
use crate::objects::{IN_PARTS, LARGE};
use crate::same::tags;
use crate::support::{DESTINATION, Run, SOURCE, World};
use crate::versions::inventory;

const SOURCE_KEY: &str =
    "arn:aws:kms:eu-west-1:111111111111:key/0aaaaaaa-12ab-34cd-56ef-1234567890ab";
const DESTINATION_KEY: &str =
    "arn:aws:kms:us-east-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Flags that change what a job may do, and the world in which they do.
struct Case {
    /// As the table has it.
    name: &'static str,
    flags: &'static [&'static str],
    /// Flags of `policy` alone.
    about: &'static [&'static str],
    setting: Setting,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Setting {
    Plain,
    Versions,
    Keys,
    Lock,
    Archived,
    Markers,
    /// Manifest and report in S3, in buckets of the source's and the destination's account.
    InS3,
}

const CASES: [Case; 11] = [
    Case {
        name: "none",
        flags: &[],
        about: &[],
        setting: Setting::Plain,
    },
    Case {
        name: "`--manifest-fields Bucket,Key,VersionId,Size`",
        flags: &["--manifest-fields", "Bucket,Key,VersionId,Size"],
        about: &[],
        setting: Setting::Versions,
    },
    Case {
        name: "`--acl none --tags none --annotations exclude`",
        flags: &[
            "--acl",
            "none",
            "--tags",
            "none",
            "--annotations",
            "exclude",
        ],
        about: &[],
        setting: Setting::Plain,
    },
    Case {
        name: "`--tags replace`",
        flags: &["--tags", "replace", "--tag", "a=b"],
        about: &[],
        setting: Setting::Plain,
    },
    Case {
        name: "`--verify checksum`",
        flags: &["--verify", "checksum"],
        about: &[],
        setting: Setting::Plain,
    },
    Case {
        name: "`--verify full`",
        flags: &["--verify", "full"],
        about: &[],
        setting: Setting::Plain,
    },
    Case {
        name: "`--sse aws:kms`, sources under a key",
        flags: &["--sse", "aws:kms", "--sse-kms-key-id", DESTINATION_KEY],
        about: &["--source-kms-key-id", SOURCE_KEY],
        setting: Setting::Keys,
    },
    Case {
        name: "`--object-lock-mode`, `--object-lock-legal-hold`",
        flags: &[
            "--object-lock-mode",
            "GOVERNANCE",
            "--object-lock-retain-until",
            "2099-01-01",
            "--object-lock-legal-hold",
            "on",
        ],
        about: &[],
        setting: Setting::Lock,
    },
    Case {
        name: "`--archived restore`",
        flags: &["--archived", "restore", "--restore-days", "3"],
        about: &[],
        setting: Setting::Archived,
    },
    Case {
        name: "`--versions all --delete-markers replay`",
        flags: &["--versions", "all", "--delete-markers", "replay"],
        about: &[],
        setting: Setting::Markers,
    },
    Case {
        name: "manifest and report in S3",
        flags: &[
            "--manifest",
            "s3://lists/manifest.csv",
            "--report",
            "s3://reports/here",
        ],
        about: &[
            "--manifest-account",
            SOURCE_ACCOUNT,
            "--report-account",
            DESTINATION_ACCOUNT,
        ],
        setting: Setting::InS3,
    },
];

/// What `policy` prints for a case.
fn printed(run: &Run) -> Value {
    serde_json::from_str(&run.expect(0).stdout).unwrap()
}

fn documents<'p>(printed: &'p Value, kind: &'static str) -> impl Iterator<Item = &'p Value> {
    let all = printed["documents"].as_array().unwrap().iter();
    all.filter(move |document| document["kind"] == kind)
}

fn policy_on<'p>(printed: &'p Value, kind: &'static str, on: &str) -> Option<&'p Value> {
    documents(printed, kind)
        .find(|document| document["on"] == on)
        .map(|document| &document["document"])
}

fn role() -> String {
    format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}")
}

/// A policy as printed, but for one action of the statements on one side.
fn without(policy: &Value, taken: Option<(&str, &str)>) -> Value {
    let mut policy = policy.clone();
    if let Some((action, resource)) = taken {
        for statement in policy["Statement"].as_array_mut().unwrap() {
            let on = statement["Resource"].as_array().unwrap();
            if on.iter().any(|on| on == resource) {
                let actions = statement["Action"].as_array_mut().unwrap();
                actions.retain(|there| there != action);
            }
        }
        let statements = policy["Statement"].as_array_mut().unwrap();
        statements.retain(|statement| !statement["Action"].as_array().unwrap().is_empty());
    }
    policy
}

fn parsed(policy: &Value) -> Policy {
    serde_json::from_value(policy.clone()).unwrap()
}

impl Case {
    /// Who is asked for the policies is nobody: no world is needed.
    async fn policy(&self, world: &World, more: &[&str]) -> Run {
        let mut command = world.command(&["policy"]);
        if !more.contains(&"--to") {
            command.args(["--to", "s3://destination"]);
        }
        command
            .args(["--role-arn", &role(), "--external-id", "s3haul-demo"])
            .args(["--base", &user_arn(DESTINATION_ACCOUNT, "operator")])
            .args([
                "--source",
                "s3://source",
                "--source-account",
                SOURCE_ACCOUNT,
            ])
            .args(self.flags)
            .args(self.about)
            .args(more);
        Run::of(command).await
    }

    /// A world in which nothing but these policies allows anything.
    fn world(&self, printed: &Value, taken: Option<(&str, &str)>) -> World {
        let mut accounts = AccountsFile::built_in();
        let operator = user_arn(DESTINATION_ACCOUNT, "operator");
        let of = |kind, on: &str| policy_on(printed, kind, on);
        for account in &mut accounts.accounts {
            for user in &mut account.users {
                if user_arn(&account.id, &user.name) == operator {
                    user.policies = of("identity-policy", &operator)
                        .map(parsed)
                        .into_iter()
                        .collect();
                }
            }
            for copier in &mut account.roles {
                copier.trust_policy = parsed(of("trust-policy", &role()).unwrap());
                let permissions = of("identity-policy", &role()).unwrap();
                copier.policies = vec![parsed(&without(permissions, taken))];
            }
            for arn in [SOURCE_KEY, DESTINATION_KEY] {
                if self.setting == Setting::Keys && arn.contains(&account.id) {
                    // In its own account the role's policy is enough, and what is printed says so.
                    let others = arn == SOURCE_KEY;
                    let statements = of("key-policy", arn).unwrap();
                    account.keys.push(key(arn, others.then_some(statements)));
                }
            }
        }
        let options = SandboxOptions {
            accounts,
            ..SandboxOptions::default()
        };
        let destination = BucketSettings {
            versioning: Versioning::Enabled,
            ownership: Some(ObjectOwnership::ObjectWriter),
            object_lock: self.setting == Setting::Lock,
            ..BucketSettings::default()
        };
        let world = World::with(options, destination);
        let source = of("bucket-policy", "arn:aws:s3:::source").map(Value::to_string);
        let settings = BucketSettings {
            versioning: Versioning::Enabled,
            policy: source,
            ..BucketSettings::default()
        };
        world.store().configure_bucket(SOURCE, settings).unwrap();
        for (bucket, account) in [("lists", SOURCE_ACCOUNT), ("reports", DESTINATION_ACCOUNT)] {
            let settings = BucketSettings {
                policy: of("bucket-policy", &format!("arn:aws:s3:::{bucket}"))
                    .map(Value::to_string),
                ..BucketSettings::default()
            };
            let store = world.store();
            store
                .create_bucket(bucket, account, "us-east-1", settings)
                .unwrap();
        }
        self.fill(&world);
        world
    }

    /// Objects by CopyObject and in parts, with and without a version that is named.
    fn fill(&self, world: &World) {
        let (store, keyed) = (world.store(), self.setting == Setting::Keys);
        let properties = |tags: Vec<(String, String)>| ObjectProperties {
            tags,
            annotations: [("a".to_owned(), "{}".to_owned())].into(),
            kms_key_id: keyed.then(|| SOURCE_KEY.to_owned()),
            storage_class: match self.setting {
                Setting::Archived => StorageClass::Glacier,
                _ => StorageClass::Standard,
            },
            ..ObjectProperties::default()
        };
        world.put_with("small", "12345", properties(tags(1, 1)));
        // The tags are too many for a header.
        store
            .declare_object(SOURCE, "large", LARGE, 1, properties(tags(10, 250)))
            .unwrap();
        if self.setting == Setting::Markers {
            store.delete_object(SOURCE, "small").unwrap();
            inventory(world);
            return;
        }
        let named = self.setting == Setting::Versions;
        let row = |version: &VersionView| {
            let object = version.object.as_ref().unwrap();
            let version = named.then(|| format!("{},", version.version_id));
            let version = version.unwrap_or_default();
            format!("{SOURCE},{},{version}{}\n", object.key, object.size())
        };
        let manifest: String = store.versions(SOURCE).iter().map(row).collect();
        let properties = ObjectProperties::default();
        store
            .put_object("lists", "manifest.csv", manifest.clone(), properties)
            .unwrap();
        world.manifest(manifest);
    }

    /// The flags of the case, of `copy` or `check`.
    fn given<'w>(&self, mut given: Given<'w>) -> Given<'w> {
        let fields = match self.setting {
            Setting::Markers | Setting::Versions => &[][..],
            _ => &IN_PARTS[4..],
        };
        let account = ["--source-account", SOURCE_ACCOUNT];
        let all = [&IN_PARTS[..4], &account, fields, self.flags].concat();
        for flag in all.chunks(2) {
            given = given.set(flag[0], flag[1]);
        }
        given
    }

    /// What a check finds, by its ID.
    async fn check(&self, world: &World) -> BTreeMap<String, Value> {
        let run = self.given(world.checking()).run().await;
        let found: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
        let findings = found["findings"].as_array().unwrap().iter();
        let named = |found: &Value| (found["id"].as_str().unwrap().to_owned(), found.clone());
        findings.map(named).collect()
    }

    /// What a check says where `action` is lacking: what it finds otherwise than with all, or what it could
    /// not look at.
    async fn says(&self, world: &World, action: &str, all: &BTreeMap<String, Value>) -> String {
        let found = self.check(world).await;
        let outcome = |finding: &Value| finding["outcome"].as_str().unwrap().to_owned();
        let row = |(id, finding): (&String, &Value)| format!("{} `{id}`", outcome(finding));
        let other = |(id, finding): &(&String, &Value)| {
            all.get(*id)
                .is_none_or(|before| outcome(before) != outcome(finding))
        };
        let others: Vec<_> = found.iter().filter(other).map(row).collect();
        let named =
            |finding: &Value| outcome(finding) != "pass" && finding.to_string().contains(action);
        // The region of a manifest's bucket is told with a refusal too.
        let needed = action != "s3:ListBucket" || self.setting != Setting::InS3;
        assert!(!needed || found.values().any(named), "{action}: {found:#?}");
        let quoted = json!(action).to_string();
        let unseen = |(_, finding): &(&String, &Value)| {
            outcome(finding) == "unknown" && finding["statement"].to_string().contains(&quoted)
        };
        if others.is_empty() {
            found
                .iter()
                .filter(unseen)
                .map(row)
                .collect::<Vec<_>>()
                .join(", ")
        } else {
            others.join(", ")
        }
    }

    /// How the job ends, in the table's words.
    async fn copy(&self, world: &World) -> String {
        let run = self.given(world.given()).run().await;
        let failed: Vec<_> = match run.code() {
            2 => return "cannot begin, code 2".to_owned(),
            3 => return "stops, code 3".to_owned(),
            0 => Vec::new(),
            // The summary has no keys.
            1 if self.setting == Setting::InS3 => vec![run.summary("errors").to_string()],
            1 => {
                let rows = world.rows().into_iter();
                let failed = rows.filter(|row| row.status == TaskStatus::Failed);
                failed
                    .map(|row| format!("`{}` of {}", row.error_code, row.key))
                    .collect()
            }
            code => panic!("code {code}: {run:?}"),
        };
        if failed.is_empty() {
            return "succeeds".to_owned();
        }
        let failed: BTreeSet<_> = failed.into_iter().collect();
        let failed: Vec<_> = failed.into_iter().collect();
        format!("rows fail: {}", failed.join(", "))
    }
}

/// A key whose own account may use it, and whom its policy names besides.
fn key(arn: &str, statements: Option<&Value>) -> Key {
    let account = arn.split(':').nth(4).unwrap();
    let mut all = vec![json!({
        "Sid": "ItsAccount",
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
        "Action": "kms:*",
        "Resource": "*",
    })];
    if let Some(policy) = statements {
        all.extend(policy["Statement"].as_array().unwrap().iter().cloned());
    }
    Key {
        arn: arn.to_owned(),
        policy: parsed(&json!({"Version": "2012-10-17", "Statement": all})),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_pass_with_the_printed_policies_alone_and_without_an_action_as_the_table_says() {
    let mut table = String::new();
    let mut known: Vec<Value> = Vec::new();
    for case in &CASES {
        let nobody = World::new();
        let printed = printed(&case.policy(&nobody, &["--output", "json"]).await);
        let all = case.world(&printed, None);
        let found = case.check(&all).await;
        let ended = case.copy(&all).await;
        let expected = match case.setting {
            // The rows are for a later resume.
            Setting::Archived => {
                "rows fail: `RestoreInProgress` of large, `RestoreInProgress` of small"
            }
            _ => "succeeds",
        };
        assert_eq!(ended, expected, "{} with all that is printed", case.name);
        let bad = found
            .iter()
            .filter(|(_, outcome)| *outcome == "fail" || *outcome == "likely");
        assert_eq!(bad.collect::<Vec<_>>(), [], "{}", case.name);
        for need in printed["needs"].as_array().unwrap() {
            // What is for the same requests goes the same way, but for versions: they are in no flag.
            if known.contains(need) && case.setting != Setting::Versions {
                continue;
            }
            known.push(need.clone());
            let text = |member: &str| need[member].as_str().unwrap();
            let (action, side) = (text("action"), text("side"));
            let resource = need["resource"][0].as_str().unwrap();
            let world = case.world(&printed, Some((action, resource)));
            let told = case.says(&world, action, &found).await;
            let ended = case.copy(&world).await;
            let row = format!("`{action}` | {side} | {ended} | {told} |");
            let passes = ended == "succeeds" || case.setting == Setting::Archived;
            assert!(passes || !told.is_empty(), "nothing told of {row}");
            if !table.contains(&row) {
                writeln!(table, "| {} | {row}", case.name).unwrap();
            }
        }
    }
    let head = "| flags | action | on | the job without it | and what `check` says |\n";
    in_the_docs("access.md", head, &table);
}

/// Compares a table with that of a page, by its head.
#[track_caller]
fn in_the_docs(page: &str, head: &str, table: &str) {
    let path = format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let begin = text.find(head).unwrap() + head.len();
    let begin = begin + text[begin..].find('\n').unwrap() + 1;
    let end = begin
        + text[begin..]
            .find("\n\n")
            .map_or(text.len() - begin, |at| at + 1);
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(path, format!("{}{table}{}", &text[..begin], &text[end..])).unwrap();
        return;
    }
    assert_eq!(
        &text[begin..end],
        table,
        "INSTA_UPDATE=always writes it anew"
    );
}

/// `policy` with the flags that every job needs, and these.
async fn policy(more: &[&str]) -> Run {
    CASES[0].policy(&World::new(), more).await
}

fn document<'p>(printed: &'p Value, id: &str) -> &'p Value {
    let all = printed["documents"].as_array().unwrap();
    all.iter()
        .find(|document| document["id"] == id)
        .unwrap_or_else(|| panic!("{id}: {printed}"))
}

async fn json_of(more: &[&str]) -> Value {
    printed(&policy(&[&["--output", "json"], more].concat()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_flags_do_not_say_is_asked_for_by_the_name_of_the_flag() {
    let world = World::new();
    let (role, task) = (
        "--role-arn arn:aws:iam::222222222222:role/s3haul-copy",
        "--base ecs-task",
    );
    let base = "--base arn:aws:iam::222222222222:user/operator";
    let (of, account) = ("--source s3://source", "--source-account 111111111111");
    let to = "--to s3://destination";
    let all = format!("{role} {base} {of} {account} {to}");
    for (given, asked) in [
        (format!("{role} {base} {to}"), "--source"),
        (format!("{role} {base} {to} {of}"), "--source-account"),
        (format!("{role} {of} {account} {to}"), "--base"),
        (format!("--no-role {of} {account} {to}"), "--base"),
        (
            format!("--no-role {task} {of} {account} {to}"),
            "--role-arn",
        ),
        (format!("{role} {task} {of} {account} {to}"), "--region"),
        (
            format!("{all} --destination-account any"),
            "--destination-account ID",
        ),
        (
            format!("{all} --manifest s3://lists/m.csv"),
            "--manifest-account",
        ),
        (
            format!("{all} --report s3://reports/here"),
            "--report-account",
        ),
        (
            format!("{all} --manifest s3://source/m.csv --manifest-profile p"),
            "--manifest-reader",
        ),
        (
            format!("{role} {of} {account} {to} --base arn:aws:sts::222222222222:assumed-role/a/b"),
            "--base",
        ),
        (
            format!("{all} --sse aws:kms --sse-kms-key-id alias/a"),
            "--sse-kms-key-id",
        ),
        (
            format!("{all} --acl private --enforce-acl"),
            "--enforce-acl",
        ),
        (
            format!("{role} {of} {account} {to} --base arn:aws-cn:iam::222222222222:user/u"),
            "of partition aws-cn",
        ),
        (
            format!("{role} {of} {account} {to} --base batch-job --region us-gov-west-1"),
            "of partition aws-us-gov",
        ),
        (
            format!("{all} --source-kms-key-id arn:aws-cn:kms:cn-north-1:111111111111:key/k"),
            "of partition aws-cn",
        ),
        (format!("{all} --merge no-such-file"), "no-such-file"),
        (format!("{all} --merge /dev/zero"), "too long"),
        (format!("{all} --document no-such"), "source-bucket-policy"),
        (
            format!("{all} --document role-trust --output table"),
            "--document",
        ),
        (format!("{all} --output cloudformation"), "--account"),
        (format!("{all} --account 999999999999"), "999999999999"),
        (
            format!("{role} {base} {account} {to} --source s3://a-s3alias"),
            "access point",
        ),
    ] {
        let mut command = world.command(&["policy"]);
        command.args(given.split(' '));
        let run = Run::of(command).await;
        run.expect(2);
        assert!(run.stderr.contains(asked), "{given}: {}", run.stderr);
        assert_eq!(run.stdout, "", "{given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_trusts_its_base_under_the_conditions_that_the_job_meets() {
    let printed = json_of(&["--mfa-serial", "arn:aws:iam::222222222222:mfa/me"]).await;
    let trusted = &document(&printed, "role-trust")["document"]["Statement"][0];
    assert_eq!(
        trusted["Condition"],
        json!({
            "StringEquals": {"sts:ExternalId": "s3haul-demo"},
            "Bool": {"aws:MultiFactorAuthPresent": "true"},
        })
    );
    let world = World::new();
    let task = |more: &[&str]| {
        let mut command = world.command(&["policy", "--to", "s3://destination", "--role-arn"]);
        command
            .arg(role())
            .args(["--base", "batch-job", "--region", "eu-west-1"])
            .args([
                "--source",
                "s3://source",
                "--source-account",
                SOURCE_ACCOUNT,
            ])
            .args(more);
        Run::of(command)
    };
    let printed: Value = serde_json::from_str(&task(&["--output", "json"]).await.stdout).unwrap();
    let trusted = &document(&printed, "role-trust")["document"]["Statement"][0];
    assert_eq!(
        trusted["Principal"],
        json!({"Service": "ecs-tasks.amazonaws.com"})
    );
    assert_eq!(
        trusted["Condition"],
        json!({
            "ArnLike": {"aws:SourceArn": "arn:aws:ecs:eu-west-1:222222222222:*"},
            "StringEquals": {"aws:SourceAccount": "222222222222"},
        })
    );
    // Nobody becomes a task's own role by a call.
    assert!(!printed.to_string().contains("base-permissions"));
    let template = task(&["--output", "cloudformation", "--account", "222222222222"]).await;
    let template: Value = serde_json::from_str(&template.expect(0).stdout).unwrap();
    let role = &template["Resources"]["JobPermissions"];
    assert_eq!(role["Type"], "AWS::IAM::Role");
    assert_eq!(role["Properties"]["RoleName"], COPY_ROLE);
    let arn = "arn:${AWS::Partition}:ecs:${AWS::Region}:222222222222:*";
    assert!(
        role.to_string()
            .contains(&json!({"Fn::Sub": arn}).to_string()),
        "{role}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_in_the_sources_account_takes_the_destinations_bucket_policy() {
    let printed = json_of(&[
        "--destination-account",
        "333333333333",
        "--enforce-acl",
        "--inventory",
        "s3://destination/inventory/",
        "--inventory-account",
        "333333333333",
    ])
    .await;
    // One bucket has one policy.
    let of_destination = document(&printed, "destination-bucket-policy");
    assert_eq!(of_destination["account"], "333333333333");
    let statements = of_destination["document"]["Statement"].as_array().unwrap();
    let sids: Vec<_> = statements
        .iter()
        .map(|s| s["Sid"].as_str().unwrap())
        .collect();
    assert_eq!(
        sids,
        [
            "SeeDestinationBucket",
            "WriteDestinationObjects",
            "OnlyFullControl",
            "DeliverInventory"
        ]
    );
    assert_eq!(
        statements[3]["Condition"],
        json!({
            "ArnLike": {"aws:SourceArn": "arn:aws:s3:::source"},
            "StringEquals": {
                "aws:SourceAccount": SOURCE_ACCOUNT,
                "s3:x-amz-acl": "bucket-owner-full-control",
            },
        })
    );
    assert_eq!(
        document(&printed, "destination-ownership")["document"],
        json!({"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_without_full_control_is_refused_where_that_is_enforced() {
    let printed = json_of(&["--enforce-acl"]).await;
    let guard = policy_on(&printed, "bucket-policy", "arn:aws:s3:::destination").unwrap();
    for (acl, code) in [("bucket-owner-full-control", 0), ("private", 3)] {
        let world = CASES[0].world(&printed, None);
        let guard = guard.to_string();
        world
            .store()
            .set_bucket_policy(DESTINATION, Some(&guard))
            .unwrap();
        let run = world.copy(&[&IN_PARTS[..], &["--acl", acl]].concat()).await;
        run.expect(code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_policy_is_merged_and_nothing_of_it_is_lost() {
    let world = World::new();
    let theirs = json!({
        "Version": "2012-10-17",
        "Id": "Theirs",
        "Statement": {
            "Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
            "Resource": ["arn:aws:s3:::source", "arn:aws:s3:::source/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    });
    let file = world.path("theirs.json");
    std::fs::write(&file, theirs.to_string()).unwrap();
    let run = CASES[0]
        .policy(&world, &["--merge", file.to_str().unwrap()])
        .await;
    let merged = printed(&run);
    let alone = json_of(&[]).await;
    let ours = document(&alone, "source-bucket-policy")["document"]["Statement"].as_array();
    assert_eq!(merged["Id"], "Theirs");
    let statements = merged["Statement"].as_array().unwrap();
    assert_eq!(statements[0], theirs["Statement"]);
    assert_eq!(&statements[1..], &ours.unwrap()[..]);
    // The file stays as it was, and what is merged already stays as it is.
    assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs.to_string());
    std::fs::write(&file, &run.stdout).unwrap();
    let again = CASES[0]
        .policy(&world, &["--merge", file.to_str().unwrap()])
        .await;
    assert_eq!(again.expect(0).stdout, run.stdout);
    // As `aws s3api get-bucket-policy` prints it, and with a byte order mark.
    let given = json!({"Policy": theirs.to_string()}).to_string();
    for text in [given, format!("\u{feff}{theirs}")] {
        std::fs::write(&file, text).unwrap();
        let again = CASES[0]
            .policy(&world, &["--merge", file.to_str().unwrap()])
            .await;
        assert_eq!(again.expect(0).stdout, run.stdout);
    }
}

/// Identities of one name, as a user and a role may be, or of two accounts.
#[tokio::test(flavor = "multi_thread")]
async fn no_two_documents_have_one_name() {
    let printed = json_of(&[
        "--manifest-profile",
        "a",
        "--manifest",
        "s3://lists/m.csv",
        "--manifest-account",
        STRANGER_ACCOUNT,
        "--manifest-reader",
        "arn:aws:iam::333333333333:user/job",
        "--report-profile",
        "b",
        "--report",
        "s3://reports",
        "--report-account",
        STRANGER_ACCOUNT,
        "--report-writer",
        "arn:aws:iam::333333333333:role/job",
    ])
    .await;
    let mut ids: Vec<_> = printed["documents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| document["id"].to_string())
        .collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all, "{ids:?}");
    let reader = &document(&printed, "manifest-permissions")["on"];
    assert_eq!(*reader, "arn:aws:iam::333333333333:user/job");
}

/// In China alone the service has another name.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_trusted_by_its_partitions_name() {
    let world = World::new();
    for (partition, service) in [
        ("aws", "ec2.amazonaws.com"),
        ("aws-us-gov", "ec2.amazonaws.com"),
        ("aws-cn", "ec2.amazonaws.com.cn"),
    ] {
        let role = format!("arn:{partition}:iam::222222222222:role/r");
        let mut command = world.command(&["policy"]);
        command.args(["--source", "s3://source", "--to", "s3://destination"]);
        command.args(["--source-account", "111111111111", "--role-arn", &role]);
        command.args(["--base", "ec2-instance", "--document", "role-trust"]);
        let trust = printed(&Run::of(command).await);
        assert_eq!(trust["Statement"][0]["Principal"]["Service"], service);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_minimum_of_a_side_writes_nothing_to_the_source_and_reads_nothing_of_the_destination() {
    let actions = |printed: &Value| -> Vec<String> {
        let statements = printed["documents"][0]["document"]["Statement"].as_array();
        let all = statements
            .unwrap()
            .iter()
            .flat_map(|s| s["Action"].as_array().unwrap());
        all.map(|action| action.as_str().unwrap().to_owned())
            .collect()
    };
    let input = json_of(&["--minimum", "input"]).await;
    assert_eq!(input["documents"].as_array().unwrap().len(), 1);
    assert!(
        actions(&input)
            .iter()
            .all(|a| a.starts_with("s3:Get") || a.starts_with("s3:List"))
    );
    let output = json_of(&["--minimum", "output"]).await;
    assert!(
        actions(&output).iter().all(|a| a.starts_with("s3:Put")),
        "{output}"
    );
    // What the destination has is looked at before each copy, and a refusal fails the row.
    let compared = json_of(&["--minimum", "output", "--overwrite", "if-different"]).await;
    for action in ["s3:GetObject", "s3:ListBucket"] {
        assert!(
            actions(&compared).contains(&action.to_owned()),
            "{compared}"
        );
    }
    // Together they are enough.
    let mut printed = json_of(&[]).await;
    let both = [&input, &output].map(|side| side["documents"][0]["document"]["Statement"].clone());
    let both: Vec<Value> = both
        .iter()
        .flat_map(|s| s.as_array().unwrap().clone())
        .collect();
    printed["documents"][0]["document"]["Statement"] = both.into();
    assert_eq!(
        CASES[0].copy(&CASES[0].world(&printed, None)).await,
        "succeeds"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_bound_what_may_be_read_and_written() {
    let printed = json_of(&["--to", "s3://destination/a*b/"]).await;
    let alone = policy(&["--document", "role-trust"]).await;
    let alone: Value = serde_json::from_str(&alone.expect(0).stdout).unwrap();
    assert_eq!(alone, document(&printed, "role-trust")["document"]);
    let job = document(&printed, "job-permissions").to_string();
    assert!(job.contains("arn:aws:s3:::destination/a${*}b/*"), "{job}");
    insta::assert_snapshot!(policy(&["--output", "table"]).await.expect(0).stdout);
}
