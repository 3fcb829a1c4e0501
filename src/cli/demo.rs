//! `s3haul demo`: the whole job on an embedded two-account S3.
//!
//! The only user of the sandbox. It fills a source bucket and then runs this program again as a
//! user would, with the command line that it prints.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use s3haul_sandbox::iam::{
    COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID, OPERATOR_ACCESS_KEY_ID,
    OPERATOR_SECRET_ACCESS_KEY, SOURCE_ACCOUNT,
};
use s3haul_sandbox::{BucketSettings, ObjectProperties, Sandbox, SandboxOptions, StoreError};
use serde::Serialize;
use tokio::process::Command;

use super::attempt::new_job_id;
use super::exit::{Exit, Failed};
use super::flags::{FORMS, forms};
use super::{Output, print_result};
use crate::job::manifest::key::KeyEncoding;
use crate::job::manifest::{Field, ManifestFormat, ManifestOptions, Position, Source, survey};

const MANIFEST: &str = include_str!("../../sample-manifests/demo.csv");
const SOURCE_POLICY: &str = include_str!("../../sample-manifests/source-bucket-policy.json");
const DESTINATION: &str = "example-destination";
/// The row that fails, since its object is not there.
const MISSING: &str = "planted/missing-object.txt";

/// The flags of `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// The folder of the demo's manifest and report
    #[arg(long, value_name = "DIR", default_value = "./s3haul-demo")]
    report: PathBuf,
    /// The form of the result on stdout
    #[arg(long, env = "S3HAUL_OUTPUT", value_parser = forms(&FORMS), default_value = "text")]
    output: Output,
}

/// What the demo showed.
#[derive(Debug, Serialize)]
struct Shown {
    /// The command line that a user would give.
    command: String,
    /// The summary of the job.
    summary: serde_json::Value,
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |name: &str| self.summary.get(name).cloned().unwrap_or_default();
        let text = |name: &str| of(name).as_str().unwrap_or_default().to_owned();
        writeln!(
            f,
            "What ran, against an S3 of two accounts inside this process:\n"
        )?;
        writeln!(f, "  {}\n", self.command)?;
        writeln!(
            f,
            "{} rows in {:.1} s: {} succeeded, {} failed, {} skipped; {} requests",
            of("rows"),
            of("elapsed_seconds").as_f64().unwrap_or_default(),
            of("succeeded"),
            of("failed"),
            of("skipped"),
            of("requests"),
        )?;
        writeln!(
            f,
            "The one failed row was planted: its object, {MISSING}, does not exist."
        )?;
        write!(f, "The report lies in {}", text("report"))
    }
}

/// Runs `s3haul demo`.
pub(super) async fn run(args: DemoArgs) -> Result<u8, Failed> {
    let at = |error: std::io::Error| {
        Failed::usage(format!("cannot write {}: {error}", args.report.display()))
    };
    std::fs::create_dir_all(&args.report).map_err(at)?;
    let manifest = args.report.join("manifest.csv");
    std::fs::write(&manifest, MANIFEST).map_err(at)?;
    let sandbox = Sandbox::start(SandboxOptions::default())
        .map_err(|error| Failed::usage(format!("cannot start the sandbox: {error}")))?;
    fill(&sandbox, &manifest)?;

    let arguments = arguments(&sandbox.endpoint(), &manifest, &args.report);
    let (code, summary) = copy(&arguments).await?;
    sandbox.stop().await;
    let planted = summary.get("failed").and_then(serde_json::Value::as_u64) == Some(1);
    if code != Some(1) || !planted {
        let message = format!("the demo's job did not end as planned: {summary}");
        return Err(Failed::new(std::io::Error::other(message), Exit::Stopped));
    }
    let command = format!("s3haul {}", arguments.join(" "));
    print_result(args.output, &Shown { command, summary })?;
    Ok(0)
}

/// What a user would type, and `--output json`, which the demo reads.
fn arguments(endpoint: &str, manifest: &Path, report: &Path) -> Vec<String> {
    let role = format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}");
    let arguments = [
        "copy",
        "--manifest",
        &manifest.display().to_string(),
        "--manifest-fields",
        "Bucket,Key,Size",
        "--to",
        &format!("s3://{DESTINATION}/copied/"),
        "--role-arn",
        &role,
        "--external-id",
        EXTERNAL_ID,
        "--endpoint-url",
        endpoint,
        "--report",
        &report.display().to_string(),
        "--job-id",
        &new_job_id(),
    ];
    arguments.map(str::to_owned).to_vec()
}

/// Runs this program as a user of the destination account.
async fn copy(arguments: &[String]) -> Result<(Option<i32>, serde_json::Value), Failed> {
    let failed = |error| Failed::new(error, Exit::Stopped);
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("AWS_") || name.starts_with("S3HAUL_") {
            command.env_remove(&variable);
        }
    }
    let output = command
        .args(arguments)
        .args(["--output", "json"])
        .env("AWS_ACCESS_KEY_ID", OPERATOR_ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", OPERATOR_SECRET_ACCESS_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(failed)?;
    // Its hint to resume is not for a job whose S3 is about to go; its errors are for the user.
    if output.status.code() != Some(1) {
        std::io::stderr()
            .write_all(&output.stderr)
            .map_err(failed)?;
    }
    let summary = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok((output.status.code(), summary))
}

/// Makes both buckets, and what the manifest lists but for one object.
fn fill(sandbox: &Sandbox, manifest: &Path) -> Result<(), Failed> {
    let filled = |error: StoreError| Failed::new(std::io::Error::other(error), Exit::Stopped);
    let read = ManifestOptions {
        format: ManifestFormat::Csv,
        fields: Some(vec![Field::Bucket, Field::Key, Field::Size]),
        key_encoding: Some(KeyEncoding::Url),
        ..ManifestOptions::default()
    };
    let survey = survey(manifest, &read)?;
    let policy = Some(SOURCE_POLICY.to_owned());
    let settings = BucketSettings {
        policy,
        ..BucketSettings::default()
    };
    let store = sandbox.store();
    store
        .create_bucket(&survey.bucket, SOURCE_ACCOUNT, "eu-west-1", settings)
        .map_err(filled)?;
    let settings = BucketSettings::default();
    store
        .create_bucket(DESTINATION, DESTINATION_ACCOUNT, "us-east-1", settings)
        .map_err(filled)?;
    let mut source = Source::manifest(manifest, &survey, &read, Position::default());
    while let Some(row) = source.next_row()? {
        if row.key == MISSING {
            continue;
        }
        let properties = ObjectProperties {
            content_type: Some("text/plain".to_owned()),
            metadata: [("from".to_owned(), "the demo".to_owned())].into(),
            tags: vec![("row".to_owned(), row.ordinal.to_string())],
            ..ObjectProperties::default()
        };
        let size = row.facts.size.unwrap_or_default();
        store
            .declare_object(&survey.bucket, &row.key, size, row.ordinal, &properties)
            .map_err(filled)?;
    }
    Ok(())
}
