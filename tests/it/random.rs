//! Random objects and random options over both paths: one result.
//!
//! A case is one job of many rows, each object in two sizes. What must be at the destination is computed from
//! what the object was declared to be and what the job asked for, and is the same for both.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastrand::Rng;
use s3haul::job::manifest::key::encode;
use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::DESTINATION_ACCOUNT;
use s3haul_sandbox::{
    BucketSettings, ChecksumAlgorithm, ChecksumType, ObjectOwnership, ObjectProperties, Retention,
    SandboxOptions, StorageClass, Versioning, canonical_user_id,
};
use time::macros::datetime;

use crate::objects::{Seen, seen};
use crate::support::{DESTINATION, SOURCE, World, message};

const MIB: u64 = 1 << 20;
/// Above 16 MiB a part's digests cost the sandbox nothing.
const THRESHOLD: u64 = 17 * MIB;
const OBJECTS: usize = 10;
const CASES: usize = 8;
const SOURCE_KEY: &str = "arn:aws:kms:eu-west-1:111111111111:key/source";
const BUCKET_KEY: &str = "arn:aws:kms:us-east-1:222222222222:key/of-the-bucket";
const KEY: &str = "arn:aws:kms:us-east-1:222222222222:key/asked-for";

/// Pieces of which names and values are made.
const TEXT: [&str; 16] = [
    "a", "Z", "0", "-", "_", ".", " x", "%41", "+", "=", "&", "/:@", "é", "日本", "🦀", "\"'<>;,",
];
const NAME: [&str; 10] = ["a", "z9", "-", "_", ".", "!#$", "%41", "'*+", "^`", "|~&"];

pub(crate) fn text(rng: &mut Rng, pieces: &[&str], least: usize, most: usize) -> String {
    let count = rng.usize(least..=most);
    let text: String = (0..count).map(|_| *rng.choice(pieces).unwrap()).collect();
    // White space at an end is none of a header's value.
    text.trim().to_owned()
}

pub(crate) fn maybe<T>(rng: &mut Rng, value: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    rng.bool().then(|| value(rng))
}

pub(crate) fn of<T: Copy>(rng: &mut Rng, values: &[T]) -> T {
    *rng.choice(values).unwrap()
}

pub(crate) fn metadata(rng: &mut Rng) -> BTreeMap<String, String> {
    let entry = |rng: &mut Rng| (text(rng, &NAME, 1, 4), text(rng, &TEXT, 0, 12));
    (0..rng.usize(0..6)).map(|_| entry(rng)).collect()
}

pub(crate) fn tags(rng: &mut Rng) -> Vec<(String, String)> {
    // Each tenth set is over what a header takes.
    let long = rng.usize(0..10) == 0;
    let count = if long { 10 } else { rng.usize(0..=4) };
    let tag = |n, rng: &mut Rng| {
        let value = if long {
            "é".repeat(120)
        } else {
            text(rng, &TEXT, 0, 8)
        };
        (format!("{n}{}", text(rng, &TEXT, 0, 5)), value)
    };
    (0..count).map(|n| tag(n, rng)).collect()
}

fn annotations(rng: &mut Rng) -> BTreeMap<String, String> {
    let count = if rng.bool() { 0 } else { rng.usize(1..4) };
    let entry = |n, rng: &mut Rng| {
        (
            format!("{n}{}", text(rng, &TEXT, 0, 4)),
            text(rng, &TEXT, 0, 50),
        )
    };
    (0..count).map(|n| entry(n, rng)).collect()
}

const CLASSES: [StorageClass; 5] = [
    StorageClass::Standard,
    StorageClass::StandardIa,
    StorageClass::OnezoneIa,
    StorageClass::IntelligentTiering,
    StorageClass::GlacierIr,
];

fn properties(rng: &mut Rng) -> ObjectProperties {
    let kms_key_id = maybe(rng, |_| SOURCE_KEY.to_owned());
    let checksum_algorithm = maybe(rng, |rng| of(rng, &ChecksumAlgorithm::ALL));
    ObjectProperties {
        content_type: maybe(rng, |rng| {
            of(rng, &["text/plain", "a/b; c=\"d\""]).to_owned()
        }),
        cache_control: maybe(rng, |_| "max-age=1, public".to_owned()),
        content_disposition: maybe(rng, |_| "attachment; filename=\"a b\"".to_owned()),
        content_encoding: maybe(rng, |_| "gzip".to_owned()),
        content_language: maybe(rng, |_| "de-CH".to_owned()),
        // A date: S3 takes any text, the sandbox's parser does not.
        expires: maybe(rng, |_| "Thu, 01 Dec 2033 16:00:00 GMT".to_owned()),
        metadata: metadata(rng),
        tags: tags(rng),
        missing_metadata: u32::from(rng.usize(0..8) == 0),
        annotations: annotations(rng),
        storage_class: of(rng, &CLASSES),
        website_redirect_location: maybe(rng, |_| "/old".to_owned()),
        bucket_key: kms_key_id.is_some() && rng.bool(),
        kms_key_id,
        checksum_algorithm,
        without_checksum: checksum_algorithm.is_none() && rng.bool(),
        retention: maybe(rng, |_| Retention {
            mode: "COMPLIANCE".to_owned(),
            until: datetime!(2050-01-01 00:00 UTC),
        }),
        legal_hold: rng.bool(),
        acl: maybe(rng, |_| "public-read".to_owned()),
        ..ObjectProperties::default()
    }
}

/// How an object of this size was uploaded.
fn layout(rng: &mut Rng, size: u64, properties: ObjectProperties) -> ObjectProperties {
    let (part_bytes, part_sizes) = match rng.usize(0..4) {
        0 if size > 5 * MIB => (Some(of(rng, &[17 * MIB, 16 * MIB + 12_345])), vec![]),
        1 if size > 40 * MIB => (None, vec![17 * MIB, size - 34 * MIB, 17 * MIB]),
        _ => (None, vec![]),
    };
    ObjectProperties {
        part_bytes,
        part_sizes,
        ..properties
    }
}

/// What a job asks for: as flags, and as what they make of an object.
#[derive(Debug, Default)]
struct Asked {
    flags: Vec<String>,
    /// Instead of the source's metadata: `Content-Type` and user metadata.
    metadata: Option<(Option<String>, BTreeMap<String, String>)>,
    tags: Option<Vec<(String, String)>>,
    without_annotations: bool,
    /// None is the source's.
    class: Option<StorageClass>,
    redirect: Option<String>,
    /// Algorithm, key, bucket key.
    encryption: (&'static str, Option<&'static str>, bool),
    algorithm: Option<ChecksumAlgorithm>,
    composite: Option<bool>,
    retention: Option<Retention>,
    legal_hold: bool,
    acl: Option<String>,
    grants: Vec<(&'static str, String)>,
    allows_loss: bool,
}

impl Asked {
    fn flag(&mut self, words: &[&str]) {
        self.flags
            .extend(words.iter().map(|word| (*word).to_owned()));
    }

    fn random(rng: &mut Rng, bucket: &BucketSettings) -> Self {
        let mut asked = Self {
            class: Some(StorageClass::Standard),
            acl: Some("bucket-owner-full-control".to_owned()),
            ..Self::default()
        };
        asked.contents(rng);
        asked.protection(rng, bucket);
        match rng.usize(0..4) {
            0 => {
                asked.flag(&["--storage-class", "preserve"]);
                asked.class = None;
            }
            1 => {
                asked.flag(&["--storage-class", "GLACIER_IR"]);
                asked.class = Some(StorageClass::GlacierIr);
            }
            _ => {}
        }
        match rng.usize(0..4) {
            0 => {
                asked.flag(&["--acl", "none"]);
                asked.acl = None;
            }
            1 => {
                let id = canonical_user_id(DESTINATION_ACCOUNT);
                asked.flag(&["--grant-full-control", &format!("id={id}")]);
                asked.acl = None;
                asked.grants = vec![("FULL_CONTROL", format!("id=\"{id}\""))];
            }
            _ => {}
        }
        asked.flag(&["--overwrite", of(rng, &["always", "never", "if-different"])]);
        asked.flag(&["--verify", of(rng, &["response", "head", "checksum"])]);
        asked.flag(&["--part-size", of(rng, &["17MiB", "auto", "match-source"])]);
        let fields = of(rng, &["Bucket,Key,Size", "Bucket,Key,Size,ETag"]);
        asked.flag(&["--manifest-fields", fields]);
        asked
    }

    /// Metadata, tags, annotations, redirect.
    fn contents(&mut self, rng: &mut Rng) {
        if rng.usize(0..4) == 0 {
            let user = metadata(rng);
            self.flag(&["--metadata-directive", "replace"]);
            for (name, value) in &user {
                self.flag(&[&format!("--metadata={name}={value}")]);
            }
            let content_type = maybe(rng, |_| "text/new".to_owned());
            if let Some(content_type) = &content_type {
                self.flag(&["--content-type", content_type]);
            }
            self.metadata = Some((content_type, user));
        }
        match rng.usize(0..4) {
            0 => {
                self.flag(&["--tags", "none"]);
                self.tags = Some(Vec::new());
            }
            1 => {
                let mut new: Vec<_> = tags(rng);
                // A flag is cut at its first `=`.
                for (key, _) in &mut new {
                    *key = key.replace('=', ":");
                }
                new.push(("last".to_owned(), String::new()));
                new.truncate(10);
                self.flag(&["--tags", "replace"]);
                for (key, value) in &new {
                    self.flag(&[&format!("--tag={key}={value}")]);
                }
                self.tags = Some(new);
            }
            _ => {}
        }
        if rng.usize(0..4) == 0 {
            self.flag(&["--annotations", "exclude"]);
            self.without_annotations = true;
        }
        if rng.usize(0..3) == 0 {
            self.flag(&["--website-redirect-location", "/new"]);
            self.redirect = Some("/new".to_owned());
        }
        if rng.bool() {
            self.flag(&["--allow-metadata-loss"]);
            self.allows_loss = true;
        }
    }

    /// Encryption, checksum, lock.
    fn protection(&mut self, rng: &mut Rng, bucket: &BucketSettings) {
        let of_bucket = bucket.kms_key_id.as_ref().map(|_| BUCKET_KEY);
        self.encryption = match rng.usize(0..5) {
            0 => {
                self.flag(&["--sse", "AES256"]);
                ("AES256", None, false)
            }
            1 => {
                self.flag(&["--sse", "aws:kms", "--sse-kms-key-id", KEY]);
                ("aws:kms", Some(KEY), bucket.bucket_key)
            }
            2 => {
                self.flag(&["--sse", "aws:kms", "--sse-kms-key-id", KEY, "--bucket-key"]);
                ("aws:kms", Some(KEY), true)
            }
            3 => {
                self.flag(&["--sse", "aws:kms:dsse", "--sse-kms-key-id", KEY]);
                ("aws:kms:dsse", Some(KEY), false)
            }
            _ if of_bucket.is_some() => ("aws:kms", of_bucket, bucket.bucket_key),
            _ => ("AES256", None, false),
        };
        if rng.bool() {
            let algorithm = of(rng, &ChecksumAlgorithm::ALL);
            self.flag(&["--checksum-algorithm", algorithm.as_str()]);
            self.algorithm = Some(algorithm);
            let crc = matches!(
                algorithm,
                ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c
            );
            if crc && rng.bool() {
                let composite = rng.bool();
                let kind = if composite {
                    "composite"
                } else {
                    "full-object"
                };
                self.flag(&["--checksum-type", kind]);
                self.composite = Some(composite);
            }
        }
        if rng.usize(0..3) == 0 {
            self.flag(&["--object-lock-mode", "governance"]);
            self.flag(&["--object-lock-retain-until", "2040-01-02T03:04:05Z"]);
            self.retention = Some(Retention {
                mode: "GOVERNANCE".to_owned(),
                until: datetime!(2040-01-02 03:04:05 UTC),
            });
        }
        match rng.usize(0..4) {
            0 => self.flag(&["--object-lock-legal-hold", "off"]),
            1 => {
                self.flag(&["--object-lock-legal-hold", "on"]);
                self.legal_hold = true;
            }
            _ => {}
        }
    }

    /// What becomes of an object; `in_parts` where it matters.
    fn result(&self, source: &ObjectProperties, in_parts: bool) -> Seen {
        let kept = source.clone();
        let mut there = match &self.metadata {
            None => ObjectProperties {
                // The one loss that follows from the path; a flag has allowed it.
                missing_metadata: if in_parts { 0 } else { kept.missing_metadata },
                ..kept
            },
            Some((content_type, user)) => ObjectProperties {
                content_type: content_type.clone(),
                metadata: user.clone(),
                tags: kept.tags,
                annotations: kept.annotations,
                storage_class: kept.storage_class,
                ..ObjectProperties::default()
            },
        };
        if let Some(tags) = &self.tags {
            there.tags.clone_from(tags);
        }
        if self.without_annotations {
            there.annotations.clear();
        }
        let (encryption, key, bucket_key) = self.encryption;
        let mut seen = Seen::of(ObjectProperties {
            storage_class: self.class.unwrap_or(there.storage_class),
            website_redirect_location: self.redirect.clone(),
            kms_key_id: key.map(str::to_owned),
            bucket_key,
            checksum_algorithm: Some(self.expected_algorithm(source)),
            without_checksum: false,
            retention: self.retention.clone(),
            legal_hold: self.legal_hold,
            acl: self.acl.clone(),
            owner: Some(DESTINATION_ACCOUNT.to_owned()),
            ..there
        });
        seen.grants.clone_from(&self.grants);
        encryption.clone_into(&mut seen.encryption);
        seen
    }

    fn expected_algorithm(&self, source: &ObjectProperties) -> ChecksumAlgorithm {
        let algorithm = self.algorithm.or(source.checksum_algorithm);
        algorithm.unwrap_or(ChecksumAlgorithm::Crc64Nvme)
    }

    fn expected_type(&self, source: &ObjectProperties, in_parts: bool) -> ChecksumType {
        let sha = matches!(
            self.expected_algorithm(source),
            ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256
        );
        if in_parts && self.composite.unwrap_or(sha) {
            ChecksumType::Composite
        } else {
            ChecksumType::FullObject
        }
    }
}

fn bucket(rng: &mut Rng) -> BucketSettings {
    BucketSettings {
        versioning: Versioning::Enabled,
        ownership: Some(ObjectOwnership::ObjectWriter),
        object_lock: true,
        kms_key_id: maybe(rng, |_| BUCKET_KEY.to_owned()),
        bucket_key: rng.bool(),
        ..BucketSettings::default()
    }
}

async fn case(rng: &mut Rng) {
    let bucket = bucket(rng);
    let asked = Asked::random(rng, &bucket);
    let world = World::with(SandboxOptions::default(), bucket);
    let versioning = of(
        rng,
        &[
            Versioning::Unversioned,
            Versioning::Enabled,
            Versioning::Suspended,
        ],
    );
    let settings = world.store().settings(SOURCE).unwrap();
    // `--verify checksum` takes more than the policy of the README's first copy.
    let with_attributes =
        "\"s3:GetObjectAttributes\", \"s3:GetObjectVersionAttributes\", \"s3:GetObjectTagging\"";
    let policy = settings
        .policy
        .map(|policy| policy.replace("\"s3:GetObjectTagging\"", with_attributes));
    let settings = BucketSettings {
        versioning,
        policy,
        ..settings
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
    let mut sources = BTreeMap::new();
    let mut rows = String::new();
    let with_e_tags = asked.flags.iter().any(|flag| flag.ends_with("ETag"));
    for n in 0..OBJECTS {
        let properties = properties(rng);
        let small = of(rng, &[1, 7, THRESHOLD - 1, THRESHOLD]);
        let large = of(rng, &[THRESHOLD + 1, 34 * MIB, 51 * MIB + 1]);
        for (path, size) in [("small", small), ("large", large)] {
            let key = format!("{path} {n}/é+");
            let properties = layout(rng, size, properties.clone());
            let store = world.store();
            store
                .declare_object(SOURCE, &key, size, n as u64, &properties)
                .unwrap();
            write!(rows, "{SOURCE},{},{size}", encode(&key)).unwrap();
            if with_e_tags {
                write!(rows, ",{}", store.object(SOURCE, &key).unwrap().e_tag()).unwrap();
            }
            rows.push('\n');
            sources.insert(key, properties);
        }
    }
    world.manifest(rows);
    let mut command = world.copy_command();
    command
        .args(["--multipart-threshold", "17MiB"])
        .args(&asked.flags);
    let run = crate::support::Run::of(command).await;
    assert!([0, 1].contains(&run.code()), "{asked:?}: {run:?}");
    let report = world.rows();
    assert_eq!(report.len(), 2 * OBJECTS);
    for row in report {
        let key = percent_encoding::percent_decode_str(&row.key)
            .decode_utf8()
            .unwrap();
        let source = &sources[&*key];
        let in_parts = message(&row, "by") == "multipart";
        let told = format!("{key}: {row:?}\n{source:?}\n{asked:?}");
        let unreadable = source.missing_metadata > 0 && asked.metadata.is_none();
        if unreadable && !asked.allows_loss && row.status == TaskStatus::Failed {
            assert_eq!(row.error_code, "MetadataNotReadable", "{told}");
            // CopyObject carries it.
            let size = world.store().object(SOURCE, &key).unwrap().size();
            let by_layout = asked.flags.iter().any(|flag| flag == "match-source");
            assert!(size > 17 << 20 || by_layout, "{told}");
            assert!(world.store().object(DESTINATION, &key).is_none(), "{told}");
            continue;
        }
        assert_eq!(row.status, TaskStatus::Succeeded, "{told}");
        // Of an object that can only go in parts.
        let lost = in_parts && unreadable;
        assert!(!lost || asked.allows_loss, "{told}");
        world.assert_copied(&key);
        assert_eq!(
            seen(&world, DESTINATION, &key),
            asked.result(source, in_parts),
            "{told}"
        );
        let there = world.store().object(DESTINATION, &key).unwrap();
        let kind = asked.expected_type(source, in_parts);
        assert_eq!(there.checksum_type(), kind, "{told}");
        assert_eq!(there.part_sizes().is_some(), in_parts, "{told}");
    }
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn random_objects_and_options_give_one_result_by_both_paths() {
    // Another each time; what fails can be had again.
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    for n in 0..CASES as u64 {
        let seed = seed.wrapping_add(n);
        eprintln!("SEED={seed}");
        case(&mut Rng::with_seed(seed)).await;
    }
}
