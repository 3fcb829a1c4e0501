//! What the destination object must look like: the header pairs of every request.
//!
//! One planner for both paths, so that an object lands the same at every size. CopyObject carries
//! metadata, content headers and tags by itself; a multipart upload carries nothing, so what
//! CopyObject would have carried is taken from a HEAD of the source.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3haul_s3::quotas::MAX_TAGS_HEADER_BYTES;
use s3haul_s3::{Head, HeaderPair, Tag};

use super::{CopyOptions, Overwrite, SourceChanged};
use crate::job::manifest::Row;

/// System metadata that CopyObject carries: the names that HEAD answers with are those that Create
/// takes.
const CARRIED: [&str; 6] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
];
const USER_METADATA: &str = "x-amz-meta-";
/// Checksum algorithms, by the header in which HEAD shows a value, and whether a multipart upload
/// can have them over the full object.
const CHECKSUMS: [(&str, &str, bool); 10] = [
    ("x-amz-checksum-crc64nvme", "CRC64NVME", true),
    ("x-amz-checksum-crc32c", "CRC32C", true),
    ("x-amz-checksum-crc32", "CRC32", true),
    ("x-amz-checksum-sha256", "SHA256", false),
    ("x-amz-checksum-sha1", "SHA1", false),
    ("x-amz-checksum-sha512", "SHA512", false),
    ("x-amz-checksum-md5", "MD5", false),
    ("x-amz-checksum-xxhash64", "XXHASH64", false),
    ("x-amz-checksum-xxhash3", "XXHASH3", false),
    ("x-amz-checksum-xxhash128", "XXHASH128", false),
];
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

fn pair(name: &'static str, value: impl Into<String>) -> HeaderPair {
    (name.into(), value.into())
}

/// The header pairs that all objects of a job share, built once.
#[derive(Debug, Clone)]
pub struct JobHeaders {
    destination: Vec<HeaderPair>,
    destination_acl: Vec<HeaderPair>,
    source: Vec<HeaderPair>,
    source_of_copy: Vec<HeaderPair>,
    if_absent: bool,
    if_listed: bool,
}

impl JobHeaders {
    /// Builds them from the job's options.
    pub fn new(options: &CopyOptions) -> Self {
        let owner = |name, account: &Option<String>| account.as_ref().map(|id| pair(name, id));
        let payer = options
            .requester_pays
            .then(|| pair("x-amz-request-payer", "requester"));
        let destination: Vec<_> =
            owner("x-amz-expected-bucket-owner", &options.destination_account)
                .into_iter()
                .collect();
        let source: Vec<_> = owner("x-amz-expected-bucket-owner", &options.source_account)
            .into_iter()
            .chain(payer.clone())
            .collect();
        let source_of_copy = owner(
            "x-amz-source-expected-bucket-owner",
            &options.source_account,
        )
        .into_iter()
        .chain(payer)
        .collect();
        let destination_acl = options
            .acl
            .iter()
            .map(|acl| pair("x-amz-acl", acl.as_str()))
            .collect();
        Self {
            destination,
            destination_acl,
            source,
            source_of_copy,
            if_absent: options.overwrite == Overwrite::Never,
            if_listed: options.source_changed == SourceChanged::Fail,
        }
    }

    /// Of requests that concern the destination alone: HEAD, abort, lists, tags.
    pub fn destination(&self) -> &[HeaderPair] {
        &self.destination
    }

    /// Of requests that read the source: HEAD, tags.
    pub fn source(&self) -> &[HeaderPair] {
        &self.source
    }

    /// Of a HEAD of the source whose checksum algorithm matters.
    pub fn source_with_checksum(&self) -> Vec<HeaderPair> {
        with_checksum(&self.source)
    }

    /// Of a HEAD of the destination whose checksum is to be compared.
    pub fn destination_with_checksum(&self) -> Vec<HeaderPair> {
        with_checksum(&self.destination)
    }

    /// Of CopyObject.
    pub fn copy_object(&self, row: &Row) -> Vec<HeaderPair> {
        let mut headers = self.destination.clone();
        headers.extend_from_slice(&self.destination_acl);
        headers.extend_from_slice(&self.source_of_copy);
        headers.extend(
            self.listed_e_tag(row)
                .map(|e_tag| pair(SOURCE_IF_MATCH, quoted(e_tag))),
        );
        headers.extend(self.if_absent());
        headers
    }

    /// Of CreateMultipartUpload: what `source` shows, what the job asks, and `tags` where they fit.
    pub fn create(&self, source: &Head, tags: &[Tag]) -> Vec<HeaderPair> {
        let mut headers = self.destination.clone();
        headers.extend_from_slice(&self.destination_acl);
        headers.extend(
            source
                .headers
                .iter()
                .filter(|(name, _)| carried(name))
                .cloned(),
        );
        let (algorithm, kind) = checksum(source);
        headers.push(pair("x-amz-checksum-algorithm", algorithm));
        headers.push(pair("x-amz-checksum-type", kind));
        if let Some(tagging) = tagging_header(tags) {
            headers.push(pair("x-amz-tagging", tagging));
        }
        headers
    }

    /// Of UploadPartCopy, pinned to what the HEAD of the source showed.
    pub fn upload_part_copy(&self, source_e_tag: &str) -> Vec<HeaderPair> {
        let mut headers = self.destination.clone();
        headers.extend_from_slice(&self.source_of_copy);
        headers.push(pair(SOURCE_IF_MATCH, quoted(source_e_tag)));
        headers
    }

    /// Of CompleteMultipartUpload; `checksum` is what was declared at its creation.
    pub fn complete(&self, checksum: Option<&str>) -> Vec<HeaderPair> {
        let mut headers = self.destination.clone();
        let kind = checksum.and_then(|declared| declared.split_once('/'));
        headers.extend(kind.map(|(_, kind)| pair("x-amz-checksum-type", kind)));
        headers.extend(self.if_absent());
        headers
    }

    /// The ETag that the manifest lists, where the job makes it a condition.
    pub fn listed_e_tag<'r>(&self, row: &'r Row) -> Option<&'r str> {
        row.facts.e_tag.as_deref().filter(|_| self.if_listed)
    }

    fn if_absent(&self) -> Option<HeaderPair> {
        self.if_absent.then(|| pair("if-none-match", "*"))
    }
}

const SOURCE_IF_MATCH: &str = "x-amz-copy-source-if-match";

fn with_checksum(headers: &[HeaderPair]) -> Vec<HeaderPair> {
    let mut headers = headers.to_vec();
    headers.push(pair("x-amz-checksum-mode", "ENABLED"));
    headers
}

fn quoted(e_tag: &str) -> String {
    format!("\"{e_tag}\"")
}

/// Whether a header of a HEAD's answer is what CopyObject would have carried.
pub fn carried(name: &str) -> bool {
    CARRIED.contains(&name) || name.starts_with(USER_METADATA)
}

/// Checksum algorithm and type of a multipart copy: the source's algorithm where HEAD shows it,
/// as CopyObject keeps it, else S3's default; over the full object wherever S3 can.
pub fn checksum(source: &Head) -> (&'static str, &'static str) {
    let shown = CHECKSUMS
        .iter()
        .find(|(header, ..)| source.header(header).is_some());
    let (_, algorithm, full_object) = shown.unwrap_or(&CHECKSUMS[0]);
    (
        algorithm,
        if *full_object {
            "FULL_OBJECT"
        } else {
            "COMPOSITE"
        },
    )
}

/// The value of `x-amz-tagging`; `None` without tags, and where they are over S3's 2 KB.
pub fn tagging_header(tags: &[Tag]) -> Option<String> {
    let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string();
    let pairs: Vec<_> = tags
        .iter()
        .map(|tag| format!("{}={}", encode(&tag.key), encode(&tag.value)))
        .collect();
    Some(pairs.join("&"))
        .filter(|tagging| !tagging.is_empty() && tagging.len() <= MAX_TAGS_HEADER_BYTES)
}

/// Whether two objects are the same, as far as two HEADs tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// Equal size and equal ETag or checksum.
    Same,
    /// Another size, or unequal ETags or checksums that would be equal.
    Different,
    /// Equal size, and nothing else that can be compared.
    Unknown,
}

/// Compares two objects by their HEADs.
///
/// Equal ETags are digests of equal bytes; unequal ones prove nothing unless both are an MD5: of
/// one part, without KMS or a customer's key. Full-object checksums of one algorithm always compare.
pub fn compare(one: &Head, other: &Head) -> Sameness {
    if one.bytes != other.bytes {
        return Sameness::Different;
    }
    if !one.e_tag.is_empty() && one.e_tag == other.e_tag {
        return Sameness::Same;
    }
    for (header, ..) in CHECKSUMS {
        let full = |head: &Head| head.header("x-amz-checksum-type") == Some("FULL_OBJECT");
        if let (Some(a), Some(b), true, true) = (
            one.header(header),
            other.header(header),
            full(one),
            full(other),
        ) {
            return if a == b {
                Sameness::Same
            } else {
                Sameness::Different
            };
        }
    }
    if is_md5(one) && is_md5(other) {
        Sameness::Different
    } else {
        Sameness::Unknown
    }
}

fn is_md5(head: &Head) -> bool {
    let kms = head
        .header("x-amz-server-side-encryption")
        .is_some_and(|algorithm| algorithm.starts_with("aws:kms"));
    let customer = head
        .header("x-amz-server-side-encryption-customer-algorithm")
        .is_some();
    let hex = head.e_tag.len() == 32 && head.e_tag.bytes().all(|b| b.is_ascii_hexdigit());
    hex && !kms && !customer
}

/// Whether a destination object has what this row would have given it besides its bytes.
pub fn same_metadata(source: &Head, destination: &Head) -> bool {
    let of = |head: &Head| {
        let mut carried: Vec<_> = head
            .headers
            .iter()
            .filter(|(name, _)| carried(name))
            .cloned()
            .collect();
        carried.sort();
        carried
    };
    of(source) == of(destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: u64, e_tag: &str, headers: &[(&'static str, &str)]) -> Head {
        Head {
            bytes,
            e_tag: e_tag.into(),
            version_id: None,
            last_modified: None,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            date: None,
        }
    }

    const MD5_A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const MD5_B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

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
        for (one, other, expected) in [
            (head(1, MD5_A, &[]), head(1, MD5_A, &[]), Sameness::Same),
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
                head(1, "abc-2", &[]),
                Sameness::Unknown,
            ),
            (head(1, "abc-2", &[]), head(1, "abc-2", &[]), Sameness::Same),
            (head(1, "", &[]), head(1, "", &[]), Sameness::Unknown),
            (
                head(1, MD5_A, &crc("x")),
                head(1, "abc-2", &crc("x")),
                Sameness::Same,
            ),
            (
                head(1, MD5_A, &crc("x")),
                head(1, "abc-2", &crc("y")),
                Sameness::Different,
            ),
            (
                head(1, MD5_A, &composite("x")),
                head(1, "a-2", &composite("y")),
                Sameness::Unknown,
            ),
        ] {
            assert_eq!(compare(&one, &other), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn create_carries_what_copy_object_would() {
        let options = CopyOptions {
            acl: Some("bucket-owner-full-control".into()),
            destination_account: Some("222222222222".into()),
            ..CopyOptions::default()
        };
        let source = head(
            1,
            MD5_A,
            &[
                ("content-type", "text/plain"),
                ("x-amz-meta-a", "1"),
                ("x-amz-storage-class", "STANDARD_IA"),
                ("x-amz-website-redirect-location", "/x"),
                ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
                ("x-amz-checksum-sha256", "abc"),
            ],
        );
        let tags = [Tag {
            key: "a b".into(),
            value: "c&d=é".into(),
        }];
        let headers = JobHeaders::new(&options).create(&source, &tags);
        let headers: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        assert_eq!(
            headers,
            [
                "x-amz-expected-bucket-owner: 222222222222",
                "x-amz-acl: bucket-owner-full-control",
                "content-type: text/plain",
                "x-amz-meta-a: 1",
                "x-amz-checksum-algorithm: SHA256",
                "x-amz-checksum-type: COMPOSITE",
                "x-amz-tagging: a%20b=c%26d%3D%C3%A9",
            ]
        );
    }

    #[test]
    fn tags_over_two_kilobytes_go_by_another_request() {
        let tags: Vec<_> = (0..10)
            .map(|n| Tag {
                key: format!("{n}"),
                value: "é".repeat(100),
            })
            .collect();
        assert_eq!(tagging_header(&tags), None);
        assert_eq!(tagging_header(&tags[..1]).unwrap().len(), 602);
        assert_eq!(tagging_header(&[]), None);
    }
}
