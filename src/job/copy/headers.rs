//! The header pairs of every request: what [`settings`](super::settings) ask, as S3 spells it.
//!
//! One planner for both paths, so that an object lands the same at every size. CopyObject carries
//! metadata, content headers and tags by itself; a multipart upload carries nothing, so what
//! CopyObject would have carried is taken from a HEAD of the source.

use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3haul_s3::quotas::MAX_TAGS_HEADER_BYTES;
use s3haul_s3::{CustomerKey, Head, HeaderPair, Tag};
use time::format_description::well_known::Rfc3339;

use super::settings::{
    Annotations, ChecksumType, CustomerKeys, Encryption, NewMetadata, ObjectSettings, StorageClass,
};
use super::{CopyOptions, Overwrite, SourceChanged};
use crate::job::manifest::Row;
use crate::job::report::passes::hex;

/// System metadata that CopyObject carries: the names that HEAD answers with are those that Create
/// takes.
pub const SYSTEM_METADATA: [&str; 6] = [
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
];
const USER_METADATA: &str = "x-amz-meta-";
/// Checksum algorithms, by the header in which HEAD shows a value.
const CHECKSUMS: [(&str, &str); 10] = [
    ("x-amz-checksum-crc64nvme", "CRC64NVME"),
    ("x-amz-checksum-crc32c", "CRC32C"),
    ("x-amz-checksum-crc32", "CRC32"),
    ("x-amz-checksum-sha256", "SHA256"),
    ("x-amz-checksum-sha1", "SHA1"),
    ("x-amz-checksum-sha512", "SHA512"),
    ("x-amz-checksum-md5", "MD5"),
    ("x-amz-checksum-xxhash64", "XXHASH64"),
    ("x-amz-checksum-xxhash3", "XXHASH3"),
    ("x-amz-checksum-xxhash128", "XXHASH128"),
];
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const SOURCE_IF_MATCH: &str = "x-amz-copy-source-if-match";

fn pair(name: &'static str, value: impl Into<String>) -> HeaderPair {
    (name.into(), value.into())
}

/// The header pairs that all objects of a job share, built once.
#[derive(Clone)]
pub struct JobHeaders {
    /// Expected owner.
    destination: Vec<HeaderPair>,
    /// Key of SSE-C of the copies.
    destination_key: Vec<HeaderPair>,
    /// Expected owner, who pays.
    source: Vec<HeaderPair>,
    /// Key of SSE-C of the sources.
    source_key: Vec<HeaderPair>,
    /// Of a request that copies: the source's owner, who pays, the source's key.
    source_of_copy: Vec<HeaderPair>,
    /// Of the request that makes the object: ACL, class, encryption, lock, redirect.
    made: Vec<HeaderPair>,
    /// Of CopyObject alone: directives with what replaces, conditions on the source's date.
    copied: Vec<HeaderPair>,
    /// What replaces the source's metadata.
    metadata: Option<Vec<HeaderPair>>,
    /// What replaces the source's tags.
    tags: Option<Vec<Tag>>,
    checksum: Option<(String, ChecksumType)>,
    if_absent: bool,
    if_listed: bool,
}

/// Keys of SSE-C are among the headers.
impl std::fmt::Debug for JobHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobHeaders")
    }
}

impl JobHeaders {
    /// Builds them from the job's options.
    pub fn new(options: &CopyOptions, keys: &CustomerKeys) -> Self {
        let settings = &options.object;
        let owner = |name, account: &Option<String>| account.as_ref().map(|id| pair(name, id));
        let payer = options
            .requester_pays
            .then(|| pair("x-amz-request-payer", "requester"));
        let destination = owner("x-amz-expected-bucket-owner", &options.destination_account);
        let source = owner("x-amz-expected-bucket-owner", &options.source_account);
        let source_of_copy = owner(
            "x-amz-source-expected-bucket-owner",
            &options.source_account,
        );
        let key_of_copy = keys
            .source
            .iter()
            .flat_map(CustomerKey::copy_source_headers);
        let metadata = settings.metadata.as_ref().map(new_metadata);
        let tags = settings.tags.as_ref().map(|tags| {
            let tag = |(key, value): &(String, String)| Tag {
                key: key.clone(),
                value: value.clone(),
            };
            tags.iter().map(tag).collect::<Vec<_>>()
        });
        Self {
            destination: destination.into_iter().collect(),
            destination_key: keys
                .destination
                .iter()
                .flat_map(CustomerKey::headers)
                .collect(),
            source: source.into_iter().chain(payer.clone()).collect(),
            source_key: keys.source.iter().flat_map(CustomerKey::headers).collect(),
            source_of_copy: source_of_copy
                .into_iter()
                .chain(payer)
                .chain(key_of_copy)
                .collect(),
            made: made(options),
            copied: copied(settings, metadata.as_deref(), tags.as_deref()),
            metadata,
            tags,
            checksum: settings.checksum_algorithm.as_ref().map(|algorithm| {
                let kind = settings.checksum_type.unwrap_or(checksum_type(algorithm));
                (algorithm.clone(), kind)
            }),
            if_absent: options.overwrite == Overwrite::Never,
            if_listed: options.source_changed == SourceChanged::Fail,
        }
    }

    /// Of requests that concern the destination alone and no bytes: abort, lists of uploads, tags.
    pub fn destination(&self) -> &[HeaderPair] {
        &self.destination
    }

    /// Of requests that see the destination's bytes or parts: HEAD, GET, lists of parts.
    pub fn destination_object(&self) -> Vec<HeaderPair> {
        [&self.destination[..], &self.destination_key].concat()
    }

    /// Of requests about the source but not its bytes: tags, annotations, a restore.
    pub fn source(&self) -> &[HeaderPair] {
        &self.source
    }

    /// Of requests that see the source's bytes: HEAD, GET.
    pub fn source_object(&self) -> Vec<HeaderPair> {
        [&self.source[..], &self.source_key].concat()
    }

    /// Of CopyObject; `class` is the source's, where it is preserved.
    pub fn copy_object(&self, row: &Row, class: Option<&str>) -> Vec<HeaderPair> {
        let mut headers = self.destination.clone();
        headers.extend_from_slice(&self.made);
        headers.extend(storage_class(class));
        headers.extend_from_slice(&self.destination_key);
        headers.extend_from_slice(&self.source_of_copy);
        headers.extend_from_slice(&self.copied);
        headers.extend(
            self.listed_e_tag(row)
                .map(|e_tag| pair(SOURCE_IF_MATCH, quoted(e_tag))),
        );
        headers.extend(self.if_absent());
        headers
    }

    /// Of CreateMultipartUpload: what `source` shows, what the job asks, and `tags` where they fit.
    pub fn create(&self, source: &Head, tags: &[Tag], class: Option<&str>) -> Vec<HeaderPair> {
        let mut headers = self.destination.clone();
        headers.extend_from_slice(&self.made);
        headers.extend(storage_class(class));
        headers.extend_from_slice(&self.destination_key);
        headers.extend(self.metadata_of(source));
        let (algorithm, kind) = self.checksum(source);
        if self.checksum.is_none() {
            headers.push(pair("x-amz-checksum-algorithm", algorithm));
        }
        headers.push(pair("x-amz-checksum-type", kind.as_str()));
        if let Some(tagging) = tagging_header(tags) {
            headers.push(pair("x-amz-tagging", tagging));
        }
        headers
    }

    /// Of UploadPartCopy, pinned to what the HEAD of the source showed.
    pub fn upload_part_copy(&self, source_e_tag: &str) -> Vec<HeaderPair> {
        let mut headers = self.destination_object();
        headers.extend_from_slice(&self.source_of_copy);
        headers.push(pair(SOURCE_IF_MATCH, quoted(source_e_tag)));
        headers
    }

    /// Of CompleteMultipartUpload; `checksum` is what was declared at its creation.
    pub fn complete(&self, checksum: Option<&str>) -> Vec<HeaderPair> {
        let mut headers = self.destination_object();
        let kind = checksum.and_then(|declared| declared.split_once('/'));
        headers.extend(kind.map(|(_, kind)| pair("x-amz-checksum-type", kind)));
        headers.extend(self.if_absent());
        headers
    }

    /// The ETag that the manifest lists, where the job makes it a condition.
    pub fn listed_e_tag<'r>(&self, row: &'r Row) -> Option<&'r str> {
        row.facts.e_tag.as_deref().filter(|_| self.if_listed)
    }

    /// The tags that replace the source's, if any do.
    pub fn new_tags(&self) -> Option<&[Tag]> {
        self.tags.as_deref()
    }

    /// Checksum algorithm and type of a multipart copy: as asked, else the source's algorithm where
    /// HEAD shows it, as CopyObject keeps it, else S3's default; over the full object wherever S3 can.
    pub fn checksum(&self, source: &Head) -> (String, ChecksumType) {
        if let Some(asked) = &self.checksum {
            return asked.clone();
        }
        let shown = CHECKSUMS
            .iter()
            .find(|(header, ..)| source.header(header).is_some());
        let (_, algorithm) = shown.unwrap_or(&CHECKSUMS[0]);
        ((*algorithm).to_owned(), checksum_type(algorithm))
    }

    /// Whether a destination object has the metadata that this job gives a copy of `source`.
    pub fn same_metadata(&self, source: &Head, destination: &Head) -> bool {
        with_default_type(self.metadata_of(source)) == with_default_type(carried(destination))
    }

    fn metadata_of(&self, source: &Head) -> Vec<HeaderPair> {
        self.metadata.clone().unwrap_or_else(|| carried(source))
    }

    fn if_absent(&self) -> Option<HeaderPair> {
        self.if_absent.then(|| pair("if-none-match", "*"))
    }
}

/// What a copy was to look like, in few characters: the MD5 of its headers, keys left out.
pub fn fingerprint(headers: &[HeaderPair]) -> String {
    let told = headers
        .iter()
        .filter(|(name, _)| !name.ends_with("-customer-key"));
    let mut lines: Vec<_> = told
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    // Metadata comes in the order of the answer that told it, which is another one each time.
    lines.sort_unstable();
    hex(&Md5::digest(lines.concat()))
}

/// What the request that makes an object says of it on either path.
fn made(options: &CopyOptions) -> Vec<HeaderPair> {
    let settings = &options.object;
    let mut headers = Vec::new();
    if settings.grants.is_empty() {
        headers.extend(
            options
                .acl
                .iter()
                .map(|acl| pair("x-amz-acl", acl.as_str())),
        );
    }
    for permission in super::settings::Permission::ALL {
        let granted = settings
            .grants
            .iter()
            .filter(|grant| grant.permission == permission);
        let grantees: Vec<_> = granted.map(|grant| grant.grantee.as_str()).collect();
        if !grantees.is_empty() {
            headers.push(pair(permission.header(), grantees.join(", ")));
        }
    }
    if let StorageClass::Class(class) = &settings.storage_class {
        headers.push(pair("x-amz-storage-class", class));
    }
    if let Some(location) = &settings.website_redirect_location {
        headers.push(pair("x-amz-website-redirect-location", location));
    }
    encryption(settings, &mut headers);
    if let Some(algorithm) = &settings.checksum_algorithm {
        headers.push(pair("x-amz-checksum-algorithm", algorithm));
    }
    if let Some(retention) = &settings.retention {
        let until = retention.until.format(&Rfc3339).unwrap_or_default();
        headers.push(pair("x-amz-object-lock-mode", &retention.mode));
        headers.push(pair("x-amz-object-lock-retain-until-date", until));
    }
    if let Some(on) = settings.legal_hold {
        let status = if on { "ON" } else { "OFF" };
        headers.push(pair("x-amz-object-lock-legal-hold", status));
    }
    headers
}

fn encryption(settings: &ObjectSettings, headers: &mut Vec<HeaderPair>) {
    const ALGORITHM: &str = "x-amz-server-side-encryption";
    let key = match &settings.encryption {
        Encryption::BucketDefault => &None,
        Encryption::Aes256 => {
            headers.push(pair(ALGORITHM, "AES256"));
            &None
        }
        Encryption::Kms(key) => {
            headers.push(pair(ALGORITHM, "aws:kms"));
            key
        }
        Encryption::KmsDsse(key) => {
            headers.push(pair(ALGORITHM, "aws:kms:dsse"));
            key
        }
    };
    if let Some(key) = key {
        headers.push(pair("x-amz-server-side-encryption-aws-kms-key-id", key));
    }
    if settings.bucket_key {
        let name = "x-amz-server-side-encryption-bucket-key-enabled";
        headers.push(pair(name, "true"));
    }
}

/// What CopyObject is told of what a multipart copy does by itself.
fn copied(
    settings: &ObjectSettings,
    metadata: Option<&[HeaderPair]>,
    tags: Option<&[Tag]>,
) -> Vec<HeaderPair> {
    let mut headers = Vec::new();
    if let Some(metadata) = metadata {
        headers.push(pair("x-amz-metadata-directive", "REPLACE"));
        headers.extend_from_slice(metadata);
    }
    if let Some(tags) = tags {
        headers.push(pair("x-amz-tagging-directive", "REPLACE"));
        headers.extend(tagging_header(tags).map(|tagging| pair("x-amz-tagging", tagging)));
    }
    if settings.annotations == Annotations::Exclude {
        headers.push(pair("x-amz-object-annotation-directive", "EXCLUDE"));
    }
    let dates = [
        (
            "x-amz-copy-source-if-modified-since",
            settings.if_modified_since,
        ),
        (
            "x-amz-copy-source-if-unmodified-since",
            settings.if_unmodified_since,
        ),
    ];
    for (name, date) in dates {
        headers.extend(date.map(|date| pair(name, http_date(date))));
    }
    headers
}

fn http_date(date: time::OffsetDateTime) -> String {
    const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    date.to_offset(time::UtcOffset::UTC)
        .format(FORMAT)
        .unwrap_or_default()
}

fn new_metadata(metadata: &NewMetadata) -> Vec<HeaderPair> {
    let system = metadata
        .headers
        .iter()
        .map(|(name, value)| (name.clone().into(), value.clone()));
    let user = metadata.user.iter().map(|(name, value)| {
        (
            format!("{USER_METADATA}{name}").into(),
            encoded_words(value),
        )
    });
    system.chain(user).collect()
}

/// A value as a header can carry it: as it is, or as the words of RFC 2047 that S3 takes for text
/// outside ASCII, and gives back.
fn encoded_words(value: &str) -> String {
    /// A word has at most 75 characters, 12 of them around base64, which makes 4 of 3 bytes.
    const WORD_BYTES: usize = 45;
    let plain = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if plain && !value.contains("=?") {
        return value.to_owned();
    }
    let mut words = vec![String::new()];
    for character in value.chars() {
        match words.last_mut() {
            Some(word) if word.len() + character.len_utf8() <= WORD_BYTES => word.push(character),
            _ => words.push(character.to_string()),
        }
    }
    let word = |text: &String| {
        format!(
            "=?UTF-8?B?{}?=",
            base64_simd::STANDARD.encode_to_string(text)
        )
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn storage_class(class: Option<&str>) -> Option<HeaderPair> {
    class.map(|class| pair("x-amz-storage-class", class))
}

fn quoted(e_tag: &str) -> String {
    format!("\"{e_tag}\"")
}

/// What CopyObject would have carried, of a HEAD's answer.
fn carried(head: &Head) -> Vec<HeaderPair> {
    let carried = |name: &str| SYSTEM_METADATA.contains(&name) || name.starts_with(USER_METADATA);
    let headers = head.headers.iter();
    headers.filter(|(name, _)| carried(name)).cloned().collect()
}

/// The name of the first metadata that two objects do not have alike.
pub fn differing_metadata(source: &Head, destination: &Head) -> Option<String> {
    let sorted = |head| with_default_type(carried(head));
    let (source, destination) = (sorted(source), sorted(destination));
    let lacking = |pairs: &[HeaderPair], other: &[HeaderPair]| {
        let pair = pairs.iter().find(|pair| !other.contains(pair));
        pair.map(|(name, _)| name.to_string())
    };
    let one = lacking(&source, &destination);
    one.into_iter().chain(lacking(&destination, &source)).min()
}

/// Sorted, and with the type that S3 gives to objects that were sent without one.
fn with_default_type(mut headers: Vec<HeaderPair>) -> Vec<HeaderPair> {
    if !headers.iter().any(|(name, _)| name == "content-type") {
        headers.push(pair("content-type", "binary/octet-stream"));
    }
    headers.sort();
    headers
}

/// Over the full object where S3 can; <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
fn checksum_type(algorithm: &str) -> ChecksumType {
    if ["CRC64NVME", "CRC32C", "CRC32"].contains(&algorithm) {
        ChecksumType::FullObject
    } else {
        ChecksumType::Composite
    }
}

/// The checksum that a HEAD shows: algorithm and value.
pub fn shown_checksum(head: &Head) -> Option<(&'static str, &str)> {
    CHECKSUMS
        .iter()
        .find_map(|(header, algorithm)| Some((*algorithm, head.header(header)?)))
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

    const MD5: &str = "0cc175b9c0f1b6a831c399e269772661";

    fn shown(headers: &[HeaderPair]) -> Vec<String> {
        headers.iter().map(|(n, v)| format!("{n}: {v}")).collect()
    }

    #[test]
    fn what_is_told_in_another_order_looks_the_same() {
        let told = [pair("x-amz-meta-a", "1"), pair("x-amz-meta-b", "2")];
        let [a, b] = told.clone();
        let key = pair("x-amz-server-side-encryption-customer-key", "secret");
        let looks = fingerprint(&told);
        assert_eq!(fingerprint(&[b.clone(), key, a]), looks);
        assert_ne!(fingerprint(&[b]), looks);
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
            MD5,
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
        let headers = JobHeaders::new(&options, &CustomerKeys::default());
        assert_eq!(
            shown(&headers.create(&source, &tags, None)),
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

    #[test]
    fn what_is_asked_is_asked_on_both_paths() {
        use crate::job::copy::settings::{Grant, Permission, Retention};
        use time::macros::datetime;
        let grant = |permission, grantee: &str| Grant {
            permission,
            grantee: grantee.to_owned(),
        };
        let options = CopyOptions {
            acl: Some("private".into()),
            object: ObjectSettings {
                grants: vec![
                    grant(Permission::Read, "id=\"a\""),
                    grant(Permission::FullControl, "id=\"b\""),
                    grant(Permission::Read, "uri=\"c\""),
                ],
                storage_class: StorageClass::Class("STANDARD_IA".into()),
                metadata: Some(NewMetadata {
                    headers: [("content-type".to_owned(), "a/b".to_owned())].into(),
                    user: [("k".to_owned(), "é".to_owned())].into(),
                }),
                website_redirect_location: Some("/x".into()),
                tags: Some(vec![("t".to_owned(), "1 2".to_owned())]),
                annotations: Annotations::Exclude,
                encryption: Encryption::Kms(Some("arn".into())),
                bucket_key: true,
                checksum_algorithm: Some("SHA256".into()),
                retention: Some(Retention {
                    mode: "GOVERNANCE".into(),
                    until: datetime!(2040-01-02 03:04:05 UTC),
                }),
                legal_hold: Some(false),
                if_modified_since: Some(datetime!(2026-02-03 04:05:06 +01:00)),
                ..ObjectSettings::default()
            },
            ..CopyOptions::default()
        };
        let headers = JobHeaders::new(&options, &CustomerKeys::default());
        let made = [
            "x-amz-grant-full-control: id=\"b\"",
            "x-amz-grant-read: id=\"a\", uri=\"c\"",
            "x-amz-storage-class: STANDARD_IA",
            "x-amz-website-redirect-location: /x",
            "x-amz-server-side-encryption: aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id: arn",
            "x-amz-server-side-encryption-bucket-key-enabled: true",
            "x-amz-checksum-algorithm: SHA256",
            "x-amz-object-lock-mode: GOVERNANCE",
            "x-amz-object-lock-retain-until-date: 2040-01-02T03:04:05Z",
            "x-amz-object-lock-legal-hold: OFF",
        ];
        let copied = [
            "x-amz-metadata-directive: REPLACE",
            "content-type: a/b",
            "x-amz-meta-k: =?UTF-8?B?w6k=?=",
            "x-amz-tagging-directive: REPLACE",
            "x-amz-tagging: t=1%202",
            "x-amz-object-annotation-directive: EXCLUDE",
            "x-amz-copy-source-if-modified-since: Tue, 03 Feb 2026 03:05:06 GMT",
        ];
        let created = [
            "content-type: a/b",
            "x-amz-meta-k: =?UTF-8?B?w6k=?=",
            "x-amz-checksum-type: COMPOSITE",
            "x-amz-tagging: t=1%202",
        ];
        let row = Row::default();
        assert_eq!(
            shown(&headers.copy_object(&row, None)),
            [&made[..], &copied].concat()
        );
        let source = head(
            1,
            MD5,
            &[("content-type", "text/plain"), ("x-amz-meta-old", "1")],
        );
        let tags = headers.new_tags().unwrap();
        assert_eq!(
            shown(&headers.create(&source, tags, None)),
            [&made[..], &created].concat()
        );
    }

    #[test]
    fn text_outside_ascii_goes_in_words_of_at_most_75_characters() {
        assert_eq!(encoded_words("plain = =; text"), "plain = =; text");
        assert_eq!(encoded_words("=?x"), "=?UTF-8?B?PT94?=");
        let long = "日本".repeat(20);
        let words: Vec<_> = encoded_words(&long).split(' ').map(str::to_owned).collect();
        assert!(words.iter().all(|word| word.len() <= 75), "{words:?}");
        let text: Vec<u8> = words
            .iter()
            .map(|word| {
                word.strip_prefix("=?UTF-8?B?")
                    .unwrap()
                    .strip_suffix("?=")
                    .unwrap()
            })
            .flat_map(|base64| base64_simd::STANDARD.decode_to_vec(base64).unwrap())
            .collect();
        assert_eq!(text, long.as_bytes());
    }
}
