//! The shape of the program and of its pages, read from the files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use s3haul::job::code::Code;
use s3haul_s3::{CODES, ErrorKind, code_of_status};

use crate::support::{Run, World};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The Rust files below a folder, by their path from the root.
fn rust_files(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    assert!(!files.is_empty(), "{folder}");
    files
}

/// What of a file goes into the program: no comments, and nothing behind the first test module.
fn code(path: &str) -> Vec<String> {
    let name = path.rsplit('/').next().unwrap();
    if name.ends_with("tests.rs") || name.starts_with("test_") {
        return Vec::new();
    }
    read(path)
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(str::to_owned)
        .collect()
}

/// Lines of code with one of `words`, in files below `folder` but those that begin with `except`.
fn lines_with(folder: &str, words: &[&str], except: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in rust_files(folder) {
        if except.iter().any(|excepted| path.starts_with(excepted)) {
            continue;
        }
        let lines = code(&path);
        let lines = lines
            .iter()
            .filter(|line| words.iter().any(|word| line.contains(word)));
        found.extend(lines.map(|line| format!("{path}: {}", line.trim())));
    }
    found
}

const NONE: [String; 0] = [];

#[test]
fn only_the_command_line_knows_clap() {
    assert_eq!(lines_with("src", &["clap"], &["src/cli/"]), NONE);
    assert_eq!(lines_with("crates/s3/src", &["clap"], &[]), NONE);
    assert_eq!(
        lines_with("src/job", &["crate::cli", "s3haul::cli"], &[]),
        NONE
    );
    // And it does know it: the check looks at what it should.
    assert!(!lines_with("src/cli", &["clap"], &[]).is_empty());
}

#[test]
fn only_one_crate_knows_the_sdk() {
    let sdk = [
        "aws_config",
        "aws_credential",
        "aws_runtime",
        "aws_sdk",
        "aws_smithy",
        "aws_types",
    ];
    for folder in ["src", "crates/sandbox/src", "tests/it"] {
        assert_eq!(lines_with(folder, &sdk, &["tests/it/structure.rs"]), NONE);
    }
    for manifest in ["Cargo.toml", "crates/sandbox/Cargo.toml"] {
        let depends = |line: &&str| line.starts_with("aws-");
        assert_eq!(read(manifest).lines().find(depends), None, "{manifest}");
    }
    assert!(!lines_with("crates/s3/src", &sdk, &[]).is_empty());
}

#[test]
fn only_the_demo_knows_the_sandbox() {
    assert_eq!(
        lines_with("src", &["s3haul_sandbox"], &["src/cli/demo.rs"]),
        NONE
    );
    assert_eq!(lines_with("crates/s3/src", &["s3haul_sandbox"], &[]), NONE);
    assert!(!lines_with("src/cli", &["s3haul_sandbox"], &[]).is_empty());
}

#[test]
fn nothing_panics_or_prints_by_habit() {
    let habits = [
        ".unwrap()",
        ".expect(",
        "todo!(",
        "unimplemented!(",
        "dbg!(",
        "println!(",
    ];
    assert_eq!(lines_with("src", &habits, &[]), NONE);
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME")];
    for folder in ["src", "crates", "tests"] {
        for path in rust_files(folder) {
            let text = read(&path);
            assert!(!unfinished.iter().any(|word| text.contains(word)), "{path}");
        }
    }
}

#[test]
fn tasks_are_awaited_and_channels_bounded() {
    let words = ["tokio::spawn(", "unbounded"];
    for folder in ["src", "crates/s3/src"] {
        assert_eq!(lines_with(folder, &words, &[]), NONE);
    }
}

async fn help(world: &World, command: &[&str]) -> String {
    let mut arguments = command.to_vec();
    arguments.push("--help");
    let run = Run::of(world.command(&arguments)).await;
    run.expect(0);
    run.stdout
}

/// The long flags in a text.
pub(crate) fn flags_in(text: &str) -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    let inside = |c: char| c.is_ascii_lowercase() || c == '-';
    for (at, _) in text.match_indices("--") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '…' | '|')) {
            continue;
        }
        let rest = &text[at + 2..];
        let name = &rest[..rest.find(|c| !inside(c)).unwrap_or(rest.len())];
        if name.starts_with(|c: char| c.is_ascii_lowercase()) {
            flags.insert(format!("--{}", name.trim_end_matches('-')));
        }
    }
    flags
}

const COMMANDS: [&[&str]; 10] = [
    &["copy"],
    &["policy"],
    &["check"],
    &["verify"],
    &["resume"],
    &["abandon"],
    &["manifest", "create"],
    &["report", "show"],
    &["demo"],
    &["man"],
];

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_name_the_flags_that_there_are() {
    let world = World::new();
    let mut known = BTreeSet::from(["--help".to_owned(), "--version".to_owned()]);
    let interface = flags_in(&read("docs/interface.md"));
    for command in COMMANDS {
        let shown = flags_in(&help(&world, command).await);
        assert!(shown.len() > 1, "{command:?}: {shown:?}");
        for flag in &shown {
            let named = flag == "--help" || interface.contains(flag);
            assert!(
                named,
                "docs/interface.md does not name {flag} of {command:?}"
            );
        }
        known.extend(shown);
    }
    // And no others. Lines of cargo and of the AWS CLI have flags of their own.
    for page in [
        "docs/interface.md",
        "docs/identity.md",
        "docs/access.md",
        "docs/properties.md",
        "docs/troubleshooting.md",
        "README.md",
    ] {
        let text = read(page);
        let others = ["cargo ", "aws "];
        let ours = |line: &&str| !others.iter().any(|other| line.starts_with(other));
        let lines = text.lines().filter(ours);
        let named = flags_in(&lines.collect::<Vec<_>>().join("\n"));
        assert_eq!(
            named.difference(&known).collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "{page}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_and_the_help_agree_on_exit_codes() {
    let world = World::new();
    let help = help(&world, &[]).await;
    let (_, listed) = help.split_once("Exit codes:\n").unwrap();
    let words: [(&str, &[&str]); 5] = [
        ("0", &["every row succeeded or was skipped on purpose"]),
        ("1", &["the job ran to its end", "some rows failed"]),
        (
            "2",
            &["bad flags", "unreadable manifest", "nothing was copied"],
        ),
        (
            "3",
            &[
                "first rows all refused",
                "the failure threshold stopped the job",
            ],
        ),
        ("4", &["stopped by a signal or lost its report"]),
    ];
    let codes_listed = listed
        .lines()
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| {
            line.split_whitespace()
                .next()
                .filter(|code| code.parse::<u8>().is_ok())
        });
    assert_eq!(
        codes_listed.collect::<Vec<_>>(),
        words.map(|(code, _)| code)
    );
    for page in ["README.md", "docs/interface.md"] {
        let text = read(page);
        let (_, table) = text.split_once("| code | meaning |").unwrap();
        let rows: Vec<_> = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .collect();
        assert_eq!(rows.len(), words.len(), "{page}");
        for (row, (code, words)) in rows.iter().zip(words) {
            assert!(row.starts_with(&format!("| {code} |")), "{page}: {row}");
            for word in words {
                let said = row.contains(word) || row.replace(';', " and").contains(word);
                assert!(said, "{page}: {word:?} is not in {row}");
                assert!(listed.contains(word), "{word:?} is not in {listed}");
            }
        }
    }
}

/// What makes another job is what the page says.
#[test]
fn the_page_says_what_makes_another_job() {
    let interface = read("docs/interface.md");
    let (_, named) = interface.split_once("What makes another job:").unwrap();
    let named = flags_in(named.lines().next().unwrap());
    let code = read("src/job/spec.rs");
    let compared: BTreeSet<_> = flags_in(&code)
        .into_iter()
        .filter(|flag| code.contains(&format!("\"{flag}\"")))
        .collect();
    assert!(compared.len() > 10, "{compared:?}");
    assert_eq!(named, compared);
}

/// The codes that a report can hold: s3haul's own, those that are classified, and those that are made of how far a
/// request came or of the status of an answer without a body.
fn codes() -> BTreeSet<&'static str> {
    let classified = CODES.iter().flat_map(|(_, codes)| codes.iter().copied());
    Code::ALL
        .iter()
        .map(|code| code.as_str())
        .chain(classified)
        .chain(ErrorKind::ALL.into_iter().filter_map(ErrorKind::code))
        .chain((0..=599).map(code_of_status))
        .collect()
}

#[test]
fn each_error_code_has_its_cause_and_remedy() {
    let page = read("docs/troubleshooting.md");
    let (mut named, mut in_table) = (BTreeSet::new(), false);
    for line in page.lines() {
        in_table = line.starts_with("| code |") || in_table && line.starts_with('|');
        let columns: Vec<_> = line.trim_matches('|').split(" | ").collect();
        if !in_table || line.starts_with("| code |") || line.starts_with("|---") {
            continue;
        }
        assert_eq!(columns.len(), 3, "{line}");
        assert!(columns.iter().all(|column| column.len() > 3), "{line}");
        named.extend(columns[0].split('`').skip(1).step_by(2));
    }
    let codes = codes();
    assert!(codes.len() > 80, "{codes:?}");
    let missing: Vec<_> = codes.difference(&named).collect();
    let made_up: Vec<_> = named.difference(&codes).collect();
    assert_eq!((missing, made_up), (Vec::new(), Vec::new()));
}

/// Whether a module of these tests has a test of this name.
fn is_test(name: &str) -> bool {
    let Some((module, function)) = name.split_once("::") else {
        return false;
    };
    let text = read(&format!("tests/it/{module}.rs"));
    let Some((before, _)) = text.split_once(&format!("fn {function}()")) else {
        return false;
    };
    // Between the attribute and its function are further attributes at most.
    before
        .rsplit_once("test")
        .is_some_and(|(_, between)| !between.contains(['{', ';']))
}

#[test]
fn each_property_is_held_by_a_test() {
    let page = read("docs/properties.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).collect();
    let (heading, rows) = rows.split_first().unwrap();
    let columns = |row: &str| {
        let columns = row.trim_matches('|').split(" | ");
        columns
            .map(|column| column.trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(columns(heading).last().unwrap(), "test");
    assert!(rows.len() >= 20, "{rows:?}");
    let named = |text: &str| {
        let words = text.split('`').skip(1).step_by(2);
        let tests = words.filter(|word| word.contains("::"));
        tests.map(str::to_owned).collect::<Vec<_>>()
    };
    for row in rows {
        let columns = columns(row);
        assert_eq!(columns.len(), 5, "{row}");
        assert!(!named(&columns[4]).is_empty(), "no test: {row}");
    }
    let identities = read("docs/identity.md");
    assert!(named(&identities).len() >= 20);
    for name in named(&page).into_iter().chain(named(&identities)) {
        assert!(is_test(&name), "{name} is no test");
    }
    assert!(!is_test("structure::root") && !is_test("structure::no_such"));
}
