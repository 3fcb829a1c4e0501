//! A newcomer's first copy: the commands of README's section, in its order, on a sandbox where nobody may do
//! anything yet.

use s3haul_sandbox::iam::{
    Account, AccountsFile, DESTINATION_ACCOUNT, Policy, Role, SOURCE_ACCOUNT,
};
use s3haul_sandbox::{BucketSettings, ObjectProperties, Sandbox, SandboxOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Run, hermetic};

const FROM: &str = "example-source";
const TO: &str = "example-destination";
const KEYS: [&str; 2] = ["photos/a.jpg", "photos/b c.jpg"];

/// The lines of the shell in a section of the README.
fn lines_of(section: &str) -> Vec<&'static str> {
    let readme = include_str!("../../README.md");
    let (_, text) = readme.split_once(&format!("\n## {section}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let blocks = text.split("```sh\n").skip(1);
    blocks
        .flat_map(|block| block.split_once("```").unwrap().0.lines())
        .collect()
}

/// Who follows the README, and what there is of AWS.
struct Newcomer {
    folder: TempDir,
    sandbox: Sandbox,
    /// What was exported until now.
    exports: String,
}

impl Newcomer {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            sandbox: aws(|_| ()),
            exports: String::new(),
        }
    }

    /// Runs a line as it stands.
    async fn run(&self, line: &str) -> Run {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_s3haul"));
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("/bin/sh");
        hermetic(&mut command, self.folder.path());
        command
            .arg("-c")
            .arg(format!("{}{line}", self.exports))
            .env(
                "PATH",
                format!("{}:{path}", binary.parent().unwrap().display()),
            )
            .env("AWS_ENDPOINT_URL", self.sandbox.endpoint());
        Run::of(command).await
    }

    /// What the AWS CLI would do.
    fn aws(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let value = |flag| {
            let at = words.iter().position(|word| *word == flag).unwrap();
            words[at + 1]
        };
        let read = |name| std::fs::read_to_string(self.folder.path().join(name)).unwrap();
        match words[1..3] {
            ["cloudformation", "deploy"] => {
                let template = serde_json::from_str(&read(value("--template-file"))).unwrap();
                self.sandbox = aws(|account| deploy(&template, account));
            }
            ["s3api", "put-bucket-policy"] => {
                let policy = read(value("--policy").strip_prefix("file://").unwrap());
                let store = self.sandbox.store();
                store
                    .set_bucket_policy(value("--bucket"), Some(&policy))
                    .unwrap();
            }
            _ => panic!("{line}"),
        }
    }
}

/// A sandbox with two buckets, in which nobody has a policy but by `deploy` in the destination's account.
fn aws(deploy: impl FnOnce(&mut Account)) -> Sandbox {
    let mut accounts = AccountsFile::built_in();
    for account in &mut accounts.accounts {
        account.roles.clear();
        for user in &mut account.users {
            user.policies.clear();
        }
    }
    let mut all = accounts.accounts.iter_mut();
    deploy(
        all.find(|account| account.id == DESTINATION_ACCOUNT)
            .unwrap(),
    );
    let options = SandboxOptions {
        accounts,
        ..SandboxOptions::default()
    };
    let sandbox = Sandbox::start(options).unwrap();
    let store = sandbox.store();
    for (bucket, account, region) in [
        (FROM, SOURCE_ACCOUNT, "eu-west-1"),
        (TO, DESTINATION_ACCOUNT, "us-east-1"),
    ] {
        let settings = BucketSettings::default();
        store
            .create_bucket(bucket, account, region, settings)
            .unwrap();
    }
    for key in KEYS {
        let properties = ObjectProperties {
            tags: vec![("of".to_owned(), key.to_owned())],
            ..ObjectProperties::default()
        };
        store.put_object(FROM, key, key, properties).unwrap();
    }
    sandbox
}

/// Makes what a template of CloudFormation has.
fn deploy(template: &Value, account: &mut Account) {
    let parsed = |policy: &Value| serde_json::from_value::<Policy>(policy.clone()).unwrap();
    for resource in template["Resources"].as_object().unwrap().values() {
        let of = &resource["Properties"];
        match resource["Type"].as_str().unwrap() {
            "AWS::IAM::Role" => account.roles.push(Role {
                name: of["RoleName"].as_str().unwrap().to_owned(),
                trust_policy: parsed(&of["AssumeRolePolicyDocument"]),
                policies: of["Policies"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|policy| parsed(&policy["PolicyDocument"]))
                    .collect(),
                max_session_seconds: 3600,
            }),
            "AWS::IAM::ManagedPolicy" => {
                for name in of["Users"].as_array().unwrap() {
                    let mut users = account.users.iter_mut();
                    let user = users.find(|user| user.name == *name).unwrap();
                    user.policies.push(parsed(&of["PolicyDocument"]));
                }
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_leads_a_newcomer_to_a_first_copy() {
    let lines = lines_of("A first real copy");
    let copies: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("s3haul copy ") && !line.ends_with("--dry-run"))
        .collect();
    assert_eq!(copies.len(), 2, "{lines:?}");
    let manifest = lines
        .iter()
        .find(|line| line.starts_with("printf "))
        .unwrap();
    let mut newcomer = Newcomer::new();
    let mut of_aws = 0;
    for line in &lines {
        if line.starts_with("export ") {
            newcomer.exports.push_str(line);
            newcomer.exports.push('\n');
        } else if line.starts_with("aws ") {
            // Each owner's act is needed.
            let too_early = format!("{manifest}\n{} --report too-early", copies[0]);
            newcomer.run(&too_early).await.expect(3);
            newcomer.aws(line);
            of_aws += 1;
        } else if !line.starts_with("cargo build ") {
            let run = newcomer.run(line).await;
            assert_eq!(run.code(), 0, "{line}: {run:?}");
        }
    }
    assert_eq!(of_aws, 2, "{lines:?}");
    let store = newcomer.sandbox.store();
    for key in KEYS {
        let copy = format!("copied/{key}");
        assert!(store.same_content((FROM, key), (TO, &copy)), "{key}");
        let copy = store.object(TO, &copy).unwrap();
        assert_eq!(copy.tags(), [("of".to_owned(), key.to_owned())]);
    }
    assert_eq!(store.object_count(TO), KEYS.len());
    // Two jobs, each with its report.
    let jobs = std::fs::read_dir(newcomer.folder.path().join("s3haul-report")).unwrap();
    assert_eq!(jobs.count(), copies.len());
}
