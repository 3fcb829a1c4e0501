//! The server's clock, which need not be this machine's: tests set it apart instead of the client's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

tokio::task_local! {
    /// How many milliseconds the clock of the server whose request this is goes ahead of the machine's.
    static AHEAD: i64;
}

/// A server's clock. All clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    /// One that goes `seconds` ahead, or behind if negative.
    pub(crate) fn ahead_by(seconds: i64) -> Self {
        Self(Arc::new(AtomicI64::new(seconds.saturating_mul(1000))))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    /// Serves a request by this clock as it is now.
    pub(crate) async fn of<F: Future>(&self, request: F) -> F::Output {
        AHEAD.scope(self.0.load(Ordering::SeqCst), request).await
    }
}

/// How far a request's time may be from S3's.
const MAX_SKEW: Duration = Duration::from_mins(15);

/// The server's time; the machine's outside of a request.
pub(crate) fn now() -> SystemTime {
    let ahead = AHEAD.try_with(|ahead| *ahead).unwrap_or(0);
    let apart = Duration::from_millis(ahead.unsigned_abs());
    if ahead < 0 {
        SystemTime::now() - apart
    } else {
        SystemTime::now() + apart
    }
}

/// Whether a request that was signed at this time (`x-amz-date`) is refused for it.
pub(crate) fn is_skewed(amz_date: &str) -> bool {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let Ok(signed) = PrimitiveDateTime::parse(amz_date, format) else {
        return false;
    };
    (OffsetDateTime::from(now()) - signed.assume_utc()).unsigned_abs() > MAX_SKEW
}

/// The time as `Date` has it.
pub(crate) fn http_date() -> String {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    // Writing to a string cannot fail.
    OffsetDateTime::from(now())
        .format(format)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_ahead_and_behind() {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let stamp = OffsetDateTime::now_utc().format(format).expect("a stamp");
        for (seconds, skewed) in [
            (0, false),
            (840, false),
            (960, true),
            (-840, false),
            (-960, true),
        ] {
            let found = Clock::ahead_by(seconds)
                .of(async { is_skewed(&stamp) })
                .await;
            assert_eq!(found, skewed, "{seconds}");
        }
        assert!(!is_skewed("yesterday"));
        let epoch = OffsetDateTime::UNIX_EPOCH - OffsetDateTime::now_utc();
        let date = Clock::ahead_by(epoch.whole_seconds())
            .of(async { http_date() })
            .await;
        assert!(date.starts_with("Thu, 01 Jan 1970 00:00:0"), "{date}");
    }
}
