//! Exit codes, and how an error is shown.

use std::error::Error;

use s3haul_s3::{Class, ErrorKind};

use super::log;
use crate::job::access::AccessError;
use crate::job::manifest::ManifestError;
use crate::job::manifest::key::Shown;
use crate::job::manifest::sort::SortError;
use crate::job::report::ReportError;
use crate::job::report::passes::JobState;
use crate::job::report::previous::PreviousError;
use crate::job::report::read::ReadError;
use crate::job::report::store::StoreError;
use crate::job::{Cause, JobError};
use crate::listing::ListingError;

/// What the program exits with, besides 0 and the code of failed rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Bad flags, bad job file, unreadable manifest: nothing was copied.
    Usage = 2,
    /// Access was refused, or the failure threshold stopped the job.
    Access = 3,
    /// Stopped by a signal or for its report: everything done is in the report.
    Stopped = 4,
}

/// An error on its way to the user: the cause, what to do, and the exit code.
#[derive(Debug)]
pub(super) struct Failed {
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
    exit: Exit,
}

impl Failed {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self {
            error: message.into().into(),
            hint: None,
            exit: Exit::Usage,
        }
    }

    pub(super) fn new(error: impl Error + Send + Sync + 'static, exit: Exit) -> Self {
        Self {
            error: Box::new(error),
            hint: None,
            exit,
        }
    }

    pub(super) fn hinted(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// What to do.
    pub(super) fn into_hint(self) -> Option<String> {
        self.hint
    }

    /// Prints the error, its causes and the hint to stderr.
    pub(super) fn print(&self) -> u8 {
        let mut causes = vec![self.error.to_string()];
        let mut error: &dyn Error = &*self.error;
        while let Some(source) = error.source() {
            causes.push(source.to_string());
            error = source;
        }
        // Errors quote keys and answers of strangers, line by line.
        let lines = |text: &str| {
            text.lines()
                .map(|l| Shown(l).to_string())
                .collect::<Vec<_>>()
                .join("\n")
        };
        let causes: Vec<_> = causes.iter().map(|cause| lines(cause)).collect();
        let words = if log::is_json() {
            causes.join(": ")
        } else {
            format!("error: {}", causes.join("\n  caused by: "))
        };
        log::fail(&words, self.hint.as_deref().map(lines).as_deref());
        self.exit as u8
    }
}

impl From<ManifestError> for Failed {
    fn from(error: ManifestError) -> Self {
        let error = match error {
            ManifestError::Access(error) => return error.into(),
            error => error,
        };
        let exit = match &error {
            // Access that is granted later mends it, or a network that works; another name does not.
            ManifestError::Object { source, .. } if source.status == Some(403) => Exit::Access,
            error if error.may_pass() => Exit::Access,
            _ => Exit::Usage,
        };
        let hint = match &error {
            ManifestError::Object { source, .. } if source.status == Some(403) => Some(
                "who reads the manifest (the role, if there is one; else --manifest-profile) needs \
                 s3:GetObject on it, and on the data files of an inventory; without s3:ListBucket a \
                 missing object answers 403 too",
            ),
            ManifestError::Header { .. } => Some("remove the first line"),
            ManifestError::BadRows { .. } => {
                Some("mend these rows; nothing was copied, since no row is left out in silence")
            }
            ManifestError::Changed { .. } => Some(
                "a job goes on only with the manifest that it began with: put it back, or start a \
                 new job",
            ),
            _ => None,
        };
        Self::new(error, exit).hinted(hint.map(str::to_owned))
    }
}

impl From<SortError> for Failed {
    fn from(error: SortError) -> Self {
        match error {
            SortError::Manifest(error) => error.into(),
            SortError::Stopped | SortError::OtherRows { .. } => Self::new(error, Exit::Stopped),
            SortError::Room { .. } | SortError::Io { .. } => {
                let hint = "give --work-dir a folder with more room";
                Self::new(error, Exit::Usage).hinted(hint.to_owned())
            }
        }
    }
}

impl From<AccessError> for Failed {
    fn from(error: AccessError) -> Self {
        let exit = if error.is_refusal() {
            Exit::Access
        } else {
            Exit::Usage
        };
        let hint = error.hint();
        Self::new(error, exit).hinted(hint)
    }
}

impl From<ListingError> for Failed {
    fn from(error: ListingError) -> Self {
        let ListingError::Page { source, .. } = &error else {
            let hint = "with --concurrency 1 the bucket is listed page by page, in its own order";
            let ordered = matches!(error, ListingError::Order { .. });
            return Self::new(error, Exit::Stopped).hinted(ordered.then(|| hint.to_owned()));
        };
        let (exit, hint) = match source.class() {
            Class::Permanent if source.is_access_refusal() => {
                let hint = "listing takes s3:ListBucket on the bucket, and s3:ListBucketVersions \
                            for versions: in the identity's policy and, across accounts, in the \
                            bucket's";
                (Exit::Access, Some(hint))
            }
            Class::Permanent if source.kind == ErrorKind::Answered => {
                let hint = "check the bucket's name, --source-region and --endpoint-url";
                (Exit::Usage, Some(hint))
            }
            Class::Permanent => (Exit::Usage, None),
            Class::ExpiredToken => (Exit::Access, None),
            Class::Throttled | Class::Transient | Class::ClockSkew => {
                let hint = "no manifest was made: give the same command again";
                (Exit::Stopped, Some(hint))
            }
        };
        Self::new(error, exit).hinted(hint.map(str::to_owned))
    }
}

impl From<ReportError> for Failed {
    fn from(error: ReportError) -> Self {
        let hint = match &error {
            ReportError::Store(StoreError::Locked { .. }) => {
                Some("wait for it to end, or stop it: one process writes a report at a time")
            }
            ReportError::Store(StoreError::Lost { .. }) => Some(
                "this one has stopped and changed nothing since: the other goes on with the job",
            ),
            ReportError::Store(StoreError::S3 { source, .. }) if source.is_access_refusal() => {
                Some(
                    "who works on the report (--report-profile; else the role, if there is one) needs \
                 s3:GetObject, s3:PutObject and s3:ListBucket there; without the last what is not there \
                 answers 403 too",
                )
            }
            ReportError::Store(StoreError::Unconditional { .. }) => Some(
                "two processes could write one report there: keep the report in another store, or in a \
                 folder",
            ),
            ReportError::Store(StoreError::Io { .. }) => {
                Some("the report's folder must be writable and have room: see --report")
            }
            ReportError::Store(StoreError::Exists { .. }) => {
                Some("the job was begun meanwhile: give the same command again to go on with it")
            }
            ReportError::Store(StoreError::Journal { .. } | StoreError::Gone { .. })
            | ReportError::File { .. } => Some(
                "the report is damaged, and nothing was changed: put the file back from a copy, or \
                 start a new job (--overwrite if-different leaves equal objects alone) and abort \
                 the old one's multipart uploads in the destination bucket",
            ),
            _ => None,
        };
        // A damaged report is nothing that other flags would mend.
        let damaged = matches!(
            &error,
            ReportError::Broken(_)
                | ReportError::Store(StoreError::Journal { .. } | StoreError::Gone { .. })
        );
        let exit = match &error {
            _ if damaged => Exit::Stopped,
            ReportError::Store(StoreError::S3 { source, .. }) if source.is_access_refusal() => {
                Exit::Access
            }
            // Nothing that other flags would mend: what was durable still is.
            ReportError::Store(
                StoreError::S3 { .. }
                | StoreError::Out { .. }
                | StoreError::Lost { .. }
                | StoreError::Moved { .. }
                | StoreError::Restless { .. },
            ) => Exit::Stopped,
            _ => Exit::Usage,
        };
        Self::new(error, exit).hinted(hint.map(str::to_owned))
    }
}

impl From<PreviousError> for Failed {
    fn from(error: PreviousError) -> Self {
        let (exit, hint) = match &error {
            PreviousError::Stopped => (Exit::Stopped, None),
            PreviousError::NoIdentity { .. } => {
                let hint = "with --previous-report-match key rows are skipped by bucket, key and \
                            version alone: objects that changed since then stay old, and no row \
                            says so";
                (Exit::Usage, Some(hint))
            }
            PreviousError::Write { .. } => {
                let hint = "it takes 16 bytes for each row that succeeded, twice while it is \
                            sorted: see --work-dir";
                (Exit::Usage, Some(hint))
            }
            PreviousError::Read(ReadError::Several { reports, .. }) => {
                let names: Vec<_> = reports.iter().map(|r| r.display().to_string()).collect();
                let hint = format!("name one of them:\n  {}", names.join("\n  "));
                return Self::new(error, Exit::Usage).hinted(hint);
            }
            PreviousError::Read(ReadError::Damaged { .. }) => {
                let hint = "put the file back from a copy, or download it again";
                (Exit::Usage, Some(hint))
            }
            PreviousError::Read(_) => (Exit::Usage, None),
        };
        Self::new(error, exit).hinted(hint.map(str::to_owned))
    }
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        PreviousError::from(error).into()
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        ReportError::Store(error).into()
    }
}

impl From<JobError> for Failed {
    fn from(error: JobError) -> Self {
        let hint = match &error {
            JobError::Sort(SortError::Room { .. } | SortError::Io { .. }) => {
                "everything durable is in the report: run s3haul resume, with a --work-dir that has \
                 more room"
            }
            JobError::Sort(SortError::OtherRows { .. }) => {
                "everything durable is in the report: run s3haul resume, which sorts them again"
            }
            _ => "everything durable is in the report: mend the cause, then run s3haul resume",
        };
        let exit = match error.state() {
            JobState::Failed => Exit::Access,
            _ => Exit::Stopped,
        };
        Self::new(error, exit).hinted(hint.to_owned())
    }
}

/// Says on stderr why a job stopped before its end.
pub(super) fn print_cause(cause: &Cause, report: &str) {
    let (what, hint) = match cause {
        Cause::Signal => ("stopped by a signal".to_owned(), "go on"),
        Cause::Credentials(why) => {
            let lines: Vec<_> = why.lines().map(|line| Shown(line).to_string()).collect();
            let what = format!(
                "the credentials are gone, and the job was stopped: {}",
                lines.join("\n")
            );
            (what, "with new credentials, go on")
        }
        Cause::Refused { rows } => {
            let what = if *rows == 1 {
                "the first row was refused for want of access: the job was stopped".to_owned()
            } else {
                format!(
                    "the first {rows} rows were all refused for want of access: the job was stopped"
                )
            };
            (what, "once the cause is mended, go on")
        }
        Cause::Threshold { failed, run } => (
            format!(
                "{failed} of {run} rows failed, which is over the --failure-threshold: the job was stopped"
            ),
            "once the cause is mended, go on",
        ),
    };
    let hint = format!("{hint} with: s3haul resume {report}");
    if *cause == Cause::Signal {
        log::say(&format!("{what}\nhint: {hint}"));
    } else {
        log::fail(&what, Some(&hint));
    }
}
