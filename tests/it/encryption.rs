//! Server-side encryption of the copies, and keys of SSE-C, by both paths.

use s3haul::job::report::row::TaskStatus;
use s3haul_s3::CustomerKey;
use s3haul_sandbox::iam::{
    AccountsFile, COPY_ROLE, DESTINATION_ACCOUNT, Key, Policy, PrincipalBlock, SOURCE_ACCOUNT,
    Statement,
};
use s3haul_sandbox::{
    BucketSettings, Fault, FaultKind, LogEntry, ObjectProperties, Operation, SandboxOptions, When,
};

use crate::both::{
    PATHS, allow_source, assert_all_copied, assert_failed, assert_succeeded, copy, fail, key, keys,
    listed, notes, put,
};
use crate::objects::{IN_PARTS, PARTS, sent, sized_manifest};
use crate::settings::{content_of, has, key_file};
use crate::support::{DESTINATION, Run, SOURCE, World, message};

const KEY: &str = "arn:aws:kms:us-east-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const THEIRS: &str = "arn:aws:kms:us-east-1:111111111111:key/1111abcd-12ab-34cd-56ef-1234567890ab";
const BUCKETS: &str = "arn:aws:kms:us-east-1:222222222222:key/0000abcd-12ab-34cd-56ef-1234567890ab";

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_encrypted_as_asked() {
    let own = || BucketSettings {
        kms_key_id: Some(BUCKETS.to_owned()),
        bucket_key: true,
        ..BucketSettings::default()
    };
    // The destination's own, the flags; algorithm, key and bucket key of the copies.
    for (bucket, flags, algorithm, kms_key, bucket_key) in [
        (None, &[][..], "AES256", None, false),
        (None, &["--sse", "bucket-default"], "AES256", None, false),
        (Some(own()), &[], "aws:kms", Some(BUCKETS), true),
        (Some(own()), &["--sse", "AES256"], "AES256", None, false),
        (None, &["--sse", "aws:kms"], "aws:kms", None, false),
        (
            None,
            &["--sse", "aws:kms", "--sse-kms-key-id", KEY],
            "aws:kms",
            Some(KEY),
            false,
        ),
        (
            None,
            &["--sse", "aws:kms", "--sse-kms-key-id", KEY, "--bucket-key"],
            "aws:kms",
            Some(KEY),
            true,
        ),
        (
            None,
            &["--sse", "aws:kms:dsse", "--sse-kms-key-id", KEY],
            "aws:kms:dsse",
            Some(KEY),
            false,
        ),
    ] {
        let world = World::with(SandboxOptions::default(), bucket.unwrap_or_default());
        // A source's encryption is never copied.
        let kms = ObjectProperties {
            kms_key_id: Some("arn:aws:kms:eu-west-1:111111111111:key/theirs".to_owned()),
            ..ObjectProperties::default()
        };
        put(&world, "kms", &kms);
        put(&world, "plain", &ObjectProperties::default());
        let all = keys(&["kms", "plain"]);
        copy(&world, &["kms", "plain"], flags).await.expect(0);
        assert_all_copied(&world, &all);
        for key in all {
            let there = world.store().object(DESTINATION, &key).unwrap();
            let case = format!("{flags:?}, {key}");
            assert_eq!(there.server_side_encryption(), algorithm, "{case}");
            assert_eq!(there.kms_key_id(), kms_key, "{case}");
            assert_eq!(there.bucket_key(), bucket_key, "{case}");
            assert_eq!(there.customer_key_md5(), None, "{case}");
        }
        // Parts and Complete take the encryption from Create.
        let log = world.sandbox.log();
        for operation in [
            Operation::UploadPartCopy,
            Operation::CompleteMultipartUpload,
        ] {
            let encrypts =
                |entry: &LogEntry| entry.header("x-amz-server-side-encryption").is_some();
            assert!(!log.of(operation).iter().any(encrypts), "{flags:?}");
        }
    }
}

/// Accounts with a KMS key each. The source's allows the destination's account what `shared` says, the role's policy
/// what `allowed` says of both keys.
fn with_kms_keys(shared: &[&str], allowed: [&[&str]; 2]) -> SandboxOptions {
    let mut accounts = AccountsFile::built_in();
    for (account, arn, of_other) in [
        (SOURCE_ACCOUNT, THEIRS, shared),
        (DESTINATION_ACCOUNT, BUCKETS, &[]),
    ] {
        let of_account = |actions: &[&str], account| {
            Statement::allow(actions, &["*"]).to(PrincipalBlock::aws(&[account]))
        };
        let mut statements = vec![of_account(&["kms:*"], account)];
        if !of_other.is_empty() {
            statements.push(of_account(of_other, DESTINATION_ACCOUNT));
        }
        let account = accounts.accounts.iter_mut().find(|a| a.id == account);
        account.unwrap().keys.push(Key {
            arn: arn.to_owned(),
            policy: Policy::new(statements),
        });
    }
    let mut roles = accounts.accounts.iter_mut().flat_map(|a| &mut a.roles);
    let role = roles.find(|role| role.name == COPY_ROLE).unwrap();
    for (actions, key) in allowed.into_iter().zip([THEIRS, BUCKETS]) {
        if !actions.is_empty() {
            let statement = Statement::allow(actions, &[key]);
            role.policies.push(Policy::new(vec![statement]));
        }
    }
    SandboxOptions {
        accounts,
        ..SandboxOptions::default()
    }
}

/// Each action of KMS, lacking, fails the rows that take it, and the row says which.
#[tokio::test(flavor = "multi_thread")]
async fn both_keys_must_be_allowed() {
    let (decrypt, both) = (
        &["kms:Decrypt"][..],
        &["kms:GenerateDataKey", "kms:Decrypt"][..],
    );
    let generate = &["kms:GenerateDataKey"][..];
    // What the source's key allows, what the role's policy allows on the source's and on the destination's; the
    // action that a small and a large object lack.
    for (shared, on_source, on_destination, lacking) in [
        (decrypt, decrypt, both, [None, None]),
        (&[][..], decrypt, both, [Some("kms:Decrypt"); 2]),
        (decrypt, &[][..], both, [Some("kms:Decrypt"); 2]),
        (decrypt, decrypt, decrypt, [Some("kms:GenerateDataKey"); 2]),
        (decrypt, decrypt, generate, [None, Some("kms:Decrypt")]),
    ] {
        let destination = BucketSettings {
            kms_key_id: Some(BUCKETS.to_owned()),
            ..BucketSettings::default()
        };
        let options = with_kms_keys(shared, [on_source, on_destination]);
        let world = World::with(options, destination);
        let under_theirs = ObjectProperties {
            kms_key_id: Some(THEIRS.to_owned()),
            ..ObjectProperties::default()
        };
        put(&world, "k", &under_theirs);
        // A row that fails of something else lets the job go on to its end.
        fail(
            &world,
            Operation::CopyObject,
            "other",
            400,
            "InvalidRequest",
        );
        let mut all = keys(&["k"]);
        all.push("other".to_owned());
        sized_manifest(&world, all);
        world.copy(&IN_PARTS).await.expect(1);
        let rows = world.rows_by_key();
        for (path, lacking) in PATHS.into_iter().zip(lacking) {
            let row = &rows[&key(path, "k")];
            match lacking {
                None => assert_eq!(row.status, TaskStatus::Succeeded, "{row:?}"),
                Some(action) => {
                    assert_failed(row, "AccessDenied", &[action]);
                    // A HEAD has no body to say it in.
                    let of_head = message(row, "operation") == "HeadObject";
                    let said = message(row, "message").to_string();
                    assert_eq!(said.contains(action), !of_head, "{said}");
                }
            }
        }
        world.assert_no_uploads();
    }
}

fn md5(byte: u8) -> String {
    CustomerKey::from_file_content(&[byte; 32]).unwrap().md5()
}

/// A world with keys of both sides in files, whose sources are under the first, or under none.
fn world(of_source: bool) -> World {
    let world = World::new();
    allow_source(&world, &["s3:GetObjectAttributes"]);
    key_file(&world, "source-key", 7, false);
    key_file(&world, "key", 8, true);
    put(&world, "k", &under(of_source));
    world
}

fn under(of_source: bool) -> ObjectProperties {
    ObjectProperties {
        customer_key_md5: of_source.then(|| md5(7)),
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        tags: vec![("t".to_owned(), "1".to_owned())],
        ..ObjectProperties::default()
    }
}

/// Flags for keys of these sides.
fn key_flags(of_source: bool, of_copy: bool) -> Vec<&'static str> {
    let source = ["--source-sse-c-key-file", "source-key"];
    let copy = ["--sse-c-key-file", "key"];
    [(of_source, source), (of_copy, copy)]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .flat_map(|(_, flags)| flags)
        .collect()
}

const SIDES: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

#[tokio::test(flavor = "multi_thread")]
async fn customer_keys_go_with_every_request_that_needs_them() {
    for (of_source, of_copy) in SIDES {
        for verify in ["response", "head", "checksum", "full"] {
            // To read it all takes long; once is enough.
            if verify == "full" && of_source != of_copy {
                continue;
            }
            let case = format!("{of_source} {of_copy} {verify}");
            let world = world(of_source);
            let all = keys(&["k"]);
            listed(&world, &all);
            let mut flags = vec![
                "--multipart-threshold",
                "17MiB",
                "--part-size",
                "17MiB",
                "--manifest-fields",
                "Bucket,Key,Size,ETag",
                "--verify",
                verify,
            ];
            flags.extend(key_flags(of_source, of_copy));
            let run = world.copy(&flags).await;
            run.expect(0);
            assert_all_copied(&world, &all);
            let rows = world.rows_by_key();
            for path in PATHS {
                let (key, row) = (key(path, "k"), &rows[&key(path, "k")]);
                let evidence = match (verify, path) {
                    ("full", _) => "full",
                    // Complete answers with the checksum of the source's HEAD.
                    (_, "large") => "checksum",
                    // ETags under keys say nothing unless they are equal, as the sandbox makes them of one key's kind.
                    ("response" | "head", _) if of_source == of_copy => "e_tag",
                    (evidence, _) => evidence,
                };
                assert_succeeded(row, evidence);
                assert!(!notes(row, "ETag"), "{case}: {row:?}");
                let there = world.store().object(DESTINATION, &key).unwrap();
                assert_eq!(message(row, "bytes"), there.size(), "{case}");
                let properties = there.properties();
                assert_eq!(
                    properties.customer_key_md5,
                    of_copy.then(|| md5(8)),
                    "{case}"
                );
                assert_eq!(properties.metadata, under(true).metadata, "{case}");
                assert_eq!(properties.tags, under(true).tags, "{case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_under_a_customers_key_is_no_proof_of_another_object() {
    // The source's version is known, and its HEAD: what differs then would differ for good.
    let world = world(false);
    let settings = world.store().settings(SOURCE).unwrap();
    let settings = BucketSettings {
        versioning: s3haul_sandbox::Versioning::Enabled,
        ..settings
    };
    world.store().configure_bucket(SOURCE, settings).unwrap();
    put(&world, "k", &under(false));
    let mut flags = vec!["--storage-class", "preserve"];
    flags.extend(key_flags(false, true));
    copy(&world, &["k"], &flags).await.expect(0);
    assert_all_copied(&world, &keys(&["k"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_keys_are_there_for_a_resume() {
    for (of_source, of_copy) in SIDES {
        let world = world(of_source);
        sized_manifest(&world, keys(&["k"]));
        let hang = Fault::on(Operation::UploadPartCopy, FaultKind::Hang).when(When::Nth(3));
        world.sandbox.faults().add(hang);
        let mut command = world.copy_command();
        command
            .args(IN_PARTS)
            .args(key_flags(of_source, of_copy))
            .args(["--log-level", "trace"]);
        let mut child = command.spawn().unwrap();
        let log = world.sandbox.log();
        let copied = |entries: &[LogEntry]| {
            let parts = entries
                .iter()
                .filter(|entry| entry.operation == Operation::UploadPartCopy);
            let small = |entry: &LogEntry| entry.operation == Operation::CopyObject;
            parts.count() == PARTS && entries.iter().any(small)
        };
        log.wait_until(copied).await;
        child.kill().await.unwrap();
        world.sandbox.faults().clear();
        let run = world.resume(&["--log-level", "trace"]).await;
        run.expect(0);
        assert_all_copied(&world, &keys(&["k"]));
        // What was copied is listed, with the key, and not copied again.
        assert_eq!(sent(&world, Operation::ListParts, "large-k").len(), 1);
        let parts = sent(&world, Operation::UploadPartCopy, "large-k");
        assert_eq!(parts.len(), PARTS + 1);
        assert_no_key(&world, &[&run]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_looked_for_with_customer_keys() {
    for (of_source, of_copy) in SIDES {
        let world = world(of_source);
        for operation in [Operation::CopyObject, Operation::CompleteMultipartUpload] {
            let lost = Fault::on(operation, FaultKind::AnswerLost).when(When::First(1));
            world.sandbox.faults().add(lost);
        }
        let mut flags = vec!["--overwrite", "never"];
        flags.extend(key_flags(of_source, of_copy));
        copy(&world, &["k"], &flags).await.expect(0);
        for row in world.rows() {
            assert_succeeded(&row, "found");
        }
        assert_all_copied(&world, &keys(&["k"]));
    }
}

/// Neither key is in the report's folder or in what the runs said.
fn assert_no_key(world: &World, runs: &[&Run]) {
    let report = content_of(&world.path("report"));
    for byte in [7, 8] {
        let headers = CustomerKey::from_file_content(&[byte; 32])
            .unwrap()
            .headers();
        for key in [&[byte; 32][..], headers[1].1.as_bytes()] {
            assert!(!has(&report, key), "a key is in the report");
            for run in runs {
                assert!(!has(run.stderr.as_bytes(), key), "a key is in the log");
                assert!(!has(run.stdout.as_bytes(), key), "a key is in the result");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_fails_every_row_and_is_shown_nowhere() {
    // How the sources are; flags; codes of the small and of the large row; the job's end.
    for (under_key, source_key, codes, code) in [
        // Another key.
        (true, Some(8), ["AccessDenied"; 2], 3),
        // None.
        (true, None, ["InvalidRequest", "BadRequest"], 1),
        // One for objects that are under none.
        (false, Some(7), ["InvalidRequest", "BadRequest"], 1),
    ] {
        let world = world(under_key);
        let mut flags = vec!["--log-level", "trace"];
        if let Some(byte) = source_key {
            key_file(&world, "source-key", byte, false);
            flags.extend(key_flags(true, false));
        }
        let run = copy(&world, &["k"], &flags).await;
        run.expect(code);
        assert_no_key(&world, &[&run]);
        assert_eq!(world.store().object_count(DESTINATION), 0);
        assert_eq!(world.store().uploads(DESTINATION), []);
        if code == 3 {
            // All rows were refused, which stops a job.
            let errors = run.summary("errors");
            assert_eq!(errors, serde_json::json!({"AccessDenied": 2}));
            continue;
        }
        let rows = world.rows_by_key();
        for (path, code) in PATHS.into_iter().zip(codes) {
            // S3 says of a copy why; of a HEAD, which has no body, the hint must.
            let words: &[_] = match path {
                "large" => &["--source-sse-c-key-file"],
                _ => &[],
            };
            assert_failed(&rows[&key(path, "k")], code, words);
        }
    }
}
