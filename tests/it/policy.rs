//! The printed policies: a job passes with them and nothing else, and what becomes of it without any one
//! of their actions is the table of `docs/access.md`.

use std::fmt::Write as _;

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::{COPY_ROLE, DESTINATION_ACCOUNT, Key, Policy, SOURCE_ACCOUNT, user_arn};
use s3haul_sandbox::{
    AccountsFile, BucketSettings, ObjectOwnership, ObjectProperties, SandboxOptions, StorageClass,
    VersionView, Versioning,
};
use serde_json::{Value, json};

use crate::objects::{IN_PARTS, LARGE};
use crate::same::tags;
use crate::support::{Run, SOURCE, World};
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
}

const CASES: [Case; 10] = [
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
        let mut command = world.command(&["policy", "--to", "s3://destination"]);
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
                    account.keys.push(key(arn, of("key-policy", arn)));
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
        world.manifest(store.versions(SOURCE).iter().map(row).collect::<String>());
    }

    /// How the job ends, in the table's words.
    async fn copy(&self, world: &World) -> String {
        let fields = match self.setting {
            Setting::Markers | Setting::Versions => &[][..],
            _ => &IN_PARTS[4..],
        };
        let account = ["--source-account", SOURCE_ACCOUNT];
        let all = [&IN_PARTS[..4], &account, fields, self.flags].concat();
        let run = world.copy(&all).await;
        match run.code() {
            3 => "stops, code 3".to_owned(),
            0 | 1 => {
                let rows = world.rows().into_iter();
                let failed = rows.filter(|row| row.status == TaskStatus::Failed);
                let mut failed: Vec<_> = failed
                    .map(|row| format!("`{}` of {}", row.error_code, row.key))
                    .collect();
                failed.sort();
                if failed.is_empty() {
                    "succeeds".to_owned()
                } else {
                    format!("rows fail: {}", failed.join(", "))
                }
            }
            code => panic!("code {code}: {run:?}"),
        }
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
        let ended = case.copy(&all).await;
        let expected = match case.setting {
            // The rows are for a later resume.
            Setting::Archived => {
                "rows fail: `RestoreInProgress` of large, `RestoreInProgress` of small"
            }
            _ => "succeeds",
        };
        assert_eq!(ended, expected, "{} with all that is printed", case.name);
        for need in printed["needs"].as_array().unwrap() {
            // What is for the same requests goes the same way.
            if known.contains(need) {
                continue;
            }
            known.push(need.clone());
            let text = |member: &str| need[member].as_str().unwrap();
            let (action, side) = (text("action"), text("side"));
            let resource = need["resource"][0].as_str().unwrap();
            let world = case.world(&printed, Some((action, resource)));
            let ended = case.copy(&world).await;
            let row = format!("`{action}` | {side} | {ended} |");
            if !table.contains(&row) {
                writeln!(table, "| {} | {row}", case.name).unwrap();
            }
        }
    }
    let head = "| flags | action | on | the job without it |\n";
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
