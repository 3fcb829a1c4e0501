//! How the values of object settings are written, and what S3 takes.

use std::collections::BTreeMap;
use std::fmt;

use s3haul_s3::ChecksumAlgorithm;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::cli::exit::Failed;
use crate::cli::values;
use crate::job::copy::settings::StorageClass;

/// Bytes of user metadata, names and values together.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>
const MAX_METADATA_BYTES: usize = 2048;
/// Tags of an object, and characters of their keys and values.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>
const MAX_TAGS: usize = 10;
const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;
/// Bytes of a redirect location: those of S3 Batch Operations.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_S3CopyObjectOperation.html>
const MAX_REDIRECT_BYTES: usize = 2048;

/// A type of its own: clap reads `Option` as an optional flag.
#[derive(Debug, Clone)]
pub(super) struct Acl(pub(super) Option<String>);

pub(super) fn acl(text: &str) -> Result<Acl, String> {
    values::acl(text).map(Acl)
}

/// A grantee, as a grant's header has it.
pub(super) fn grantee(text: &str) -> Result<String, String> {
    let (kind, name) = text
        .split_once('=')
        .ok_or("write id=CANONICALID or uri=URI")?;
    let name = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
        .unwrap_or(name);
    match kind {
        "id" | "uri" => {}
        _ if kind.eq_ignore_ascii_case("emailAddress") => {
            return Err(
                "S3 takes no grantee by emailAddress since October 2025: write id=CANONICALID"
                    .to_owned(),
            );
        }
        _ => return Err("write id=CANONICALID or uri=URI".to_owned()),
    }
    if name.is_empty()
        || !name
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b',')
    {
        return Err(format!("{kind}= names nobody"));
    }
    Ok(format!("{kind}=\"{name}\""))
}

/// A storage class by S3's name, or `preserve`.
pub(super) fn storage_class(text: &str) -> Result<StorageClass, String> {
    const CLASSES: [&str; 8] = [
        "STANDARD",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "DEEP_ARCHIVE",
        "GLACIER_IR",
        "REDUCED_REDUNDANCY",
    ];
    match text {
        "preserve" => Ok(StorageClass::Preserve),
        _ if CLASSES.contains(&text) => Ok(StorageClass::Class(text.to_owned())),
        _ => Err(format!("one of {}, or preserve", CLASSES.join(", "))),
    }
}

/// A header's value: visible ASCII, with spaces inside.
pub(super) fn header(text: &str) -> Result<String, String> {
    let visible = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if text.is_empty() || !visible || text.trim() != text {
        return Err("visible ASCII, and no space at either end".to_owned());
    }
    Ok(text.to_owned())
}

/// A date as HTTP has it, from one or from RFC 3339.
pub(super) fn http_date(text: &str) -> Result<String, String> {
    let at = values::instant(text)
        .or_else(|_| OffsetDateTime::parse(text, &Rfc2822))
        .map_err(|_| "write e.g. 2026-01-31T12:00:00Z, or Sat, 31 Jan 2026 12:00:00 GMT")?;
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.to_offset(time::UtcOffset::UTC)
        .format(format)
        .map_err(|error| error.to_string())
}

/// What a website's object redirects to.
pub(super) fn redirect(text: &str) -> Result<String, String> {
    if text.len() > MAX_REDIRECT_BYTES {
        return Err(format!("{MAX_REDIRECT_BYTES} bytes at most"));
    }
    if !["/", "http://", "https://"]
        .iter()
        .any(|start| text.starts_with(start))
    {
        return Err("it begins with /, http:// or https://".to_owned());
    }
    header(text)
}

/// A KMS key: a full ARN of a key or an alias, a key ID, or an alias.
pub(super) fn kms_key(text: &str) -> Result<String, String> {
    const FORM: &str =
        "write arn:aws:kms:REGION:ACCOUNT:key/ID; in one account also a key ID or alias/NAME";
    let id = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let alias = |text: &str| {
        text.strip_prefix("alias/").is_some_and(|name| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/_-".contains(&b);
            !name.is_empty() && name.bytes().all(allowed)
        })
    };
    let named = if let Some(arn) = text.strip_prefix("arn:") {
        let fields: Vec<_> = arn.splitn(5, ':').collect();
        match fields[..] {
            [partition, "kms", region, account, resource] => {
                partition.starts_with("aws")
                    && id(region)
                    && values::account(account).is_ok()
                    && (resource.strip_prefix("key/").is_some_and(id) || alias(resource))
            }
            _ => false,
        }
    } else {
        id(text) || alias(text)
    };
    named
        .then(|| text.to_owned())
        .ok_or_else(|| FORM.to_owned())
}

/// A checksum algorithm by S3's name, in any case.
pub(super) fn checksum_algorithm(text: &str) -> Result<String, String> {
    let found = ChecksumAlgorithm::from_name(text).map(|found| found.name().to_owned());
    found.ok_or_else(|| {
        let names = ChecksumAlgorithm::ALL.map(ChecksumAlgorithm::name);
        format!("one of {}", names.join(", "))
    })
}

/// The members of a JSON object, those that stand in it twice too.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The pairs of a flag that can be repeated: as given, `K=V` each, else a JSON object in the
/// environment.
pub(super) fn pairs(
    given: &[String],
    flag: &str,
    variable: &str,
) -> Result<Vec<(String, String)>, Failed> {
    match std::env::var(variable) {
        Ok(json) if given.is_empty() && !json.is_empty() => serde_json::from_str::<Pairs>(&json)
            .map(|pairs| pairs.0)
            .map_err(|_| Failed::usage(format!("{variable} is no JSON object of strings"))),
        _ => given
            .iter()
            .map(|text| {
                let pair = text.split_once('=');
                let owned = pair.map(|(key, value)| (key.to_owned(), value.to_owned()));
                owned.ok_or_else(|| Failed::usage(format!("{flag} {text}: write K=V")))
            })
            .collect(),
    }
}

/// User metadata that S3 keeps as it is given.
pub(super) fn user_metadata(
    pairs: Vec<(String, String)>,
) -> Result<BTreeMap<String, String>, Failed> {
    let refused = |why: String| Err(Failed::usage(format!("--metadata {why}")));
    let bytes: usize = pairs
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX_METADATA_BYTES {
        return refused(format!(
            "has {bytes} bytes of names and values: S3 takes {MAX_METADATA_BYTES}"
        ));
    }
    let mut metadata = BTreeMap::new();
    for (name, value) in pairs {
        let token =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return refused(format!(
                "{name}: a name has lower-case letters, digits and !#$%&'*+-.^_`|~, as a header's has"
            ));
        }
        if value.contains(char::is_control) || value.trim() != value {
            return refused(format!(
                "{name}: a value has no control characters, and no space at either end"
            ));
        }
        if metadata.insert(name.clone(), value).is_some() {
            return refused(format!("{name} is given twice"));
        }
    }
    Ok(metadata)
}

/// Tags that S3 takes, in the order of their keys, as a set has no other.
pub(super) fn tag_set(mut tags: Vec<(String, String)>) -> Result<Vec<(String, String)>, Failed> {
    let refused = |why: String| Err(Failed::usage(format!("--tag {why}")));
    if tags.len() > MAX_TAGS {
        let count = tags.len();
        return refused(format!("is given {count} times: S3 takes {MAX_TAGS} tags"));
    }
    tags.sort();
    for (at, (key, value)) in tags.iter().enumerate() {
        if !(1..=MAX_TAG_KEY).contains(&key.chars().count()) {
            return refused(format!("{key}: a key has 1 to {MAX_TAG_KEY} characters"));
        }
        if value.chars().count() > MAX_TAG_VALUE {
            return refused(format!(
                "{key}: a value has {MAX_TAG_VALUE} characters at most"
            ));
        }
        if key
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
        {
            return refused(format!("{key}: keys that begin with aws: are AWS's own"));
        }
        if at > 0 && tags[at - 1].0 == *key {
            return refused(format!("{key} is given twice"));
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn grantees() {
        assert_eq!(grantee("id=abc"), Ok("id=\"abc\"".to_owned()));
        assert_eq!(grantee("id=\"abc\""), Ok("id=\"abc\"".to_owned()));
        let group = "uri=http://acs.amazonaws.com/groups/global/AllUsers";
        let header = "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"";
        assert_eq!(grantee(group), Ok(header.to_owned()));
        for text in [
            "",
            "abc",
            "id=",
            "id=\"\"",
            "id=a b",
            "id=a\"b",
            "id=a,id=b",
            "name=x",
        ] {
            assert!(grantee(text).is_err(), "{text}");
        }
        for text in ["emailAddress=a@b.example", "emailaddress=a@b.example"] {
            assert!(
                grantee(text).unwrap_err().contains("emailAddress"),
                "{text}"
            );
        }
    }

    #[test]
    fn storage_classes() {
        assert_eq!(storage_class("preserve"), Ok(StorageClass::Preserve));
        let class = StorageClass::Class("GLACIER_IR".to_owned());
        assert_eq!(storage_class("GLACIER_IR"), Ok(class));
        for text in ["", "standard", "OUTPOSTS", "EXPRESS_ONEZONE"] {
            assert!(storage_class(text).is_err(), "{text}");
        }
    }

    #[test]
    fn header_values() {
        assert!(header("text/plain; charset=utf-8").is_ok());
        for text in ["", " ", " a", "a ", "a\tb", "a\nb", "é"] {
            assert!(header(text).is_err(), "{text:?}");
        }
        assert!(redirect("/").is_ok() && redirect("https://example.com/a b").is_ok());
        assert!(redirect(&format!("/{}", "x".repeat(2047))).is_ok());
        for text in ["", "a", "ftp://x", "/é", &format!("/{}", "x".repeat(2048))] {
            assert!(redirect(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_of_http() {
        let date = Ok("Wed, 21 Oct 2015 07:28:00 GMT".to_owned());
        for text in [
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "2015-10-21T07:28:00Z",
            "2015-10-21T09:28:00+02:00",
        ] {
            assert_eq!(http_date(text), date, "{text}");
        }
        assert_eq!(
            http_date("2026-01-02"),
            Ok("Fri, 02 Jan 2026 00:00:00 GMT".to_owned())
        );
        for text in ["", "0", "tomorrow", "2015-10-21T07:28", "Wed, 21 Oct 2015"] {
            assert!(http_date(text).is_err(), "{text}");
        }
    }

    #[test]
    fn kms_keys() {
        for text in [
            "arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-us-gov:kms:us-gov-west-1:111111111111:alias/team/photos",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            "alias/aws/s3",
        ] {
            assert_eq!(kms_key(text), Ok(text.to_owned()));
        }
        for text in [
            "",
            "alias/",
            "a b",
            "arn:aws:kms:eu-west-1::alias/photos",
            "arn:aws:kms:eu-west-1:111111111111:photos",
            "arn:aws:kms:eu-west-1:111111111111:key/",
            "arn:aws:kms::111111111111:key/a",
            "arn:aws:iam::111111111111:role/a",
        ] {
            assert!(kms_key(text).is_err(), "{text}");
        }
    }

    #[test]
    fn checksum_algorithms() {
        assert_eq!(checksum_algorithm("crc32c"), Ok("CRC32C".to_owned()));
        assert_eq!(checksum_algorithm("XXHASH128"), Ok("XXHASH128".to_owned()));
        assert!(checksum_algorithm("CRC").unwrap_err().contains("CRC64NVME"));
    }

    #[test]
    fn user_metadata_is_what_a_header_can_carry() {
        let found = user_metadata(of(&[("b", "ü=1"), ("a.b", "")])).unwrap();
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            of(&[("a.b", ""), ("b", "ü=1")])
        );
        let full = "x".repeat(2047);
        assert!(user_metadata(of(&[("a", &full)])).is_ok());
        // 2,047 bytes of it are characters of two.
        let wide = "ü".repeat(1023);
        assert!(user_metadata(of(&[("a", &wide), ("b", "")])).is_ok());
        for bad in [
            &[("", "v")][..],
            &[("A", "v")],
            &[("a b", "v")],
            &[("ä", "v")],
            &[("a", "v\n")],
            &[("a", "\u{85}v")],
            &[("a", " v")],
            &[("a", "v"), ("a", "v")],
            &[("a", &full), ("b", "")],
            &[("a", &wide), ("b", "x")],
        ] {
            assert!(user_metadata(of(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tag_sets_are_what_s3_takes() {
        let found = tag_set(of(&[("b", ""), ("a", "=1")])).unwrap();
        assert_eq!(found, of(&[("a", "=1"), ("b", "")]));
        let long = ("ü".repeat(128), "ü".repeat(256));
        assert!(tag_set(of(&[(&long.0, &long.1)])).is_ok());
        let names: Vec<_> = (0..11).map(|n| n.to_string()).collect();
        let eleven: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
        assert!(tag_set(of(&eleven[1..])).is_ok());
        for bad in [
            &eleven[..],
            &[("", "v")],
            &[(&"x".repeat(129), "v")],
            &[("a", &"x".repeat(257))],
            &[("aws:a", "v")],
            &[("AWS:a", "v")],
            &[("a", "1"), ("b", "2"), ("a", "3")],
        ] {
            assert!(tag_set(of(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_json_object_keeps_what_it_has_twice() {
        let found: Pairs = serde_json::from_str(r#"{"b":"1","a":"2","b":"3"}"#).unwrap();
        assert_eq!(found.0, of(&[("b", "1"), ("a", "2"), ("b", "3")]));
        for bad in ["[]", r#"{"a":1}"#, r#"{"a":"1"}x"#, "a=1"] {
            assert!(serde_json::from_str::<Pairs>(bad).is_err(), "{bad}");
        }
    }
}
