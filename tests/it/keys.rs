//! Keys are opaque: through manifest, copy source, destination and report.

use s3haul::job::manifest::key::encode;
use s3haul::job::report::row::{TaskStatus, write_line};
use s3haul_sandbox::{BucketSettings, ObjectProperties, Operation, Versioning};

use crate::support::{DESTINATION, SOURCE, World, count, message, source_policy};

/// Keys that some tool has lost, each another than all others.
pub(crate) fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "plain",
        "a+b",
        "a b",
        "a%2Bb",
        "a%20b",
        "100%",
        "%",
        "%zz",
        "ünïcödé",
        "u\u{308}nicode decomposed",
        "emoji 🚚📦",
        "日本語/キー",
        "what?",
        "what?versionId=null",
        "a#b",
        "/leading",
        "//leading twice",
        "doubled//slash",
        "trailing/",
        "/",
        "//",
        ".",
        "..",
        "./a",
        "../a",
        "a/./b",
        "a/../b",
        "../../../etc/passwd",
        "carriage\rreturn",
        "line\nfeed",
        "both\r\n",
        "say \"it\"",
        "\"",
        "it's",
        "a,b",
        ",",
        "tab\tbed",
        " leading and trailing ",
        "a&b=c;d",
        "a=b",
        "back\\slash",
        "<xml>&amp;</xml>",
        "star*",
        "(a)!~-._",
        "[a]{b}|c^d`e",
        "a:b@c$d",
        "esc\u{1b}[31m",
        "delete\u{7f}",
        "one\u{1}",
        "null",
        "-",
    ]
    .map(str::to_owned)
    .into();
    keys.push("k".repeat(1024));
    keys.push("ü".repeat(512));
    keys.push(format!("{}+ %/?", "🚚".repeat(254)));
    keys
}

fn put_all(world: &World, keys: &[String]) {
    for key in keys {
        world.put(key, &format!("content of {key}"));
    }
}

/// Every key is at the destination, and was asked for as it is.
fn assert_each_copied(world: &World, keys: &[String]) {
    let log = world.sandbox.log().of(Operation::CopyObject);
    assert_eq!(log.len(), keys.len());
    for key in keys {
        world.assert_copied(key);
        let copied = log.iter().find(|entry| entry.key == *key);
        let copied = copied.unwrap_or_else(|| panic!("no request for {key:?}"));
        let source = format!("{SOURCE}/{}", encode(key));
        assert_eq!(
            copied.header("x-amz-copy-source"),
            Some(source.as_str()),
            "{key:?}"
        );
    }
    assert_eq!(world.store().object_count(DESTINATION), keys.len());
}

/// What may stand in a copy source: all else is encoded, by capital digits.
fn assert_encoded(source: &str) {
    let mut rest = source.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next(), rest.next()];
                let capital = |digit: Option<u8>| {
                    digit.is_some_and(|d| d.is_ascii_digit() || (b'A'..=b'F').contains(&d))
                };
                assert!(digits.into_iter().all(capital), "{source}");
            }
            b'-' | b'.' | b'_' | b'~' | b'/' => {}
            byte => assert!(byte.is_ascii_alphanumeric(), "{source}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn url_encoded_keys() {
    let world = World::new();
    let keys = odd_keys();
    put_all(&world, &keys);
    world.manifest_of(&keys);
    for encoding in ["auto", "url"] {
        world.sandbox.log().clear();
        let run = world
            .given()
            .set("--key-encoding", encoding)
            .set("--job-id", encoding)
            .run();
        run.await.expect(0);
        assert_each_copied(&world, &keys);
        let rows = crate::support::read_report(&world.path(&format!("report/job-{encoding}")));
        assert_eq!(count(&rows, TaskStatus::Succeeded), keys.len());
        let mut reported: Vec<_> = rows.into_iter().map(|row| row.key).collect();
        let mut expected: Vec<_> = keys.iter().map(|key| encode(key)).collect();
        reported.sort();
        expected.sort();
        assert_eq!(reported, expected);
    }
    for entry in world.sandbox.log().of(Operation::CopyObject) {
        assert_encoded(entry.header("x-amz-copy-source").unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_keys() {
    let world = World::new();
    let keys = odd_keys();
    put_all(&world, &keys);
    let mut manifest = Vec::new();
    for key in &keys {
        write_line(&mut manifest, [SOURCE, key]);
    }
    world.manifest(manifest);
    world
        .given()
        .set("--key-encoding", "raw")
        .run()
        .await
        .expect(0);
    assert_each_copied(&world, &keys);
    let rows = world.rows_by_key();
    for key in &keys {
        // The report is always encoded: spaces and plus signs without a doubt.
        let row = rows
            .get(&encode(key))
            .unwrap_or_else(|| panic!("no row {key:?}"));
        assert_eq!(row.status, TaskStatus::Succeeded);
    }
    assert!(rows.contains_key("a%2Bb") && rows.contains_key("a%20b"));
    assert!(rows.contains_key("a%252Bb") && rows.contains_key("line%0Afeed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_finds_its_row_whatever_the_lines_look_like() {
    let world = World::new();
    let keys: Vec<_> = (0..25)
        .map(|n| format!("{n}\n\"\r\nü,{}", "\n".repeat(n % 3)))
        .collect();
    put_all(&world, &keys);
    // A byte order mark, blank lines, line ends of two kinds, and keys with line ends of their own.
    let mut manifest = b"\xef\xbb\xbf".to_vec();
    for (n, key) in keys.iter().enumerate() {
        write_line(&mut manifest, [SOURCE, key]);
        if n % 2 == 0 {
            manifest.pop();
            manifest.extend(b"\r\n\r\n\n");
        }
    }
    world.manifest(manifest);
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    let raw = || world.given().set("--key-encoding", "raw");
    raw().run().await.expect(3);
    // The next ten are refused too; a position in the middle of the file is read from.
    raw().run().await.expect(3);
    let policy = source_policy();
    world
        .store()
        .set_bucket_policy(SOURCE, Some(&policy))
        .unwrap();
    world.sandbox.log().clear();
    world.resume(&[]).await.expect(0);
    assert_each_copied(&world, &keys);
    let rows = world.rows_by_key();
    assert_eq!(rows.len(), keys.len());
    assert!(keys.iter().all(|key| rows.contains_key(&encode(key))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_echoes_an_encoded_manifest_byte_for_byte() {
    let world = World::new();
    // What the manifest writes, and the key that it means.
    let spellings = [
        ("a%2bb", "a+b"),
        ("c+d", "c d"),
        ("e%20f", "e f"),
        ("%67", "g"),
        ("caf%c3%A9", "café"),
        ("\"h,i\"", "h,i"),
        ("\"j\"\"k\"", "j\"k"),
        ("l&m=n;o?p#q", "l&m=n;o?p#q"),
        ("r s", "r s"),
        ("ß", "ß"),
        ("t%0D%0au", "t\r\nu"),
        ("%2Fv%2f", "/v/"),
    ];
    for (_, key) in spellings {
        world.put(key, key);
    }
    world.manifest(
        spellings
            .map(|(spelling, _)| format!("{SOURCE},{spelling}\n"))
            .concat(),
    );
    world
        .given()
        .set("--key-encoding", "url")
        .run()
        .await
        .expect(0);
    let rows = world.rows_by_key();
    assert_eq!(rows.len(), spellings.len());
    let mut written = Vec::new();
    for file in std::fs::read_dir(world.job().join("results")).unwrap() {
        written.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let written = String::from_utf8(written).unwrap();
    for (spelling, key) in spellings {
        let echo = format!("{SOURCE},{spelling},,succeeded,200,,");
        assert!(written.contains(&echo), "{echo} is not in {written}");
        world.assert_copied(key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_renamed_by_concatenation_alone() {
    let world = World::new();
    let keys = [
        "in/a", "in//b", "in/+ %", "in/in/c", "other/d", "/in/e", "in",
    ];
    for key in keys {
        world.put(key, key);
    }
    world.manifest_of(keys);
    let to = format!("s3://{DESTINATION}/out put+");
    let run = world
        .given()
        .set("--to", to)
        .set("--strip-prefix", "in/")
        .run()
        .await;
    run.expect(1);
    let copies = [
        ("in/a", "out put+a"),
        ("in//b", "out put+/b"),
        ("in/+ %", "out put++ %"),
        ("in/in/c", "out put+in/c"),
    ];
    for (key, copy) in copies {
        assert!(
            world
                .store()
                .same_content((SOURCE, key), (DESTINATION, copy)),
            "{copy:?}"
        );
    }
    assert_eq!(world.store().object_count(DESTINATION), copies.len());
    let rows = world.rows_by_key();
    for key in ["other/d", "/in/e", "in"] {
        let row = &rows[key];
        assert_eq!(row.error_code, "PrefixNotFound");
        assert_eq!((row.status, row.http_status), (TaskStatus::Failed, None));
    }
    assert_eq!(
        world.sandbox.log().count(Operation::CopyObject),
        copies.len()
    );

    // A prefix is no folder, and a slash of its own is kept.
    for (at, (prefix, copy)) in [
        ("p", "pin/a"),
        ("p/", "p/in/a"),
        ("/p//", "/p//in/a"),
        ("p?q#r/", "p?q#r/in/a"),
    ]
    .into_iter()
    .enumerate()
    {
        world.manifest_of(["in/a"]);
        let to = format!("s3://{DESTINATION}/{prefix}");
        let run = world
            .given()
            .set("--to", to)
            .set("--job-id", format!("p{at}"))
            .run()
            .await;
        run.expect(0);
        assert!(
            world
                .store()
                .same_content((SOURCE, "in/a"), (DESTINATION, copy)),
            "{copy:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bucket_under_a_prefix() {
    let world = World::new();
    // The role's own account has the bucket: one policy is enough.
    for key in ["a", "b c"] {
        let properties = ObjectProperties::default();
        world
            .store()
            .put_object(DESTINATION, key, key, properties)
            .unwrap();
    }
    world.manifest(format!("{DESTINATION},a\n{DESTINATION},b%20c\n"));
    let run = world
        .given()
        .set("--to", format!("s3://{DESTINATION}/copies/"))
        .run()
        .await;
    run.expect(0);
    for key in ["a", "b c"] {
        let copy = format!("copies/{key}");
        assert!(
            world
                .store()
                .same_content((DESTINATION, key), (DESTINATION, &copy))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_rows_of_their_own() {
    let world = World::new();
    world.put("a", "a");
    world.put("b c", "b c");
    world.manifest("source,a\nsource,b+c\nsource,a\nsource,b%20c\nsource,gone\nsource,gone\n");
    let run = world.given().run().await;
    run.expect(1);
    let rows = world.rows();
    let of = |key: &str| rows.iter().filter(|row| row.key == key).count();
    assert_eq!((rows.len(), of("a"), of("gone")), (6, 2, 2));
    // Two spellings of one key are echoed as they were written.
    assert_eq!((of("b+c"), of("b%20c")), (1, 1));
    assert_eq!(
        (run.summary("succeeded"), run.summary("failed")),
        (4.into(), 2.into())
    );
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_the_manifest_lists() {
    let world = World::new();
    let settings = world.store().settings(SOURCE).unwrap();
    let settings = BucketSettings {
        versioning: Versioning::Enabled,
        ..settings
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
    let put = |key: &str, bytes: &str| {
        let properties = ObjectProperties::default();
        world
            .store()
            .put_object(SOURCE, key, bytes.to_owned(), properties)
            .unwrap()
    };
    let (old, new) = (put("a?b +", "old"), put("a?b +", "new"));
    let deleted = put("deleted", "still there as a version");
    world.store().delete_object(SOURCE, "deleted").unwrap();
    world.manifest(format!(
        "{SOURCE},a%3Fb%20%2B,{old}\n{SOURCE},deleted,{deleted}\n{SOURCE},a%3Fb%20%2B,nosuchversion\n"
    ));
    let run = world.given().run().await;
    run.expect(1);
    assert!(
        run.stderr.contains("the manifest lists versions"),
        "{}",
        run.stderr
    );
    let copy = |key: &str| world.store().object(DESTINATION, key).unwrap().bytes();
    assert_eq!(copy("a?b +"), b"old");
    assert_eq!(copy("deleted"), b"still there as a version");
    let log = world.sandbox.log().of(Operation::CopyObject);
    let source = format!("{SOURCE}/a%3Fb%20%2B?versionId={old}");
    assert!(
        log.iter()
            .any(|entry| entry.header("x-amz-copy-source") == Some(source.as_str()))
    );
    let rows = world.rows();
    let row = rows.iter().find(|row| row.version_id == old).unwrap();
    assert_eq!(row.status, TaskStatus::Succeeded);
    assert_eq!(message(row, "source_version_id"), old.as_str());
    let absent = rows
        .iter()
        .find(|row| row.version_id == "nosuchversion")
        .unwrap();
    assert_eq!(absent.status, TaskStatus::Failed);

    // Without version IDs a row means the object as it stands, and says which that was.
    world.manifest(format!("{SOURCE},a%3Fb%20%2B\n"));
    world
        .given()
        .set("--job-id", "current")
        .run()
        .await
        .expect(0);
    assert_eq!(copy("a?b +"), b"new");
    let rows = crate::support::read_report(&world.path("report/job-current"));
    assert_eq!(message(&rows[0], "source_version_id"), new.as_str());
    assert_eq!(rows[0].version_id, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_never_reach_the_terminal() {
    let world = World::new();
    let (escape, override_) = ("\u{1b}[31m", "\u{202e}");
    world.put("ok", "ok");
    let clean = |text: &str| {
        let bad = text
            .chars()
            .find(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
        assert_eq!(bad, None, "{text:?}");
    };
    for manifest in [
        format!("source,ok\noth{escape}er,b\n"),
        format!("source,ok\noth{override_}er,b\n"),
        format!("Bucket,Key,{escape}\n"),
        format!("sour{escape}ce,a\n"),
        "\"sour\nerror: no, ce\",a\n".to_owned(),
        format!("source,\"a{escape}\nb\"\nsource,\n"),
    ] {
        world.manifest(manifest);
        let run = world
            .given()
            .set("--key-encoding", "raw")
            .refused(2, &[])
            .await;
        clean(&run.stderr);
    }
    world.manifest("source,ok,5\nsource,a,fi\u{7}ve\n");
    let sized = world.given().set("--manifest-fields", "Bucket,Key,Size");
    clean(
        &sized
            .refused(2, &["its Size is fi\\u{7}ve, no number"])
            .await
            .stderr,
    );

    // Nor do they by the summary, the log or a report's message.
    let gone = format!("gone{escape}{override_}\r");
    let mut manifest = Vec::new();
    write_line(&mut manifest, [SOURCE, &gone]);
    write_line(&mut manifest, [SOURCE, "ok"]);
    world.manifest(manifest);
    let run = world
        .given()
        .set("--key-encoding", "raw")
        .set("--output", "text");
    let run = run.set("--log-level", "trace").run().await;
    run.expect(1);
    clean(&run.stderr);
    clean(&run.stdout);
    let mut show = world.command(&["report", "show"]);
    show.arg(world.path("report"));
    clean(&crate::support::Run::of(show).await.expect(1).stdout);
}
