use std::io::{Seek, SeekFrom};

use super::*;
use crate::job::manifest::{Dealt, Filters, ManifestFormat, Rename, Source, survey};
use crate::job::shard::Shard;

fn options() -> ManifestOptions {
    ManifestOptions {
        format: ManifestFormat::Csv,
        versions: None,
        ..ManifestOptions::default()
    }
}

fn manifest(bytes: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

fn error(bytes: impl AsRef<[u8]>, options: &ManifestOptions) -> String {
    let file = manifest(bytes);
    let message = survey(file.path(), options).unwrap_err().to_string();
    message.replace(&file.path().display().to_string(), "M")
}

fn rows(bytes: impl AsRef<[u8]>, options: &ManifestOptions, start: Position) -> Vec<Row> {
    let file = manifest(bytes);
    let survey = survey(file.path(), options).unwrap();
    read(Source::manifest(file.path(), &survey, options, start))
}

fn read(mut source: Source) -> Vec<Row> {
    std::iter::from_fn(|| source.next_row().unwrap()).collect()
}

#[test]
fn rows_and_their_spellings() {
    let found = rows(
        "b,a%20b\nb,\"c%2Cd\"\nb,e\r\n",
        &options(),
        Position::default(),
    );
    let keys: Vec<_> = found
        .iter()
        .map(|r| (r.key.clone(), r.spelling().into_owned()))
        .collect();
    let of = |pairs: &[(&str, &str)]| -> Vec<_> {
        let own = |(key, spelt): &(&str, &str)| (String::from(*key), String::from(*spelt));
        pairs.iter().map(own).collect()
    };
    assert_eq!(keys, of(&[("a b", "a%20b"), ("c,d", "c%2Cd"), ("e", "e")]));
    let raw = ManifestOptions {
        key_encoding: Some(KeyEncoding::Raw),
        ..options()
    };
    let found = rows("b,\"a\nb,+\"\nb,ü%20\n", &raw, Position::default());
    let keys: Vec<_> = found
        .iter()
        .map(|r| (r.key.clone(), r.spelling().into_owned()))
        .collect();
    assert_eq!(
        keys,
        of(&[("a\nb,+", "a%0Ab%2C%2B"), ("ü%20", "%C3%BC%2520")])
    );
}

#[test]
fn reading_goes_on_at_every_row() {
    for text in [
        "b,k0\nb,x1\nb,\"k2\"\nb,k3\n",
        "\u{feff}b,k0\r\nb,x1\r\nb,k2\r\nb,k3",
    ] {
        let options = ManifestOptions {
            filters: Filters {
                exclude_prefixes: vec!["x".into()],
                ..Filters::default()
            },
            ..options()
        };
        let all = rows(text, &options, Position::default());
        assert_eq!(
            all.iter().map(|r| r.key.as_str()).collect::<Vec<_>>(),
            ["k0", "k2", "k3"]
        );
        for (at, row) in all.iter().enumerate() {
            let start = Position {
                place: row.after,
                ordinal: row.ordinal + 1,
            };
            assert_eq!(rows(text, &options, start), all[at + 1..]);
        }
    }
}

#[test]
fn every_row_is_one_shards_and_reading_goes_on_at_each() {
    let text = "\u{feff}b,k0\r\nb,x1\r\n\r\nb,\"k2\"\r\nb,k3\nb,x4\nb,k5\nb,k6";
    for of in [1, 2, 3, 9] {
        let mut keys = Vec::new();
        let mut filtered = 0;
        for index in 0..of {
            let options = ManifestOptions {
                filters: Filters {
                    exclude_prefixes: vec!["x".into()],
                    ..Filters::default()
                },
                shard: Some(Shard { index, of }),
                ..options()
            };
            let file = manifest(text);
            let survey = survey(file.path(), &options).unwrap();
            assert_eq!(survey.dealt, Some(Dealt::Rows { of: 7 }));
            let read_from = |start| read(Source::manifest(file.path(), &survey, &options, start));
            let all = read_from(Position::default());
            assert_eq!(survey.rows, all.len() as u64);
            for (at, row) in all.iter().enumerate() {
                let (place, ordinal) = (row.after, row.ordinal + 1);
                assert_eq!(read_from(Position { place, ordinal }), all[at + 1..]);
            }
            filtered += survey.filtered;
            keys.extend(all.into_iter().map(|row| row.key));
        }
        keys.sort();
        assert_eq!(keys, ["k0", "k2", "k3", "k5", "k6"]);
        assert_eq!(filtered, 2);
    }
}

#[test]
fn all_shards_begin_or_none() {
    let shard = |index, of| ManifestOptions {
        shard: Some(Shard { index, of }),
        ..options()
    };
    for index in 0..2 {
        // Another bucket than the first row's, which is the other shard's.
        let bad = error("b,k\nc,k\nb,l\n", &shard(index, 2));
        assert!(bad.contains("line 2 (byte 4): its bucket is c"), "{bad}");
    }
    let excluded = ManifestOptions {
        filters: Filters {
            exclude_prefixes: vec!["k".into()],
            ..Filters::default()
        },
        ..shard(1, 2)
    };
    assert!(error("b,k\nb,k\n", &excluded).contains("no rows"));
    // It has no row, and another one has.
    assert!(rows("b,k\n", &shard(1, 2), Position::default()).is_empty());
}

#[test]
fn the_survey_counts() {
    let options = ManifestOptions {
        format: ManifestFormat::Csv,
        versions: None,
        fields: Some(vec![Field::Bucket, Field::Key, Field::Size, Field::Ignore]),
        filters: Filters {
            min_size: Some(5),
            ..Filters::default()
        },
        ..options()
    };
    let file = manifest("b,k,4,x\nb,l,5,x\nb,m,,x\n");
    let survey = survey(file.path(), &options).unwrap();
    assert_eq!(
        (survey.rows, survey.filtered, survey.bucket.as_str()),
        (2, 1, "b")
    );
    assert_eq!(survey.e_tag, "a49c195186f494a5f09fc57b07353385");
    assert_eq!(survey.file_bytes, 23);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn bad_manifests_say_where_and_what() {
    let auto = options();
    let three = ManifestOptions {
        format: ManifestFormat::Csv,
        versions: None,
        fields: Some(vec![Field::Bucket, Field::Key, Field::VersionId]),
        ..options()
    };
    let url = ManifestOptions {
        key_encoding: Some(KeyEncoding::Url),
        ..options()
    };
    let prefixed = ManifestOptions {
        rename: Rename {
            prefix: "p".repeat(20),
            strip_prefix: None,
        },
        ..options()
    };
    let long = format!("b,{}\n", "k".repeat(1010));
    let cases: Vec<(Vec<u8>, &ManifestOptions, &str)> = vec![
        (b"".to_vec(), &three, "has no rows"),
        (b"\n\n".to_vec(), &three, "has no rows"),
        (b"b\n".to_vec(), &url, "1 columns"),
        (
            b"b,k\nb,k,v\n".to_vec(),
            &url,
            "line 2 (byte 4): it has 3 columns where 2",
        ),
        (
            b"b,k\r\nb,k\r\nb,\r\n".to_vec(),
            &url,
            "line 3 (byte 10): the key is empty",
        ),
        (
            b"\xef\xbb\xbfb,k\n\n\r\nb,\n".to_vec(),
            &url,
            "line 4 (byte 10): the key is empty",
        ),
        (
            b"b,k\r\n\r\nb,a b\r\n".to_vec(),
            &auto,
            "line 3 of the manifest M holds a bare space",
        ),
        (
            b"Bucket,Key\nb,k\n".to_vec(),
            &url,
            "header row (Bucket,Key)",
        ),
        (
            b"b,k\nb,\n".to_vec(),
            &url,
            "line 2 (byte 4): the key is empty",
        ),
        (
            b"b,k\nc,k\n".to_vec(),
            &url,
            "line 2 (byte 4): its bucket is c, the first row's b",
        ),
        (b"b,%zz\n".to_vec(), &url, "line 1 (byte 0): `%` at byte 0"),
        (b"b,\xff\n".to_vec(), &url, "not UTF-8"),
        (
            b"b,%zz\n".to_vec(),
            &auto,
            "line 1 of the manifest M holds a `%` without",
        ),
        (b"b,a b\n".to_vec(), &auto, "a bare space, which"),
        (
            b"b,\"a\nb,c\n".to_vec(),
            &auto,
            "a line break or another control character, which",
        ),
        (b"b,\xc3\xbc\n".to_vec(), &auto, "--key-encoding raw or"),
        (b"b,a+b\n".to_vec(), &auto, "`+` may be a space"),
        (
            b"b,k,v\nb,k,\n".to_vec(),
            &three,
            "line 2 (byte 6): it has no version ID",
        ),
        (
            b"b,k,\nb,k,v\n".to_vec(),
            &three,
            "line 2 (byte 5): it has a version ID",
        ),
        (b"\x1f\x8b\x08".to_vec(), &url, "cannot read the manifest"),
        (b"{\"sourceBucket\"".to_vec(), &url, "is JSON"),
        (
            long.into_bytes(),
            &prefixed,
            "its destination key has 1030 bytes, S3 takes 1024",
        ),
        (
            format!("b,{}\n", "k".repeat(1025)).into_bytes(),
            &url,
            "its key has 1025 bytes",
        ),
    ];
    for (bytes, options, expected) in cases {
        let message = error(&bytes, options);
        assert!(
            message.contains(expected),
            "{:?}: {message}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

#[test]
fn a_quote_that_is_never_closed_is_refused() {
    let raw = ManifestOptions {
        key_encoding: Some(KeyEncoding::Raw),
        ..options()
    };
    for bytes in [
        "b,\"a",
        "b,k\nb,\"a\nb,c\n",
        "b,k\nb,\"a\"\"\nb,c\n",
        "b,k\n\"b,c\n",
        "b,\"\"\"",
        "\u{feff}b,k\r\nb,\"a\r\n",
    ] {
        let message = error(bytes, &raw);
        assert!(
            message.contains("a quote that begins in it is never closed"),
            "{bytes:?}: {message}"
        );
    }
    assert!(error("b,k\nb,\"a\nb,c\n", &raw).contains("line 2 (byte 4)"));
    for (bytes, keys) in [
        ("b,\"a\"", ["a"]),
        ("b,\"a\n\"\n", ["a\n"]),
        ("b,\"\"\"a\"", ["\"a"]),
        ("b,a\"", ["a\""]),
        ("b,a\"b\n", ["a\"b"]),
        ("b,\"\"\"\"\n\n", ["\""]),
        ("\"b\",\"a,\"\"\"\r\n", ["a,\""]),
    ] {
        let found = rows(bytes, &raw, Position::default());
        let found: Vec<_> = found.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(found, keys, "{bytes:?}");
    }
}

#[test]
fn every_bad_row_is_counted_and_the_first_are_listed() {
    let text: String = (0..30)
        .map(|n| if n % 2 == 0 { "b,k\n" } else { "b,\n" })
        .collect();
    let message = error(text, &options());
    assert!(
        message.starts_with("the manifest M has 15 bad rows\n  line 2 (byte 4)"),
        "{message}"
    );
    assert!(message.ends_with("and 5 more"), "{message}");
}

#[test]
fn a_filter_without_its_column_is_refused() {
    let options = ManifestOptions {
        filters: Filters {
            min_size: Some(1),
            ..Filters::default()
        },
        ..options()
    };
    assert!(error("b,k\n", &options).contains("--min-size needs the column Size"));
}

#[test]
fn bad_rows_of_a_stream_are_kept_as_rows() {
    let options = ManifestOptions {
        keep_bad_rows: true,
        ..options()
    };
    let found = rows("b,k\nb,\nc,l\nb,m\n", &options, Position::default());
    let problems: Vec<_> = found.iter().map(|r| r.problem.is_some()).collect();
    assert_eq!(problems, [false, true, true, false]);
    assert_eq!(found[3].ordinal, 3);
}

#[test]
fn failed_rows_come_back_with_what_the_manifest_knew() {
    let line = "b,a%20b,v1,failed,503,SlowDown,\"{\"\"message\"\":\"\"m\"\"}\",7,2026-01-01T00:00:00Z,e,GLACIER\n";
    let bad = "b,%25zz,,failed,,InvalidManifestRow,\"{\"\"message\"\":\"\"why\"\"}\",,,,\n";
    let (first, second) = (manifest(line), manifest(format!("{bad}{line}")));
    let files = |first: &tempfile::NamedTempFile, second: &tempfile::NamedTempFile| {
        vec![first.path().into(), second.path().into()]
    };
    let all = read(Source::failed_rows(
        files(&first, &second),
        Position::default(),
    ));
    assert_eq!(all.len(), 3);
    assert_eq!((all[0].key.as_str(), &*all[0].spelling()), ("a b", "a%20b"));
    assert_eq!(all[0].version_id.as_deref(), Some("v1"));
    assert_eq!(all[0].facts.size, Some(7));
    assert_eq!(all[0].facts.storage_class.as_deref(), Some("GLACIER"));
    assert_eq!(all[1].problem.as_deref(), Some("why"));
    for (at, row) in all.iter().enumerate() {
        let start = Position {
            place: row.after,
            ordinal: row.ordinal + 1,
        };
        assert_eq!(
            read(Source::failed_rows(files(&first, &second), start)),
            all[at + 1..]
        );
    }
}

/// Reads a manifest of more bytes than are read at once, of which something is done behind the first row.
fn read_while(change: impl FnOnce(&mut std::fs::File)) -> Result<usize, ManifestError> {
    let rows: Vec<_> = (0..60_000).map(|n| format!("b,key{n:05}\n")).collect();
    let file = manifest(rows.concat());
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    file.as_file().set_modified(long_ago).unwrap();
    let survey = survey(file.path(), &options()).unwrap();
    let mut source = Source::manifest(file.path(), &survey, &options(), Position::default());
    source.next_row().unwrap().unwrap();
    let mut again = std::fs::File::options()
        .write(true)
        .open(file.path())
        .unwrap();
    change(&mut again);
    let mut found = 1;
    while let Some(row) = source.next_row()? {
        assert_eq!(row.key, format!("key{found:05}"));
        found += 1;
    }
    Ok(found)
}

#[test]
fn a_row_that_was_written_after_the_survey_is_not_handed_out() {
    use std::io::Write;
    let edit = |file: &mut std::fs::File| {
        file.seek(SeekFrom::Start(50_000 * 11)).unwrap();
        file.write_all(b"b,other00").unwrap();
    };
    let append = |file: &mut std::fs::File| {
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"b,other00\n").unwrap();
    };
    for changed in [read_while(edit), read_while(append)] {
        assert!(
            matches!(changed, Err(ManifestError::Changed { .. })),
            "{changed:?}"
        );
    }
}

#[test]
fn a_touch_is_no_change() {
    let touch = |file: &mut std::fs::File| {
        let now = std::time::SystemTime::now();
        file.set_modified(now).unwrap();
    };
    assert_eq!(read_while(touch).unwrap(), 60_000);
}
