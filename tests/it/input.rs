//! Bad input: it ends before anything is copied, with one error that says where and what to do.

use std::fs::File;

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::{DESTINATION_ACCOUNT, STRANGER_ACCOUNT};
use s3haul_sandbox::{BucketSettings, Fault, FaultKind, Operation};

use crate::support::{DESTINATION, Run, SOURCE, World, count, message, source_policy};

/// The manifest of a test, by its file's name.
const FILE: &str = "manifest.csv";

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_cannot_be_read() {
    let world = World::new();
    world
        .given()
        .refused(2, &["cannot read the manifest", FILE, "No such file"])
        .await;
    let cases: [(&[u8], &[&str]); 9] = [
        (b"", &[FILE, "has no rows"]),
        (b"\xef\xbb\xbf", &[FILE, "has no rows"]),
        (b"\xff\xfes\0o\0", &[FILE, "is UTF-16, not CSV"]),
        (
            b"\x1f\x8b\x08\0\0\0",
            &[FILE, "cannot read the manifest", "unexpected end of file"],
        ),
        (b"PAR1", &[FILE, "is a Parquet file, not CSV"]),
        (
            b"{\"sourceBucket\":\"b\"}",
            &[FILE, "is no manifest.json of S3 Inventory"],
        ),
        (
            b"Bucket,Key\nsource,a\n",
            &[
                FILE,
                "header row (Bucket,Key)",
                "hint: remove the first line",
            ],
        ),
        (
            b"source\n",
            &["line 1", FILE, "1 columns", "--manifest-fields"],
        ),
        (
            b"source,a,b,c\n",
            &["line 1", FILE, "4 columns", "--manifest-fields"],
        ),
    ];
    for (manifest, words) in cases {
        world.manifest(manifest);
        world.given().refused(2, words).await;
    }
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_named_by_line_and_byte() {
    let world = World::new();
    let long = format!("source,ok\nsource,{}\n", "k".repeat(1025));
    let mend = "hint: mend these rows";
    let cases: [(&str, &[&str]); 9] = [
        (
            "source,a\nsource,b,c,d\n",
            &["line 2 (byte 9)", "it has 4 columns where 2", mend],
        ),
        (
            "source,a\nsource\n",
            &["line 2 (byte 9)", "it has 1 columns where 2", mend],
        ),
        ("source,\n", &["line 1 (byte 0)", "the key is empty", mend]),
        (",a\n", &["line 1 (byte 0)", "the bucket is empty", mend]),
        (
            &long,
            &[
                "line 2 (byte 10)",
                "its key has 1025 bytes, S3 takes 1024",
                mend,
            ],
        ),
        (
            "source,%FF\n",
            &["line 1 (byte 0)", "the key is not UTF-8", mend],
        ),
        (
            "source,a\nother,b\n",
            &[
                "line 2",
                "its bucket is other, the first row's source",
                mend,
            ],
        ),
        (
            "source,a,v1\nsource,b,\n",
            &["line 2", "it has no version ID", mend],
        ),
        (
            "source,a,\nsource,b,v1\n",
            &["line 2", "it has a version ID", mend],
        ),
    ];
    for (manifest, words) in cases {
        world.manifest(manifest);
        world
            .given()
            .refused(2, &[&[FILE, "has 1 bad row\n"], words].concat())
            .await;
    }
    // A line break in quotes is part of a row: lines are the file's own.
    world.manifest("source,\"a\nb\"\nsource,\n");
    let raw = || world.given().set("--key-encoding", "raw");
    raw()
        .refused(2, &["line 3 (byte 13): the key is empty"])
        .await;
    // Left open, it would swallow the rows behind it.
    world.manifest("source,a\nsource,\"b\nsource,c\n");
    let unclosed = ["line 2 (byte 9): a quote that begins in it is never closed"];
    raw().refused(2, &unclosed).await;
    raw().flag("--dry-run").refused(2, &unclosed).await;
    raw()
        .stdin("source,a\nsource,\"b\nsource,c\n")
        .refused(2, &["line 2 (byte 9)"])
        .await;
    // All of them at once, the first ten by name.
    world.manifest("source,a\n".to_owned() + &"source,\n".repeat(12));
    let run = world
        .given()
        .refused(2, &["has 12 bad rows", "line 11 ", "and 2 more"])
        .await;
    assert!(!run.stderr.contains("line 12 "), "{}", run.stderr);
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_fit_once_renamed() {
    let world = World::new();
    let to = format!("s3://{DESTINATION}/{}", "p".repeat(1020));
    world.manifest("source,1234\nsource,12345\n");
    let words = [
        "line 2",
        "its destination key has 1025 bytes, S3 takes 1024",
    ];
    world.given().set("--to", to).refused(2, &words).await;
    world.manifest("source,a/\n");
    let given = world.given().set("--strip-prefix", "a/");
    given
        .refused(
            2,
            &["line 1", "its key is empty once --strip-prefix is removed"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_in_doubt() {
    let world = World::new();
    let say = "say --key-encoding raw or --key-encoding url";
    for (key, words) in [
        ("a b", "holds a bare space"),
        (
            "\"a\nb\"",
            "holds a line break or another control character",
        ),
        ("a\tb", "holds a line break or another control character"),
        ("ä", "holds a byte outside ASCII"),
        ("100%", "holds a `%` without two hexadecimal digits"),
        ("%zz", "holds a `%` without two hexadecimal digits"),
    ] {
        world.manifest(format!("source,ok\nsource,{key}\n"));
        world
            .given()
            .refused(2, &["line 2", FILE, words, say])
            .await;
    }
    world.manifest("source,a+b\nsource,c\n");
    world
        .given()
        .refused(2, &[FILE, "has keys with `+` and none with `%XX`", say])
        .await;
    world.manifest("source,ok\nsource,100%\n");
    let url = world.given().set("--key-encoding", "url");
    url.refused(2, &["line 2 (byte 10)", "`%` at byte 3 of the key"])
        .await;
    world.manifest(b"source,ok\nsource,\xff\n");
    let raw = world.given().set("--key-encoding", "raw");
    raw.refused(2, &["line 2 (byte 10)", "the key is not UTF-8"])
        .await;
    assert_eq!(world.sandbox.log().arrived(), 0);
}

/// A flag, a value that it does not take here, and what is said of it.
const BAD_VALUES: [(&str, &str, &[&str]); 22] = [
    (
        "--part-size",
        "4MiB",
        &["--part-size", "5MiB (5242880) to 5GiB"],
    ),
    (
        "--part-size",
        "6GiB",
        &["--part-size", "5MiB (5242880) to 5GiB"],
    ),
    ("--part-size", "5M", &["--part-size", "\"M\" is no unit"]),
    (
        "--multipart-threshold",
        "6GiB",
        &["--multipart-threshold", "5GiB (5368709120)"],
    ),
    (
        "--multipart-threshold",
        "1MiB",
        &["--multipart-threshold", "5GiB (5368709120)"],
    ),
    (
        "--role-arn",
        "s3haul-copy",
        &["--role-arn", "arn:aws:iam::123456789012:role/NAME"],
    ),
    (
        "--role-arn",
        "arn:aws:iam::222222222222:user/u",
        &["--role-arn", "role/NAME"],
    ),
    ("--job-id", "a/b", &["--job-id", "A-Z a-z 0-9 . _ -"]),
    ("--job-id", "", &["--job-id"]),
    (
        "--manifest",
        "s3://b",
        &["--manifest s3://b names no object", "s3://BUCKET/KEY"],
    ),
    (
        "--report",
        "s3://b--usw2-az1--x-s3/p",
        &["directory buckets are not supported"],
    ),
    ("--to", "destination", &["--to", "s3://BUCKET/PREFIX"]),
    (
        "--to",
        "s3://b--usw2-az1--x-s3",
        &["--to", "directory buckets are not supported"],
    ),
    (
        "--to",
        "s3://m.mrap/p",
        &["--to", "multi-Region access points are not supported"],
    ),
    (
        "--to",
        "s3://a--op-s3",
        &["--to", "buckets on Outposts are not supported"],
    ),
    (
        "--to",
        "s3://source",
        &["the same bucket", "--to", "prefix"],
    ),
    (
        "--source-changed",
        "fail",
        &["--source-changed fail needs the column ETag"],
    ),
    (
        "--min-size",
        "5",
        &["--min-size needs the column Size", "--manifest-fields"],
    ),
    (
        "--modified-after",
        "2026-01-01",
        &["--modified-after needs the column LastModifiedDate"],
    ),
    (
        "--destination-account",
        "12",
        &["--destination-account", "12 digits"],
    ),
    (
        "--manifest-fields",
        "Bucket,Etag",
        &["--manifest-fields", "\"Etag\" is no column"],
    ),
    (
        "--failure-threshold",
        "101",
        &["--failure-threshold", "0 to 100, or none"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn flags_out_of_range() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    for (flag, value, words) in BAD_VALUES {
        world.given().set(flag, value).refused(2, words).await;
    }
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_at_odds() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    let both = world.given().flag("--no-role").without("--external-id");
    both.refused(2, &["--role-arn", "--no-role"]).await;
    let neither = world.given().without("--role-arn").without("--external-id");
    neither.refused(2, &["--role-arn"]).await;
    // The external ID would be left out without a word.
    let lone = world.given().without("--role-arn").flag("--no-role");
    lone.refused(2, &["--no-role", "--external-id"]).await;
    world
        .given()
        .flag("--no-such-flag")
        .refused(2, &["--no-such-flag"])
        .await;
    world
        .given()
        .set("--job-id", "x".repeat(41))
        .refused(2, &["1 to 40"])
        .await;
    let onto_itself = world
        .given()
        .set("--to", "s3://source/a/")
        .set("--strip-prefix", "a/");
    onto_itself.refused(2, &["the same bucket"]).await;
    let stream = world.given().stdin("source,a\n").flag("--dry-run");
    stream.refused(2, &["--dry-run", "give it a file"]).await;
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_are_no_files() {
    let world = World::new();
    let words = ["--manifest takes a file", "hint: give what a pipe"];
    let folder = world.given().set("--manifest", "/tmp");
    folder.refused(2, &words).await;
    let device = world.given().set("--manifest", "/dev/null");
    device.refused(2, &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn line_ends_of_every_kind() {
    let world = World::new();
    for key in ["a", "b", "c", "d"] {
        world.put(key, key);
    }
    world.manifest("source,a\r\n\r\nsource,b\n\n\"source\",\"c\"\r\nsource,d");
    world.given().run().await.expect(0);
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), 4);
    world.manifest("source,a\r\n\r\nsource,b\n\nsource,");
    let run = world.given().set("--job-id", "bad").run().await;
    run.expect(2);
    assert!(run.stderr.contains("line 5 (byte 22)"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_are_none() {
    let world = World::new();
    let path = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let (none, file, empty) = (path("none"), path("file"), path("empty"));
    let (two, broken, other) = (path("two"), path("broken"), path("other"));
    std::fs::write(&file, "").unwrap();
    let make = |folder: &str, job: &str| {
        std::fs::create_dir_all(format!("{folder}/job-1")).unwrap();
        std::fs::write(format!("{folder}/job-1/job.json"), job).unwrap();
    };
    std::fs::create_dir(&empty).unwrap();
    make(&broken, "{");
    make(&other, "{}");
    make(&two, "{}");
    std::fs::create_dir_all(format!("{two}/job-2")).unwrap();
    std::fs::write(format!("{two}/job-2/job.json"), "{}").unwrap();
    for (report, words) in [
        (&none, &["none", "No such file"][..]),
        (&file, &["file", "Not a directory"]),
        (&empty, &["empty holds no job"]),
        (
            &two,
            &["two holds several jobs", "two/job-1\n", "two/job-2"],
        ),
        (&broken, &["job-1/job.json", "line 1 column"]),
        (&other, &["job-1/job.json", "missing field"]),
    ] {
        for command in [&["resume"][..], &["abandon"], &["report", "show"]] {
            let run = Run::of(world.command(&[command, &[report]].concat())).await;
            run.expect(2);
            assert_eq!(run.stdout, "");
            for word in words {
                assert!(run.stderr.contains(word), "{word:?}: {}", run.stderr);
            }
        }
    }
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn source_buckets_of_the_wrong_kind() {
    let world = World::new();
    for (bucket, words) in [
        ("b--usw2-az1--x-s3", "directory buckets are not supported"),
        (
            "arn:aws:s3::111111111111:accesspoint/m.mrap",
            "multi-Region access points",
        ),
        ("a b", "no bucket has such a name"),
    ] {
        world.manifest(format!("{bucket},a\n"));
        let raw = world.given().set("--key-encoding", "raw");
        raw.refused(2, &["the source bucket", bucket, words]).await;
    }
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_is_passed_over() {
    let world = World::new();
    world.put("a", "content");
    world.manifest("\u{feff}source,a\n");
    let run = world.given().run().await;
    run.expect(0);
    assert!(run.stderr.contains("byte order mark"), "{}", run.stderr);
    assert_eq!(world.row().bucket, SOURCE);
    world.assert_copied("a");
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_that_are_absent_or_another_accounts() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    let nowhere = world.given().set("--to", "s3://nowhere");
    nowhere
        .refused(
            2,
            &["the destination bucket nowhere does not exist", "hint:"],
        )
        .await;

    let role = "arn:aws:iam::222222222222:role/s3haul-copy";
    let policy = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": role},
            "Action": "s3:*",
            "Resource": ["arn:aws:s3:::theirs", "arn:aws:s3:::theirs/*"],
        }],
    });
    let policy = Some(policy.to_string());
    let settings = BucketSettings {
        policy,
        ..BucketSettings::default()
    };
    world
        .store()
        .create_bucket("theirs", STRANGER_ACCOUNT, "us-east-1", settings)
        .unwrap();
    let theirs = world.given().set("--to", "s3://theirs");
    let words = [
        "the destination bucket theirs is not owned by account",
        DESTINATION_ACCOUNT,
    ];
    let run = theirs.clone().refused(3, &words).await;
    assert!(
        run.stderr.contains("--destination-account"),
        "{}",
        run.stderr
    );
    // Nor is the source whose owner is named wrongly.
    let source = world.given().set("--source-account", STRANGER_ACCOUNT);
    source
        .refused(
            3,
            &[
                "the source bucket source is not owned by",
                "--source-account",
            ],
        )
        .await;
    // What the hint says is enough.
    theirs
        .set("--destination-account", STRANGER_ACCOUNT)
        .run()
        .await
        .expect(0);
    assert!(world.store().object("theirs", "a").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_bucket_that_is_absent() {
    let world = World::new();
    world.manifest("nowhere,a\n");
    world
        .given()
        .refused(2, &["the source bucket nowhere does not exist", "hint:"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_that_are_refused() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    let other_role = "arn:aws:iam::222222222222:role/other";
    let role = world.given().set("--role-arn", other_role);
    role.refused(
        3,
        &[other_role, "cannot be assumed", "AccessDenied", "hint:"],
    )
    .await;
    let external = world.given().set("--external-id", "another");
    external
        .refused(3, &["cannot be assumed", "--external-id"])
        .await;
    let none = world.given().without("--external-id");
    none.refused(3, &["cannot be assumed", "--external-id"])
        .await;
    let secret = world
        .given()
        .variable("AWS_SECRET_ACCESS_KEY", "wrong/secret");
    let run = secret
        .refused(3, &["STS refuses the base credentials", "hint:"])
        .await;
    assert!(!run.stderr.contains("wrong/secret"), "{}", run.stderr);
    let unknown = world
        .given()
        .variable("AWS_ACCESS_KEY_ID", "AKIANOBODYS1EXAMPLE0");
    unknown
        .refused(3, &["STS refuses the base credentials", "hint:"])
        .await;
    let nobody = world
        .given()
        .without_variable("AWS_ACCESS_KEY_ID")
        .without_variable("AWS_SECRET_ACCESS_KEY");
    nobody
        .refused(3, &["no AWS credentials were found", "--profile"])
        .await;
    let profile = world.given().set("--profile", "absent");
    profile.refused(3, &["absent"]).await;
    // The answer of STS to a session that has ended. A true one would have to be waited for.
    let expired = Fault::on(Operation::AssumeRole, FaultKind::ExpireToken);
    let expired = world.sandbox.faults().add(expired);
    world
        .given()
        .refused(3, &["the base credentials have expired", "log in again"])
        .await;
    assert!(expired.hits() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_another_job() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    world.given().run().await.expect(0);
    let before = std::fs::read(world.job().join("work/checkpoint.json")).unwrap();
    world.sandbox.log().clear();
    let run = world
        .given()
        .set("--to", "s3://destination/p")
        .set("--acl", "none")
        .run()
        .await;
    run.expect(2);
    for word in [
        "is the report of another job",
        "--to, --acl differ",
        "--job-id",
    ] {
        assert!(run.stderr.contains(word), "{word:?}: {}", run.stderr);
    }
    assert_eq!(world.sandbox.log().entries(), []);
    assert_eq!(
        std::fs::read(world.job().join("work/checkpoint.json")).unwrap(),
        before
    );
    // The same command line is no other job: it says how it ended.
    let again = world.given().run().await;
    assert_eq!(again.expect(0).summary("succeeded"), 1);
    assert_eq!(world.sandbox.log().entries(), []);
    // One with other rows is: that nothing of them is copied must not look like success.
    world.manifest("source,a\nsource,b\n");
    let run = world.given().run().await;
    run.expect(2);
    assert!(
        run.stderr.contains("has changed since the job began"),
        "{}",
        run.stderr
    );
    // Without a manifest it still says how it ended.
    std::fs::remove_file(world.path(FILE)).unwrap();
    assert_eq!(world.given().run().await.expect(0).stdout, again.stdout);
    assert_eq!(world.sandbox.log().entries(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_written() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    std::fs::write(world.path("file"), "").unwrap();
    let file = world.path("file").to_str().unwrap().to_owned();
    let given = world.given().set("--report", file.clone());
    given
        .refused(2, &["cannot make the folder", &file, "--report"])
        .await;
    assert_eq!(std::fs::read(world.path("file")).unwrap(), b"");
    assert_eq!(world.sandbox.log().arrived(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_another_process_has() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a", "absent"]);
    world.given().run().await.expect(1);
    world.sandbox.log().clear();
    let lock = File::options()
        .write(true)
        .open(world.job().join("work/lock"))
        .unwrap();
    lock.try_lock().unwrap();
    let mut abandon = world.command(&["abandon"]);
    abandon.arg(world.path("report"));
    for run in [world.resume(&[]).await, Run::of(abandon).await] {
        run.expect(2);
        for word in [
            "another s3haul process is at work",
            "job-test",
            "hint: wait for it to end",
        ] {
            assert!(run.stderr.contains(word), "{word:?}: {}", run.stderr);
        }
    }
    assert_eq!(world.writes(), 0);
    drop(lock);
    world.resume(&[]).await.expect(1);
}

/// Ten rows and more whose source nobody may read: the job stops at once, unfinished.
async fn stopped_job(world: &World, stdin: bool) {
    world.small_objects(15);
    let manifest = std::fs::read(world.path(FILE)).unwrap();
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    let given = if stdin {
        world.given().stdin(manifest)
    } else {
        world.given()
    };
    given.run().await.expect(3);
    world
        .store()
        .set_bucket_policy(SOURCE, Some(&source_policy()))
        .unwrap();
    world.sandbox.log().clear();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_has_changed_since() {
    let world = World::new();
    stopped_job(&world, false).await;
    let manifest = world.manifest_of(["k00000"]);
    for run in [world.resume(&[]).await, world.given().run().await] {
        run.expect(2);
        assert!(
            run.stderr.contains("has changed since the job began"),
            "{}",
            run.stderr
        );
        assert!(
            run.stderr.contains("put it back, or start a new job"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(world.writes(), 0);
    std::fs::remove_file(&manifest).unwrap();
    let run = world.resume(&[]).await;
    run.expect(2);
    assert!(run.stderr.contains(FILE), "{}", run.stderr);
    // Moved, it is named again.
    let moved = world.path("moved.csv");
    let rows: Vec<_> = (0..15).map(|n| format!("source,k{n:05}\n")).collect();
    std::fs::write(&moved, rows.concat()).unwrap();
    world
        .resume(&["--manifest", moved.to_str().unwrap()])
        .await
        .expect(0);
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_of_a_stream_end_as_failed_rows() {
    let world = World::new();
    for key in ["a", "b", "c d"] {
        world.put(key, key);
    }
    let long = "k".repeat(1025);
    let rows = format!(
        "source,a\nsource\nsource,%zz\nother,b\nsource,\nsource,b\nsource,{long}\nsource,c+d\n"
    );
    let run = world
        .given()
        .set("--key-encoding", "url")
        .stdin(&rows)
        .run()
        .await;
    run.expect(1);
    assert_eq!(
        run.summary("errors"),
        serde_json::json!({"InvalidManifestRow": 5})
    );
    let report = world.rows();
    assert_eq!(
        (report.len(), count(&report, TaskStatus::Succeeded)),
        (8, 3)
    );
    for (key, problem) in [
        ("source", "it has 1 columns where 2 are expected"),
        (
            "%25zz",
            "`%` at byte 0 of the key is not followed by two hexadecimal digits",
        ),
        (
            "b",
            "its bucket is other, the first row's source: a job has one source bucket",
        ),
        ("", "the key is empty"),
        (&long, "its key has 1025 bytes, S3 takes 1024"),
    ] {
        let row = report
            .iter()
            .find(|row| row.key == key && row.status == TaskStatus::Failed)
            .unwrap_or_else(|| panic!("no failed row {key:?}: {report:?}"));
        assert_eq!(row.error_code, "InvalidManifestRow");
        assert_eq!(message(row, "message"), problem);
    }
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 3);
    // A resume cannot mend them, copies nothing twice, and keeps every row.
    world.resume(&[]).await.expect(1);
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 3);
    let again = world.rows();
    assert_eq!((again.len(), count(&again, TaskStatus::Failed)), (8, 5));
    assert_eq!(
        again
            .iter()
            .filter(|row| row.error_code == "InvalidManifestRow")
            .count(),
        5,
        "{again:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_again_from_its_spool() {
    let world = World::new();
    stopped_job(&world, true).await;
    std::fs::remove_file(world.path(FILE)).unwrap();
    let run = world.resume(&[]).await;
    assert_eq!(run.expect(0).summary("succeeded"), 15);
    assert_eq!(world.rows().len(), 15);
    for n in 0..15 {
        world.assert_copied(&format!("k{n:05}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_a_row() {
    let world = World::new();
    world.given().stdin("").refused(2, &["has no rows"]).await;
    world
        .given()
        .stdin("Bucket,Key\n")
        .refused(2, &["header row"])
        .await;
    world
        .given()
        .stdin("source,a b\n")
        .refused(2, &["a bare space"])
        .await;
    world
        .given()
        .stdin(b"source,\xc3")
        .refused(2, &["outside ASCII"])
        .await;
    assert_eq!(world.sandbox.log().arrived(), 0);
}
