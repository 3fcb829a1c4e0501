use std::collections::BTreeMap;

use super::*;
use crate::job::manifest::{Dealt, Form, Place, Position, Row, Source, Survey, survey};
use crate::job::report::time_text;
use crate::job::shard::Shard;

/// What `sample-manifests/inventory/make.py` has written by other software.
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sample-manifests/inventory");

/// Inventories of all versions, in the formats that this build reads.
fn all_versions() -> Vec<&'static str> {
    let mut names = vec!["csv", "parquet-snappy", "parquet-gzip", "parquet-zstd"];
    if cfg!(feature = "orc") {
        // Its times: without a zone, the same, instants, milliseconds.
        names.extend(["orc-zlib", "orc-uncompressed", "orc-zstd", "orc-snappy"]);
    }
    names
}

/// Inventories of current versions.
fn current() -> Vec<&'static str> {
    let mut names = vec!["csv-current", "parquet-current"];
    if cfg!(feature = "orc") {
        names.push("orc-current");
    }
    names
}

fn sample(name: &str) -> PathBuf {
    format!("{SAMPLES}/{name}/2026-01-01T01-00Z/manifest.json").into()
}

fn options(versions: Option<Versions>) -> ManifestOptions {
    ManifestOptions {
        versions,
        ..ManifestOptions::default()
    }
}

fn rows_from(path: &Path, options: &ManifestOptions, start: Position) -> Vec<Row> {
    let survey = crate::job::manifest::survey(path, options).unwrap();
    let mut source = Source::manifest(path, &survey, options, start);
    let rows = std::iter::from_fn(|| source.next_row().unwrap()).collect();
    source.check_unchanged().unwrap();
    rows
}

fn rows(name: &str, options: &ManifestOptions) -> Vec<Row> {
    rows_from(&sample(name), options, Position::default())
}

/// What does not depend on the format.
fn seen(rows: &[Row]) -> Vec<(u64, String, Option<String>, Facts, bool)> {
    let of = |row: &Row| {
        let (key, version_id) = (row.key.clone(), row.version_id.clone());
        (
            row.ordinal,
            key,
            version_id,
            row.facts.clone(),
            row.is_latest,
        )
    };
    rows.iter().map(of).collect()
}

#[test]
fn every_format_has_the_same_rows() {
    let listed = options(Some(Versions::Listed));
    let expected = rows("csv", &listed);
    assert_eq!(expected.len(), 26);
    for name in all_versions() {
        assert_eq!(seen(&rows(name, &listed)), seen(&expected), "{name}");
    }
    let by_version: BTreeMap<_, _> = expected
        .iter()
        .map(|row| ((row.key.as_str(), row.version_id.as_deref()), row))
        .collect();
    let facts = &by_version[&("a+b", Some("v1.02"))].facts;
    assert_eq!(facts.size, Some(201));
    assert_eq!(
        facts.last_modified.map(time_text).as_deref(),
        Some("2025-12-01T01:02:03.002Z")
    );
    assert_eq!(facts.e_tag.as_deref().map(str::len), Some(32));
    assert_eq!(facts.storage_class.as_deref(), Some("STANDARD"));
    // Written before the bucket had versions.
    assert!(by_version.contains_key(&("plain", Some("null"))));
    let marker = by_version[&("dir/", Some("v2.11"))];
    assert!(marker.facts.delete_marker && marker.facts.size.is_none());
    let markers = expected.iter().filter(|row| row.facts.delete_marker);
    assert_eq!(markers.count(), 1);
}

#[test]
fn keys_are_decoded_once_in_csv_and_never_in_other_formats() {
    let latest = options(Some(Versions::Latest));
    for name in all_versions() {
        let found = rows(name, &latest);
        let keys: Vec<_> = found.iter().map(|row| row.key.as_str()).collect();
        let long = "k".repeat(300);
        let expected = [
            "plain", "a b", "a+b", "100%", "a%2Bb", "a,b", "q\"q", "ü/😀", "nl\nx", "/lead",
            "a//b", &long,
        ];
        assert_eq!(keys, expected, "{name}");
        for row in &found {
            assert_eq!(
                key::decode(row.spelling().as_bytes(), KeyEncoding::Url).unwrap(),
                row.key
            );
        }
        let spelling = found.iter().find(|row| row.key == "a b").map(Row::spelling);
        let spelt = if name == "csv" { "a+b" } else { "a%20b" };
        assert_eq!(spelling.unwrap(), spelt, "{name}");
    }
}

#[test]
fn the_latest_versions_are_those_of_a_current_inventory() {
    let latest = options(Some(Versions::Latest));
    let expected = seen(&rows("csv", &latest));
    assert!(
        expected
            .iter()
            .all(|(_, _, version_id, ..)| version_id.is_none())
    );
    for name in current() {
        assert_eq!(seen(&rows(name, &options(None))), expected, "{name}");
        assert_eq!(seen(&rows(name, &latest)), expected, "{name}");
    }
    let survey = survey(&sample("csv"), &latest).unwrap();
    assert_eq!(
        (survey.rows, survey.filtered, survey.delete_markers),
        (12, 14, 0)
    );
    let Form::Inventory(form) = survey.form else {
        panic!("no inventory")
    };
    assert_eq!((form.files, form.e_tags), (2, true));
    assert_eq!(form.created.as_deref(), Some("2026-01-01T01:00:00.000Z"));
}

#[test]
fn reading_goes_on_from_any_row() {
    let mut options = options(Some(Versions::Listed));
    options.filters.exclude_prefixes = vec!["a".into()];
    for name in all_versions() {
        let all = rows(name, &options);
        let mut place = Place::default();
        for (at, row) in all.iter().enumerate() {
            let start = Position {
                place,
                ordinal: row.ordinal,
            };
            let rest = rows_from(&sample(name), &options, start);
            assert_eq!(rest, all[at..], "{name} from {place:?}");
            place = row.after;
        }
    }
}

/// The rows of each of `of` shards, one after another; each is read whole and from every row of it on.
fn shards(path: &Path, options: &ManifestOptions, of: u32) -> Vec<(Survey, Vec<Row>)> {
    let shard = |index| {
        let mut options = options.clone();
        options.shard = Some(Shard { index, of });
        let survey = survey(path, &options).unwrap();
        let read = |start| {
            let mut source = Source::manifest(path, &survey, &options, start);
            std::iter::from_fn(|| source.next_row().unwrap()).collect::<Vec<_>>()
        };
        let all = read(Position::default());
        assert_eq!(survey.rows, all.len() as u64);
        for (at, row) in all.iter().enumerate() {
            let (place, ordinal) = (row.after, row.ordinal + 1);
            assert_eq!(
                read(Position { place, ordinal }),
                all[at + 1..],
                "{place:?}"
            );
        }
        (survey, all)
    };
    (0..of).map(shard).collect()
}

fn names(rows: impl IntoIterator<Item = Row>) -> Vec<(String, Option<String>)> {
    let mut names: Vec<_> = rows
        .into_iter()
        .map(|row| (row.key, row.version_id))
        .collect();
    names.sort();
    names
}

#[test]
fn every_row_is_one_shards() {
    let some = |versions| {
        let mut options = options(versions);
        options.filters.exclude_prefixes = vec!["a".into()];
        options
    };
    for versions in [Versions::Listed, Versions::Latest, Versions::All] {
        let options = some(Some(versions));
        let by_key = versions == Versions::All;
        for (name, of) in all_versions()
            .iter()
            .flat_map(|name| [(name, 1), (name, 3), (name, 40)])
        {
            let found = shards(&sample(name), &options, of);
            let rows = found
                .iter()
                .map(|(survey, _)| survey.rows + survey.filtered);
            let dealt = found[0].0.dealt.unwrap();
            assert_eq!(
                dealt,
                if by_key {
                    Dealt::Keys { of: 26 }
                } else {
                    Dealt::Rows { of: 26 }
                }
            );
            assert_eq!(rows.sum::<u64>(), 26, "{name} {of}");
            assert!(found.iter().all(|(survey, _)| survey.dealt == Some(dealt)));
            if by_key {
                for (at, (_, rows)) in found.iter().enumerate() {
                    let others = found[..at].iter().flat_map(|(_, rows)| rows);
                    let keys: Vec<_> = others.map(|row| &row.key).collect();
                    assert!(rows.iter().all(|row| !keys.contains(&&row.key)));
                }
            }
            let all = found.into_iter().flat_map(|(_, rows)| rows);
            assert_eq!(
                names(all),
                names(rows_from(&sample(name), &options, Position::default()))
            );
        }
    }
}

/// An inventory of so many data files of three rows each.
fn of_files(files: usize) -> (tempfile::TempDir, PathBuf) {
    let data = |file| -> String { (0..3).map(|n| format!("source,k{file}-{n}\n")).collect() };
    let (folder, path) = changed("csv-current", |manifest| {
        manifest["fileSchema"] = "Bucket, Key".into();
        let listed = (0..files).map(|file| {
            let md5 = digest_of(data(file).as_bytes()).unwrap().0;
            serde_json::json!({"key": format!("data/{file}.csv"), "MD5checksum": md5})
        });
        manifest["files"] = listed.collect();
    });
    for file in 0..files {
        std::fs::write(folder.path().join(format!("data/{file}.csv")), data(file)).unwrap();
    }
    (folder, path)
}

#[test]
fn whole_data_files_are_dealt_where_there_are_enough() {
    let (folder, path) = of_files(13);
    let mut options = options(None);
    options.filters.exclude_prefixes = vec!["k1".into()];
    for of in [1, 3] {
        let found = shards(&path, &options, of);
        let dealt = Some(Dealt::Files { of: 13 });
        assert!(found.iter().all(|(survey, _)| survey.dealt == dealt));
        let rows = found
            .iter()
            .map(|(survey, _)| survey.rows + survey.filtered);
        assert_eq!(rows.sum::<u64>(), 39);
        let all = found.into_iter().flat_map(|(_, rows)| rows);
        assert_eq!(
            names(all),
            names(rows_from(&path, &options, Position::default()))
        );
    }
    // A shard reads its own files alone.
    std::fs::remove_file(folder.path().join("data/1.csv")).unwrap();
    options.shard = Some(Shard { index: 2, of: 3 });
    let found = survey(&path, &options).unwrap();
    assert_eq!((found.rows, found.filtered), (9, 3));
    assert_eq!(data_files(&path, &options).unwrap().len(), 4);
    options.shard = Some(Shard { index: 1, of: 3 });
    assert!(refused(&path, &options).contains("lies neither beside it nor above"));
}

#[test]
fn filters_select_rows_of_every_format() {
    let mut options = options(Some(Versions::Listed));
    options.filters.min_size = Some(300);
    options.filters.max_size = Some(999);
    options.filters.modified_before = crate::job::manifest::parse_time("2025-12-02T00:00:00Z");
    let expected = seen(&rows("csv", &options));
    assert_eq!(expected.len(), 7);
    for name in all_versions() {
        assert_eq!(seen(&rows(name, &options)), expected, "{name}");
    }
}

/// A copy of a sample whose manifest.json was changed, without manifest.checksum.
fn changed(
    name: &str,
    change: impl FnOnce(&mut serde_json::Value),
) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let day = folder.path().join("day");
    std::fs::create_dir_all(&day).unwrap();
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    for entry in std::fs::read_dir(format!("{SAMPLES}/{name}/data")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(
            entry.path(),
            folder.path().join("data").join(entry.file_name()),
        )
        .unwrap();
    }
    let mut manifest = serde_json::from_slice(&std::fs::read(sample(name)).unwrap()).unwrap();
    change(&mut manifest);
    let path = day.join("manifest.json");
    std::fs::write(&path, manifest.to_string()).unwrap();
    (folder, path)
}

/// A sample one of whose data files has other content, with its new MD5 in manifest.json.
fn rewritten(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = changed(name, |manifest| {
        manifest["files"].as_array_mut().unwrap().truncate(1);
        manifest["files"][0]["MD5checksum"] = digest_of(content).unwrap().0.into();
    });
    let mut data = std::fs::read_dir(folder.path().join("data")).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let listed = manifest["files"][0]["key"]
        .as_str()
        .unwrap()
        .rsplit('/')
        .next()
        .unwrap();
    let file = data.find(|file| file.as_ref().unwrap().file_name().to_str() == Some(listed));
    std::fs::write(file.unwrap().unwrap().path(), content).unwrap();
    (folder, path)
}

/// The error and its causes.
fn refused(path: &Path, options: &ManifestOptions) -> String {
    let error = crate::job::manifest::survey(path, options).unwrap_err();
    let mut said = error.to_string();
    let mut error: &dyn std::error::Error = &error;
    while let Some(source) = error.source() {
        said = format!("{said}: {source}");
        error = source;
    }
    said
}

#[test]
fn inventories_that_cannot_be_read() {
    let none = options(None);
    let all = options(Some(Versions::Listed));
    let has = |said: String, words: &str| assert!(said.contains(words), "{said}: no {words:?}");
    has(refused(&sample("csv"), &none), "say --versions latest");
    has(
        refused(&sample("csv-current"), &all),
        "lists no version IDs",
    );
    let mut fields = none.clone();
    fields.fields = Some(vec![Field::Bucket, Field::Key]);
    has(
        refused(&sample("csv-current"), &fields),
        "leave out --manifest-fields",
    );
    let set = |member: &'static str, value: &'static str| {
        changed("csv-current", |manifest| manifest[member] = value.into())
    };
    if !cfg!(feature = "orc") {
        let orc = refused(&sample("orc-current"), &none);
        has(
            orc,
            "which this build does not read: install it with `cargo install --features orc`",
        );
    }
    has(
        refused(&set("fileFormat", "Avro").1, &none),
        "unknown format Avro",
    );
    has(
        refused(&set("fileSchema", "Bucket, Size").1, &none),
        "no column Key",
    );
    has(
        refused(&set("sourceBucket", "other").1, &none),
        "its bucket is source, the inventory's other",
    );
    let mut small = none.clone();
    small.filters.min_size = Some(1);
    has(
        refused(&set("fileSchema", "Bucket, Key, X, Y, Z, V, W").1, &small),
        "--min-size needs the column Size",
    );
    let (folder, path) = set("version", "x");
    std::fs::write(path.with_file_name("manifest.checksum"), "00\n").unwrap();
    has(refused(&path, &none), "manifest.checksum beside it says 00");
    std::fs::remove_file(path.with_file_name("manifest.checksum")).unwrap();
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    has(
        refused(&path, &none),
        "which lies neither beside it nor above",
    );
    let (folder, path) = changed("csv-current", |_| ());
    std::fs::write(&path, "{\"a\":").unwrap();
    has(refused(&path, &none), "is no manifest.json of S3 Inventory");
    drop(folder);
}

#[test]
fn schemas_of_every_format_name_their_columns() {
    let names = [
        Some(Column::Bucket),
        None,
        Some(Column::Key),
        None,
        Some(Column::Size),
    ];
    for schema in [
        "Bucket, ObjectOwner, Key, Else, Size",
        "message s3.inventory { required binary bucket (UTF8); optional binary object_owner (UTF8); \
         required binary key (UTF8); optional int32 else; optional int64 size; }",
        "struct<bucket:string,object_owner:struct<key:string,size:map<string,decimal(10,2)>>,\
         key:string,else:decimal(10,2),size:bigint>",
    ] {
        assert_eq!(columns(schema), names, "{schema}");
    }
    assert_eq!(columns(""), [None]);
    assert_eq!(columns("struct<"), [None]);
}

#[test]
fn data_files_that_cannot_be_read() {
    use std::io::Write as _;
    let none = options(None);
    let has = |said: String, words: &str| assert!(said.contains(words), "{said}: no {words:?}");
    let read = |name: &str| {
        let folder = format!("{SAMPLES}/{name}/data");
        let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        std::fs::read(file.path()).unwrap()
    };
    let gzip = read("csv-current");
    let parquet = read("parquet-current");
    let (_kept, path) = changed("csv-current", |manifest| {
        manifest["files"][0]["MD5checksum"] = "0".repeat(32).into();
    });
    has(refused(&path, &none), "manifest.json lists 0000");
    // Whole by its MD5 and yet not: S3's own mistake, or somebody's who mended the manifest.
    let (_kept, path) = rewritten("csv-current", &gzip[..gzip.len() - 9]);
    has(refused(&path, &none), "data file");
    let (_kept, path) = rewritten("parquet-current", &parquet[..parquet.len() - 9]);
    has(refused(&path, &none), "data file");
    for name in ["parquet-latin", "orc-latin"]
        .into_iter()
        .filter(|name| cfg!(feature = "orc") || !name.starts_with("orc"))
    {
        has(refused(&sample(name), &none), "row 7: the key is not UTF-8");
    }
    let text = |text: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    for (lines, words) in [
        (
            "\"source\",\"a\",\"1\"\n",
            "line 1 (byte 0): it has 3 columns where fileSchema names 7",
        ),
        (
            "\"source\",\"a\",\"x\",\"\",\"\",\"\",\"\"\n",
            "line 1 (byte 0): its Size is x, no number",
        ),
        (
            "\"source\",\"%FF\",\"1\",\"\",\"\",\"\",\"\"\n",
            "line 1 (byte 0): the key is not UTF-8",
        ),
        (
            "\"source\",\"\",\"1\",\"\",\"\",\"\",\"\"\n",
            "the key is empty",
        ),
        (
            "\"source\",\"a\",\"1\",\"soon\",\"\",\"\",\"\"\n",
            "soon, no RFC 3339 time",
        ),
    ] {
        let (_kept, path) = rewritten("csv-current", &text(lines));
        has(refused(&path, &none), words);
    }
    // S3 leaves blank lines at the end.
    let (_kept, path) = rewritten(
        "csv-current",
        &text("\"source\",\"a\",\"1\",\"\",\"\",\"\",\"\"\n\n\n"),
    );
    assert_eq!(rows_from(&path, &none, Position::default()).len(), 1);
}

#[test]
fn a_data_file_that_is_written_to_meanwhile_stops_the_job() {
    for name in current() {
        let (folder, path) = changed(name, |_| ());
        let none = options(None);
        let survey = survey(&path, &none).unwrap();
        let mut source = Source::manifest(&path, &survey, &none, Position::default());
        source.next_row().unwrap().unwrap();
        let file = std::fs::read_dir(folder.path().join("data"))
            .unwrap()
            .next();
        let file = file.unwrap().unwrap().path();
        let mut content = std::fs::read(&file).unwrap();
        content[9] ^= 1;
        std::fs::write(&file, content).unwrap();
        let stopped = std::iter::from_fn(|| source.next_row().transpose()).find(Result::is_err);
        assert!(stopped.is_some(), "{name}");
    }
}
