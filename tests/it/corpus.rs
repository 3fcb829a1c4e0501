//! The fuzzer's corpora, replayed.

use std::path::Path;

#[expect(unreachable_pub, reason = "the fuzzer builds it as a library")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

type Target = fn(&[u8]);

#[test]
fn what_the_fuzzer_was_given_holds() {
    let targets: [(&str, Target); 5] = [
        ("csv_manifest", targets::csv_manifest),
        ("inventory", targets::inventory),
        ("journal", targets::journal),
        ("keys", targets::keys),
        ("report_rows", targets::report_rows),
    ];
    for (name, target) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let files: Vec<_> = std::fs::read_dir(folder.join(name)).unwrap().collect();
        assert!(!files.is_empty(), "{name}");
        for file in files {
            let path = file.unwrap().path();
            // The panic says what does not hold, this which file.
            eprintln!("{}", path.display());
            target(&std::fs::read(&path).unwrap());
        }
    }
}
