use super::*;
use crate::job::report::row::write_line;
use proptest::prelude::*;
use tempfile::TempDir;

fn sample(name: &str) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/sample-manifests/reports/{name}").into()
}

fn opened(path: &Path) -> Result<CompletionReport, ReadError> {
    CompletionReport::open(path, Path::new(""))
}

fn read(path: &Path) -> Result<(Vec<ReportRow>, u64), ReadError> {
    let report = opened(path)?;
    let mut rows = report.rows();
    let mut all = Vec::new();
    while let Some(row) = rows.next_row()? {
        all.push(row);
    }
    Ok((all, rows.unreadable()))
}

/// Keys of rows of a status.
fn keys(rows: &[ReportRow], status: TaskStatus) -> Vec<&str> {
    let rows = rows.iter().filter(|row| row.status == status);
    rows.map(|row| row.key.as_str()).collect()
}

#[test]
fn samples_of_batch_operations_are_read() {
    let (rows, unreadable) = read(&sample("batch-operations")).unwrap();
    assert_eq!(
        keys(&rows, TaskStatus::Succeeded),
        [
            "plain",
            "pct%2520literal.txt",
            "a+b",
            "a%2Bb",
            "%F0%9F%98%80",
            "nl%0Ax"
        ]
    );
    assert_eq!((rows.len(), unreadable), (6, 0));
    assert_eq!(rows[3].version_id, "ver.1");
    assert_eq!(rows[5].message, "Successful");
    assert!(rows[4].message.contains("\"etag\":\"3c3c\""));
    let (rows, unreadable) = read(&sample("schema-order")).unwrap();
    assert_eq!((rows.len(), unreadable), (2, 0));
    assert_eq!(
        (rows[1].bucket.as_str(), rows[1].http_status),
        ("other", Some(200))
    );
}

#[test]
fn malformed_rows_take_no_others_with_them() {
    let (rows, unreadable) = read(&sample("malformed")).unwrap();
    assert_eq!(
        keys(&rows, TaskStatus::Succeeded),
        ["before", "said", "between", "100%", "quoted", "last"]
    );
    assert_eq!(
        keys(&rows, TaskStatus::Failed),
        ["unescaped", "unclosed", "lines"]
    );
    assert_eq!(unreadable, 2);
    assert_eq!(rows[2].message, "copied \"as is\", in one go");
    assert!(rows[5].message.ends_with("three"), "{:?}", rows[5].message);
}

#[test]
fn samples_of_ours_are_read() {
    let report = opened(&sample("ours")).unwrap();
    assert!(report.has_ended());
    let to = report.destination().unwrap();
    assert_eq!(
        (to.bucket, to.rename.prefix.as_str()),
        ("destination", "p/")
    );
    let (rows, _) = read(&sample("ours")).unwrap();
    assert_eq!(rows.len(), 6);
    assert_eq!(keys(&rows, TaskStatus::Skipped), ["twice", "there"]);
    let unfinished = opened(&sample("ours-unfinished")).unwrap();
    assert!(!unfinished.has_ended());
    assert_eq!(read(&sample("ours-unfinished")).unwrap().0.len(), 4);
    assert!(matches!(
        opened(&sample("ours-failed-alone")),
        Err(ReadError::FailedAlone { .. })
    ));
}

/// A copy of a sample, to be spoilt.
fn copy_of(name: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let from = sample(name);
    let to = folder.path().join("job-1");
    std::fs::create_dir_all(to.join("results")).unwrap();
    std::fs::copy(from.join(MANIFEST), to.join(MANIFEST)).unwrap();
    for file in std::fs::read_dir(from.join("results")).unwrap() {
        let file = file.unwrap();
        let to = to.join("results").join(file.file_name());
        std::fs::copy(file.path(), to).unwrap();
    }
    folder
}

#[test]
fn a_damaged_or_missing_file_is_named() {
    let folder = copy_of("batch-operations");
    assert_eq!(read(folder.path()).unwrap().0.len(), 6);
    let job = folder.path().join("job-1");
    let report = opened(&job).unwrap();
    let file = job.join(&report.files[0].name);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let error = read(&job).unwrap_err();
    assert!(
        matches!(&error, ReadError::Damaged { path, .. } if *path == file),
        "{error}"
    );
    std::fs::remove_file(&file).unwrap();
    let error = read(&job).unwrap_err();
    assert!(
        matches!(&error, ReadError::File { path, .. } if *path == file),
        "{error}"
    );
}

#[test]
fn what_is_no_report_is_refused() {
    let folder = copy_of("batch-operations");
    let job = folder.path().join("job-1");
    assert!(matches!(
        CompletionReport::open(folder.path(), &job),
        Err(ReadError::None { .. })
    ));
    assert!(matches!(
        opened(&job.join(MANIFEST)),
        Err(ReadError::None { .. })
    ));
    assert!(matches!(
        opened(&folder.path().join("nowhere")),
        Err(ReadError::File { .. })
    ));
    let again = folder.path().join("job-2");
    std::fs::create_dir(&again).unwrap();
    let inventory = r#"{"Format":"S3 Inventory","Results":[]}"#;
    std::fs::write(again.join(MANIFEST), inventory).unwrap();
    assert!(matches!(opened(&again), Err(ReadError::Format { .. })));
    let several = opened(folder.path());
    assert!(matches!(several, Err(ReadError::Several { reports, .. }) if reports.len() == 2));
    for key in ["../results/x.csv/..", "x.csv", "a/../x.csv", "results/"] {
        assert_eq!(name_in_report(key, &job), None, "{key}");
    }
    assert_eq!(
        name_in_report("p/job-1/results/x.csv", &job).unwrap(),
        "results/x.csv"
    );
}

#[test]
fn files_of_an_array_lie_in_the_folders_of_its_shards() {
    let folder = tempfile::tempdir().unwrap();
    let shard = "shard-00001-of-00003";
    let key = format!("p/job-1/{shard}/results/x.csv");
    let merged = folder.path().join(MANIFEST);
    let own = folder.path().join(shard).join(MANIFEST);
    std::fs::create_dir(folder.path().join(shard)).unwrap();
    let in_shard = format!("{shard}/results/x.csv");
    assert_eq!(name_in_report(&key, &merged).unwrap(), in_shard);
    assert_eq!(name_in_report(&key, &own).unwrap(), "results/x.csv");
    let other = "p/job-1/shard-00003-of-00003/results/x.csv";
    assert_eq!(name_in_report(other, &merged).unwrap(), "results/x.csv");
}

#[test]
fn a_file_of_our_own_is_counted_whatever_is_in_it() {
    let row = |key: &str, status: &str| format!("b,{key},,{status},200,,\"{{\"\"m\"\":1}}\"\n");
    let text = format!(
        "{}{}{}short,row\nb,\u{fffd},,failed,403,AccessDenied,{{}},12,,,,,\n",
        row("\"a\nb\"", "succeeded"),
        row("c", "succeeded"),
        row("d", "skipped")
    );
    let keys = |taken: &mut Vec<String>, row: ReportRow| taken.push(row.key);
    let sifted = sift(text.as_bytes(), TaskStatus::Succeeded, keys).unwrap();
    assert_eq!(
        (sifted.rows, sifted.taken),
        (2, vec!["a\nb".into(), "c".into()])
    );
    assert_eq!(sifted.md5, hex(&Md5::digest(&text)));
    // What the manifest knew stands behind a row that a pass has failed.
    let sifted = sift(text.as_bytes(), TaskStatus::Failed, keys).unwrap();
    assert_eq!((sifted.rows, sifted.taken), (1, vec!["\u{fffd}".into()]));
}

fn rows_of(text: &[u8]) -> (Vec<ReportRow>, u64) {
    let mut reader = RowReader::new(text);
    let (mut rows, mut unreadable) = (Vec::new(), 0);
    loop {
        match reader.next().unwrap() {
            Next::Row(row) => rows.push(row),
            Next::Unreadable => unreadable += 1,
            Next::End => return (rows, unreadable),
        }
    }
}

#[test]
fn an_endless_line_is_no_matter_of_memory() {
    let bytes = usize::try_from(LONGEST_LINE).unwrap();
    let mut reader = RowReader::new(io::repeat(b'x').take(2 * LONGEST_LINE));
    assert_eq!(
        reader.next().unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
    let (_, unreadable) = rows_of(&vec![b'x'; bytes - 1]);
    assert_eq!(unreadable, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rows_read_as_they_were_written(
        texts in proptest::collection::vec(("[a-z%+.]{1,8}", "[a-z \",\r\n]{0,12}"), 1..12),
        crlf in any::<bool>(),
    ) {
        let rows: Vec<_> = texts.into_iter().map(|(key, message)| ReportRow {
            bucket: "source".into(), key, version_id: String::new(), status: TaskStatus::Succeeded,
            http_status: Some(200), error_code: String::new(), message,
        }).collect();
        let mut text = Vec::new();
        for row in &rows {
            write_line(&mut text, row.fields());
            if crlf {
                text.pop();
                text.extend_from_slice(b"\r\n");
            }
        }
        prop_assert_eq!(rows_of(&text), (rows, 0));
    }

    // Whatever stands in between, a row that stands alone in its line is read.
    #[test]
    fn no_line_of_any_content_hides_what_comes_long_after(lines in proptest::collection::vec("[a-z\",]{0,9}", 0..6)) {
        let mut text = lines.join("\n").into_bytes();
        text.push(b'\n');
        for n in 0..3000 {
            text.extend_from_slice(format!("source,row{n},,succeeded,200,,Successful\n").as_bytes());
        }
        let (rows, _) = rows_of(&text);
        prop_assert!(rows.iter().any(|row| row.key == "row2999"));
        prop_assert!(rows.len() >= 2999);
    }
}
