//! What a job will meet, looked at before its first row: who copies, both buckets, rows that stand for all,
//! the report's place. Nothing is left behind, and nothing is written to the source.
//!
//! A check knows what S3 lets anybody know. What was asked and refused is a fact, `fail`; what follows from
//! which requests pass is `likely`; a setting that may not be read is `unknown`. What is found is data
//! ([`finding`]), and so is what mends it: `denial` takes refusals apart.

mod bucket;
mod denial;
mod destination;
mod encryption;
pub mod finding;
pub mod identity;
mod known;
mod probe;
mod report;
pub mod sample;
mod source;

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use s3haul_s3::{
    Caller, HeaderPair, OnDoubt, Operation, Requests, RetryOptions, Tally, Throttle,
    ThrottleOptions, partition_of,
};
use tokio_util::sync::CancellationToken;

use self::bucket::{Looked, Side};
use self::denial::Who;
use self::finding::{Finding, Outcome};
use self::known::Known;
use self::sample::Samples;
use crate::job::access::{AccessOptions, Connection};
use crate::job::copy::CopyOptions;
use crate::job::copy::headers::JobHeaders;
use crate::job::copy::settings::CustomerKeys;
use crate::job::manifest::{Survey, Versions};
use crate::job::plan::DeleteMarkers;
use crate::job::spec::JobSpec;

/// Attempts of each request: somebody waits.
const ATTEMPTS: u32 = 3;
/// How far a clock that is set by others is never off.
const MUCH_SKEW: Duration = Duration::from_mins(1);

/// Stopped by a signal, with nothing left behind.
#[derive(Debug, thiserror::Error)]
#[error("stopped by a signal before the check was done")]
pub struct Stopped;

/// Sends the requests of a check, and counts them.
#[derive(Debug, Clone)]
pub struct Asker(Requests);

impl Asker {
    /// Sends as whoever `connection` is.
    pub fn new(connection: &Connection, retry: &RetryOptions) -> Self {
        let retry = RetryOptions {
            max_attempts: retry.max_attempts.min(ATTEMPTS),
            ..retry.clone()
        };
        let throttle = Throttle::new(&ThrottleOptions::default());
        Self(Requests::new(
            throttle,
            connection.credentials().clone(),
            retry,
        ))
    }

    /// How many it has sent.
    pub fn requests(&self) -> u64 {
        self.0.totals().requests
    }

    /// Sends what changes nothing, or nothing more when it is sent again.
    async fn ask<T, F, Fut>(&self, operation: Operation, request: F) -> s3haul_s3::Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = s3haul_s3::Result<T>>,
    {
        let mut tally = Tally::default();
        let resend = OnDoubt::Resend;
        let sent = self
            .0
            .send_uncounted(&mut tally, operation, Some(0), resend, request);
        // What the SDK's requests are made of nests deeper than the compiler goes.
        sent.boxed_local().await
    }

    /// Sends a write, whose doubt is for the caller to settle.
    async fn write<T, F, Fut>(&self, operation: Operation, request: F) -> s3haul_s3::Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = s3haul_s3::Result<T>>,
    {
        let mut tally = Tally::default();
        let on_doubt = OnDoubt::Return;
        let sent = self
            .0
            .send_uncounted(&mut tally, operation, Some(0), on_doubt, request);
        sent.boxed_local().await
    }
}

/// A job to be checked.
#[derive(Debug)]
pub struct Check<'a> {
    /// As it is given.
    pub job: &'a JobSpec,
    /// Its keys of SSE-C.
    pub keys: &'a CustomerKeys,
    /// What its manifest is, and rows that stand for all; none of one that cannot be read.
    pub manifest: Option<(&'a Survey, &'a Samples)>,
    /// An object is put, too.
    pub probe_object: bool,
}

impl Check<'_> {
    /// Looks at all but the identity, the manifest and the report's place. `caller` is who copies without a
    /// role.
    ///
    /// # Errors
    /// It was stopped.
    ///
    /// # Cancellation
    /// By `stop`, not by being dropped: an upload that was begun is given up first.
    pub async fn run(
        &self,
        connection: &Connection,
        caller: Option<&Caller>,
        ask: &Asker,
        stop: &CancellationToken,
    ) -> Result<Vec<Finding>, Stopped> {
        let (job, access) = (self.job, &self.job.access);
        let expected = access.expected_destination();
        let mut known = Known {
            job,
            ask,
            who: who(access, caller),
            headers: JobHeaders::new(
                &CopyOptions {
                    destination_account: expected.clone(),
                    ..job.copy.clone()
                },
                self.keys,
            ),
            destination_account: None,
            source_bucket: self.manifest.map(|(survey, _)| survey.bucket.clone()),
            in_parts: self.in_parts(),
        };
        let destination = Side::destination(connection, job, expected);
        let source = self
            .manifest
            .map(|(survey, _)| Side::source(connection, job, &survey.bucket));
        let looks = async {
            tokio::join!(destination.look(ask, &known.who), async {
                match &source {
                    Some(side) => Some(side.look(ask, &known.who).await),
                    None => None,
                }
            })
        };
        let (there, mut here) = within(stop, looks.boxed_local()).await?;
        let mut findings = vec![clock([Some(&there), here.as_ref()].into_iter().flatten())];
        if there.owned {
            known.destination_account.clone_from(&destination.account);
        }
        if let Some(here) = &mut here {
            across_partitions(here, &there);
            known.who.partition = partition_of(here.client.region()).to_owned();
        }
        let reading = async {
            tokio::join!(self.source(&known, here.as_ref()), async {
                if there.open {
                    destination::settings(&known, &there.client).await
                } else {
                    destination::Settings::default()
                }
            })
        };
        let (read, settings) = within(stop, reading.boxed_local()).await?;
        let unseen = known.unseen(&read, settings.unversioned);
        findings.extend(here.into_iter().flat_map(|here| here.findings));
        findings.extend(read.findings);
        findings.extend(there.findings);
        findings.extend(settings.findings);
        if there.open && !stop.is_cancelled() {
            let probe = probe::Probe {
                known: &known,
                client: &there.client,
                sample: read.example.as_ref(),
                kms: settings.kms,
                object: self.probe_object,
                lets_go: settings.lets_go,
            };
            findings.extend(probe.run(stop).boxed_local().await);
            findings.extend(unseen);
        }
        if stop.is_cancelled() {
            return Err(Stopped);
        }
        Ok(findings)
    }

    fn in_parts(&self) -> Option<bool> {
        let (_, samples) = self.manifest?;
        samples.in_parts(self.job.copy.plan.multipart_threshold)
    }

    async fn source(&self, known: &Known<'_>, here: Option<&Looked>) -> source::Read {
        match (self.manifest, here) {
            (Some((survey, samples)), Some(here)) if here.open => {
                source::read(known, here, survey, samples).await
            }
            _ => source::Read::default(),
        }
    }
}

/// Whether the report can be written: in S3 by a connection, else in a folder.
///
/// # Errors
/// It was stopped.
pub async fn report_place(
    place: &Path,
    in_s3: Option<(&Connection, &Asker, &str, &str)>,
    job: &JobSpec,
    rows: u64,
    stop: &CancellationToken,
) -> Result<Finding, Stopped> {
    let Some((connection, ask, bucket, prefix)) = in_s3 else {
        return Ok(report::folder(place, rows));
    };
    let place = report::Place {
        bucket,
        prefix,
        account: job.access.report_account.as_deref(),
        role: match (&job.access.role, &job.access.report_profile) {
            (Some(role), None) => Some(role.role_arn.as_str()),
            _ => None,
        },
    };
    report::in_s3(connection, ask, &place, stop).await
}

/// What is found of a manifest that can be read.
pub fn manifest(survey: &Survey) -> Finding {
    let (rows, bucket) = (survey.rows, &survey.bucket);
    let filtered = match survey.filtered {
        0 => String::new(),
        left_out => format!(", {left_out} left out by filters"),
    };
    let what = format!("{rows} rows of the bucket {bucket}{filtered}");
    Finding::new(&finding::MANIFEST, Outcome::Pass, what)
        .evidence(format!("read whole, ETag {}", survey.e_tag))
}

/// What is found of one that cannot: why, what lies behind that, and what to do.
pub fn no_manifest(why: &str, source: Option<String>, hint: Option<String>) -> Finding {
    let mut finding = Finding::new(&finding::MANIFEST, Outcome::Fail, why);
    (finding.evidence, finding.remedy) = (source, hint);
    finding
}

/// Who copies: the role, else the caller.
fn who(access: &AccessOptions, caller: Option<&Caller>) -> Who {
    let role = access.role.as_ref().map(|role| role.role_arn.as_str());
    Who::new(role, caller)
}

/// Looks, unless it is stopped first. What looks leaves nothing.
async fn within<T>(stop: &CancellationToken, looks: impl Future<Output = T>) -> Result<T, Stopped> {
    stop.run_until_cancelled(looks).await.ok_or(Stopped)
}

/// Says so where the two are of different partitions, between which S3 copies nothing.
fn across_partitions(here: &mut Looked, there: &Looked) {
    let (from, to) = (here.client.region(), there.client.region());
    if partition_of(from) == partition_of(to) {
        return;
    }
    let what = format!("it is in {from}, of another partition than {to}, where the destination is");
    let finding = Finding::new(&finding::SOURCE_REGION, Outcome::Fail, what).remedy(
        "S3 copies nothing across partitions: objects must be read with an identity of the one and written \
         with one of the other, which this version does not do",
    );
    let of_region = |found: &&mut Finding| found.id == finding.id;
    if let Some(found) = here.findings.iter_mut().find(of_region) {
        *found = finding;
    }
}

/// What this machine's clock shows, beside S3's.
fn clock<'a>(looked: impl Iterator<Item = &'a Looked>) -> Finding {
    let skew = looked
        .filter_map(|looked| looked.clock_ahead)
        .min_by_key(|skew| skew.unsigned_abs());
    let Some(ahead) = skew else {
        let what = "no answer told the time";
        return Finding::new(&finding::CLOCK, Outcome::Unknown, what);
    };
    let off = ahead.unsigned_abs();
    // S3 and STS refuse what is signed minutes off, and requests are signed by their clocks: the job runs.
    let outcome = if off > MUCH_SKEW {
        Outcome::Warning
    } else {
        Outcome::Pass
    };
    let seconds = off.as_secs();
    let what = match (outcome, ahead.is_negative()) {
        (Outcome::Pass, _) => "this machine's clock is S3's, within a minute".to_owned(),
        (_, true) => format!("this machine's clock is {seconds} s behind S3's"),
        (_, false) => format!("this machine's clock is {seconds} s ahead of S3's"),
    };
    let finding = Finding::new(&finding::CLOCK, outcome, what).evidence(format!(
        "Date of HeadBucket: {} s apart",
        ahead.whole_seconds()
    ));
    match outcome {
        Outcome::Pass => finding,
        _ => finding.remedy(
            "set the clock (NTP): requests are signed by S3's, and S3 may have to correct it",
        ),
    }
}

/// Whether the destination must keep versions, and whether the job does without knowing.
fn versions_wanted(job: &JobSpec) -> (bool, bool) {
    let all = job.read.versions == Some(Versions::All);
    let replay = job.copy.plan.delete_markers == Some(DeleteMarkers::Replay);
    (all, all && replay)
}

/// A key that nobody has, below a prefix.
fn probe_key(prefix: &str) -> String {
    format!("{prefix}s3haul-check-{:016x}", fastrand::u64(..))
}

/// The expected owner, as a header.
fn owner_header(account: Option<&str>) -> Vec<HeaderPair> {
    account
        .map(|account| ("x-amz-expected-bucket-owner".into(), account.to_owned()))
        .into_iter()
        .collect()
}
