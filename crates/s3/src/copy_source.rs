//! The encoding of `x-amz-copy-source`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but `A-Za-z0-9-._~/`. The SDK sends this header as it is given, and S3 decodes it: a
/// bare `+` would be read as a space, a bare `?` as the start of the version ID.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// A version ID is not a path: its `/`, which S3 never makes but stores like it may, is encoded too.
const VERSION_ID: &AsciiSet = &KEY.add(b'/');

/// Bucket names and access point ARNs; S3's examples keep the colons of an ARN encoded.
const BUCKET: &AsciiSet = KEY;

/// What a copy reads: an object of a bucket or of an access point, as it stands or one version of it.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html#API_CopyObject_RequestSyntax>
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopySource {
    /// The bucket's name, an access point's alias, or an access point's ARN.
    pub bucket: String,
    /// The key, raw.
    pub key: String,
    /// The version; `null` is a version too. None means the object as it stands.
    pub version_id: Option<String>,
}

impl CopySource {
    /// The header's value.
    ///
    /// An access point's ARN is followed by `/object/` and the key, a bucket's name by `/` and the key.
    pub fn header(&self) -> String {
        let bucket = utf8_percent_encode(&self.bucket, BUCKET);
        let key = utf8_percent_encode(&self.key, KEY);
        let between = if self.bucket.starts_with("arn:") {
            "/object/"
        } else {
            "/"
        };
        match &self.version_id {
            None => format!("{bucket}{between}{key}"),
            Some(version_id) => {
                let version_id = utf8_percent_encode(version_id, VERSION_ID);
                format!("{bucket}{between}{key}?versionId={version_id}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(key: &str, version_id: Option<&str>) -> String {
        CopySource {
            bucket: "source".into(),
            key: key.into(),
            version_id: version_id.map(Into::into),
        }
        .header()
    }

    #[test]
    fn keys_are_opaque() {
        let table = [
            ("a", "source/a"),
            ("a/b.txt", "source/a/b.txt"),
            ("/a", "source//a"),
            ("a/", "source/a/"),
            ("a//b", "source/a//b"),
            ("../x/./y", "source/../x/./y"),
            ("a+b", "source/a%2Bb"),
            ("a b", "source/a%20b"),
            ("100%", "source/100%25"),
            ("a%2Fb", "source/a%252Fb"),
            ("a?versionId=b", "source/a%3FversionId%3Db"),
            ("a#b", "source/a%23b"),
            ("a\rb\nc", "source/a%0Db%0Ac"),
            ("ü", "source/%C3%BC"),
            ("中", "source/%E4%B8%AD"),
            ("😀", "source/%F0%9F%98%80"),
            ("-._~", "source/-._~"),
            (
                "!*'()&=@:,;$",
                "source/%21%2A%27%28%29%26%3D%40%3A%2C%3B%24",
            ),
            ("\u{0}", "source/%00"),
        ];
        for (key, expected) in table {
            assert_eq!(header(key, None), expected, "{key:?}");
        }
    }

    #[test]
    fn version_ids() {
        assert_eq!(header("a", Some("null")), "source/a?versionId=null");
        assert_eq!(
            header(
                "a?b",
                Some("3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo")
            ),
            "source/a%3Fb?versionId=3HL4kqtJlcpXroDTDmJ%2BrmSpXd3dIbrHY%2BMTRCxf3vjVBH40Nr8X8gdRQBpUMLUo"
        );
        assert_eq!(header("a", Some("x/y&z")), "source/a?versionId=x%2Fy%26z");
    }

    #[test]
    fn access_points() {
        let source = CopySource {
            bucket: "arn:aws:s3:us-west-2:123456789012:accesspoint/my-access-point".into(),
            key: "reports/january.pdf".into(),
            version_id: None,
        };
        assert_eq!(
            source.header(),
            "arn%3Aaws%3As3%3Aus-west-2%3A123456789012%3Aaccesspoint/my-access-point/object/reports/january.pdf"
        );
        let alias = CopySource {
            bucket: "my-ap-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias".into(),
            key: "a".into(),
            version_id: None,
        };
        assert_eq!(
            alias.header(),
            "my-ap-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias/a"
        );
    }
}
