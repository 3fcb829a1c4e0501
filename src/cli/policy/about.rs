//! Who does what where, by the flags; or which flag is to say it.

use std::path::Path;

use s3haul_s3::partition_of;

use super::{AboutArgs, BaseFlag, key};
use crate::cli::exit::Failed;
use crate::cli::flags::repeated;
use crate::cli::values::{self, Location};
use crate::job::access::{AccessOptions, Owner};
use crate::job::copy::settings::Encryption;
use crate::job::spec::JobSpec;
use crate::policy::documents::{Arn, Base, Bucket, Parties, Region, Trust};

/// Who does what where, or which flag says so.
pub(super) fn parties(
    job: &JobSpec,
    about: &AboutArgs,
    report: &Path,
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
    let (source_keys, destination_keys) = (source_keys(about)?, destination_keys(job, about)?);
    let keys = source_keys.iter().chain(&destination_keys);
    one_partition(&worker, about, access.region.as_deref(), keys)?;
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
        source_keys,
        destination_keys,
        enforce_acl: enforces,
        canonical_users: about
            .source_canonical_user_id
            .clone()
            .zip(about.canonical_user_id.clone()),
        worker,
    })
}

/// No policy lets in whoever or whatever is of another partition.
fn one_partition<'a>(
    worker: &Arn,
    about: &'a AboutArgs,
    region: Option<&str>,
    keys: impl Iterator<Item = &'a Arn>,
) -> Result<(), Failed> {
    let base = match &about.base {
        Some(BaseFlag::Identity(arn)) => Some(arn),
        _ => None,
    };
    let others = [&about.manifest_reader, &about.report_writer];
    let others = others.into_iter().flatten().chain(base).chain(keys);
    let others = others.map(|arn| (arn.text.as_str(), arn.partition.as_str()));
    let region = region.map(|region| (region, partition_of(region)));
    // What a store behind an endpoint of its own calls its regions says nothing.
    let region = region.filter(|_| matches!(about.base, Some(BaseFlag::Task)));
    let (of, text) = (worker.partition.as_str(), &worker.text);
    match others.chain(region).find(|(_, partition)| *partition != of) {
        Some((other, partition)) => Err(Failed::usage(format!(
            "{other} is of partition {partition}, and {text} of {of}: nothing can be allowed across them"
        ))),
        None => Ok(()),
    }
}

/// A bucket, and who works on it.
type WorkedOn = Option<(Bucket, Arn)>;

/// The buckets of manifest and report, where these lie in S3.
fn elsewhere(
    job: &JobSpec,
    about: &AboutArgs,
    report: &Path,
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
    let at = |address: &Path, given, flag| {
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
    repeated(Vec::new(), "S3HAUL_SOURCE_KMS_KEY_ID")?
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
