//! What to do about an error, and how long to wait before: pure functions.

use std::time::Duration;

use crate::error::{ACCESS_CODES, ErrorKind, OUT_OF_SOCKETS, S3Error};
use crate::operation::Operation;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// We send too much, for S3 or for the sockets of this machine: slow down, and send it again.
    Throttled,
    /// It may succeed if it is sent again.
    Transient,
    /// The credentials have expired: renew them, and send it again.
    ExpiredToken,
    /// Our clock and the server's differ: the client has learnt by how much, send it again.
    ClockSkew,
    /// It would be answered the same again.
    Permanent,
}

/// What to do about the codes of S3, of KMS through S3 and of STS, whatever status they come with. Others are
/// known by their status, and those that say "SlowDown…" or "…Throttl…" are throttling.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>
pub const CODES: &[(Class, &[&str])] = &[
    (
        Class::Throttled,
        &[
            OUT_OF_SOCKETS,
            "SlowDown",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "TooManyRequests",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "BandwidthLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "KMS.ThrottlingException",
        ],
    ),
    (
        Class::Transient,
        &[
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "InternalServerErrorException",
            "RequestTimeout",
            "RequestTimeoutException",
            "OperationAborted",
            "ConditionalRequestConflict",
            "IDPCommunicationError",
            "KMS.KMSInternalException",
            "KMS.DependencyTimeoutException",
            "KMS.KeyUnavailableException",
        ],
    ),
    (
        Class::ExpiredToken,
        &[
            "ExpiredToken",
            "ExpiredTokenException",
            "TokenRefreshRequired",
        ],
    ),
    (
        Class::ClockSkew,
        &[
            "RequestTimeTooSkewed",
            "RequestExpired",
            "RequestInTheFuture",
        ],
    ),
    (Class::Permanent, ACCESS_CODES),
    (
        Class::Permanent,
        &[
            "NotImplemented",
            // It comes with 503, yet says nothing of how much we send: S3 has no room for expedited retrievals,
            // maybe for hours.
            "GlacierExpeditedRetrievalNotAvailable",
            "NoSuchBucket",
            "NoSuchKey",
            "NoSuchVersion",
            "NoSuchUpload",
            "InvalidPart",
            "InvalidObjectState",
            "ObjectNotInActiveTierError",
            "PreconditionFailed",
            "InvalidRequest",
            "InvalidArgument",
            "InvalidTag",
            "InvalidStorageClass",
            "InvalidBucketState",
            "KeyTooLongError",
            "MetadataTooLarge",
            "EntityTooLarge",
            "RequestHeaderSectionTooLarge",
            "AccessControlListNotSupported",
            "MethodNotAllowed",
            "PermanentRedirect",
            "AuthorizationHeaderMalformed",
            "KMS.NotFoundException",
            "KMS.DisabledException",
            "KMS.KMSInvalidStateException",
            "KMS.InvalidKeyUsageException",
        ],
    ),
];

/// How often a request is sent, and how long it waits in between.
#[derive(Debug, Clone)]
pub struct RetryOptions {
    /// How often one request is sent at most, the first time included; 10.
    ///
    /// Throttled answers do not count while other requests of the job succeed, renewals of credentials
    /// do not count at all.
    pub max_attempts: u32,
    /// How long an attempt may take, in place of [`attempt_timeout`](crate::attempt_timeout); none.
    pub attempt_timeout: Option<Duration>,
    /// The bound of the first wait after a transient error, doubled each time; 100 ms.
    pub transient_base: Duration,
    /// The bound of the first wait after a throttled answer, doubled each time; 500 ms.
    pub throttled_base: Duration,
    /// The bound of every wait; 20 s. `Retry-After` may ask for more, up to [`MAX_RETRY_AFTER`].
    pub max_back_off: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            attempt_timeout: None,
            transient_base: Duration::from_millis(100),
            throttled_base: Duration::from_millis(500),
            max_back_off: Duration::from_secs(20),
        }
    }
}

/// The longest wait that a server can ask for. S3 never sends `Retry-After`; what stands between may, and
/// an hour there must not stop a job.
pub const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// How long to wait after the failure number `failures` of a request (from 1): full jitter, that is
/// `jitter` (0 to 1) times the bound, and at least `retry_after`.
///
/// <https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>
pub fn back_off(
    options: &RetryOptions,
    class: Class,
    failures: u32,
    retry_after: Option<Duration>,
    jitter: f64,
) -> Duration {
    let base = match class {
        Class::Throttled => options.throttled_base,
        _ => options.transient_base,
    };
    let doublings = failures.saturating_sub(1).min(30);
    let bound = base
        .saturating_mul(1 << doublings)
        .min(options.max_back_off);
    let wait = bound.mul_f64(jitter.clamp(0.0, 1.0));
    wait.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

/// Classifies an error by S3's code, by its status where there is no code, and by how far it came where
/// there was no answer.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList>
pub fn classify(error: &S3Error) -> Class {
    match error.kind {
        ErrorKind::Answered => classify_answer(error),
        // Fewer at a time need fewer of them.
        ErrorKind::NotSent if error.code.as_deref() == Some(OUT_OF_SOCKETS) => Class::Throttled,
        ErrorKind::EmptyAnswer
        | ErrorKind::TimedOut
        | ErrorKind::NotSent
        | ErrorKind::AnswerLost => Class::Transient,
        ErrorKind::Credentials => Class::ExpiredToken,
        ErrorKind::NotBuilt | ErrorKind::Unreadable | ErrorKind::Untrusted => Class::Permanent,
    }
}

fn classify_answer(error: &S3Error) -> Class {
    let code = error.report_code();
    if is_throttling(code) {
        return Class::Throttled;
    }
    // The upload must be made anew with all of its parts: its caller does.
    if code == "ConditionalRequestConflict"
        && error.operation == Operation::CompleteMultipartUpload.name()
    {
        return Class::Permanent;
    }
    let named = CODES.iter().find(|(_, codes)| codes.contains(&code));
    match (named, error.status) {
        (Some((class, _)), _) => *class,
        (None, Some(501)) => Class::Permanent,
        (None, Some(429 | 503)) => Class::Throttled,
        (None, Some(408 | 500..)) => Class::Transient,
        (None, _) => Class::Permanent,
    }
}

/// S3's, KMS's (through S3, with 400 or 503) and STS's ways of saying "slower", besides those in [`CODES`].
fn is_throttling(code: &str) -> bool {
    code.starts_with("SlowDown") || code.contains("Throttl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: Option<&str>) -> S3Error {
        let mut error = S3Error::new(Operation::CopyObject, ErrorKind::Answered, "");
        error.status = Some(status);
        error.code = code.map(Into::into);
        error
    }

    #[test]
    fn without_sockets_less_is_sent_at_a_time() {
        let mut error = S3Error::new(Operation::CopyObject, ErrorKind::NotSent, "");
        assert_eq!(classify(&error), Class::Transient);
        error.code = Some(OUT_OF_SOCKETS.into());
        assert_eq!(
            (classify(&error), error.is_in_doubt()),
            (Class::Throttled, false)
        );
    }

    #[test]
    fn classes_of_answers() {
        use Class::{ClockSkew, ExpiredToken, Permanent, Throttled, Transient};
        // Status, code, class, in doubt, access refused.
        let table: &[(u16, Option<&str>, Class, bool, bool)] = &[
            (503, Some("SlowDown"), Throttled, false, false),
            (503, Some("SlowDownWrite"), Throttled, false, false),
            (503, Some("ServiceUnavailable"), Throttled, false, false),
            (503, None, Throttled, false, false),
            (503, Some("XMinioSomething"), Throttled, false, false),
            (429, None, Throttled, false, false),
            (429, Some("TooManyRequests"), Throttled, false, false),
            (
                400,
                Some("KMS.ThrottlingException"),
                Throttled,
                false,
                false,
            ),
            (400, Some("ThrottlingException"), Throttled, false, false),
            (400, Some("Throttling"), Throttled, false, false),
            (200, Some("SlowDown"), Throttled, false, false),
            (200, Some("ServiceUnavailable"), Throttled, false, false),
            (200, Some("InternalError"), Transient, true, false),
            (200, Some("InternalServerError"), Transient, true, false),
            (200, Some("AccessDenied"), Permanent, false, true),
            (500, Some("InternalError"), Transient, true, false),
            (500, None, Transient, true, false),
            (502, None, Transient, true, false),
            (504, Some("GatewayTimeout"), Transient, true, false),
            (501, Some("NotImplemented"), Permanent, false, false),
            (501, None, Permanent, false, false),
            (400, Some("RequestTimeout"), Transient, false, false),
            (409, Some("OperationAborted"), Transient, false, false),
            (
                409,
                Some("ConditionalRequestConflict"),
                Transient,
                false,
                false,
            ),
            (409, Some("BucketNotEmpty"), Permanent, false, false),
            (
                409,
                Some("RestoreAlreadyInProgress"),
                Permanent,
                false,
                false,
            ),
            (
                503,
                Some("GlacierExpeditedRetrievalNotAvailable"),
                Permanent,
                false,
                false,
            ),
            (400, Some("ExpiredToken"), ExpiredToken, false, false),
            (403, Some("ExpiredToken"), ExpiredToken, false, false),
            (403, Some("RequestTimeTooSkewed"), ClockSkew, false, false),
            (403, Some("AccessDenied"), Permanent, false, true),
            (403, None, Permanent, false, true),
            (401, None, Permanent, false, true),
            (403, Some("InvalidAccessKeyId"), Permanent, false, true),
            (403, Some("SignatureDoesNotMatch"), Permanent, false, true),
            (403, Some("AllAccessDisabled"), Permanent, false, true),
            (403, Some("InvalidObjectState"), Permanent, false, false),
            (
                403,
                Some("ObjectNotInActiveTierError"),
                Permanent,
                false,
                false,
            ),
            (400, Some("InvalidToken"), Permanent, false, true),
            (
                400,
                Some("KMS.AccessDeniedException"),
                Permanent,
                false,
                true,
            ),
            (400, Some("KMS.DisabledException"), Permanent, false, false),
            (400, Some("KMS.NotFoundException"), Permanent, false, false),
            (404, Some("NoSuchKey"), Permanent, false, false),
            (404, Some("NoSuchUpload"), Permanent, false, false),
            (404, None, Permanent, false, false),
            (412, Some("PreconditionFailed"), Permanent, false, false),
            (400, Some("InvalidRequest"), Permanent, false, false),
            (301, Some("PermanentRedirect"), Permanent, false, false),
        ];
        for &(status, code, class, in_doubt, refused) in table {
            let error = answered(status, code);
            assert_eq!(error.class(), class, "{status} {code:?}");
            assert_eq!(error.is_in_doubt(), in_doubt, "{status} {code:?}");
            assert_eq!(error.is_access_refusal(), refused, "{status} {code:?}");
        }
    }

    #[test]
    fn a_conflict_on_complete_is_for_its_caller() {
        let mut conflict = answered(409, Some("ConditionalRequestConflict"));
        assert_eq!(conflict.class(), Class::Transient);
        conflict.operation = Operation::CompleteMultipartUpload.name();
        assert_eq!(conflict.class(), Class::Permanent);
    }

    #[test]
    fn classes_of_silence() {
        let table = [
            (ErrorKind::EmptyAnswer, Class::Transient, true),
            (ErrorKind::TimedOut, Class::Transient, true),
            (ErrorKind::AnswerLost, Class::Transient, true),
            (ErrorKind::NotSent, Class::Transient, false),
            (ErrorKind::Credentials, Class::ExpiredToken, false),
            (ErrorKind::NotBuilt, Class::Permanent, false),
            (ErrorKind::Untrusted, Class::Permanent, false),
            (ErrorKind::Unreadable, Class::Permanent, true),
        ];
        for (kind, class, in_doubt) in table {
            let error = S3Error::new(Operation::CopyObject, kind, "");
            assert_eq!(error.class(), class, "{kind:?}");
            assert_eq!(error.is_in_doubt(), in_doubt, "{kind:?}");
            assert!(!error.is_access_refusal(), "{kind:?}");
        }
    }

    #[test]
    fn back_off_doubles_up_to_its_bound() {
        let options = RetryOptions::default();
        let table = [
            (Class::Transient, 1, 100),
            (Class::Transient, 2, 200),
            (Class::Transient, 8, 12_800),
            (Class::Transient, 9, 20_000),
            (Class::ClockSkew, 1, 100),
            (Class::Throttled, 1, 500),
            (Class::Throttled, 3, 2_000),
            (Class::Throttled, 7, 20_000),
            (Class::Throttled, u32::MAX, 20_000),
        ];
        for (class, failures, bound) in table {
            let wait = |jitter| back_off(&options, class, failures, None, jitter);
            let bound = Duration::from_millis(bound);
            assert_eq!(wait(1.0), bound, "{class:?} {failures}");
            assert_eq!(wait(0.5), bound / 2, "{class:?} {failures}");
            assert_eq!(wait(0.0), Duration::ZERO, "{class:?} {failures}");
            assert_eq!(wait(7.0), bound, "{class:?} {failures}");
        }
    }

    #[test]
    fn retry_after_is_a_lower_bound() {
        let options = RetryOptions::default();
        let wait = |retry_after, jitter| {
            back_off(
                &options,
                Class::Throttled,
                1,
                Some(Duration::from_secs(retry_after)),
                jitter,
            )
        };
        assert_eq!(wait(3, 0.2), Duration::from_secs(3));
        assert_eq!(wait(30, 1.0), Duration::from_secs(30));
        assert_eq!(wait(0, 1.0), Duration::from_millis(500));
        assert_eq!(wait(100_000, 0.0), MAX_RETRY_AFTER);
    }
}
