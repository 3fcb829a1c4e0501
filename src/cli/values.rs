//! How the values of flags are written.

use std::time::Duration;

use s3haul_s3::quotas::{MAX_COPY_BYTES, MAX_PART_BYTES, MIN_PART_BYTES};
use time::OffsetDateTime;

use crate::job::manifest::{Field, parse_time};
use crate::job::plan::PartSize;

/// A size in bytes: a number, or one with KiB, MiB, GiB, TiB (powers of 1024) or kB, MB, GB, TB
/// (powers of 1000).
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (base, power): (u64, u32) = match unit.trim() {
        "" | "B" => (1, 0),
        "KiB" => (1024, 1),
        "MiB" => (1024, 2),
        "GiB" => (1024, 3),
        "TiB" => (1024, 4),
        "kB" | "KB" => (1000, 1),
        "MB" => (1000, 2),
        "GB" => (1000, 3),
        "TB" => (1000, 4),
        other => {
            return Err(format!(
                "{other:?} is no unit: KiB, MiB, GiB, TiB, or kB, MB, GB, TB"
            ));
        }
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a size begins with a whole number".to_owned())?;
    number
        .checked_mul(base.pow(power))
        .ok_or_else(|| "the size is too large".to_owned())
}

/// A size of which S3 can copy at most 5 GiB at once.
pub(super) fn multipart_threshold(text: &str) -> Result<u64, String> {
    in_range(size(text)?, MIN_PART_BYTES, MAX_COPY_BYTES)
}

/// A part size.
pub(super) fn part_size(text: &str) -> Result<PartSize, String> {
    match text {
        "auto" => Ok(PartSize::Auto),
        "match-source" => Ok(PartSize::MatchSource),
        _ => in_range(size(text)?, MIN_PART_BYTES, MAX_PART_BYTES).map(PartSize::Bytes),
    }
}

fn in_range(bytes: u64, least: u64, most: u64) -> Result<u64, String> {
    if (least..=most).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("S3 takes 5MiB ({least}) to 5GiB ({most})"))
    }
}

/// A duration: `90s`, `1h 30m`, `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}: write e.g. 90s or 1h"))
}

/// A time-out: a duration that is not over at once.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout < Duration::from_millis(1) {
        return Err("a time-out is 1ms at least".to_owned());
    }
    Ok(timeout)
}

/// How often a report in S3 is put: a writer that is silent for longer is taken for dead.
pub(super) fn report_interval(text: &str) -> Result<Duration, String> {
    let interval = timeout(text)?;
    if interval > Duration::from_secs(15) {
        return Err("15s at most".to_owned());
    }
    Ok(interval)
}

/// A duration as the job file has it.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number, or `none` or `auto` for the lack of one.
pub(super) fn number_or(word: &'static str, text: &str) -> Result<Option<u32>, String> {
    if text == word {
        return Ok(None);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("a whole number from 1, or {word}")),
        Ok(number) => Ok(Some(number)),
    }
}

/// A percentage, or `none`.
pub(super) fn percentage(text: &str) -> Result<Option<u8>, String> {
    match (text, text.parse::<u8>()) {
        ("none", _) => Ok(None),
        (_, Ok(percent)) if percent <= 100 => Ok(Some(percent)),
        _ => Err("a whole number from 0 to 100, or none".to_owned()),
    }
}

/// A time: RFC 3339, or a date, which is its midnight in UTC.
pub(super) fn instant(text: &str) -> Result<OffsetDateTime, String> {
    parse_time(text)
        .or_else(|| parse_time(&format!("{text}T00:00:00Z")))
        .ok_or_else(|| "write e.g. 2026-01-31 or 2026-01-31T12:00:00Z".to_owned())
}

/// An account ID.
pub(super) fn account(text: &str) -> Result<String, String> {
    let digits = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.to_owned())
        .ok_or_else(|| "an account ID has 12 digits".to_owned())
}

/// A role's ARN.
pub(super) fn role_arn(text: &str) -> Result<String, String> {
    s3haul_s3::is_role_arn(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "a role's ARN looks like arn:aws:iam::123456789012:role/NAME".to_owned())
}

/// The columns of a manifest.
pub(super) fn fields(text: &str) -> Result<Vec<Field>, String> {
    let fields = text
        .split(',')
        .map(|name| Field::parse(name.trim()).ok_or_else(|| unknown_field(name)))
        .collect::<Result<Vec<_>, _>>()?;
    let count = |field| fields.iter().filter(|named| **named == field).count();
    if count(Field::Bucket) != 1 || count(Field::Key) != 1 {
        return Err("Bucket and Key are named once each".to_owned());
    }
    if fields
        .iter()
        .any(|field| *field != Field::Ignore && count(*field) > 1)
    {
        return Err("a column is named twice".to_owned());
    }
    Ok(fields)
}

fn unknown_field(name: &str) -> String {
    format!(
        "{name:?} is no column: Bucket, Key, VersionId, Size, LastModifiedDate, ETag, StorageClass, \
         IsLatest or Ignore"
    )
}

/// A job's ID.
pub(super) fn job_id(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=40).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.') {
        Ok(text.to_owned())
    } else {
        Err("a job ID has 1 to 40 of A-Z a-z 0-9 . _ - and does not begin with a dot".to_owned())
    }
}

/// An endpoint.
pub(super) fn endpoint_url(text: &str) -> Result<String, String> {
    s3haul_s3::validate_endpoint_url(text).map(|()| text.to_owned())
}

/// A canned ACL, or `none`.
pub(super) fn acl(text: &str) -> Result<Option<String>, String> {
    const CANNED: [&str; 7] = [
        "bucket-owner-full-control",
        "bucket-owner-read",
        "private",
        "authenticated-read",
        "aws-exec-read",
        "public-read",
        "public-read-write",
    ];
    match text {
        "none" => Ok(None),
        _ if CANNED.contains(&text) => Ok(Some(text.to_owned())),
        _ => Err(format!("one of {}, or none", CANNED.join(", "))),
    }
}

/// A bucket and a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) bucket: String,
    pub(super) prefix: String,
}

/// `s3://BUCKET[/PREFIX]`. The prefix is taken as it is: no slash is added to it.
pub(super) fn location(text: &str) -> Result<Location, String> {
    let rest = text
        .strip_prefix("s3://")
        .ok_or("write s3://BUCKET or s3://BUCKET/PREFIX")?;
    // An access point's ARN has slashes of its own: arn:aws:s3:region:account:accesspoint/NAME.
    let slashes = if rest.starts_with("arn:") { 2 } else { 1 };
    let end = rest.match_indices('/').nth(slashes - 1).map(|(at, _)| at);
    let (bucket, prefix) = match end {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, ""),
    };
    bucket_kind(bucket)?;
    Ok(Location {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

/// Refuses what S3 cannot copy from or to like a bucket.
pub(super) fn bucket_kind(bucket: &str) -> Result<(), String> {
    let refused = if bucket.is_empty() {
        "the bucket is missing"
    } else if bucket.ends_with("--x-s3") {
        "directory buckets are not supported"
    } else if bucket.contains(":s3-outposts:") || bucket.ends_with("--op-s3") {
        "buckets on Outposts are not supported"
    } else if bucket.rsplit('.').next() == Some("mrap") || bucket.contains(":s3::") {
        "multi-Region access points are not supported"
    } else if bucket
        .bytes()
        .any(|b| !b.is_ascii_alphanumeric() && !b"._-:/".contains(&b))
    {
        "no bucket has such a name"
    } else {
        return Ok(());
    };
    Err(refused.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("5242880", 5 << 20),
            ("5MiB", 5 << 20),
            ("1GiB", 1 << 30),
            ("5 MB", 5_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "5M", "-1", "1.5GiB", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert!(part_size("4MiB").is_err() && part_size("6GiB").is_err());
        assert_eq!(part_size("5GiB"), Ok(PartSize::Bytes(5 << 30)));
    }

    #[test]
    fn locations() {
        let of = |text: &str| location(text).map(|l| (l.bucket, l.prefix));
        assert_eq!(of("s3://b"), Ok(("b".into(), String::new())));
        assert_eq!(of("s3://b/"), Ok(("b".into(), String::new())));
        assert_eq!(of("s3://b/p"), Ok(("b".into(), "p".into())));
        assert_eq!(of("s3://b//p/"), Ok(("b".into(), "/p/".into())));
        let point = "arn:aws:s3:eu-west-1:111111111111:accesspoint/ap";
        assert_eq!(
            of(&format!("s3://{point}/p/q")),
            Ok((point.into(), "p/q".into()))
        );
        assert_eq!(
            of(&format!("s3://{point}")),
            Ok((point.into(), String::new()))
        );
        for text in [
            "b/p",
            "s3://",
            "s3:///p",
            "s3://b--usw2-az1--x-s3",
            "s3://x.mrap/p",
            "s3://a b",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn job_ids() {
        assert!(job_id("a.B_9-").is_ok());
        for text in ["", "a/b", ".a", "a b", &"x".repeat(41)] {
            assert!(job_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn columns() {
        assert_eq!(fields("Bucket,Key,Ignore,Ignore").unwrap().len(), 4);
        for text in [
            "Key",
            "Bucket,Key,Key",
            "Bucket,Key,Etag",
            "Bucket,Key,Size,Size",
        ] {
            assert!(fields(text).is_err(), "{text}");
        }
    }
}
