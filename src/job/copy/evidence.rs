//! What proves a copy: what is known of two objects, compared.
//!
//! Equal ETags or equal checksums prove equal bytes. Unequal ones prove something only where they
//! would be equal of equal bytes: two MD5s, two checksums over the full object or over equal parts.

use s3haul_s3::{Completed, Copied, Head, ObjectAttributes, PartChecksum};

use super::headers::shown_checksum;
use crate::job::manifest::Facts;
use crate::job::outcome::Evidence;

/// What is known of an object's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Size.
    pub bytes: Option<u64>,
    /// ETag, without quotes.
    pub e_tag: Option<String>,
    /// Its ETag is not made of its content: KMS or a customer's key.
    pub opaque_e_tag: bool,
    /// Its checksum.
    pub checksum: Option<Checksum>,
}

/// A checksum of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// S3's name of the algorithm.
    pub algorithm: String,
    /// In base64; of composite ones without the number of parts behind it.
    pub value: String,
    /// It is over the full object, not over the checksums of parts.
    pub full_object: bool,
    /// Sizes of the parts, where all are known.
    pub parts: Vec<u64>,
}

/// Whether two objects are the same, as far as what is known of them tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// Equal bytes, as an equal ETag or checksum proves.
    Same(Evidence),
    /// Another size, or unequal ETags or checksums that would be equal of equal bytes.
    Different,
    /// Nothing that can be compared, but perhaps equal sizes.
    Unknown,
}

/// Compares what is known of two objects.
pub fn compare(one: &Known, other: &Known) -> Sameness {
    if let (Some(a), Some(b)) = (one.bytes, other.bytes)
        && a != b
    {
        return Sameness::Different;
    }
    if let (Some(a), Some(b)) = (&one.checksum, &other.checksum)
        && a.algorithm == b.algorithm
        && a.full_object == b.full_object
    {
        if a.value == b.value {
            return Sameness::Same(Evidence::Checksum);
        }
        // Composite ones are equal of equal bytes only if these were cut in the same places.
        if a.full_object || (!a.parts.is_empty() && a.parts == b.parts) {
            return Sameness::Different;
        }
    }
    if let Some(e_tag) = &one.e_tag
        && !e_tag.is_empty()
        && one.e_tag == other.e_tag
    {
        return Sameness::Same(Evidence::ETag);
    }
    if one.has_md5() && other.has_md5() {
        Sameness::Different
    } else {
        Sameness::Unknown
    }
}

impl Known {
    fn has_md5(&self) -> bool {
        self.e_tag.as_deref().is_some_and(is_md5) && !self.opaque_e_tag
    }
}

pub(super) fn is_md5(e_tag: &str) -> bool {
    e_tag.len() == 32 && e_tag.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether an ETag under this encryption says nothing of the content.
pub(super) fn is_opaque(encryption: Option<&str>, customer_key: bool) -> bool {
    customer_key || encryption.is_some_and(|algorithm| algorithm != "AES256")
}

fn checksum(algorithm: &str, value: &str, kind: Option<&str>) -> Checksum {
    let value = value.split_once('-').map_or(value, |(value, _)| value);
    Checksum {
        algorithm: algorithm.to_owned(),
        value: value.to_owned(),
        full_object: kind == Some("FULL_OBJECT"),
        parts: Vec::new(),
    }
}

fn answered(found: Option<&PartChecksum>, kind: Option<&str>) -> Option<Checksum> {
    found.map(|found| checksum(found.algorithm.name(), &found.value, kind))
}

impl From<&Head> for Known {
    fn from(head: &Head) -> Self {
        let customer_key = head
            .header("x-amz-server-side-encryption-customer-algorithm")
            .is_some();
        let encryption = head.header("x-amz-server-side-encryption");
        let kind = head.header("x-amz-checksum-type");
        // A HEAD of a part shows the part's checksum.
        let of_part = head.parts_count().is_some() || head.header("content-range").is_some();
        Self {
            bytes: Some(head.object_bytes()),
            e_tag: Some(head.e_tag.clone()),
            opaque_e_tag: is_opaque(encryption, customer_key),
            checksum: shown_checksum(head)
                .filter(|_| !of_part)
                .map(|(algorithm, value)| checksum(algorithm, value, kind)),
        }
    }
}

/// What a manifest lists is up to two days old. Its ETag is taken as one that proves nothing by being
/// another.
impl From<&Facts> for Known {
    fn from(facts: &Facts) -> Self {
        Self {
            bytes: None,
            e_tag: facts.e_tag.clone(),
            opaque_e_tag: true,
            checksum: None,
        }
    }
}

impl From<&Copied> for Known {
    fn from(copied: &Copied) -> Self {
        Self {
            bytes: None,
            e_tag: Some(copied.e_tag.clone()),
            opaque_e_tag: is_opaque(copied.encryption.as_deref(), false),
            checksum: answered(copied.checksum.as_ref(), copied.checksum_type.as_deref()),
        }
    }
}

impl From<&Completed> for Known {
    fn from(completed: &Completed) -> Self {
        Self {
            bytes: None,
            e_tag: Some(completed.e_tag.clone()),
            opaque_e_tag: is_opaque(completed.encryption.as_deref(), false),
            checksum: answered(
                completed.checksum.as_ref(),
                completed.checksum_type.as_deref(),
            ),
        }
    }
}

/// `opaque_e_tag` is not told by these: who asks for them knows it, or takes MD5s for none.
impl From<&ObjectAttributes> for Known {
    fn from(attributes: &ObjectAttributes) -> Self {
        let kind = attributes.checksum_type.as_deref();
        let mut checksum = answered(attributes.checksum.as_ref(), kind);
        if let Some(checksum) = &mut checksum
            && attributes.next_part_number_marker.is_none()
        {
            checksum.parts = attributes.parts.iter().map(|part| part.bytes).collect();
        }
        Self {
            bytes: attributes.bytes,
            e_tag: attributes.e_tag.clone(),
            opaque_e_tag: true,
            checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: u64, e_tag: &str, headers: &[(&'static str, &str)]) -> Known {
        Known::from(&Head {
            bytes,
            e_tag: e_tag.into(),
            version_id: None,
            last_modified: None,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            date: None,
        })
    }

    const MD5_A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const MD5_B: &str = "92eb5ffee6ae2fec3ad71c777531578f";
    const SAME: Sameness = Sameness::Same(Evidence::ETag);

    #[test]
    fn what_two_heads_tell() {
        let kms: &[_] = &[("x-amz-server-side-encryption", "aws:kms")];
        let crc = |v| {
            vec![
                ("x-amz-checksum-crc64nvme", v),
                ("x-amz-checksum-type", "FULL_OBJECT"),
            ]
        };
        let composite = |v| {
            vec![
                ("x-amz-checksum-crc32", v),
                ("x-amz-checksum-type", "COMPOSITE"),
            ]
        };
        let customer: &[_] = &[("x-amz-server-side-encryption-customer-algorithm", "AES256")];
        for (one, other, expected) in [
            (head(1, MD5_A, &[]), head(1, MD5_A, &[]), SAME),
            (
                head(1, MD5_A, &[]),
                head(2, MD5_A, &[]),
                Sameness::Different,
            ),
            (
                head(1, MD5_A, &[]),
                head(1, MD5_B, &[]),
                Sameness::Different,
            ),
            (head(1, MD5_A, kms), head(1, MD5_B, &[]), Sameness::Unknown),
            (
                head(1, MD5_A, &[]),
                head(1, MD5_B, customer),
                Sameness::Unknown,
            ),
            (
                head(1, MD5_A, &[]),
                head(1, "abc-2", &[]),
                Sameness::Unknown,
            ),
            (head(1, "abc-2", &[]), head(1, "abc-2", &[]), SAME),
            (head(1, "", &[]), head(1, "", &[]), Sameness::Unknown),
            (
                head(1, MD5_A, &crc("x")),
                head(1, "abc-2", &crc("x")),
                Sameness::Same(Evidence::Checksum),
            ),
            (
                head(1, MD5_A, &crc("x")),
                head(1, "abc-2", &crc("y")),
                Sameness::Different,
            ),
            (
                head(1, MD5_A, &composite("x-2")),
                head(1, "a-2", &composite("y-2")),
                Sameness::Unknown,
            ),
        ] {
            assert_eq!(compare(&one, &other), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_checksum_of_a_part_is_none_of_the_object() {
        let checksum = ("x-amz-checksum-crc64nvme", "x");
        let kind = ("x-amz-checksum-type", "FULL_OBJECT");
        let part = [
            checksum,
            kind,
            ("x-amz-mp-parts-count", "2"),
            ("content-range", "bytes 0-4/9"),
        ];
        let known = head(5, "abc-2", &part);
        assert_eq!((known.bytes, known.checksum), (Some(9), None));
        assert!(head(9, "abc-2", &part[..2]).checksum.is_some());
    }

    #[test]
    fn composite_checksums_compare_where_the_parts_are_equal() {
        let object = |value: &str, parts: &[u64]| Known {
            bytes: Some(3),
            checksum: Some(Checksum {
                algorithm: "SHA256".into(),
                value: value.into(),
                full_object: false,
                parts: parts.to_vec(),
            }),
            ..Known::default()
        };
        for (one, other, expected) in [
            (
                object("x", &[2, 1]),
                object("x", &[2, 1]),
                Sameness::Same(Evidence::Checksum),
            ),
            (
                object("x", &[2, 1]),
                object("y", &[2, 1]),
                Sameness::Different,
            ),
            (
                object("x", &[2, 1]),
                object("y", &[1, 2]),
                Sameness::Unknown,
            ),
            (object("x", &[]), object("y", &[]), Sameness::Unknown),
        ] {
            assert_eq!(compare(&one, &other), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_a_manifest_lists_proves_only_by_being_equal() {
        let facts = |e_tag: &str| {
            Known::from(&Facts {
                e_tag: Some(e_tag.into()),
                size: Some(7),
                ..Facts::default()
            })
        };
        assert_eq!(compare(&facts(MD5_A), &head(1, MD5_A, &[])), SAME);
        assert_eq!(
            compare(&facts(MD5_A), &head(1, MD5_B, &[])),
            Sameness::Unknown
        );
    }
}
