use std::io::Write;
use std::sync::Arc;

use super::*;

/// What `sample-manifests/inventory/make.py` has written with pyarrow: 13 rows of 26, in stripes.
fn sample(name: &str) -> Vec<u8> {
    let root = env!("CARGO_MANIFEST_DIR");
    let folder = format!("{root}/sample-manifests/inventory/{name}/data");
    std::fs::read(format!("{folder}/00000000-0000-4000-8000-000000000000.orc")).unwrap()
}

/// The keys and sizes from a row on.
fn read(content: &[u8], start: u64) -> Result<Vec<(String, Option<u64>)>, Failure> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    let file = Anywhere::Disk(Arc::new(file), content.len() as u64);
    let mut decoder = Decoder::new(file, start, &[Some(Column::Bucket), None])?;
    let mut rows = Vec::new();
    while let Some(record) = decoder.next()? {
        rows.push((String::from_utf8_lossy(record.key).into(), record.size));
    }
    Ok(rows)
}

#[test]
fn stripes_before_the_first_row_are_not_read() {
    let mut content = sample("orc-uncompressed");
    let all = read(&content, 0).unwrap();
    assert_eq!(all.len(), 13);
    let metadata = read_metadata(&mut Bytes::from(content.clone())).unwrap();
    let [first, second, ..] = metadata.stripe_metadatas() else {
        panic!("one stripe")
    };
    let (from, to) = (first.offset(), second.offset());
    content[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()].fill(0xff);
    let start = first.number_of_rows();
    assert!(read(&content, start - 1).is_err());
    for skipped in [start, start + 1, 12, 13, 99] {
        let rest = all
            .get(usize::try_from(skipped).unwrap()..)
            .unwrap_or_default();
        assert_eq!(read(&content, skipped).unwrap(), rest, "from {skipped}");
    }
}

#[test]
fn truncated_files_are_refused() {
    for name in ["orc-zlib", "orc-uncompressed"] {
        let content = sample(name);
        for twentieth in 0..20 {
            let cut = &content[..content.len() * twentieth / 20];
            assert!(read(cut, 0).is_err(), "{name}: {twentieth} of 20");
        }
        let cut = &content[..content.len() - 1];
        assert!(read(cut, 0).is_err(), "{name}: a byte less");
    }
}

/// Most damage shows, and where it does not, the rows are as many. Of the stripes, that is: a footer
/// of which a type is part of itself ends the process by its stack, in `orc-rust`.
#[test]
fn damaged_stripes_end_in_an_error_or_in_as_many_rows() {
    for name in ["orc-zlib", "orc-uncompressed"] {
        let content = sample(name);
        let whole = read(&content, 0).unwrap().len();
        let metadata = read_metadata(&mut Bytes::from(content.clone())).unwrap();
        let last = metadata.stripe_metadatas().last().unwrap();
        let end = usize::try_from(last.footer_offset() + last.footer_length()).unwrap();
        let mut refused = 0;
        for at in (0..end).step_by(3) {
            let mut damaged = content.clone();
            damaged[at] ^= if at % 2 == 0 { 0x01 } else { 0xff };
            match read(&damaged, 0) {
                Ok(rows) => assert_eq!(rows.len(), whole, "{name}: byte {at}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused > end / 20, "{name}: {refused} of {}", end / 3);
    }
}

#[test]
fn a_panic_of_the_reader_is_an_error() {
    let error = contained::<()>(|| panic!("no such zone {}", "Mars/Olympus")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it is no whole ORC file: no such zone Mars/Olympus"
    );
    let error = contained::<()>(|| panic!("never")).unwrap_err();
    assert_eq!(error.to_string(), "it is no whole ORC file: never");
}

#[test]
fn columns_of_another_type_and_missing_ones_are_refused() {
    let said = |from: &str, to: &str| {
        // The footer of an uncompressed file spells its columns' names.
        let mut content = sample("orc-uncompressed");
        let at = content
            .windows(from.len())
            .rposition(|bytes| bytes == from.as_bytes())
            .unwrap();
        content[at..at + from.len()].copy_from_slice(to.as_bytes());
        read(&content, 0).unwrap_err().to_string()
    };
    assert_eq!(
        said("bucket", "bucked"),
        "it has no column Bucket, which fileSchema names"
    );
    assert_eq!(
        said("e_tag", "size_"),
        "its column size_ is STRING, not LONG"
    );
    assert_eq!(
        said("is_latest", "versionid"),
        "its column versionid is BOOLEAN, not STRING"
    );
    assert_eq!(
        said("encryption_status", "____________e_tag"),
        "it has two columns ____________e_tag"
    );
}
