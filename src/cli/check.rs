//! `s3haul check`: what a job will meet, before it begins. `copy` looks at the same by itself.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use clap::builder::Resettable;
use s3haul_s3::{Caller, IdentityError};
use tokio_util::sync::CancellationToken;

use super::attempt::{self, Listening};
use super::copy::CopyArgs;
use super::exit::{Exit, Failed};
use super::print_result;
use super::reach::{Reach, is_in_s3, report_location};
use super::spool;
use crate::job::access::{AccessError, Connection};
use crate::job::copy::settings::{CustomerKeys, StorageClass};
use crate::job::manifest::{ManifestError, ManifestFile, Survey, survey_rows};
use crate::job::spec::{JobFile, JobSpec};
use crate::job::{blocking, retry_options};
use crate::preflight::finding::{Finding, Findings, Outcome};
use crate::preflight::sample::{Sampler, Samples};
use crate::preflight::{self, Asker, Check, Stopped, identity};

/// The flags of `check`: those of `copy`, and one of its own.
#[derive(Debug, Args)]
// In an environment that copies without one, a check is one all the same.
#[command(mut_arg("skip_check", |skip| skip.env(Resettable::Reset)))]
pub(super) struct CheckArgs {
    #[command(flatten)]
    copy: CopyArgs,
    /// Put an object with the job's settings too, and delete it again if that is allowed
    #[arg(
        long,
        env = "S3HAUL_PROBE_OBJECT",
        help_heading = "Running",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    probe_object: bool,
}

/// What a check needs of the command line.
struct Given {
    job: JobSpec,
    keys: CustomerKeys,
    report: PathBuf,
    probe_object: bool,
}

/// Runs `s3haul check`.
pub(super) async fn run(args: CheckArgs) -> Result<u8, Failed> {
    args.copy.run.words.start_log();
    let of_copy = [
        ("--dry-run", args.copy.evidence.dry_run),
        ("--skip-check", args.copy.skip_check),
    ];
    if let Some((flag, _)) = of_copy.into_iter().find(|(_, given)| *given) {
        return Err(Failed::usage(format!(
            "{flag} is for copy: a check copies nothing, and is what it is"
        )));
    }
    let began = Instant::now();
    let output = args.copy.run.words.output;
    let mfa_code = args.copy.again.mfa_code.clone();
    let report = args.copy.evidence.report.report.clone();
    let job_id = args.copy.evidence.report.job_id(None)?;
    let (job, keys) = args.copy.spec(&job_id, None)?;
    let given = Given {
        job,
        keys,
        report,
        probe_object: args.probe_object,
    };
    if given.probe_object {
        can_be_deleted(&given.job)?;
    }
    let listening = Listening::start();
    let reach = Reach::new(&given.job.access, &given.job.speed, mfa_code);
    let stop = &listening.signals.drain;
    let (findings, requests) = Box::pin(findings(&given, &reach, stop)).await?;
    let found = summed(findings, requests, began);
    print_result(output, &found)?;
    Ok(found.exit_code)
}

/// An object that is locked, or paid for by the month, is none to try.
fn can_be_deleted(job: &JobSpec) -> Result<(), Failed> {
    let object = &job.copy.object;
    if object.retention.is_some() || object.legal_hold.is_some() {
        return Err(Failed::usage(
            "--probe-object cannot be used with --object-lock flags: the object could not be deleted",
        ));
    }
    match &object.storage_class {
        StorageClass::Class(class) if class.contains("GLACIER") || class == "DEEP_ARCHIVE" => {
            Err(Failed::usage(format!(
                "--probe-object cannot be used with --storage-class {class}, which is paid for 90 days and more"
            )))
        }
        _ => Ok(()),
    }
}

/// Who works, the manifest, then the rest; whatever cannot be asked without what is missing is left out.
async fn findings(
    given: &Given,
    reach: &Reach,
    stop: &CancellationToken,
) -> Result<(Vec<Finding>, u64), Failed> {
    let mut findings = Vec::new();
    let who = stop.run_until_cancelled(Box::pin(who(given, reach, &mut findings)));
    let Some(connection) = who.await.ok_or(Stopped)?? else {
        if !is_in_s3(&given.report) {
            let place = preflight::report_place(&given.report, None, &given.job, 0, stop);
            findings.push(place.await?);
        }
        return Ok((findings, 0));
    };
    let (connection, caller) = connection;
    // Manifest and report may lie in S3, and be reached by another's credentials.
    let manifest = manifest(given, reach, stop).await?;
    findings.push(match &manifest {
        Ok((survey, _)) => preflight::manifest(survey),
        Err(finding) => finding.clone(),
    });
    let rows = manifest.as_ref().map_or(0, |(survey, _)| survey.rows);
    let check = Check {
        job: &given.job,
        keys: &given.keys,
        manifest: manifest
            .as_ref()
            .ok()
            .map(|(survey, samples)| (survey, samples)),
        probe_object: given.probe_object,
    };
    let ask = Asker::new(&connection, &retry_options(&given.job.speed));
    let looked = check.run(&connection, caller.as_ref(), &ask, stop);
    let place = report_place(given, reach, rows, stop);
    let (looked, place) = tokio::join!(Box::pin(looked), Box::pin(place));
    findings.extend(looked?);
    let (place, more) = place?;
    findings.push(place);
    Ok((findings, ask.requests() + more))
}

/// Becomes who copies, in the steps that a finding tells of.
async fn who(
    given: &Given,
    reach: &Reach,
    findings: &mut Vec<Finding>,
) -> Result<Option<(Connection, Option<Caller>)>, Failed> {
    let role = given.job.access.role.as_ref();
    let base = match reach.base().await? {
        Ok(base) => base,
        Err(error) => {
            findings.push(identity::none(&identity_error(error)?, role, None));
            return Ok(None);
        }
    };
    let (finding, caller) = identity::base(base.identity()).await;
    let usable = finding.outcome != Outcome::Fail;
    findings.push(finding);
    if !usable {
        return Ok(None);
    }
    let connection = match reach.of_base(base).await {
        Ok(connection) => connection,
        Err(error) => {
            let error = identity_error(error)?;
            findings.push(identity::none(&error, role, caller.as_ref()));
            return Ok(None);
        }
    };
    findings.extend(role.map(|role| identity::role(&connection, role, caller.as_ref())));
    Ok(Some((connection, caller)))
}

/// What is wrong with who works is a finding; with flags and environment it is not.
fn identity_error(error: AccessError) -> Result<IdentityError, Failed> {
    match error {
        AccessError::Identity(error) => Ok(error),
        error => Err(error.into()),
    }
}

/// Reads the manifest once, and picks rows.
async fn manifest(
    given: &Given,
    reach: &Reach,
    stop: &CancellationToken,
) -> Result<Result<(Survey, Samples), Finding>, Failed> {
    let job = &given.job;
    let spool = tempfile::NamedTempFile::new();
    let spool = spool.map_err(|error| Failed::new(error, Exit::Usage))?;
    let file = attempt::manifest_of(job, spool.path(), reach, stop);
    let file = stop
        .run_until_cancelled(Box::pin(file))
        .await
        .ok_or(Stopped)??;
    let (path, given) = (spool.path().to_owned(), job.clone());
    let read = blocking(move || {
        if given.read.keep_bad_rows {
            spool::take_stdin(&path)?;
        }
        let read = sampled(&file, &given);
        if let Ok((survey, _)) = &read {
            attempt::check(survey, &given)?;
        }
        Ok::<_, Failed>(read)
    });
    let read = stop
        .run_until_cancelled(Box::pin(read))
        .await
        .ok_or(Stopped)??;
    Ok(read.map_err(|error| {
        let told = error.to_string();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let hint = Failed::from(error).into_hint();
        preflight::no_manifest(&told, source, hint)
    }))
}

/// Surveys a manifest, and picks rows that stand for all.
pub(super) fn sampled(
    file: &ManifestFile,
    job: &JobSpec,
) -> Result<(Survey, Samples), ManifestError> {
    let mut sampler = Sampler::new(fastrand::Rng::new());
    let survey = survey_rows(file, &job.read, &mut |row| sampler.see(row))?;
    Ok((survey, sampler.samples()))
}

/// Whether the report's place can be written, and how many requests that took.
async fn report_place(
    given: &Given,
    reach: &Reach,
    rows: u64,
    stop: &CancellationToken,
) -> Result<(Finding, u64), Failed> {
    let (report, job) = (given.report.as_path(), &given.job);
    if !is_in_s3(report) {
        let found = preflight::report_place(report, None, job, rows, stop);
        return Ok((found.await?, 0));
    }
    let location = report_location(report)?;
    let connection = stop.run_until_cancelled(Box::pin(reach.report()));
    let connection = connection.await.ok_or(Stopped)??;
    let ask = Asker::new(&connection, &retry_options(&job.speed));
    let there = (
        &connection,
        &ask,
        location.bucket.as_str(),
        location.prefix.as_str(),
    );
    let found = preflight::report_place(report, Some(there), job, rows, stop).await?;
    Ok((found, ask.requests()))
}

fn summed(findings: Vec<Finding>, requests: u64, began: Instant) -> Findings {
    let mut found = Findings {
        findings,
        requests,
        elapsed_seconds: began.elapsed().as_secs_f64(),
        exit_code: 0,
    };
    if found.of(Outcome::Fail).next().is_some() {
        found.exit_code = Exit::Access as u8;
    }
    found
}

impl From<Stopped> for Failed {
    fn from(stopped: Stopped) -> Self {
        Self::new(stopped, Exit::Stopped)
    }
}

/// Looks before a new job's first row, whose manifest and report are at hand. What fails ends it; what may is
/// said.
///
/// # Errors
/// Something fails the job.
pub(super) async fn look(
    file: &JobFile,
    keys: &CustomerKeys,
    samples: &Samples,
    reach: &Reach,
    stop: &CancellationToken,
) -> Result<(), Failed> {
    let check = Check {
        job: &file.job,
        keys,
        manifest: Some((&file.survey, samples)),
        probe_object: false,
    };
    let connection = reach.connection().await?;
    let ask = Asker::new(&connection, &retry_options(&file.job.speed));
    let caller = identity::caller(connection.credentials());
    let caller = stop.run_until_cancelled(Box::pin(caller)).await;
    let caller = caller.ok_or(Stopped)?;
    let findings = check.run(&connection, caller.as_ref(), &ask, stop);
    let findings = Box::pin(findings).await?;
    let mut failed = Vec::new();
    for finding in &findings {
        match finding.outcome {
            Outcome::Fail => failed.push(finding.to_string()),
            Outcome::Likely | Outcome::Warning => {
                tracing::warn!(
                    id = finding.id,
                    outcome = finding.outcome.as_str(),
                    "{}",
                    finding.what
                );
            }
            Outcome::Unknown => tracing::info!(id = finding.id, "unknown: {}", finding.what),
            Outcome::Pass => {}
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the job would fail, and was not begun\n{}",
        failed.concat().trim_end()
    );
    Err(
        Failed::new(std::io::Error::other(message), Exit::Access).hinted(
            "s3haul check with the same flags tells the rest; --skip-check begins all the same"
                .to_owned(),
        ),
    )
}
