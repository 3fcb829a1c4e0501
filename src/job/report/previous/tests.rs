use super::*;
use crate::job::manifest::{Facts, Place};

fn sample(name: &str) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/sample-manifests/reports/{name}").into()
}

fn index(
    name: &str,
    matching: Matching,
) -> Result<(tempfile::TempDir, CopiedBefore, Counted), PreviousError> {
    let folder = tempfile::TempDir::new().unwrap();
    let report = CompletionReport::open(&sample(name), Path::new("")).unwrap();
    let options = PreviousOptions {
        report: sample(name),
        matching,
    };
    let path = folder.path().join("index");
    let stop = CancellationToken::new();
    let (before, counted) = CopiedBefore::write(&report, &options, "source", &path, &stop)?;
    Ok((folder, before, counted))
}

fn row(key: &str, version_id: &str, e_tag: &str, last_modified: &str) -> Row {
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Row {
        ordinal: 0,
        after: Place::default(),
        key: key.into(),
        spelt: None,
        version_id: given(version_id),
        facts: Facts {
            e_tag: given(e_tag),
            last_modified: parse_time(last_modified),
            ..Facts::default()
        },
        problem: None,
        is_latest: false,
        copied_before: None,
        behind_older: false,
        doubted: false,
    }
}

const JANUARY: &str = "2026-01-01T00:00:00.000Z";

#[test]
fn only_what_the_report_surely_has_was_copied_before() {
    let (_folder, before, counted) = index("ours", Matching::Source).unwrap();
    let expected = Counted {
        succeeded: 5,
        known: 4,
        unreadable: 0,
    };
    assert_eq!(counted, expected);
    for (key, version_id, e_tag, last_modified, copied) in [
        ("plain", "", "e1", JANUARY, true),
        // The same instant, written in another way.
        ("plain", "", "\"e1\"", "2026-01-01T01:00:00+01:00", true),
        ("plain", "", "e1", "2026-01-01T00:00:01.000Z", false),
        ("plain", "", "e2", JANUARY, false),
        ("plain", "", "e1", "", false),
        ("plain", "", "", JANUARY, false),
        ("plain", "v1", "e1", JANUARY, false),
        ("plain2", "", "e1", JANUARY, false),
        // A version is its content.
        ("a b", "v1", "", "", true),
        ("a%20b", "v1", "", "", false),
        ("a b", "v2", "", "", false),
        ("a b", "", "", "", false),
        // The null version is not: it is overwritten in place.
        ("null", "null", "e3", JANUARY, true),
        ("null", "null", "e4", JANUARY, false),
        ("null", "null", "", "", false),
        ("unknown", "", "d4", JANUARY, false),
        // Skipped as copied before is copied; skipped for another reason is not.
        ("twice", "", "e5", JANUARY, true),
        ("there", "", "", "", false),
        ("refused", "", "", "", false),
    ] {
        let row = row(key, version_id, e_tag, last_modified);
        let found = before.look(&row).unwrap();
        assert_eq!(found.is_some(), copied, "{row:?}");
    }
}

#[test]
fn by_key_every_success_counts_and_keys_are_decoded_once() {
    let (_folder, before, counted) = index("batch-operations", Matching::Key).unwrap();
    assert_eq!((counted.succeeded, counted.known), (6, 6));
    for (key, version_id, copied) in [
        ("plain", "", true),
        ("plain", "v1", false),
        ("pct%20literal.txt", "", true),
        ("pct literal.txt", "", false),
        ("a b", "", true),
        ("a+b", "ver.1", true),
        ("a+b", "", false),
        ("😀", "", true),
        ("nl\nx", "", true),
        ("refused", "", false),
    ] {
        let found = before.look(&row(key, version_id, "", "")).unwrap();
        assert_eq!(found, copied.then_some(Matching::Key), "{key}");
    }
    // A key that cannot be decoded is itself.
    let (_folder, before, _) = index("malformed", Matching::Key).unwrap();
    assert!(before.look(&row("100%", "", "", "")).unwrap().is_some());
    // A row of another bucket.
    let (_folder, before, _) = index("schema-order", Matching::Key).unwrap();
    assert!(before.look(&row("plain", "", "", "")).unwrap().is_some());
    assert!(before.look(&row("plain", "v1", "", "")).unwrap().is_none());
}

#[test]
fn a_report_without_identity_needs_another_match() {
    let refused = index("malformed", Matching::Source);
    assert!(matches!(refused, Err(PreviousError::NoIdentity { .. })));
    // One that names versions has it for those.
    let (_folder, before, counted) = index("batch-operations", Matching::Source).unwrap();
    assert_eq!((counted.succeeded, counted.known), (6, 1));
    assert!(before.look(&row("a+b", "ver.1", "", "")).unwrap().is_some());
    assert!(
        before
            .look(&row("plain", "", "e", JANUARY))
            .unwrap()
            .is_none()
    );
}

#[test]
fn an_index_is_that_of_its_report_and_match() {
    let (folder, ..) = index("ours", Matching::Source).unwrap();
    let path = folder.path().join("index");
    let open = |name: &str, matching| {
        let report = sample(name);
        let options = PreviousOptions { report, matching };
        CopiedBefore::open(&path, &options, "source").unwrap()
    };
    let before = open("ours", Matching::Source).unwrap();
    let copied = row("plain", "", "e1", JANUARY);
    assert_eq!(before.look(&copied).unwrap(), Some(Matching::Source));
    assert!(open("ours", Matching::Key).is_none());
    assert!(open("malformed", Matching::Source).is_none());
}

#[test]
fn fields_do_not_run_together() {
    let different = [
        fingerprint("key", &[b"ab", b"c"]),
        fingerprint("key", &[b"a", b"bc"]),
        fingerprint("key", &[b"abc"]),
        fingerprint("version", &[b"ab", b"c"]),
    ];
    let set: std::collections::HashSet<_> = different.iter().collect();
    assert_eq!(set.len(), different.len());
}
