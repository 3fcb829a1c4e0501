//! `s3haul policy`: the policies that a job needs, from its flags alone.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::copy::CopyArgs;
use super::exit::Failed;
use super::values::{self, Location};
use super::{Output, print_result};
use crate::job::access::{AccessOptions, Owner};
use crate::job::copy::settings::Encryption;
use crate::job::spec::JobSpec;
use crate::policy::cloudformation::template;
use crate::policy::document::{Policy, Statement, merge};
use crate::policy::documents::{
    Arn, Base, Body, Bucket, Document, Kind, Parties, Region, Trust, documents, resources,
};
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
    let report = args.copy.evidence.report.report.clone();
    let (job, _) = args.copy.spec("policy")?;
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
        checked: true,
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

/// Who does what where, or which flag says so.
fn parties(
    job: &JobSpec,
    about: &AboutArgs,
    report: &std::path::Path,
    in_template: bool,
) -> Result<Parties, Failed> {
    let access = &job.access;
    let worker = worker(access, about.base.as_ref())?;
    let source = Bucket {
        name: about.source.bucket.clone(),
        prefix: about.source.prefix.clone(),
        account: access.source_account.clone().ok_or_else(|| {
            Failed::usage(
                "whose the source bucket is decides what is needed: give --source-account",
            )
        })?,
    };
    let destination = Bucket {
        name: job.destination_bucket.clone(),
        prefix: job.read.rename.prefix.clone(),
        account: match &access.destination_account {
            Owner::OfRole => worker.account.clone(),
            Owner::Account(account) => account.clone(),
            Owner::Any => {
                return Err(Failed::usage(
                    "whose the destination bucket is decides what is needed: give \
                     --destination-account ID, not any",
                ));
            }
        },
    };
    let (manifest, report) = elsewhere(job, about, report, &worker, [&source, &destination])?;
    let inventory = about.inventory.as_ref().map(|place| Bucket {
        name: place.bucket.clone(),
        prefix: place.prefix.clone(),
        account: about
            .inventory_account
            .as_ref()
            .unwrap_or(&worker.account)
            .clone(),
    });
    let all = [Some(&source), Some(&destination), inventory.as_ref()]
        .into_iter()
        .flatten();
    let of_others = [&manifest, &report]
        .into_iter()
        .flatten()
        .map(|(bucket, _)| bucket);
    for bucket in all.chain(of_others) {
        no_access_point(&bucket.name)?;
    }
    let enforces = about.enforce_acl;
    let acl = job.copy.acl.as_deref();
    if enforces && acl.is_some_and(|acl| acl != "bucket-owner-full-control") {
        return Err(Failed::usage(
            "--enforce-acl would refuse what the job writes: its --acl is another than \
             bucket-owner-full-control",
        ));
    }
    Ok(Parties {
        trust: trust(access, about, in_template)?,
        source,
        destination,
        manifest,
        report,
        inventory,
        source_keys: source_keys(about)?,
        destination_keys: destination_keys(job, about)?,
        enforce_acl: enforces,
        canonical_users: about
            .source_canonical_user_id
            .clone()
            .zip(about.canonical_user_id.clone()),
        worker,
    })
}

/// A bucket, and who works on it.
type WorkedOn = Option<(Bucket, Arn)>;

/// The buckets of manifest and report, where these lie in S3.
fn elsewhere(
    job: &JobSpec,
    about: &AboutArgs,
    report: &std::path::Path,
    worker: &Arn,
    known: [&Bucket; 2],
) -> Result<(WorkedOn, WorkedOn), Failed> {
    let access = &job.access;
    // The account of a bucket that is not named is known where it is one of the job's own.
    let account = |bucket: &str, given: Option<&String>, flag: &str| {
        let known = known.into_iter().filter(|known| known.name == bucket);
        let account = given.or(known.map(|known| &known.account).next());
        account.cloned().ok_or_else(|| {
            Failed::usage(format!(
                "whose the bucket {bucket} is decides what is needed: give {flag}"
            ))
        })
    };
    let by_profile =
        |profile: Option<&String>, given: Option<&Arn>, flag: &str| match (profile, given) {
            (None, None) => Ok(worker.clone()),
            (Some(_), Some(arn)) => Ok(arn.clone()),
            (Some(profile), None) => Err(Failed::usage(format!(
                "who the profile {profile} is cannot be known here: give {flag} ARN"
            ))),
            (None, Some(_)) => Err(Failed::usage(format!(
                "{flag} says who a profile is, and none is given"
            ))),
        };
    let at = |address: &std::path::Path, given, flag| {
        let text = address.to_string_lossy();
        if !text.starts_with("s3://") {
            return Ok::<_, Failed>(None);
        }
        let Location { bucket, prefix } = values::location(&text).map_err(Failed::usage)?;
        let account = account(&bucket, given, flag)?;
        let name = bucket;
        Ok(Some(Bucket {
            name,
            prefix,
            account,
        }))
    };
    let manifest = at(
        &job.manifest,
        about.manifest_account.as_ref(),
        "--manifest-account",
    )?;
    let (profile, reader) = (
        access.manifest_profile.as_ref(),
        about.manifest_reader.as_ref(),
    );
    let reader = by_profile(profile, reader, "--manifest-reader")?;
    let mut report = at(report, access.report_account.as_ref(), "--report-account")?;
    if let Some(bucket) = &mut report
        && !bucket.prefix.is_empty()
        && !bucket.prefix.ends_with('/')
    {
        bucket.prefix.push('/');
    }
    let (profile, writer) = (access.report_profile.as_ref(), about.report_writer.as_ref());
    let writer = by_profile(profile, writer, "--report-writer")?;
    let manifest = manifest.map(|bucket| (bucket, reader));
    let report = report.map(|bucket| (bucket, writer));
    Ok((manifest, report))
}

/// Policies of access points are their own, and delegate to the bucket's.
fn no_access_point(bucket: &str) -> Result<(), Failed> {
    if bucket.starts_with("arn:") || bucket.ends_with("-s3alias") {
        return Err(Failed::usage(format!(
            "{bucket} is an access point, whose policies are its own: name the bucket behind it, and \
             delegate its policy to the access point's"
        )));
    }
    Ok(())
}

fn worker(access: &AccessOptions, base: Option<&BaseFlag>) -> Result<Arn, Failed> {
    match (&access.role, base) {
        (Some(role), _) => Arn::parse(&role.role_arn, "iam")
            .ok_or_else(|| Failed::usage(format!("{} is no role's ARN", role.role_arn))),
        (None, Some(BaseFlag::Identity(arn))) => Ok(arn.clone()),
        (None, Some(_)) => Err(Failed::usage(
            "the role of what runs the job is not named: give it as --role-arn here, without \
             --no-role",
        )),
        (None, None) => Err(Failed::usage(
            "with --no-role the base identity copies: give its ARN as --base",
        )),
    }
}

fn trust(
    access: &AccessOptions,
    about: &AboutArgs,
    in_template: bool,
) -> Result<Option<Trust>, Failed> {
    let Some(role) = &access.role else {
        return Ok(None);
    };
    let base = match (&about.base, &access.region) {
        (Some(BaseFlag::Identity(arn)), _) => Base::Identity(arn.clone()),
        (Some(BaseFlag::Task), _) if in_template => Base::Task(Region::OfTemplate),
        (Some(BaseFlag::Task), Some(region)) => Base::Task(Region::Named(region.clone())),
        (Some(BaseFlag::Task), None) => {
            return Err(Failed::usage(
                "a task may become the role in one region only: give that as --region",
            ));
        }
        (Some(BaseFlag::Instance), _) => Base::Instance,
        (None, _) => {
            return Err(Failed::usage(
                "who becomes the role is for its trust policy to say: give --base ARN, or what the job \
                 runs in",
            ));
        }
    };
    if !matches!(base, Base::Identity(_))
        && (role.external_id.is_some() || role.mfa_serial.is_some())
    {
        return Err(Failed::usage(
            "nobody asks for the role of a task or an instance: --external-id and --mfa-serial mean \
             nothing to its trust policy",
        ));
    }
    Ok(Some(Trust {
        base,
        external_id: role.external_id.clone(),
        mfa: role.mfa_serial.is_some(),
        session_seconds: role.duration_seconds,
    }))
}

fn source_keys(about: &AboutArgs) -> Result<Vec<Arn>, Failed> {
    if !about.source_kms_key_id.is_empty() {
        return Ok(about.source_kms_key_id.clone());
    }
    super::flags::repeated(Vec::new(), "S3HAUL_SOURCE_KMS_KEY_ID")?
        .iter()
        .map(|text| {
            key(text).map_err(|why| Failed::usage(format!("S3HAUL_SOURCE_KMS_KEY_ID: {why}")))
        })
        .collect()
}

fn destination_keys(job: &JobSpec, about: &AboutArgs) -> Result<Vec<Arn>, Failed> {
    let default = about.destination_kms_key_id.as_ref();
    match &job.copy.object.encryption {
        Encryption::Kms(Some(id)) | Encryption::KmsDsse(Some(id)) => {
            let key =
                key(id).map_err(|why| Failed::usage(format!("--sse-kms-key-id {id}: {why}")))?;
            match default {
                Some(_) => Err(Failed::usage(
                    "--destination-kms-key-id is for a bucket's own key, and --sse-kms-key-id names \
                     another",
                )),
                None => Ok(vec![key]),
            }
        }
        Encryption::BucketDefault => Ok(default.cloned().into_iter().collect()),
        // aws/s3 asks for no permission, SSE-S3 has no key.
        Encryption::Aes256 | Encryption::Kms(None) | Encryption::KmsDsse(None) => match default {
            Some(_) => Err(Failed::usage(
                "--destination-kms-key-id is for a bucket's own encryption, and --sse asks for another",
            )),
            None => Ok(Vec::new()),
        },
    }
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

/// A bucket's policy with what is needed in it.
fn merged(path: &std::path::Path, documents: &[Document]) -> Result<Value, Failed> {
    let cannot =
        |why: String| Failed::usage(format!("cannot merge into {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
    let policy: Value = serde_json::from_str(&text).map_err(|error| cannot(error.to_string()))?;
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

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// All there is to print.
#[derive(Serialize)]
struct Printed<'d> {
    documents: &'d [Document],
    #[serde(rename = "needs")]
    lines: Vec<Line>,
}

/// An action with what it is on and why.
#[derive(Serialize)]
struct Line {
    action: &'static str,
    side: &'static str,
    resource: Vec<String>,
    reason: Vec<String>,
    essential: bool,
}

impl Line {
    fn of(need: &Need, parties: &Parties) -> Self {
        Self {
            action: need.action,
            side: need.place.as_str(),
            resource: resources(parties, need.place, need.on),
            reason: need.reasons.iter().cloned().collect(),
            essential: need.essential,
        }
    }
}

/// `--output table`.
#[derive(Serialize)]
struct Table(Vec<Line>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Line) -> &str| self.0.iter().map(|l| of(l).len()).max().unwrap_or(0);
        let (actions, sides) = (width(|l| l.action), width(|l| l.side));
        let resources = width(|line| line.resource.first().map_or("", String::as_str));
        for (at, line) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            let Line {
                action,
                side,
                resource,
                ..
            } = line;
            let first = resource.first().map_or("", String::as_str);
            let reason = line.reason.join("; ");
            write!(
                f,
                "{action:actions$}  {side:sides$}  {first:resources$}  {reason}"
            )?;
            for more in resource.iter().skip(1) {
                write!(f, "\n{:actions$}  {:sides$}  {more}", "", "")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, document) in self.documents.iter().enumerate() {
            if at > 0 {
                writeln!(f, "\n")?;
            }
            let Document {
                id,
                kind,
                account,
                on,
                why,
                ..
            } = document;
            writeln!(f, "# {id}: {} of {on}, in account {account}", kind.as_str())?;
            writeln!(f, "# {why}")?;
            write!(f, "{}", pretty(&document.document))?;
        }
        Ok(())
    }
}
