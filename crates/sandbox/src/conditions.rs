//! Conditional requests: which condition fails, if any.

use hyper::HeaderMap;
use s3s::S3Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use time::macros::format_description;

use crate::error::{access_denied, error, invalid_argument, no_such_key, precondition_failed};
use crate::store::bucket::BucketSettings;

/// The four conditions on a source or on what is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) if_modified_since: Option<OffsetDateTime>,
    pub(crate) if_unmodified_since: Option<OffsetDateTime>,
}

/// A condition that does not hold: the `if-…` of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    Match,
    NoneMatch,
    ModifiedSince,
    UnmodifiedSince,
}

impl Failed {
    fn header(self) -> &'static str {
        match self {
            Self::Match => "If-Match",
            Self::NoneMatch => "If-None-Match",
            Self::ModifiedSince => "If-Modified-Since",
            Self::UnmodifiedSince => "If-Unmodified-Since",
        }
    }

    /// The refusal of a copy: always 412.
    pub(crate) fn of_source(self) -> S3Error {
        precondition_failed(&format!("x-amz-copy-source-{}", self.header()))
    }

    /// The refusal of a read: 304 where the client has what it would get.
    pub(crate) fn of_read(self) -> S3Error {
        match self {
            Self::Match | Self::UnmodifiedSince => precondition_failed(self.header()),
            Self::NoneMatch | Self::ModifiedSince => error(304, "NotModified", "Not Modified"),
        }
    }
}

impl ReadConditions {
    /// Reads the conditions from headers that begin with `prefix`.
    pub(crate) fn from_headers(headers: &HeaderMap, prefix: &str) -> Self {
        let text = |name: &str| {
            headers
                .get(format!("{prefix}{name}"))
                .and_then(|value| value.to_str().ok())
        };
        // S3 takes a date that it cannot read as no condition.
        let date = |name: &str| text(name).and_then(parse_date);
        Self {
            if_match: text("if-match").map(str::to_owned),
            if_none_match: text("if-none-match").map(str::to_owned),
            if_modified_since: date("if-modified-since"),
            if_unmodified_since: date("if-unmodified-since"),
        }
    }

    /// Finds the first condition that fails. The rules for two at once are those of CopyObject's API page:
    /// a true `if-match` makes `if-unmodified-since` moot, a false `if-none-match` decides over `if-modified-since`.
    pub(crate) fn failed(&self, e_tag: &str, modified: OffsetDateTime) -> Option<Failed> {
        match &self.if_match {
            Some(wanted) if !e_tag_matches(wanted, e_tag) => return Some(Failed::Match),
            None if self.if_unmodified_since.is_some_and(|date| modified > date) => {
                return Some(Failed::UnmodifiedSince);
            }
            _ => {}
        }
        match &self.if_none_match {
            Some(unwanted) => e_tag_matches(unwanted, e_tag).then_some(Failed::NoneMatch),
            None => self
                .if_modified_since
                .is_some_and(|date| modified <= date)
                .then_some(Failed::ModifiedSince),
        }
    }
}

/// The two conditions on what a write replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteConditions {
    if_match: Option<String>,
    if_none_match: bool,
}

impl WriteConditions {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, S3Error> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let if_none_match = text("if-none-match");
        if let Some(value) = if_none_match.filter(|value| *value != "*") {
            return Err(crate::error::not_implemented(
                "Header",
                &format!("If-None-Match: {value}"),
            ));
        }
        let if_match = text("if-match").map(str::to_owned);
        if if_match.is_some() && if_none_match.is_some() {
            return Err(invalid_argument(
                "If-Match",
                "",
                "If-Match and If-None-Match cannot both be specified",
            ));
        }
        Ok(Self {
            if_match,
            if_none_match: if_none_match.is_some(),
        })
    }

    /// Checks that they are there in a bucket that enforces conditional writes.
    pub(crate) fn check_enforced(
        &self,
        bucket: &BucketSettings,
        is_copy: bool,
    ) -> Result<(), S3Error> {
        let conditional = self.if_none_match || self.if_match.is_some();
        match (bucket.enforces_conditional_writes, conditional, is_copy) {
            (true, false, _) => Err(access_denied("Access Denied")),
            (true, true, true) => {
                let name = if self.if_none_match {
                    "If-None-Match"
                } else {
                    "If-Match"
                };
                Err(crate::error::not_implemented("Header", name))
            }
            _ => Ok(()),
        }
    }

    /// Checks them against the current object of the key, none if it is absent or deleted.
    pub(crate) fn check(
        &self,
        key: &str,
        e_tag: impl FnOnce() -> Option<String>,
    ) -> Result<(), S3Error> {
        if !self.if_none_match && self.if_match.is_none() {
            return Ok(());
        }
        match (e_tag(), &self.if_match) {
            (Some(_), None) => Err(precondition_failed("If-None-Match")),
            (None, Some(_)) => Err(no_such_key(key)),
            (Some(e_tag), Some(wanted)) if !e_tag_matches(wanted, &e_tag) => {
                Err(precondition_failed("If-Match"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a condition's value, one ETag or a list, names an ETag.
pub(crate) fn e_tag_matches(wanted: &str, e_tag: &str) -> bool {
    wanted
        .split(',')
        .map(str::trim)
        .any(|wanted| wanted == "*" || unquoted(wanted) == e_tag)
}

pub(crate) fn unquoted(e_tag: &str) -> &str {
    let e_tag = e_tag.trim();
    e_tag
        .strip_prefix('"')
        .and_then(|e_tag| e_tag.strip_suffix('"'))
        .unwrap_or(e_tag)
}

/// Reads an HTTP date.
pub(crate) fn parse_date(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc2822).ok().or_else(|| {
        let format = format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        time::PrimitiveDateTime::parse(text, &format)
            .ok()
            .map(time::PrimitiveDateTime::assume_utc)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_700_000_000 + seconds).expect("a date")
    }

    #[test]
    fn combinations_of_read_conditions() {
        // The object: ETag "e", modified at 0.
        let (same, other) = (Some("\"e\""), Some("\"f\""));
        let (before, after) = (Some(-10), Some(10));
        for (if_match, if_none_match, modified_since, unmodified_since, expected) in [
            (None, None, None, None, None),
            (same, None, None, None, None),
            (Some("e"), None, None, None, None),
            (Some("*"), None, None, None, None),
            (other, None, None, None, Some(Failed::Match)),
            (None, other, None, None, None),
            (None, same, None, None, Some(Failed::NoneMatch)),
            (None, None, before, None, None),
            (None, None, after, None, Some(Failed::ModifiedSince)),
            (None, None, None, after, None),
            (None, None, None, before, Some(Failed::UnmodifiedSince)),
            // if-match true and if-unmodified-since false: 200.
            (same, None, None, before, None),
            (other, None, None, after, Some(Failed::Match)),
            // if-none-match false and if-modified-since true: 412.
            (None, same, before, None, Some(Failed::NoneMatch)),
            (None, other, after, None, None),
            (same, other, None, None, None),
            (None, other, None, before, Some(Failed::UnmodifiedSince)),
        ] {
            let conditions = ReadConditions {
                if_match: if_match.map(str::to_owned),
                if_none_match: if_none_match.map(str::to_owned),
                if_modified_since: modified_since.map(date),
                if_unmodified_since: unmodified_since.map(date),
            };
            assert_eq!(conditions.failed("e", date(0)), expected, "{conditions:?}");
        }
    }

    #[test]
    fn write_conditions() {
        let conditions = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header value"));
            WriteConditions::from_headers(&headers)
        };
        let code = |conditions: &WriteConditions, e_tag: Option<&str>| {
            let refused = conditions.check("k", || e_tag.map(str::to_owned)).err();
            refused.map(|error| error.code().as_str().to_owned())
        };
        let none_match = conditions("if-none-match", "*").expect("a condition");
        assert_eq!(code(&none_match, None), None);
        assert_eq!(
            code(&none_match, Some("e")).as_deref(),
            Some("PreconditionFailed")
        );
        let matching = conditions("if-match", "\"e\"").expect("a condition");
        assert_eq!(code(&matching, Some("e")), None);
        assert_eq!(
            code(&matching, Some("f")).as_deref(),
            Some("PreconditionFailed")
        );
        assert_eq!(code(&matching, None).as_deref(), Some("NoSuchKey"));
        assert!(conditions("if-none-match", "\"e\"").is_err());
    }

    #[test]
    fn enforced_conditions() {
        let free = BucketSettings::default();
        let enforcing = BucketSettings {
            enforces_conditional_writes: true,
            ..BucketSettings::default()
        };
        let none = WriteConditions::default();
        let some = WriteConditions {
            if_none_match: true,
            ..WriteConditions::default()
        };
        for (bucket, conditions, is_copy, expected) in [
            (&free, &none, false, None),
            (&free, &some, true, None),
            (&enforcing, &none, false, Some("AccessDenied")),
            (&enforcing, &none, true, Some("AccessDenied")),
            (&enforcing, &some, false, None),
            (&enforcing, &some, true, Some("NotImplemented")),
        ] {
            let refused = conditions.check_enforced(bucket, is_copy).err();
            let code = refused.map(|error| error.code().as_str().to_owned());
            assert_eq!(code.as_deref(), expected, "{conditions:?} {is_copy}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(parse_date("Tue, 14 Nov 2023 22:13:20 GMT"), Some(date(0)));
        assert_eq!(parse_date("yesterday"), None);
    }
}
