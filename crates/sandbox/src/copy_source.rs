//! The object that `x-amz-copy-source` names.

use percent_encoding::percent_decode_str;
use s3s::S3Error;

use crate::error::{error, invalid_argument};

/// A source: `bucket/key`, URL-encoded, then literally `?versionId=` and a version ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopySource {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) version_id: Option<String>,
}

impl CopySource {
    pub(crate) fn parse(header: &str) -> Result<Self, S3Error> {
        let invalid = |message: &str| invalid_argument("x-amz-copy-source", header, message);
        let (path, version_id) = match header.split_once("?versionId=") {
            Some((path, version_id)) => (path, Some(version_id)),
            None => (header, None),
        };
        if path.starts_with("arn:") {
            return Err(error(
                501,
                "NotImplemented",
                "Access points are not implemented: x-amz-copy-source",
            ));
        }
        if !is_well_encoded(path) {
            return Err(invalid("Invalid copy source encoding."));
        }
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| invalid("Invalid copy source encoding."))?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path
            .split_once('/')
            .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
            .ok_or_else(|| invalid("Invalid copy source object key"))?;
        let version_id =
            version_id.map(|id| percent_decode_str(id).decode_utf8_lossy().into_owned());
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version_id,
        })
    }
}

/// Whether each `%` has its two hex digits.
fn is_well_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        rest.as_bytes()
            .get(..2)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        for (header, expected) in [
            ("b/k", Some(("b", "k", None))),
            ("/b/k", Some(("b", "k", None))),
            ("b//k//", Some(("b", "/k//", None))),
            ("b/a%20b%2Bc+d", Some(("b", "a b+c+d", None))),
            (
                "b/a%3FversionId%3D1?versionId=abc",
                Some(("b", "a?versionId=1", Some("abc"))),
            ),
            ("b/k?versionId=null", Some(("b", "k", Some("null")))),
            ("b%2Fk", Some(("b", "k", None))),
            ("b", None),
            ("b/", None),
            ("b/100%", None),
            ("b/%zz", None),
            ("b/%FF", None),
        ] {
            let source = CopySource::parse(header).ok();
            let source = source.as_ref().map(|source| {
                (
                    source.bucket.as_str(),
                    source.key.as_str(),
                    source.version_id.as_deref(),
                )
            });
            assert_eq!(source, expected, "{header}");
        }
    }
}
