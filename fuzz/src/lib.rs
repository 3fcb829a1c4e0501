//! What holds for any bytes: a function for each target of the fuzzer, named as its corpus.
//! `tests/it/corpus.rs` replays the corpora through the same functions.

use std::path::Path;

use s3haul::job::manifest::key::{self, EncodingProbe, KeyEncoding};
use s3haul::job::manifest::{
    self, Field, ManifestFormat, ManifestOptions, Position, Row, Source, Survey, Versions,
};
use s3haul::job::report::journal;
use s3haul::job::report::row::{self, ReportRow};

/// A CSV manifest, read in three ways.
pub fn csv_manifest(data: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.csv");
    std::fs::write(&path, data).unwrap();
    let auto = ManifestOptions {
        format: ManifestFormat::Csv,
        ..ManifestOptions::default()
    };
    let raw = ManifestOptions {
        key_encoding: Some(KeyEncoding::Raw),
        ..auto.clone()
    };
    let kept = ManifestOptions {
        fields: Some(vec![Field::Bucket, Field::Key, Field::Size]),
        key_encoding: Some(KeyEncoding::Url),
        keep_bad_rows: true,
        ..auto.clone()
    };
    for options in [auto, raw, kept] {
        read_from_anywhere(&path, &options);
    }
}

/// A `manifest.json`, up to the first NUL, and behind it its CSV data file, whose name and MD5 are
/// put right.
pub fn inventory(data: &[u8]) {
    let mut halves = data.splitn(2, |byte| *byte == 0);
    let (json, csv) = (halves.next().unwrap(), halves.next());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.json");
    let mut json = json.to_owned();
    if let Some(csv) = csv {
        std::fs::write(folder.path().join("data.csv"), csv).unwrap();
        if let Ok(mut manifest) = serde_json::from_slice::<serde_json::Value>(&json)
            && manifest.is_object()
        {
            let (md5, _) = manifest::digest_of(csv).unwrap();
            manifest["files"] = serde_json::json!([{ "key": "data.csv", "MD5checksum": md5 }]);
            json = manifest.to_string().into_bytes();
        }
    }
    std::fs::write(&path, json).unwrap();
    for versions in [None, Some(Versions::Latest), Some(Versions::Listed)] {
        let options = ManifestOptions {
            format: ManifestFormat::Inventory,
            versions,
            ..ManifestOptions::default()
        };
        read_from_anywhere(&path, &options);
    }
}

/// The rows are as many as the survey says, and the same from wherever reading goes on.
fn read_from_anywhere(path: &Path, options: &ManifestOptions) {
    let Ok(survey) = manifest::survey(path, options) else {
        return;
    };
    let all = rows(path, &survey, options, Position::default());
    assert_eq!(all.len() as u64, survey.rows);
    let mut place = Position::default().place;
    for (at, row) in all.iter().enumerate() {
        assert_eq!(row.ordinal, at as u64);
        let (before, after) = ((place.file, place.byte), (row.after.file, row.after.byte));
        assert!(before < after, "row {at}: {before:?} then {after:?}");
        // Three places are enough: each takes several readings of the file.
        if at > 0 && at % (all.len() / 3).max(1) == 0 {
            let start = Position {
                place,
                ordinal: row.ordinal,
            };
            assert_eq!(rows(path, &survey, options, start), all[at..]);
        }
        place = row.after;
    }
}

fn rows(path: &Path, survey: &Survey, options: &ManifestOptions, start: Position) -> Vec<Row> {
    let mut source = Source::manifest(path, survey, options, start);
    let rows = std::iter::from_fn(|| source.next_row().unwrap()).collect();
    source.check_unchanged().unwrap();
    rows
}

/// Lines of a report, each of which is the same once it is written and read again.
pub fn report_rows(data: &[u8]) {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(data);
    for record in reader.records().map_while(Result::ok) {
        let Some(read) = ReportRow::parse(&record) else {
            continue;
        };
        // S3 Batch Operations puts code and status either way round: told by the three digits.
        let three_digits = |text: &str| text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        if read.http_status.is_none_or(|status| status < 100) && three_digits(&read.error_code) {
            continue;
        }
        let mut line = Vec::new();
        row::write_line(&mut line, read.fields());
        let mut again = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(&*line);
        let again = again.records().next().unwrap().unwrap();
        assert_eq!(ReportRow::parse(&again), Some(read));
    }
}

/// A journal: what is valid of it reads the same without what comes behind it.
pub fn journal(data: &[u8]) {
    let read = |data: &[u8]| {
        let mut records = Vec::new();
        let valid = journal::read_frames(data, |record| {
            records.push(record);
            Ok(())
        });
        valid.map(|valid| (valid, records))
    };
    let Ok((valid, records)) = read(data) else {
        return;
    };
    let whole = &data[..usize::try_from(valid).unwrap()];
    assert_eq!(read(whole).unwrap(), (valid, records));
}

/// A key of a manifest, however it is spelt there.
pub fn keys(data: &[u8]) {
    let _ = EncodingProbe::default().look(data);
    for encoding in [KeyEncoding::Url, KeyEncoding::Raw] {
        let Ok(decoded) = key::decode(data, encoding) else {
            continue;
        };
        assert!(!decoded.is_empty());
        let spelt = key::spelt(data, encoding).map(str::to_owned);
        for spelling in spelt.into_iter().chain([key::encode(&decoded)]) {
            let again = key::decode(spelling.as_bytes(), KeyEncoding::Url).unwrap();
            assert_eq!(again, decoded, "{spelling}");
        }
    }
}
