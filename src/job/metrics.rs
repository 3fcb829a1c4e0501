//! How a running job goes, in numbers that only grow: read twice, they tell what came between.

use std::sync::atomic::{AtomicU64, Ordering};

use s3haul_s3::{CODES, Class, Requests};

use super::code::Code;
use super::report::journal::OutcomeRecord;
use super::report::row::TaskStatus;
use super::watch::Progress;

/// Why rows fail, as far as who watches over a job must know: each asks for another remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// Refused for want of access.
    Access,
    /// Throttled, until the attempts were used up.
    Throttled,
    /// There is no such object, version, upload or bucket.
    NotFound,
    /// Anything else.
    Other,
}

impl FailureClass {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// The class of a failed row by its error code; `access` is what the row's end says of itself.
    pub fn of(code: &str, access: bool) -> Self {
        let throttled =
            |(class, codes): &(Class, &[&str])| *class == Class::Throttled && codes.contains(&code);
        match code {
            _ if access => Self::Access,
            "NoSuchKey" | "NoSuchVersion" | "NoSuchUpload" | "NoSuchBucket" | "NotFound" => {
                Self::NotFound
            }
            _ if code == Code::Missing.as_str() => Self::NotFound,
            _ if code.starts_with("SlowDown") || CODES.iter().any(throttled) => Self::Throttled,
            _ => Self::Other,
        }
    }
}

/// Rows that have ended in this attempt, over all its passes.
#[derive(Debug, Default)]
pub struct EndedRows {
    succeeded: AtomicU64,
    skipped: AtomicU64,
    failed: [AtomicU64; FailureClass::COUNT],
}

impl EndedRows {
    /// Takes note of a row's end.
    pub(super) fn count(&self, outcome: &OutcomeRecord, access: bool) {
        let counter = match outcome.status {
            TaskStatus::Succeeded => &self.succeeded,
            TaskStatus::Skipped => &self.skipped,
            TaskStatus::Failed => {
                let class = FailureClass::of(&outcome.error_code, access);
                &self.failed[class as usize]
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The numbers of an attempt at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The attempt's number, from 1.
    pub attempt: u64,
    /// The pass in hand, from 0.
    pub pass: u64,
    /// Rows that succeeded.
    pub succeeded: u64,
    /// Rows left alone on purpose.
    pub skipped: u64,
    /// Rows that failed, by [`FailureClass`].
    pub failed: [u64; FailureClass::COUNT],
    /// Bytes of the rows that succeeded.
    pub bytes: u64,
    /// Requests sent for rows, each attempt of one counted.
    pub requests: u64,
    /// Of them, answered with throttling.
    pub throttled: u64,
    /// Requests in flight at this instant: the one number that may fall.
    pub in_flight: u32,
}

impl Snapshot {
    /// Rows that failed, whatever for.
    pub fn all_failed(&self) -> u64 {
        self.failed.iter().sum()
    }
}

impl Progress {
    /// Reads all numbers at once.
    pub fn snapshot(&self) -> Snapshot {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let sent = self.requests.get();
        let totals = sent.map(Requests::totals).unwrap_or_default();
        Snapshot {
            attempt: load(&self.attempt),
            pass: load(&self.pass),
            succeeded: load(&self.ended.succeeded),
            skipped: load(&self.ended.skipped),
            failed: self.ended.failed.each_ref().map(load),
            bytes: load(&self.bytes),
            requests: totals.requests,
            throttled: totals.throttled,
            in_flight: sent.map_or(0, |sent| sent.throttle().in_flight()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_classes() {
        use FailureClass::{Access, NotFound, Other, Throttled};
        let table = [
            ("AccessDenied", true, Access),
            ("KMS.AccessDeniedException", true, Access),
            ("NoSuchKey", false, NotFound),
            ("NotFound", false, NotFound),
            ("Missing", false, NotFound),
            ("SlowDown", false, Throttled),
            ("SlowDownWrite", false, Throttled),
            ("ServiceUnavailable", false, Throttled),
            ("KMS.ThrottlingException", false, Throttled),
            ("InternalError", false, Other),
            ("VerificationFailed", false, Other),
            ("InvalidManifestRow", false, Other),
        ];
        for (code, access, class) in table {
            assert_eq!(FailureClass::of(code, access), class, "{code}");
        }
    }
}
