//! One object with everything, by CopyObject and in parts: equal at the destination but for a list, each entry of
//! which is asserted.

use std::collections::BTreeMap;

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::{DESTINATION_ACCOUNT, SOURCE_ACCOUNT};
use s3haul_sandbox::{
    BucketSettings, ChecksumAlgorithm, ChecksumType, ObjectOwnership, ObjectProperties, Operation,
    Retention, SandboxOptions, StorageClass, Versioning, canonical_user_id,
};
use serde_json::json;
use time::macros::datetime;

use crate::objects::{IN_PARTS, PARTS, Seen, seen, sent, sized_manifest};
use crate::same::{PATHS, copy_both, put_both, tags};
use crate::support::{DESTINATION, SOURCE, World, message};

const SOURCE_KEY: &str =
    "arn:aws:kms:eu-west-1:111111111111:key/0aaaaaaa-12ab-34cd-56ef-1234567890ab";
const KEY: &str = "arn:aws:kms:us-east-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// A destination that takes ACLs and locks.
fn world() -> World {
    let settings = BucketSettings {
        versioning: Versioning::Enabled,
        ownership: Some(ObjectOwnership::ObjectWriter),
        object_lock: true,
        ..BucketSettings::default()
    };
    World::with(SandboxOptions::default(), settings)
}

/// 2,048 bytes of user metadata, by S3's count; text outside ASCII among them.
fn two_kilobytes() -> BTreeMap<String, String> {
    let mut metadata: BTreeMap<_, _> = [
        ("plain", "a value"),
        ("with-dash", "100 %, a+b & c=d; \"e\""),
        ("umlaut", "naïve Grüße, 日本語, 🦀"),
        ("empty", ""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let taken: usize = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let rest = 2048 - taken - "rest".len();
    metadata.insert(
        "rest".to_owned(),
        "é".repeat(rest / 2) + &"x".repeat(rest % 2),
    );
    metadata
}

fn annotations() -> BTreeMap<String, String> {
    [
        ("short", "{\"a\": 1}".to_owned()),
        ("with space & mark", "日本語".to_owned()),
        ("largest", "0123456789abcdef".repeat(1 << 16)),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

/// An object with all that an object can have.
fn rich() -> ObjectProperties {
    ObjectProperties {
        content_type: Some("text/html; charset=utf-8".to_owned()),
        cache_control: Some("max-age=60, public".to_owned()),
        content_disposition: Some("attachment; filename=\"a b.txt\"".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        content_language: Some("de-CH".to_owned()),
        expires: Some("Thu, 01 Dec 2033 16:00:00 GMT".to_owned()),
        metadata: two_kilobytes(),
        tags: tags(10, 5),
        annotations: annotations(),
        storage_class: StorageClass::StandardIa,
        website_redirect_location: Some("/elsewhere".to_owned()),
        kms_key_id: Some(SOURCE_KEY.to_owned()),
        bucket_key: true,
        checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
        retention: Some(Retention {
            mode: "COMPLIANCE".to_owned(),
            until: datetime!(2050-01-01 00:00 UTC),
        }),
        legal_hold: true,
        acl: Some("public-read".to_owned()),
        ..ObjectProperties::default()
    }
}

/// What no copy takes along, as it is at a destination whose bucket says nothing.
fn not_taken_along(source: ObjectProperties) -> ObjectProperties {
    ObjectProperties {
        storage_class: StorageClass::Standard,
        website_redirect_location: None,
        kms_key_id: None,
        bucket_key: false,
        retention: None,
        legal_hold: false,
        acl: Some("bucket-owner-full-control".to_owned()),
        owner: Some(DESTINATION_ACCOUNT.to_owned()),
        ..source
    }
}

/// What follows from the path, and is another by each: ETag, parts, the type of the checksum.
fn assert_what_follows_from_the_path(world: &World, which: &str, of_parts: ChecksumType) {
    let object = |path: &str| {
        world
            .store()
            .object(DESTINATION, &format!("{path}-{which}"))
    };
    let (small, large) = (object("small").unwrap(), object("large").unwrap());
    assert_eq!(small.part_sizes(), None);
    assert_eq!(large.part_sizes().unwrap().len(), PARTS);
    assert!(!small.e_tag().contains('-'), "{}", small.e_tag());
    assert!(
        large.e_tag().ends_with(&format!("-{PARTS}")),
        "{}",
        large.e_tag()
    );
    assert_eq!(small.checksum_type(), ChecksumType::FullObject);
    assert_eq!(large.checksum_type(), of_parts);
    let rows = world.rows_by_key();
    for (key, object) in [
        (format!("small-{which}"), small),
        (format!("large-{which}"), large),
    ] {
        let row = &rows[&key];
        assert_eq!(message(row, "e_tag"), object.e_tag());
        assert_eq!(message(row, "version_id"), object.version_id);
        let parts = object.part_sizes().map(|sizes| sizes.len());
        assert_eq!(message(row, "parts"), json!(parts));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_carried_but_what_no_copy_takes_along() {
    let world = world();
    let long = ObjectProperties {
        tags: tags(10, 120),
        ..rich()
    };
    for (which, properties) in [("rich", rich()), ("long", long)] {
        put_both(&world, which, &properties);
    }
    copy_both(&world, &["rich", "long"], &[]).await;
    for (which, tags) in [("rich", tags(10, 5)), ("long", tags(10, 120))] {
        let expected = Seen::of(not_taken_along(ObjectProperties { tags, ..rich() }));
        for path in PATHS {
            assert_eq!(
                seen(&world, DESTINATION, &format!("{path}-{which}")),
                expected,
                "{path}"
            );
        }
        assert_what_follows_from_the_path(&world, which, ChecksumType::Composite);
    }
    for row in world.rows() {
        assert_eq!(message(&row, "notes"), json!(null), "{row:?}");
    }
    for path in PATHS {
        let key = format!("{path}-rich");
        let object = |bucket| world.store().object(bucket, &key).unwrap();
        let (source, there) = (object(SOURCE), object(DESTINATION));
        assert_ne!(there.version_id, source.version_id);
        assert!(there.last_modified >= source.last_modified);
        assert_eq!(there.encryption_context(), None);
    }
    // The source is as it was.
    assert_eq!(
        seen(&world, SOURCE, "large-rich").properties.owner.unwrap(),
        SOURCE_ACCOUNT
    );
    assert!(
        world
            .sandbox
            .log()
            .of(Operation::PutObjectAnnotation)
            .iter()
            .all(|put| put.bucket == DESTINATION)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_there_by_both_paths() {
    let world = world();
    put_both(&world, "rich", &rich());
    let owner = format!("id={}", canonical_user_id(DESTINATION_ACCOUNT));
    let reader = format!("id={}", canonical_user_id(SOURCE_ACCOUNT));
    let flags = [
        ["--storage-class", "preserve"],
        ["--sse", "aws:kms"],
        ["--sse-kms-key-id", KEY],
        ["--object-lock-mode", "governance"],
        ["--object-lock-retain-until", "2040-01-02T03:04:05Z"],
        ["--object-lock-legal-hold", "on"],
        ["--website-redirect-location", "/there"],
        ["--grant-full-control", &owner],
        ["--grant-read", &reader],
        ["--checksum-algorithm", "CRC32C"],
    ]
    .concat();
    copy_both(&world, &["rich"], &[&flags[..], &["--bucket-key"]].concat()).await;
    let mut expected = Seen::of(ObjectProperties {
        storage_class: StorageClass::StandardIa,
        kms_key_id: Some(KEY.to_owned()),
        bucket_key: true,
        retention: Some(Retention {
            mode: "GOVERNANCE".to_owned(),
            until: datetime!(2040-01-02 03:04:05 UTC),
        }),
        legal_hold: true,
        website_redirect_location: Some("/there".to_owned()),
        checksum_algorithm: Some(ChecksumAlgorithm::Crc32c),
        acl: None,
        ..not_taken_along(rich())
    });
    let quoted = |id: &str| id.replacen('=', "=\"", 1) + "\"";
    expected.grants = vec![("FULL_CONTROL", quoted(&owner)), ("READ", quoted(&reader))];
    for path in PATHS {
        assert_eq!(
            seen(&world, DESTINATION, &format!("{path}-rich")),
            expected,
            "{path}"
        );
    }
    assert_what_follows_from_the_path(&world, "rich", ChecksumType::FullObject);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_is_replaced_by_both_paths() {
    let world = world();
    put_both(&world, "rich", &rich());
    let flags = [
        ["--metadata-directive", "replace"],
        ["--metadata", "new=Grüße an alle"],
        ["--metadata", "plain=another value"],
        ["--content-type", "text/plain"],
        ["--cache-control", "no-store"],
        ["--content-disposition", "inline"],
        ["--content-encoding", "br"],
        ["--content-language", "fr"],
        ["--expires", "2034-01-01"],
        ["--tags", "replace"],
        ["--tag", "a b=c&d=é"],
        ["--annotations", "exclude"],
        ["--storage-class", "GLACIER_IR"],
        ["--sse", "aws:kms:dsse"],
        ["--sse-kms-key-id", KEY],
        ["--acl", "private"],
        ["--checksum-algorithm", "SHA1"],
    ]
    .concat();
    copy_both(&world, &["rich"], &flags).await;
    let text = |text: &str| Some(text.to_owned());
    let metadata = [("new", "Grüße an alle"), ("plain", "another value")];
    let expected = Seen {
        encryption: "aws:kms:dsse".to_owned(),
        ..Seen::of(ObjectProperties {
            content_type: text("text/plain"),
            cache_control: text("no-store"),
            content_disposition: text("inline"),
            content_encoding: text("br"),
            content_language: text("fr"),
            expires: text("Sun, 01 Jan 2034 00:00:00 GMT"),
            metadata: metadata
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            tags: vec![("a b".to_owned(), "c&d=é".to_owned())],
            storage_class: StorageClass::GlacierIr,
            kms_key_id: text(KEY),
            checksum_algorithm: Some(ChecksumAlgorithm::Sha1),
            acl: text("private"),
            owner: text(DESTINATION_ACCOUNT),
            ..ObjectProperties::default()
        })
    };
    for path in PATHS {
        assert_eq!(
            seen(&world, DESTINATION, &format!("{path}-rich")),
            expected,
            "{path}"
        );
    }
    assert_what_follows_from_the_path(&world, "rich", ChecksumType::Composite);
    for operation in [
        Operation::GetObjectTagging,
        Operation::ListObjectAnnotations,
        Operation::GetObjectAnnotation,
    ] {
        assert_eq!(world.sandbox.log().count(operation), 0, "{operation:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_keys_go_with_every_request_that_needs_them() {
    const SOURCE_MD5: &str = "y4HAEFCYWuvAXWFTtA1Qpg==";
    let world = world();
    std::fs::write(world.path("source-key"), [7; 32]).unwrap();
    std::fs::write(world.path("key"), [8; 32]).unwrap();
    // Under a customer's key there are no annotations.
    let properties = ObjectProperties {
        kms_key_id: None,
        bucket_key: false,
        customer_key_md5: Some(SOURCE_MD5.to_owned()),
        annotations: BTreeMap::new(),
        ..rich()
    };
    put_both(&world, "rich", &properties);
    let source = ["--source-sse-c-key-file", "source-key"];
    let both = [&source[..], &["--sse-c-key-file", "key"]].concat();
    copy_both(
        &world,
        &["rich"],
        &[&both[..], &["--verify", "head"]].concat(),
    )
    .await;
    for path in PATHS {
        let there = seen(&world, DESTINATION, &format!("{path}-rich"));
        let md5 = there.properties.customer_key_md5.clone();
        assert!(
            md5.as_ref().is_some_and(|md5| md5 != SOURCE_MD5),
            "{path}: {md5:?}"
        );
        let expected = Seen::of(not_taken_along(ObjectProperties {
            customer_key_md5: md5,
            ..properties.clone()
        }));
        assert_eq!(there, expected, "{path}");
    }
    assert_eq!(
        world.sandbox.log().count(Operation::ListObjectAnnotations),
        0
    );
}

/// ETags, layouts and the type of the checksum, of sources that were uploaded whole and in parts.
#[tokio::test(flavor = "multi_thread")]
async fn e_tags_follow_from_the_path() {
    let world = world();
    let plain = ObjectProperties {
        checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
        ..ObjectProperties::default()
    };
    // The parts that the job asks for, and others.
    for (which, part_bytes) in [
        ("whole", None),
        ("alike", Some(17 << 20)),
        ("other", Some(34 << 20)),
    ] {
        let properties = ObjectProperties {
            part_bytes,
            ..plain.clone()
        };
        put_both(&world, which, &properties);
    }
    copy_both(&world, &["whole", "alike", "other"], &[]).await;
    let e_tags = |key: &str| {
        let e_tag = |bucket| world.store().object(bucket, key).unwrap().e_tag();
        (e_tag(SOURCE), e_tag(DESTINATION))
    };
    for (key, equal) in [
        ("small-whole", true),
        ("small-alike", false),
        ("large-whole", false),
        ("large-alike", true),
        ("large-other", false),
    ] {
        let (source, there) = e_tags(key);
        assert_eq!(source == there, equal, "{key}: {source} {there}");
        assert_eq!(
            there.contains('-'),
            key.starts_with("large"),
            "{key}: {there}"
        );
    }
    for which in ["whole", "alike", "other"] {
        // A composite checksum becomes one over the full object; in parts SHA-256 has no other type.
        assert_what_follows_from_the_path(&world, which, ChecksumType::Composite);
    }
}

/// Metadata alone is replaced: what is not named is lost on both paths, tags and annotations stay.
#[tokio::test(flavor = "multi_thread")]
async fn new_metadata_replaces_all_metadata_and_nothing_else() {
    let world = world();
    // What REST cannot show would not be carried anyway.
    let unreadable = ObjectProperties {
        missing_metadata: 2,
        ..rich()
    };
    put_both(&world, "rich", &unreadable);
    copy_both(
        &world,
        &["rich"],
        &["--metadata-directive", "replace", "--metadata", "a=1"],
    )
    .await;
    let expected = Seen::of(ObjectProperties {
        content_type: None,
        cache_control: None,
        content_disposition: None,
        content_encoding: None,
        content_language: None,
        expires: None,
        metadata: [("a".to_owned(), "1".to_owned())].into(),
        ..not_taken_along(rich())
    });
    for path in PATHS {
        assert_eq!(
            seen(&world, DESTINATION, &format!("{path}-rich")),
            expected,
            "{path}"
        );
    }
}

/// Ten tags of over 2 KB as encoded, as flags.
fn long_tag_flags() -> Vec<String> {
    let mut flags = vec!["--tags".to_owned(), "replace".to_owned()];
    for (key, value) in tags(10, 120) {
        flags.extend(["--tag".to_owned(), format!("{key}={value}")]);
    }
    flags
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tags_are_set_by_both_paths_at_any_length() {
    let long = long_tag_flags();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    for (flags, expected, behind) in [
        (&["--tags", "none"][..], vec![], 0),
        (
            &["--tags", "replace", "--tag", "a=b"],
            vec![("a".to_owned(), "b".to_owned())],
            0,
        ),
        (&long, tags(10, 120), 1),
    ] {
        let world = world();
        put_both(&world, "rich", &rich());
        copy_both(&world, &["rich"], flags).await;
        for path in PATHS {
            let key = format!("{path}-rich");
            assert_eq!(
                seen(&world, DESTINATION, &key).properties.tags,
                expected,
                "{key}"
            );
            // What fits into no header goes behind the object.
            assert_eq!(
                sent(&world, Operation::PutObjectTagging, &key).len(),
                behind,
                "{key}"
            );
            let note = "tags were left out, as --tags none asks";
            let noted = message(&world.rows_by_key()[&key], "notes");
            let expected = if expected.is_empty() {
                json!([note])
            } else {
                json!(null)
            };
            assert_eq!(noted, expected, "{key}");
        }
        assert_eq!(world.sandbox.log().count(Operation::GetObjectTagging), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_are_left_out_by_both_paths_and_the_rows_say_so() {
    let world = world();
    put_both(&world, "rich", &rich());
    copy_both(&world, &["rich"], &["--annotations", "exclude"]).await;
    for path in PATHS {
        let key = format!("{path}-rich");
        let there = seen(&world, DESTINATION, &key).properties;
        assert_eq!(there.annotations, BTreeMap::new());
        assert_eq!(there.tags, tags(10, 5));
        let note = "annotations were left out, as --annotations exclude asks";
        assert_eq!(message(&world.rows_by_key()[&key], "notes"), json!([note]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_may_be_lost_where_a_flag_allows_it_and_the_row_says_so() {
    let world = world();
    let unreadable = ObjectProperties {
        missing_metadata: 2,
        ..rich()
    };
    put_both(&world, "rich", &unreadable);
    copy_both(&world, &["rich"], &["--allow-metadata-loss"]).await;
    // CopyObject takes along what REST cannot show.
    for (path, missing) in [("small", 2), ("large", 0)] {
        let key = format!("{path}-rich");
        let expected = ObjectProperties {
            missing_metadata: missing,
            ..not_taken_along(rich())
        };
        assert_eq!(seen(&world, DESTINATION, &key), Seen::of(expected));
    }
    let rows = world.rows_by_key();
    assert_eq!(message(&rows["small-rich"], "notes"), json!(null));
    let note = "2 metadata entries of the source cannot be read over REST, and were lost, as \
                --allow-metadata-loss allows";
    assert_eq!(message(&rows["large-rich"], "notes"), json!([note]));
}

/// An object under a customer's key has no annotations: a source that has some fails on both paths, and no part is
/// copied to learn it.
#[tokio::test(flavor = "multi_thread")]
async fn annotations_do_not_go_with_a_customers_key() {
    let world = world();
    std::fs::write(world.path("key"), [7; 32]).unwrap();
    put_both(&world, "rich", &rich());
    sized_manifest(&world, ["small-rich", "large-rich"]);
    let key = ["--sse-c-key-file", "key"];
    world.copy(&[&IN_PARTS[..], &key].concat()).await.expect(1);
    let rows = world.rows_by_key();
    for (key, code) in [
        ("small-rich", "InvalidRequest"),
        ("large-rich", "AnnotationsNotCopied"),
    ] {
        let row = &rows[key];
        assert_eq!(
            (row.status, row.error_code.as_str()),
            (TaskStatus::Failed, code)
        );
        assert!(world.store().object(DESTINATION, key).is_none(), "{key}");
    }
    let hint = message(&rows["large-rich"], "hint");
    assert!(
        hint.as_str().unwrap().contains("--annotations exclude"),
        "{hint}"
    );
    assert_eq!(world.sandbox.log().count(Operation::UploadPartCopy), 0);
    world.assert_no_uploads();
}
