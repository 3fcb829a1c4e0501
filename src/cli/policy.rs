//! `s3haul policy`: the policies that a job needs, from its flags alone.

mod about;
mod print;

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value;

use self::about::parties;
use self::print::{Line, Printed, Table, pretty};
use super::copy::CopyArgs;
use super::exit::Failed;
use super::values::{self, Location};
use super::{Output, print_result};
use crate::policy::cloudformation::template;
use crate::policy::document::{Policy, Statement, merge};
use crate::policy::documents::{Arn, Body, Document, Kind, Parties, documents};
use crate::policy::needs::{Need, Place, Surroundings, needs};

/// The flags of `policy`: those of `copy`, and what these do not say.
#[derive(Debug, Args)]
#[command(mut_arg("manifest", |manifest| manifest.required(false).default_value("-")))]
#[command(mut_arg("output", |output| output.value_parser(super::flags::forms(Output::value_variants()))))]
pub(super) struct PolicyArgs {
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    about: AboutArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Policies")]
struct AboutArgs {
    /// What is copied: the source bucket, and what its keys begin with
    #[arg(long, env = "S3HAUL_SOURCE", value_name = "s3://BUCKET[/PREFIX]", value_parser = values::location)]
    source: Location,
    /// Who becomes the role: a user's or role's ARN; or what runs s3haul with the role as its own
    #[arg(long, env = "S3HAUL_BASE", value_name = "ARN|ecs-task|batch-job|ec2-instance", value_parser = base)]
    base: Option<BaseFlag>,
    /// KMS key that source objects are under (repeatable)
    #[arg(long, value_name = "ARN", value_parser = key)]
    source_kms_key_id: Vec<Arn>,
    /// KMS key that the destination bucket encrypts with, where --sse names none
    #[arg(long, env = "S3HAUL_DESTINATION_KMS_KEY_ID", value_name = "ARN", value_parser = key)]
    destination_kms_key_id: Option<Arn>,
    /// Account of the bucket of a manifest in S3
    #[arg(long, env = "S3HAUL_MANIFEST_ACCOUNT", value_name = "ID", value_parser = values::account)]
    manifest_account: Option<String>,
    /// User or role behind --manifest-profile
    #[arg(long, env = "S3HAUL_MANIFEST_READER", value_name = "ARN", value_parser = identity)]
    manifest_reader: Option<Arn>,
    /// User or role behind --report-profile
    #[arg(long, env = "S3HAUL_REPORT_WRITER", value_name = "ARN", value_parser = identity)]
    report_writer: Option<Arn>,
    /// Also what lets S3 Inventory of the source be delivered to there
    #[arg(long, env = "S3HAUL_INVENTORY", value_name = "s3://BUCKET[/PREFIX]", value_parser = values::location)]
    inventory: Option<Location>,
    /// Account of the inventory's bucket [default: the account of who copies]
    #[arg(
        long,
        env = "S3HAUL_INVENTORY_ACCOUNT",
        value_name = "ID",
        value_parser = values::account,
        requires = "inventory"
    )]
    inventory_account: Option<String>,
    /// Also what holds whoever writes into the destination to bucket-owner-full-control
    #[arg(long, env = "S3HAUL_ENFORCE_ACL", value_parser = clap::builder::BoolishValueParser::new())]
    enforce_acl: bool,
    /// Also ACLs of the source, for the account with this canonical user ID, that of who copies
    #[arg(
        long,
        env = "S3HAUL_CANONICAL_USER_ID",
        value_name = "ID",
        requires = "source_canonical_user_id"
    )]
    canonical_user_id: Option<String>,
    /// Canonical user ID of the source bucket's owner
    #[arg(
        long,
        env = "S3HAUL_SOURCE_CANONICAL_USER_ID",
        value_name = "ID",
        requires = "canonical_user_id"
    )]
    source_canonical_user_id: Option<String>,
    /// Only the permission policy of one side, and of that only what no job can do without
    #[arg(long, env = "S3HAUL_MINIMUM", value_enum)]
    minimum: Option<Minimum>,
    /// Only what is set in this account
    #[arg(long, env = "S3HAUL_ACCOUNT", value_name = "ID", value_parser = values::account)]
    account: Option<String>,
    /// Only this document, and of it nothing but the JSON: its name is the first word of its heading
    #[arg(long, env = "S3HAUL_DOCUMENT", value_name = "NAME")]
    document: Option<String>,
    /// The policy that a bucket has: printed with what is needed in it
    #[arg(long, env = "S3HAUL_MERGE", value_name = "FILE")]
    merge: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Minimum {
    /// Who reads the source, and writes nothing.
    Input,
    /// Who writes the destination, and reads nothing.
    Output,
}

#[derive(Debug, Clone)]
enum BaseFlag {
    Identity(Arn),
    Task,
    Instance,
}

fn base(text: &str) -> Result<BaseFlag, String> {
    Ok(match text {
        "ecs-task" | "batch-job" => BaseFlag::Task,
        "ec2-instance" => BaseFlag::Instance,
        _ => BaseFlag::Identity(identity(text)?),
    })
}

fn identity(text: &str) -> Result<Arn, String> {
    let arn = Arn::parse(text, "iam");
    let whole = |arn: &Arn| {
        let rest = arn.resource.strip_prefix("role/");
        let rest = rest.or(arn.resource.strip_prefix("user/"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/'))
    };
    arn.filter(whole).ok_or_else(|| {
        "the ARN of a user or a role looks like arn:aws:iam::123456789012:role/NAME".to_owned()
    })
}

fn key(text: &str) -> Result<Arn, String> {
    let key = Arn::parse(text, "kms").filter(|arn| arn.resource.starts_with("key/"));
    key.ok_or_else(|| {
        "policies name a key by its ARN, arn:aws:kms:REGION:ACCOUNT:key/ID, and not by an alias"
            .to_owned()
    })
}

/// Runs `s3haul policy`.
pub(super) fn run(args: PolicyArgs) -> Result<u8, Failed> {
    args.copy.run.words.start_log();
    let output = args.copy.run.words.output;
    let skip_check = args.copy.skip_check;
    let report = args.copy.evidence.report.report.clone();
    let (job, _) = args.copy.spec("policy", None)?;
    let about = args.about;
    let parties = parties(&job, &about, &report, output == Output::CloudFormation)?;
    let in_s3 = [
        (Place::Manifest, parties.manifest.is_some()),
        (Place::Report, parties.report.is_some()),
    ];
    let under_keys = [
        (Place::Source, !parties.source_keys.is_empty()),
        (Place::Destination, !parties.destination_keys.is_empty()),
    ];
    let those = |places: [(Place, bool); 2]| {
        let places = places.into_iter();
        places
            .filter_map(|(place, is)| is.then_some(place))
            .collect()
    };
    let around = Surroundings {
        in_s3: those(in_s3),
        under_keys: those(under_keys),
        checked: !skip_check,
    };
    let needs = minimum(needs(&job, &around), about.minimum);
    let mut documents = documents(&parties, &needs);
    if about.minimum.is_some() {
        documents.retain(|document| document.id == "job-permissions");
    }
    if let Some(account) = &about.account {
        documents.retain(|document| document.account == *account);
        if documents.is_empty() {
            return Err(Failed::usage(format!(
                "nothing is set in account {account} for this job"
            )));
        }
    }
    let bare = about.document.is_some() || about.merge.is_some();
    if bare && output != Output::Text && output != Output::Json {
        return Err(Failed::usage(
            "--document and --merge print a policy: --output text or json",
        ));
    }
    if let Some(id) = &about.document {
        let ids: Vec<_> = documents.iter().map(|d| d.id.clone()).collect();
        documents.retain(|document| document.id == *id);
        let [document] = &documents[..] else {
            return Err(Failed::usage(format!(
                "there is no document {id} for this job, but {}",
                ids.join(", ")
            )));
        };
        if about.merge.is_none() {
            print_result(Output::Text, &pretty(&document.document))?;
            return Ok(0);
        }
    }
    if let Some(path) = &about.merge {
        print_result(Output::Text, &pretty(&merged(path, &documents)?))?;
        return Ok(0);
    }
    let lines = needs.iter().map(|need| Line::of(need, &parties)).collect();
    match output {
        Output::Text | Output::Json => {
            let documents = &documents;
            print_result(output, &Printed { documents, lines })?;
        }
        Output::Table => print_result(output, &Table(lines))?,
        Output::CloudFormation => {
            let template = one_template(&documents, &parties)?;
            print_result(Output::Text, &pretty(&template))?;
        }
    }
    Ok(0)
}

/// What is left of a job's needs on one side.
fn minimum(needs: Vec<Need>, minimum: Option<Minimum>) -> Vec<Need> {
    let Some(minimum) = minimum else {
        return needs;
    };
    let side = match minimum {
        Minimum::Input => Place::Source,
        Minimum::Output => Place::Destination,
    };
    let needs = needs.into_iter();
    needs
        .filter(|need| need.place == side && need.essential)
        .collect()
}

/// A policy's file; none is as long as a mebibyte, of which S3 takes 20 KB.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?
        .take(MOST_BYTES + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MOST_BYTES {
        return Err(std::io::Error::other("it is too long for a policy"));
    }
    Ok(text)
}

const MOST_BYTES: u64 = 1 << 20;

/// A bucket's policy with what is needed in it.
fn merged(path: &Path, documents: &[Document]) -> Result<Value, Failed> {
    let cannot =
        |why: String| Failed::usage(format!("cannot merge into {}: {why}", path.display()));
    let text = read(path).map_err(|error| cannot(error.to_string()))?;
    let no_json = |error: serde_json::Error| cannot(error.to_string());
    let text = text.trim_start_matches('\u{feff}').to_owned();
    let policy: Value = serde_json::from_str(&text).map_err(no_json)?;
    // `aws s3api get-bucket-policy` prints it as a string in an object.
    let (text, policy) = match policy.get("Policy").and_then(Value::as_str) {
        Some(text) => {
            let policy = serde_json::from_str(text).map_err(no_json)?;
            (text.to_owned(), policy)
        }
        None => (text, policy),
    };
    let of_buckets: Vec<_> = documents
        .iter()
        .filter(|d| d.kind == Kind::BucketPolicy)
        .collect();
    // The bucket is the one that its policy speaks of.
    let named = |document: &&&Document| {
        let quoted = format!("\"{}\"", document.on);
        text.contains(&quoted) || text.contains(&format!("\"{}/", document.on))
    };
    let named: Vec<_> = of_buckets.iter().filter(named).collect();
    let document = match (&named[..], &of_buckets[..]) {
        ([one], _) => one,
        ([], [one]) => one,
        ([], []) => return Err(cannot("no bucket needs a policy for this job".into())),
        _ => {
            let ids: Vec<_> = of_buckets
                .iter()
                .map(|document| document.on.as_str())
                .collect();
            return Err(cannot(format!(
                "it may be of any of {}; --account ID says whose",
                ids.join(", ")
            )));
        }
    };
    let statements: &[Statement] = match &document.document {
        Body::Policy(Policy { statement, .. }) => statement,
        Body::Setting(_) => &[],
    };
    merge(&policy, statements).map_err(|error| cannot(error.to_string()))
}

/// The template of the one account in which something is set.
fn one_template(documents: &[Document], parties: &Parties) -> Result<Value, Failed> {
    let mut accounts: Vec<_> = documents.iter().map(|d| d.account.as_str()).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let [account] = accounts[..] else {
        return Err(Failed::usage(format!(
            "there is a template for each of the accounts {}: say which with --account ID",
            accounts.join(", ")
        )));
    };
    let made = template(account, documents, parties.trust.as_ref());
    if !made.left_out.is_empty() {
        tracing::warn!(
            documents = made.left_out.join(", "),
            "a template cannot change what is there: see --output text for these"
        );
    }
    Ok(made.template)
}
