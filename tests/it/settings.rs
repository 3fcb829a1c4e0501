//! The flags under Object settings: what contradicts is refused before anything is sent, and what is
//! asked for stands in the job file, but for keys.

use std::path::Path;

use s3haul_s3::CustomerKey;
use s3haul_sandbox::iam::{DESTINATION_ACCOUNT, STRANGER_ACCOUNT};
use serde_json::{Value, json};

use crate::given::Given;
use crate::support::{Run, World};

const KEY_ARN: &str = "arn:aws:kms:us-east-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn world() -> World {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    world
}

/// Gives the flags of a text: `--flag value --flag value`. A word of its own is a flag without a value.
fn give<'w>(mut given: Given<'w>, flags: &str) -> Given<'w> {
    let mut words = flags.split(' ').filter(|word| !word.is_empty()).peekable();
    while let Some(flag) = words.next() {
        given = match words.next_if(|word| !word.starts_with("--")) {
            Some(value) => given.repeat(flag, value),
            None => given.flag(flag),
        };
    }
    given
}

/// Refused with code 2 before a request was sent, in words that have all of `said`.
async fn refused(world: &World, flags: &str, said: &[&str]) {
    give(world.given(), flags).refused(2, said).await;
    assert_eq!(world.sandbox.log().arrived(), 0, "{flags}");
}

/// Flags that contradict each other, and what is said of both.
const CONTRADICTIONS: [(&str, [&str; 2]); 34] = [
    (
        "--acl private --grant-read id=a",
        ["--acl and", "--grant-read"],
    ),
    (
        "--acl private --grant-write-acp id=a",
        ["--acl and", "--grant-write-acp"],
    ),
    ("--metadata a=b", ["--metadata needs", REPLACE]),
    ("--content-type text/plain", ["--content-type", REPLACE]),
    ("--cache-control no-store", ["--cache-control", REPLACE]),
    (
        "--content-disposition inline",
        ["--content-disposition", REPLACE],
    ),
    ("--content-encoding gzip", ["--content-encoding", REPLACE]),
    ("--content-language en", ["--content-language", REPLACE]),
    ("--expires 2030-01-01", ["--expires", REPLACE]),
    ("--tag a=b", ["--tag needs", "--tags replace"]),
    ("--tag a=b --tags none", ["--tag needs", "--tags replace"]),
    (
        "--tags replace",
        ["--tags replace needs --tag", "say --tags none"],
    ),
    (
        "--sse-kms-key-id alias/a",
        ["--sse-kms-key-id", "--sse aws:kms"],
    ),
    (
        "--sse-kms-key-id alias/a --sse AES256",
        ["--sse-kms-key-id", "--sse aws:kms"],
    ),
    ("--bucket-key", ["--bucket-key", "--sse aws:kms"]),
    (
        "--bucket-key --sse aws:kms:dsse",
        ["--bucket-key", "--sse aws:kms"],
    ),
    (
        "--sse-c-key-file key --sse AES256",
        ["--sse-c-key-file and", "--sse"],
    ),
    (
        "--sse-c-key-file key --sse aws:kms",
        ["--sse-c-key-file and", "--sse"],
    ),
    (
        "--checksum-type composite",
        ["--checksum-type", "--checksum-algorithm"],
    ),
    (
        "--checksum-algorithm CRC64NVME --checksum-type composite",
        TYPE,
    ),
    (
        "--checksum-algorithm SHA1 --checksum-type full-object",
        TYPE,
    ),
    (
        "--checksum-algorithm SHA256 --checksum-type full-object",
        TYPE,
    ),
    (
        "--checksum-algorithm SHA512 --checksum-type full-object",
        TYPE,
    ),
    ("--checksum-algorithm MD5 --checksum-type full-object", TYPE),
    (
        "--checksum-algorithm XXHASH64 --checksum-type full-object",
        TYPE,
    ),
    (
        "--checksum-algorithm XXHASH3 --checksum-type full-object",
        TYPE,
    ),
    (
        "--checksum-algorithm XXHASH128 --checksum-type full-object",
        TYPE,
    ),
    (
        "--object-lock-mode governance",
        ["--object-lock-mode needs", UNTIL],
    ),
    (
        "--object-lock-retain-until 2040-01-01",
        [UNTIL, "--object-lock-mode"],
    ),
    (
        "--restore-tier bulk",
        ["--restore-tier", "--archived restore"],
    ),
    (
        "--restore-days 3 --archived skip",
        ["--restore-days", "--archived restore"],
    ),
    (
        "--if-unmodified-since 2020-01-01 --source-changed fail",
        [UNMODIFIED, "--source-changed fail"],
    ),
    (
        "--if-modified-since 2020-01-02 --if-unmodified-since 2020-01-01",
        ["--if-modified-since", UNMODIFIED],
    ),
    (
        "--if-modified-since 2020-01-01 --if-unmodified-since 2020-01-01",
        ["--if-modified-since", UNMODIFIED],
    ),
];
const REPLACE: &str = "--metadata-directive replace";
const UNTIL: &str = "--object-lock-retain-until";
const UNMODIFIED: &str = "--if-unmodified-since";
const TYPE: [&str; 2] = ["--checksum-type", "and --checksum-algorithm"];

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_is_refused_by_both_names() {
    let world = world();
    for (flags, said) in CONTRADICTIONS {
        refused(&world, flags, &said).await;
    }
}

/// What S3 would refuse of every object, and what is said of it.
const NOT_TAKEN: [(&str, &str); 19] = [
    ("--grant-read emailAddress=a@b.example", "emailAddress"),
    (
        "--grant-full-control abc",
        "--grant-full-control abc: write id=CANONICALID",
    ),
    ("--storage-class standard", "--storage-class"),
    (
        "--metadata-directive replace --metadata a",
        "--metadata a: write K=V",
    ),
    (
        "--metadata-directive replace --metadata A=b",
        "--metadata A",
    ),
    (
        "--metadata-directive replace --metadata a=b --metadata a=c",
        "a is given twice",
    ),
    (
        "--metadata-directive replace --content-type é",
        "--content-type",
    ),
    ("--metadata-directive replace --expires soon", "--expires"),
    (
        "--website-redirect-location elsewhere",
        "--website-redirect-location",
    ),
    ("--tags replace --tag a", "--tag a: write K=V"),
    ("--tags replace --tag aws:a=b", "--tag aws:a"),
    ("--tags replace --tag a=b --tag a=c", "a is given twice"),
    (
        "--sse aws:kms --sse-kms-key-id arn:aws:kms",
        "--sse-kms-key-id",
    ),
    ("--checksum-algorithm CRC16", "--checksum-algorithm"),
    (
        "--object-lock-mode governance --object-lock-retain-until 2020-01-01",
        "is in the past",
    ),
    ("--archived restore --restore-days 0", "--restore-days"),
    ("--archived restore --restore-tier slow", "--restore-tier"),
    ("--sse-c-key-file nowhere", "cannot read --sse-c-key-file"),
    (
        "--source-sse-c-key-file manifest.csv",
        "manifest.csv holds no key of SSE-C",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_s3_would_not_take_is_refused() {
    let world = world();
    for (flags, said) in NOT_TAKEN {
        refused(&world, flags, &[said]).await;
    }
    let long = "x".repeat(2048);
    let metadata = format!("--metadata-directive replace --metadata a={long}");
    refused(&world, &metadata, &["--metadata has 2049 bytes"]).await;
    let redirect = format!("--website-redirect-location /{long}");
    refused(&world, &redirect, &["--website-redirect-location"]).await;
    let tags: Vec<_> = (0..11).map(|n| format!("--tag k{n}=v ")).collect();
    let eleven = format!("--tags replace {}", tags.concat());
    refused(&world, &eleven, &["--tag is given 11 times"]).await;
    for bad in ["[]", r#"{"a":1}"#, "a=b"] {
        for variable in ["S3HAUL_METADATA", "S3HAUL_TAG"] {
            let said = format!("{variable} is no JSON object of strings");
            let given = world.given().variable(variable, bad);
            given.refused(2, &[&said]).await;
        }
    }
    let given = world.given().variable("S3HAUL_GRANT_READ", "id=a");
    let said = "S3HAUL_GRANT_READ is no JSON array of strings";
    given.refused(2, &[said]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kms_key_of_another_account_has_its_full_arn() {
    let world = world();
    for (key, named) in [
        (None, "--sse aws:kms without --sse-kms-key-id"),
        (
            Some("1234abcd-12ab-34cd-56ef-1234567890ab"),
            "--sse-kms-key-id 1234abcd",
        ),
        (Some("alias/photos"), "--sse-kms-key-id alias/photos"),
        (Some("alias/aws/s3"), "--sse-kms-key-id alias/aws/s3"),
    ] {
        let given = || {
            let given = world.given().set("--sse", "aws:kms");
            match key {
                Some(key) => given.set("--sse-kms-key-id", key),
                None => given,
            }
        };
        for account in ["any", STRANGER_ACCOUNT] {
            let other = format!("--destination-account {account}");
            let given = given().set("--destination-account", account);
            given.refused(2, &[named, &other, "arn:aws:kms:"]).await;
        }
        let base = given().without("--role-arn").without("--external-id");
        base.flag("--no-role")
            .refused(2, &[named, "--no-role"])
            .await;
        // Whoever copies in the account of the bucket finds them.
        let own = given().set("--destination-account", DESTINATION_ACCOUNT);
        own.flag("--dry-run").run().await.expect(0);
        given().flag("--dry-run").run().await.expect(0);
    }
    let dsse = world
        .given()
        .set("--sse", "aws:kms:dsse")
        .set("--destination-account", "any");
    dsse.clone()
        .refused(2, &["--sse aws:kms:dsse", "--destination-account any"])
        .await;
    let full = dsse.set("--sse-kms-key-id", KEY_ARN);
    full.flag("--dry-run").run().await.expect(0);
    assert_eq!(world.sandbox.log().arrived(), 0);
}

/// A file with a key of SSE-C, as bytes or as base64, and that base64.
pub(crate) fn key_file(world: &World, name: &str, byte: u8, as_text: bool) -> String {
    let headers = CustomerKey::from_file_content(&[byte; 32])
        .unwrap()
        .headers();
    let text = headers[1].1.clone();
    let content = if as_text {
        format!("{text}\n").into_bytes()
    } else {
        vec![byte; 32]
    };
    std::fs::write(world.path(name), content).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_not_sent_in_plain_text() {
    let world = world();
    key_file(&world, "key", 7, false);
    for flag in ["--sse-c-key-file", "--source-sse-c-key-file"] {
        for endpoint in ["--endpoint-url", "--source-endpoint-url"] {
            let given = world
                .given()
                .set(flag, "key")
                .set(endpoint, "http://192.0.2.1:9000");
            given.refused(2, &[flag, endpoint, "HTTPS alone"]).await;
        }
        // What the environment says is no other matter. STS is asked, S3 is not.
        let given = world.given().set(flag, "key").without("--endpoint-url");
        let given = given
            .set("--sts-endpoint-url", world.sandbox.endpoint())
            .variable("AWS_ENDPOINT_URL_S3", "http://192.0.2.1:9000");
        given
            .refused(2, &[flag, "AWS_ENDPOINT_URL", "HTTPS alone"])
            .await;
    }
}

/// What `job.json` has of a job that was begun in a report folder of its own.
async fn job_of(world: &World, report: &str, given: Given<'_>) -> (Run, Value) {
    let report = world.path(report);
    let run = given.set("--report", report.to_str().unwrap()).run().await;
    let json = std::fs::read(report.join("job-test/job.json"));
    let json = json.unwrap_or_else(|error| panic!("no job: {error}: {run:?}"));
    let file: Value = serde_json::from_slice(&json).unwrap();
    (run, file["job"].clone())
}

/// Every setting that goes with the others: the flag, its values, and what its variable has.
const ALL: [(&str, &[&str], &str); 32] = [
    ("--grant-full-control", &["id=owner"], r#"["id=owner"]"#),
    (
        "--grant-read",
        &["id=a", "uri=http://group"],
        r#"["id=a","uri=http://group"]"#,
    ),
    ("--grant-read-acp", &["id=b"], r#"["id=b"]"#),
    ("--grant-write-acp", &["id=c"], r#"["id=c"]"#),
    ("--storage-class", &["GLACIER_IR"], "GLACIER_IR"),
    ("--metadata-directive", &["replace"], "replace"),
    ("--metadata", &["b=ü=1", "a="], r#"{"b":"ü=1","a":""}"#),
    ("--content-type", &["text/plain"], "text/plain"),
    ("--cache-control", &["no-store"], "no-store"),
    ("--content-disposition", &["inline"], "inline"),
    ("--content-encoding", &["gzip"], "gzip"),
    ("--content-language", &["en"], "en"),
    (
        "--expires",
        &["2030-01-01T01:00:00+01:00"],
        "Tue, 01 Jan 2030 00:00:00 GMT",
    ),
    ("--website-redirect-location", &["/there"], "/there"),
    ("--allow-metadata-loss", &[], "true"),
    ("--tags", &["replace"], "replace"),
    ("--tag", &["k=v=w", "j="], r#"{"j":"","k":"v=w"}"#),
    ("--annotations", &["exclude"], "exclude"),
    ("--sse", &["aws:kms"], "aws:kms"),
    ("--sse-kms-key-id", &[KEY_ARN], KEY_ARN),
    ("--bucket-key", &[], "true"),
    ("--source-sse-c-key-file", &["key"], "key"),
    ("--checksum-algorithm", &["crc32c"], "CRC32C"),
    ("--checksum-type", &["composite"], "composite"),
    ("--object-lock-mode", &["compliance"], "COMPLIANCE"),
    (
        "--object-lock-retain-until",
        &["2040-01-01"],
        "2040-01-01T00:00:00Z",
    ),
    ("--object-lock-legal-hold", &["on"], "ON"),
    (
        "--if-modified-since",
        &["2020-01-01"],
        "2020-01-01T00:00:00Z",
    ),
    (
        "--if-unmodified-since",
        &["2039-01-01"],
        "2039-01-01T00:00:00Z",
    ),
    ("--archived", &["restore"], "restore"),
    ("--restore-tier", &["expedited"], "Expedited"),
    ("--restore-days", &["3"], "3"),
];

#[tokio::test(flavor = "multi_thread")]
async fn flags_and_variables_give_the_same_job() {
    let world = world();
    key_file(&world, "key", 7, false);
    let (mut flags, mut variables) = (world.given(), world.given());
    for (flag, values, variable) in ALL {
        if values.is_empty() {
            flags = flags.flag(flag);
        }
        for value in values {
            flags = flags.repeat(flag, value);
        }
        let name = flag
            .trim_start_matches('-')
            .replace('-', "_")
            .to_uppercase();
        variables = variables.variable(&format!("S3HAUL_{name}"), variable);
    }
    let (_, by_flags) = job_of(&world, "flags", flags.set("--verify", "head")).await;
    let variables = variables.variable("S3HAUL_VERIFY", "head");
    let (_, by_variables) = job_of(&world, "variables", variables).await;
    assert_eq!(by_flags, by_variables);
    // Where there are grants no canned ACL is sent.
    assert_eq!(
        (&by_flags["copy"]["acl"], &by_flags["copy"]["verify"]),
        (&Value::Null, &json!("head"))
    );
    let grant = |permission, grantee| json!({"permission": permission, "grantee": grantee});
    let expected = json!({
        "grants": [
            grant("FULL_CONTROL", "id=\"owner\""),
            grant("READ", "id=\"a\""),
            grant("READ", "uri=\"http://group\""),
            grant("READ_ACP", "id=\"b\""),
            grant("WRITE_ACP", "id=\"c\""),
        ],
        "storage_class": {"class": "GLACIER_IR"},
        "metadata": {
            "headers": {
                "content-type": "text/plain",
                "cache-control": "no-store",
                "content-disposition": "inline",
                "content-encoding": "gzip",
                "content-language": "en",
                "expires": "Tue, 01 Jan 2030 00:00:00 GMT",
            },
            "user": {"a": "", "b": "ü=1"},
        },
        "allow_metadata_loss": true,
        "website_redirect_location": "/there",
        "tags": [["j", ""], ["k", "v=w"]],
        "annotations": "exclude",
        "encryption": {"kms": KEY_ARN},
        "bucket_key": true,
        "source_customer_key": {
            "path": world.path("key"),
            "md5": "y4HAEFCYWuvAXWFTtA1Qpg==",
        },
        "customer_key": null,
        "checksum_algorithm": "CRC32C",
        "checksum_type": "COMPOSITE",
        "retention": {"mode": "COMPLIANCE", "until": "2040-01-01T00:00:00Z"},
        "legal_hold": true,
        "if_modified_since": "2020-01-01T00:00:00Z",
        "if_unmodified_since": "2039-01-01T00:00:00Z",
        "archived": {"restore": {"tier": "Expedited", "days": 3}},
    });
    assert_eq!(by_flags["copy"]["object"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_flags_a_copy_is_what_s3_makes_of_it() {
    let world = world();
    let (run, job) = job_of(&world, "report", world.given()).await;
    run.expect(0);
    assert_eq!(job["copy"]["acl"], "bucket-owner-full-control");
    assert_eq!(job["copy"]["verify"], "response");
    let object = &job["copy"]["object"];
    for (member, value) in [
        ("grants", json!([])),
        ("storage_class", json!("default")),
        ("metadata", Value::Null),
        ("tags", Value::Null),
        ("annotations", json!("copy")),
        ("encryption", json!("bucket-default")),
        ("bucket_key", json!(false)),
        ("archived", json!("fail")),
    ] {
        assert_eq!(object[member], value, "{member}");
    }
    // What sounds like the default is it.
    let defaults = "--acl bucket-owner-full-control --metadata-directive copy --tags copy \
                    --annotations copy --sse bucket-default --archived fail";
    let same = give(world.given(), defaults);
    same.variable("S3HAUL_BUCKET_KEY", "false")
        .run()
        .await
        .expect(0);
    // None is not the same as nothing said; with grants it says what they do.
    let (_, job) = job_of(&world, "none", give(world.given(), "--tags none")).await;
    assert_eq!(job["copy"]["object"]["tags"], json!([]));
    let grants = give(world.given(), "--grant-read id=a --acl none --dry-run");
    grants.run().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn kms_without_a_bucket_key_is_slower() {
    let world = world();
    for (at, (flags, requests)) in [
        ("", json!(3000)),
        ("--sse AES256", json!(3000)),
        ("--sse aws:kms", json!(1000)),
        ("--sse aws:kms:dsse", json!(1000)),
        ("--sse aws:kms --bucket-key", json!(3000)),
        ("--sse aws:kms --max-rps 2000", json!(2000)),
        ("--sse aws:kms --max-rps none", Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let (_, job) = job_of(&world, &format!("report-{at}"), give(world.given(), flags)).await;
        assert_eq!(job["speed"]["requests_per_second"], requests, "{flags}");
    }
}

/// All that lies below a folder, as one text.
pub(crate) fn content_of(folder: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        content.extend(if path.is_dir() {
            content_of(&path)
        } else {
            std::fs::read(path).unwrap()
        });
    }
    content
}

pub(crate) fn has(content: &[u8], part: &[u8]) -> bool {
    content.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_in_no_file_and_no_log() {
    let world = world();
    let source = key_file(&world, "source-key", 7, false);
    let destination = key_file(&world, "key", 8, true);
    let given = world.given().set("--log-level", "trace");
    let given = given
        .set("--source-sse-c-key-file", "source-key")
        .set("--sse-c-key-file", "key");
    let copied = given.clone().run().await;
    let resumed = world.resume(&["--log-level", "trace"]).await;
    let report = content_of(&world.path("report"));
    // The files have been looked at, and the log has been on.
    assert!(
        has(&report, b"y4HAEFCYWuvAXWFTtA1Qpg=="),
        "the job file has the key's MD5"
    );
    assert!(copied.stderr.contains("TRACE") || copied.stderr.contains("DEBUG"));
    for key in [
        &[7; 32][..],
        &[8; 32],
        source.as_bytes(),
        destination.as_bytes(),
    ] {
        assert!(!has(&report, key), "a key is in the report");
        for run in [&copied, &resumed] {
            assert!(!has(run.stderr.as_bytes(), key), "a key is in the log");
            assert!(!has(run.stdout.as_bytes(), key), "a key is in the result");
        }
    }
}

/// A job with one row that fails, so that there is something to resume.
async fn failed_job(world: &World, given: Given<'_>) {
    world.manifest_of(["gone"]);
    given.run().await.expect(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_reads_the_same_key_again() {
    let world = world();
    key_file(&world, "key", 7, false);
    failed_job(&world, world.given().set("--source-sse-c-key-file", "key")).await;
    world.resume(&[]).await.expect(1);
    let file = world.path("key");
    for damage in ["another", "none", "gone"] {
        match damage {
            "another" => drop(key_file(&world, "key", 8, false)),
            "none" => std::fs::write(&file, "no key").unwrap(),
            _ => std::fs::remove_file(&file).unwrap(),
        }
        let before = world.sandbox.log().arrived();
        let refused = world.resume(&[]).await;
        let said = &refused.expect(2).stderr;
        assert!(said.contains("--source-sse-c-key-file"), "{said}");
        assert!(said.contains(file.to_str().unwrap()), "{said}");
        assert_eq!(world.sandbox.log().arrived(), before, "{damage}");
    }
    // It may have moved, and be written otherwise.
    key_file(&world, "moved", 7, true);
    let again = world
        .given()
        .set("--source-sse-c-key-file", "moved")
        .run()
        .await;
    again.expect(1);
}

/// What a first run is given, what a second is, and which flags of these make it another job.
const DIFFERENCES: [(&str, &str, &str); 34] = [
    (
        "",
        "--acl none --grant-full-control id=a",
        "--acl, --grant-full-control",
    ),
    ("--grant-read id=a", "--grant-read id=b", "--grant-read"),
    (
        "--grant-read-acp id=a",
        "--grant-read-acp id=b",
        "--grant-read-acp",
    ),
    (
        "--grant-write-acp id=a",
        "--grant-write-acp id=b",
        "--grant-write-acp",
    ),
    ("", "--storage-class preserve", "--storage-class"),
    (
        "",
        "--metadata-directive replace --metadata a=b",
        "--metadata-directive, --metadata",
    ),
    (
        REPLACE,
        "--metadata-directive replace --metadata c=d",
        "--metadata",
    ),
    (
        REPLACE,
        "--metadata-directive replace --content-type a/b",
        "--content-type",
    ),
    (
        REPLACE,
        "--metadata-directive replace --cache-control a",
        "--cache-control",
    ),
    (
        REPLACE,
        "--metadata-directive replace --content-disposition a",
        "--content-disposition",
    ),
    (
        REPLACE,
        "--metadata-directive replace --content-encoding a",
        "--content-encoding",
    ),
    (
        REPLACE,
        "--metadata-directive replace --content-language a",
        "--content-language",
    ),
    (
        REPLACE,
        "--metadata-directive replace --expires 2030-01-01",
        "--expires",
    ),
    (
        "",
        "--website-redirect-location /",
        "--website-redirect-location",
    ),
    ("", "--allow-metadata-loss", "--allow-metadata-loss"),
    ("", "--tags none", "--tags"),
    (
        "--tags replace --tag a=b",
        "--tags replace --tag a=c",
        "--tag",
    ),
    ("", "--annotations exclude", "--annotations"),
    ("--sse AES256", "--sse aws:kms", "--sse"),
    (
        "--sse aws:kms",
        "--sse aws:kms --sse-kms-key-id alias/a",
        "--sse-kms-key-id",
    ),
    (
        "--sse aws:kms",
        "--sse aws:kms --bucket-key",
        "--bucket-key",
    ),
    (
        "--source-sse-c-key-file key",
        "--source-sse-c-key-file other-key",
        "--source-sse-c-key-file",
    ),
    (
        "--sse-c-key-file key",
        "--sse-c-key-file other-key",
        "--sse-c-key-file",
    ),
    ("", "--checksum-algorithm SHA256", "--checksum-algorithm"),
    (
        "--checksum-algorithm CRC32",
        "--checksum-algorithm CRC32 --checksum-type composite",
        "--checksum-type",
    ),
    (
        "--object-lock-retain-until 2040-01-01 --object-lock-mode governance",
        "--object-lock-retain-until 2040-01-01 --object-lock-mode compliance",
        "--object-lock-mode",
    ),
    (
        "--object-lock-mode governance --object-lock-retain-until 2040-01-01",
        "--object-lock-mode governance --object-lock-retain-until 2041-01-01",
        "--object-lock-retain-until",
    ),
    (
        "--object-lock-legal-hold on",
        "--object-lock-legal-hold off",
        "--object-lock-legal-hold",
    ),
    ("", "--if-modified-since 2020-01-01", "--if-modified-since"),
    (
        "",
        "--if-unmodified-since 2039-01-01",
        "--if-unmodified-since",
    ),
    ("", "--archived skip", "--archived"),
    (
        "--archived restore",
        "--archived restore --restore-tier bulk",
        "--restore-tier",
    ),
    (
        "--archived restore",
        "--archived restore --restore-days 8",
        "--restore-days",
    ),
    ("", "--verify full", "--verify"),
];

#[tokio::test(flavor = "multi_thread")]
async fn another_setting_is_another_job() {
    let world = world();
    key_file(&world, "key", 7, false);
    key_file(&world, "other-key", 8, false);
    for (at, (first, second, named)) in DIFFERENCES.into_iter().enumerate() {
        let report = format!("report-{at}");
        job_of(&world, &report, give(world.given(), first)).await;
        let (again, _) = job_of(&world, &report, give(world.given(), second)).await;
        let said = format!("is the report of another job: {named} differ\n");
        let stderr = &again.expect(2).stderr;
        assert!(stderr.contains(&said), "{said}: {stderr}");
        // The same is no other job: whatever becomes of its row, the report is its own.
        let (same, _) = job_of(&world, &report, give(world.given(), first)).await;
        assert_ne!(same.code(), 2, "{named}: {}", same.stderr);
    }
}
