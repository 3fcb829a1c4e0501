//! What the program says, where, and what it exits with.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::{
    COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID, OPERATOR_ACCESS_KEY_ID,
    OPERATOR_SECRET_ACCESS_KEY, Policy, SOURCE_ACCOUNT, STRANGER_ACCOUNT, Statement,
};
use s3haul_sandbox::{
    AccountsFile, BucketSettings, Fault, FaultKind, MFA_CODE, ObjectProperties, Operation,
    SandboxOptions,
};
use serde_json::Value;

use crate::given::Given;
use crate::support::{DESTINATION, Run, SOURCE, World, count};

/// Compares what a run said with the snapshot of that name, less what no two runs have in common.
pub(crate) fn assert_said(name: &str, run: &Run) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"/[\w/.]*/\.tmp\w+", "[FOLDER]");
    settings.add_filter(r"127\.0\.0\.1:\d+", "[ENDPOINT]");
    settings.add_filter(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[TIME]");
    settings.add_filter(r"request ID [0-9A-Za-z-]+", "request ID [ID]");
    settings.add_filter(r"in \d+\.\d s", "in [SECONDS] s");
    settings.add_filter(r"s3haul-check-[0-9a-f]+", "s3haul-check-[RANDOM]");
    settings.add_filter(
        r#""elapsed_seconds":[\d.]+"#,
        r#""elapsed_seconds":[SECONDS]"#,
    );
    settings.add_filter(
        r#""((extended_)?request_id)":"[0-9A-Za-z]+""#,
        r#""$1":"[ID]""#,
    );
    settings.add_filter(r"[\d.]+ rows/s, [\d.]+ \w+/s, [\d.]+ requests/s", "[RATES]");
    settings.add_filter(r#""rates":\{[^}]*\}"#, r#""rates":[RATES]"#);
    settings.add_filter(r"(    \d+\.\d{3} s [^\n]*\n)+", "    [SLOWEST]\n");
    settings.add_filter(r#""slowest":\[[^\]]*\]"#, r#""slowest":[SLOWEST]"#);
    settings.bind(|| {
        let said = format!(
            "exit code: {}\n---- stdout\n{}---- stderr\n{}",
            run.code(),
            run.stdout,
            run.stderr
        );
        insta::assert_snapshot!(name, said);
    });
}

async fn run(world: &World, arguments: &[&str]) -> Run {
    let mut command = world.command(arguments);
    // The width of a terminal is no part of what is said.
    command.env_remove("COLUMNS");
    // Nor is what these tests set.
    command.env_remove("S3HAUL_SKIP_CHECK");
    Run::of(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn help() {
    let world = World::new();
    assert_said("help", &run(&world, &["--help"]).await);
    assert_said("help_copy", &run(&world, &["help", "copy"]).await);
    assert_said("help_verify", &run(&world, &["help", "verify"]).await);
    assert_said("help_resume", &run(&world, &["help", "resume"]).await);
    let create = ["help", "manifest", "create"];
    assert_said("help_manifest_create", &run(&world, &create).await);
    assert_said("nothing", &run(&world, &[]).await);
    let name = concat!("s3haul ", env!("CARGO_PKG_VERSION"));
    let short = run(&world, &["-V"]).await;
    assert_eq!(short.expect(0).stdout, format!("{name}\n"));
    let long = run(&world, &["--version"]).await;
    let long = &long.expect(0).stdout;
    let built = long.strip_prefix(&format!("{name} (")).unwrap();
    let (commit, features) = built.split_once(", features: ").unwrap();
    // Of a checkout it is the commit with its day; whoever builds without git may have said anything.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if root.join(".git").exists() && commit != "unknown" {
        let (hash, day) = commit.split_once(' ').unwrap();
        assert!(hash.bytes().all(|b| b.is_ascii_hexdigit()), "{long}");
        assert_eq!(day.split('-').map(str::len).collect::<Vec<_>>(), [4, 2, 2]);
    }
    let with = [
        ("orc", cfg!(feature = "orc")),
        ("demo", cfg!(feature = "demo")),
    ];
    for (feature, has) in with {
        assert_eq!(features.contains(feature), has, "{long}");
    }
}

/// The long flags of a command.
async fn flag_names(world: &World, command: &[&str]) -> BTreeSet<String> {
    let mut arguments = vec!["help"];
    arguments.extend(command);
    let help = run(world, &arguments).await;
    let flags = flags_of(&help.expect(0).stdout).into_iter();
    flags.map(|(name, _)| name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_has_a_page_of_each_command() {
    let world = World::new();
    let folder = world.path("man/pages");
    let written = run(&world, &["man", "--folder", folder.to_str().unwrap()]).await;
    assert_eq!(written.expect(0).stdout, "");
    for command in [
        &["copy"][..],
        &["resume"],
        &["manifest", "create"],
        &["report", "show"],
    ] {
        let mut arguments = vec!["man"];
        arguments.extend(command);
        let page = run(&world, &arguments).await.expect(0).stdout.clone();
        let file = format!("s3haul-{}.1", command.join("-"));
        assert_eq!(
            page,
            std::fs::read_to_string(folder.join(file)).unwrap(),
            "{command:?}"
        );
        let page = page.replace("\\-", "-");
        let flags = flag_names(&world, command).await;
        assert!(flags.len() > 5, "{flags:?}");
        for flag in flags {
            assert!(page.contains(&flag), "{flag} of {command:?}");
        }
        assert!(page.contains("S3HAUL_"), "{command:?}");
    }
    let whole = run(&world, &["man"]).await;
    for word in ["s3haul\\-copy", "Exit codes:"] {
        assert!(whole.expect(0).stdout.contains(word), "{word}");
    }
    let unknown = run(&world, &["man", "manifest", "burn"]).await;
    let said = "error: s3haul manifest has no command burn\n";
    assert_eq!((unknown.code(), unknown.stderr.as_str()), (2, said));
    let file = world.manifest("not a folder");
    let no_folder = run(&world, &["man", "--folder", file.to_str().unwrap()]).await;
    assert_eq!(no_folder.code(), 2);
    assert!(
        no_folder.stderr.contains("--folder"),
        "{}",
        no_folder.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shells_complete_commands_and_flags() {
    let world = World::new();
    let flags = flag_names(&world, &["copy"]).await;
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&world, &["completions", shell]).await;
        let script = &script.expect(0).stdout;
        for flag in &flags {
            let named = match shell {
                "fish" => format!("-l {}", &flag[2..]),
                _ => flag.clone(),
            };
            assert!(script.contains(&named), "{shell}: {flag}");
        }
    }
    // What bash itself makes of it.
    let script = run(&world, &["completions", "bash"]).await.stdout;
    let path = world.path("s3haul.bash");
    std::fs::write(&path, script).unwrap();
    let typed = ". ./s3haul.bash; COMP_WORDS=(s3haul copy --manifest-e); COMP_CWORD=2; \
                 _s3haul s3haul --manifest-e copy; echo \"${COMPREPLY[*]}\"";
    let bash = std::process::Command::new("bash")
        .args(["--norc", "-c", typed])
        .current_dir(path.parent().unwrap())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout), "--manifest-etag\n");
    assert_eq!(run(&world, &["completions", "tcsh"]).await.code(), 2);
}

/// A job with two rows that succeed, one that fails and one that is skipped.
async fn mixed_job(world: &World, output: &str) -> Run {
    for key in ["a", "b", "there"] {
        world.put(key, "12345");
    }
    world
        .store()
        .put_object(DESTINATION, "there", "other", ObjectProperties::default())
        .unwrap();
    world.manifest("source,a,5\nsource,b,5\nsource,gone,5\nsource,there,5\nsource,x/left,5\n");
    let given = world.given().set("--manifest-fields", "Bucket,Key,Size");
    let given = given
        .set("--overwrite", "never")
        .set("--exclude-prefix", "x/");
    given.set("--output", output).run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn summaries() {
    let world = World::new();
    assert_said("summary_text", &mixed_job(&world, "text").await);
    let report = world.path("report");
    let report = report.to_str().unwrap();
    assert_said(
        "report_show_text",
        &run(&world, &["report", "show", report]).await,
    );
    let json = run(&world, &["report", "show", report, "--output", "json"]).await;
    assert_said("report_show_json", &json);
    let again = mixed_job(&world, "json").await;
    again.expect(1);
    // What a job says at its end is said again, and more.
    let members =
        |run: &Run| -> BTreeMap<String, Value> { serde_json::from_str(&run.stdout).unwrap() };
    let shown = members(&json);
    for (name, value) in members(&again) {
        assert_eq!(shown.get(&name), Some(&value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors() {
    let world = World::new();
    world.put("a", "a");
    assert_said("error_no_manifest", &world.given().run().await);
    world.manifest("source,a\nsource,\nsource,b,c\nother,d\n");
    assert_said("error_bad_rows", &world.given().run().await);
    world.manifest("Bucket,Key\nsource,a\n");
    assert_said("error_header_row", &world.given().run().await);
    world.manifest("source,a b\n");
    assert_said("error_encoding", &world.given().run().await);
    world.manifest_of(["a"]);
    assert_said("error_no_flags", &run(&world, &["copy"]).await);
    assert_said(
        "error_bad_value",
        &world.given().set("--part-size", "4MiB").run().await,
    );
    assert_said(
        "error_role_refused",
        &world.given().set("--external-id", "no").run().await,
    );
    assert_said(
        "error_no_bucket",
        &world.given().set("--to", "s3://nowhere").run().await,
    );
    assert_said(
        "error_no_report",
        &run(&world, &["resume", "nowhere"]).await,
    );
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    assert_said(
        "error_refused",
        &world.given().set("--output", "text").run().await,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    let done = world.given().run().await;
    assert_eq!(
        (done.expect(0).summary("exit_code"), done.stderr.as_str()),
        (0.into(), "")
    );
    // Skipped on purpose is no failure.
    let skipped = world
        .given()
        .set("--overwrite", "never")
        .set("--job-id", "skips")
        .run()
        .await;
    assert_eq!(skipped.expect(0).summary("skipped"), 1);

    world.manifest_of(["a", "gone"]);
    let some = world.given().set("--job-id", "some").run().await;
    assert_eq!(some.expect(1).summary("exit_code"), 1);
    assert!(
        some.stderr
            .contains("hint: try the failed rows again with: s3haul resume ")
    );
    let zero = world
        .given()
        .set("--job-id", "zero")
        .set("--failed-rows-exit", "0")
        .run()
        .await;
    assert_eq!(
        (zero.expect(0).summary("exit_code"), zero.summary("failed")),
        (0.into(), 1.into())
    );
    for (job, code) in [("some", 1), ("zero", 0)] {
        let path = world.path(&format!("report/job-{job}"));
        let path = path.to_str().unwrap();
        run(&world, &["report", "show", path]).await.expect(code);
        run(&world, &["resume", path]).await.expect(code);
        // A resume can choose again.
        run(&world, &["resume", path, "--failed-rows-exit", "0"])
            .await
            .expect(0);
        run(&world, &["resume", path, "--failed-rows-exit", "1"])
            .await
            .expect(1);
    }
    run(&world, &["copy", "--failed-rows-exit", "2"])
        .await
        .expect(2);
    world.store().set_bucket_policy(SOURCE, None).unwrap();
    let refused = world.given().set("--job-id", "refused").run().await;
    assert_eq!(refused.expect(3).summary("exit_code"), 3);
    assert_eq!(refused.summary("state"), "failed");
}

/// A job of 30 rows that is in the midst of its work: the process and its summary-to-be.
async fn running(world: &World) -> tokio::process::Child {
    world.small_objects(30);
    let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(100));
    world.sandbox.faults().add(slow);
    let child = world
        .given()
        .set("--concurrency", "2")
        .command()
        .spawn()
        .unwrap();
    let copied = |entry: &s3haul_sandbox::LogEntry| entry.operation == Operation::CopyObject;
    world
        .sandbox
        .log()
        .wait_until(|entries| entries.iter().any(copied))
        .await;
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_code_4() {
    let world = World::new();
    let child = running(&world).await;
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = Run::end_of(child).await;
    assert_eq!(ended.expect(4).summary("state"), "interrupted");
    assert_eq!(ended.summary("exit_code"), 4);
    assert!(
        ended
            .stderr
            .contains("stopped by a signal\nhint: go on with: s3haul resume ")
    );
    let report = world.path("report");
    run(&world, &["report", "show", report.to_str().unwrap()])
        .await
        .expect(4);
    world.resume(&[]).await.expect(0);
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_report_is_code_4() {
    let world = World::new();
    let child = running(&world).await;
    std::fs::remove_dir_all(world.job()).unwrap();
    let ended = Run::end_of(child).await;
    ended.expect(4);
    assert!(
        ended.stderr.contains("error: the report cannot be written"),
        "{}",
        ended.stderr
    );
}

/// The long flags of a command's help, each with its text.
fn flags_of(help: &str) -> Vec<(String, String)> {
    let mut flags: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        let begins = line.trim_start().trim_start_matches("-h, ");
        let indent = line.len() - line.trim_start().len();
        if let Some(rest) = begins.strip_prefix("--").filter(|_| indent < 8) {
            let name = rest.split([' ', '=']).next().unwrap();
            flags.push((format!("--{name}"), String::new()));
        } else if let Some((_, text)) = flags.last_mut() {
            *text += line;
        }
    }
    flags
}

fn variable(flag: &str) -> String {
    format!(
        "S3HAUL_{}",
        flag.trim_start_matches('-')
            .replace('-', "_")
            .to_uppercase()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_has_a_variable() {
    let world = World::new();
    for command in [
        &["copy"][..],
        &["verify"],
        &["resume"],
        &["abandon"],
        &["manifest", "create"],
        &["report", "show"],
    ] {
        let help = run(&world, &[command, &["--help"]].concat()).await;
        let flags = flags_of(&help.stdout);
        assert!(flags.len() > 1, "{flags:?}");
        for (flag, text) in flags.iter().filter(|(flag, _)| flag != "--help") {
            let variable = variable(flag);
            // Not the value of the one that is a secret.
            let named = ["[env: X=", "[env: X]", "in X)"].map(|form| form.replace('X', &variable));
            assert!(
                named.iter().any(|n| text.contains(n.as_str())),
                "{variable}: {text}"
            );
        }
    }
}

/// Flags with a value that `job.json` shows: the flag, where it is shown, a value, another.
const SHOWN: [(&str, &str, &str, &str); 64] = [
    ("--manifest", "/job/manifest", "a.csv", "b.csv"),
    (
        "--manifest-fields",
        "/job/read/fields",
        "Bucket,Key,Size,ETag,LastModifiedDate",
        "Bucket,Key,Size,LastModifiedDate,Ignore",
    ),
    ("--manifest-format", "/job/read/format", "csv", "auto"),
    ("--key-encoding", "/job/read/key_encoding", "url", "raw"),
    ("--min-size", "/job/read/filters/min_size", "1", "2"),
    ("--max-size", "/job/read/filters/max_size", "100", "1KiB"),
    (
        "--modified-after",
        "/job/read/filters/modified_after",
        "2020-01-01",
        "2021-01-01",
    ),
    (
        "--modified-before",
        "/job/read/filters/modified_before",
        "2030-01-01",
        "2031-01-01",
    ),
    (
        "--to",
        "/job/read/rename/prefix",
        "s3://destination/p/",
        "s3://elsewhere/q",
    ),
    ("--strip-prefix", "/job/read/rename/strip_prefix", "a/", "a"),
    (
        "--overwrite",
        "/job/copy/overwrite",
        "never",
        "if-different",
    ),
    (
        "--source-changed",
        "/job/copy/source_changed",
        "fail",
        "copy",
    ),
    (
        "--role-arn",
        "/job/access/role/role_arn",
        "arn:aws:iam::222222222222:role/s3haul-copy",
        "arn:aws:iam::222222222222:role/other",
    ),
    (
        "--external-id",
        "/job/access/role/external_id",
        EXTERNAL_ID,
        "another",
    ),
    (
        "--role-session-name",
        "/job/access/role/session_name",
        "alpha",
        "beta",
    ),
    (
        "--role-duration",
        "/job/access/role/duration_seconds",
        "30m",
        "45m",
    ),
    (
        "--mfa-serial",
        "/job/access/role/mfa_serial",
        "arn:aws:iam::222222222222:mfa/a",
        "arn:aws:iam::222222222222:mfa/b",
    ),
    ("--profile", "/job/access/profile", "alpha", "beta"),
    (
        "--manifest-profile",
        "/job/access/manifest_profile",
        "gamma",
        "delta",
    ),
    (
        "--source-account",
        "/job/access/source_account",
        SOURCE_ACCOUNT,
        STRANGER_ACCOUNT,
    ),
    (
        "--destination-account",
        "/job/access/destination_account",
        DESTINATION_ACCOUNT,
        "any",
    ),
    (
        "--region",
        "/job/access/region",
        "us-east-1",
        "eu-central-1",
    ),
    (
        "--source-region",
        "/job/access/source_region",
        "eu-west-1",
        "ap-south-1",
    ),
    (
        "--endpoint-url",
        "/job/access/endpoint_url",
        "http://HERE",
        "http://HERE/",
    ),
    (
        "--source-endpoint-url",
        "/job/access/source_endpoint_url",
        "http://HERE",
        "http://HERE/",
    ),
    (
        "--sts-endpoint-url",
        "/job/access/sts_endpoint_url",
        "http://HERE",
        "http://HERE/",
    ),
    ("--acl", "/job/copy/acl", "none", "bucket-owner-read"),
    (
        "--storage-class",
        "/job/copy/object/storage_class",
        "STANDARD_IA",
        "preserve",
    ),
    (
        "--content-type",
        "/job/copy/object/metadata/headers/content-type",
        "text/plain",
        "text/html",
    ),
    (
        "--cache-control",
        "/job/copy/object/metadata/headers/cache-control",
        "no-store",
        "no-cache",
    ),
    (
        "--content-disposition",
        "/job/copy/object/metadata/headers/content-disposition",
        "inline",
        "attachment",
    ),
    (
        "--content-encoding",
        "/job/copy/object/metadata/headers/content-encoding",
        "gzip",
        "br",
    ),
    (
        "--content-language",
        "/job/copy/object/metadata/headers/content-language",
        "en",
        "pl",
    ),
    (
        "--expires",
        "/job/copy/object/metadata/headers/expires",
        "2030-01-01",
        "Thu, 01 Jan 2032 00:00:00 GMT",
    ),
    (
        "--website-redirect-location",
        "/job/copy/object/website_redirect_location",
        "/there",
        "https://example.com",
    ),
    (
        "--annotations",
        "/job/copy/object/annotations",
        "exclude",
        "copy",
    ),
    (
        "--sse",
        "/job/copy/object/encryption",
        "aws:kms",
        "aws:kms:dsse",
    ),
    (
        "--sse-kms-key-id",
        "/job/copy/object/encryption",
        "arn:aws:kms:us-east-1:222222222222:key/a",
        "arn:aws:kms:us-east-1:222222222222:alias/b",
    ),
    (
        "--source-sse-c-key-file",
        "/job/copy/object/source_customer_key/md5",
        "key-a",
        "key-b",
    ),
    (
        "--checksum-algorithm",
        "/job/copy/object/checksum_algorithm",
        "CRC32",
        "crc32c",
    ),
    (
        "--checksum-type",
        "/job/copy/object/checksum_type",
        "full-object",
        "composite",
    ),
    (
        "--object-lock-mode",
        "/job/copy/object/retention/mode",
        "governance",
        "COMPLIANCE",
    ),
    (
        "--object-lock-retain-until",
        "/job/copy/object/retention/until",
        "2040-01-01",
        "2041-01-01",
    ),
    (
        "--object-lock-legal-hold",
        "/job/copy/object/legal_hold",
        "on",
        "off",
    ),
    (
        "--if-modified-since",
        "/job/copy/object/if_modified_since",
        "2001-01-01",
        "2002-01-01",
    ),
    (
        "--restore-tier",
        "/job/copy/object/archived/restore/tier",
        "bulk",
        "expedited",
    ),
    (
        "--restore-days",
        "/job/copy/object/archived/restore/days",
        "1",
        "2",
    ),
    ("--verify", "/job/copy/verify", "head", "checksum"),
    (
        "--multipart-threshold",
        "/job/copy/plan/multipart_threshold",
        "5MiB",
        "6MiB",
    ),
    (
        "--part-size",
        "/job/copy/plan/part_size",
        "match-source",
        "8MiB",
    ),
    ("--row-timeout", "/job/copy/row_timeout_ms", "10s", "1m 20s"),
    ("--concurrency", "/job/speed/concurrency", "3", "auto"),
    ("--max-rps", "/job/speed/requests_per_second", "100", "none"),
    ("--max-attempts", "/job/speed/max_attempts", "2", "3"),
    (
        "--attempt-timeout",
        "/job/speed/attempt_timeout_ms",
        "30s",
        "40s",
    ),
    ("--report-scope", "/job/run/report_scope", "failed", "all"),
    (
        "--failure-threshold",
        "/job/run/failure_threshold",
        "10",
        "none",
    ),
    ("--drain-timeout", "/job/run/drain_timeout_ms", "5s", "6s"),
    (
        "--report-interval",
        "/job/run/report_interval_ms",
        "2s",
        "3s",
    ),
    ("--report-timeout", "/job/run/report_timeout_ms", "8m", "9m"),
    ("--failed-rows-exit", "/job/run/failed_rows_exit", "0", "1"),
    ("--work-dir", "/job/run/work_dir", "work-a", "work-b"),
    (
        "--previous-report",
        "/job/previous/report",
        "previous-a",
        "previous-b",
    ),
    (
        "--previous-report-match",
        "/job/previous/matching",
        "source",
        "key",
    ),
];

/// Flags that `job.json` does not show: a good value, and one that is refused.
const NOT_SHOWN: [(&str, &str, &str); 10] = [
    ("--versions", "listed", "some"),
    // The other flags are nothing without these values.
    ("--metadata-directive", "replace", "merge"),
    ("--tags", "replace", "merge"),
    ("--archived", "restore", "wait"),
    ("--progress", "none", "loud"),
    ("--metrics", "emf", "statsd"),
    ("--log-format", "json", "xml"),
    ("--log-level", "error", "chatty"),
    ("--output", "json", "xml"),
    ("--job-id", "test", "a/b"),
];

/// Flags without a value.
const SWITCHES: [&str; 6] = [
    "--allow-metadata-loss",
    "--bucket-key",
    "--no-role",
    "--force-path-style",
    "--requester-pays",
    "--dry-run",
];

/// Two sources, two destinations and two roles, so that every flag has two values that work.
fn world_of_two() -> World {
    let mut accounts = AccountsFile::built_in();
    let account = accounts
        .accounts
        .iter_mut()
        .find(|a| a.id == DESTINATION_ACCOUNT)
        .unwrap();
    let other = s3haul_sandbox::iam::Role {
        name: "other".to_owned(),
        trust_policy: Policy::new(vec![Statement::trust(
            s3haul_sandbox::iam::PrincipalBlock::aws(&[&s3haul_sandbox::iam::account_arn(
                DESTINATION_ACCOUNT,
            )]),
        )]),
        ..account.roles[0].clone()
    };
    account.roles.push(other);
    let operator = account
        .users
        .iter_mut()
        .find(|user| user.name == "operator")
        .unwrap();
    operator.policies.push(Policy::new(vec![Statement::allow(
        &["sts:AssumeRole"],
        &["*"],
    )]));
    let options = SandboxOptions {
        accounts,
        ..SandboxOptions::default()
    };
    let world = World::with(options, BucketSettings::default());
    let create = |bucket, account, region| {
        world
            .store()
            .create_bucket(bucket, account, region, BucketSettings::default())
            .unwrap();
    };
    create("source2", STRANGER_ACCOUNT, "ap-south-1");
    create("elsewhere", DESTINATION_ACCOUNT, "eu-central-1");
    world.put("a/1", "12345");
    let row = "a/1,5,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z\n";
    let e_tag = "a/1,5,827ccb0eea8a706c4c34a16891f84e7b,2026-01-01T00:00:00Z\n";
    std::fs::write(world.path("a.csv"), format!("{SOURCE},{e_tag}")).unwrap();
    std::fs::write(world.path("b.csv"), format!("source2,{row}")).unwrap();
    let profile = |name| {
        format!(
            "[{name}]\naws_access_key_id = {OPERATOR_ACCESS_KEY_ID}\n\
             aws_secret_access_key = {OPERATOR_SECRET_ACCESS_KEY}\n"
        )
    };
    for name in ["a", "b"] {
        std::fs::create_dir(world.path(&format!("work-{name}"))).unwrap();
        let previous = world.path(&format!("previous-{name}"));
        std::fs::create_dir(&previous).unwrap();
        let empty = r#"{"Format":"Report_CSV_20180820","Results":[]}"#;
        std::fs::write(previous.join("manifest.json"), empty).unwrap();
    }
    std::fs::write(world.path("key-a"), [b'a'; 32]).unwrap();
    std::fs::write(world.path("key-b"), [b'b'; 32]).unwrap();
    // Where the harness tells the program to look.
    std::fs::write(
        world.path("no-credentials"),
        profile("alpha") + &profile("beta"),
    )
    .unwrap();
    world
}

/// What `job.json` shows of a job run in a report folder of its own.
async fn shown<'w>(
    world: &'w World,
    report: &str,
    give: impl FnOnce(Given<'w>) -> Given<'w>,
) -> Value {
    let mut given = world.given();
    for flag in [
        "--manifest",
        "--to",
        "--role-arn",
        "--external-id",
        "--endpoint-url",
    ] {
        given = given.without(flag);
    }
    let report = world.path(report).to_str().unwrap().to_owned();
    let given = given
        .without_variable("AWS_ACCESS_KEY_ID")
        .without_variable("AWS_SECRET_ACCESS_KEY")
        .set("--report", report.clone());
    let run = give(given).run().await;
    let json = std::fs::read(Path::new(&report).join("job-test/job.json"));
    let json = json.unwrap_or_else(|error| panic!("no job: {error}: {run:?}"));
    serde_json::from_slice(&json).unwrap()
}

/// A value of [`SHOWN`] with the sandbox's address in it.
fn value(world: &World, text: &str) -> String {
    text.replace("HERE", &world.sandbox.address().to_string())
}

/// All variables with their first value, or their second.
fn variables<'w>(world: &World, mut given: Given<'w>, first: bool) -> Given<'w> {
    for (flag, _, a, b) in SHOWN {
        given = given.variable(&variable(flag), value(world, if first { a } else { b }));
    }
    let lists = if first {
        (r#"["a","b/"]"#, r#"["c"]"#, r#"{"k":"v"}"#)
    } else {
        (r#"["a/"]"#, r#"["d","e"]"#, r#"{"l":"w"}"#)
    };
    for flag in ["--metadata-directive", "--tags", "--archived"] {
        let good = NOT_SHOWN.iter().find(|(named, ..)| *named == flag);
        given = given.variable(&variable(flag), good.unwrap().1);
    }
    given
        .variable("S3HAUL_INCLUDE_PREFIX", lists.0)
        .variable("S3HAUL_EXCLUDE_PREFIX", lists.1)
        .variable("S3HAUL_METADATA", lists.2)
        .variable("S3HAUL_TAG", lists.2)
        .variable("S3HAUL_ALLOW_METADATA_LOSS", first.to_string())
        .variable("S3HAUL_BUCKET_KEY", "false")
        .variable("S3HAUL_VERSIONS", "listed")
        .variable("S3HAUL_MFA_CODE", MFA_CODE)
        .variable("S3HAUL_FORCE_PATH_STYLE", first.to_string())
        .variable("S3HAUL_REQUESTER_PAYS", first.to_string())
        .variable("S3HAUL_NO_ROLE", "false")
        .variable("S3HAUL_DRY_RUN", "false")
}

/// All flags with their first value.
fn flags<'w>(world: &World, mut given: Given<'w>) -> Given<'w> {
    for (flag, _, a, _) in SHOWN {
        given = given.set(flag, value(world, a));
    }
    given
        .repeat("--include-prefix", "a")
        .repeat("--include-prefix", "b/")
        .set("--exclude-prefix", "c")
        .set("--metadata-directive", "replace")
        .set("--metadata", "k=v")
        .set("--tags", "replace")
        .set("--tag", "k=v")
        .set("--archived", "restore")
        .flag("--allow-metadata-loss")
        .set("--versions", "listed")
        .set("--mfa-code", MFA_CODE)
        .flag("--force-path-style")
        .flag("--requester-pays")
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_beat_variables() {
    let world = world_of_two();
    let by_variables = shown(&world, "r1", |given| variables(&world, given, true)).await;
    let by_flags = shown(&world, "r2", |given| flags(&world, given)).await;
    let others = shown(&world, "r3", |given| variables(&world, given, false)).await;
    let by_both = shown(&world, "r4", |given| {
        let given =
            flags(&world, variables(&world, given, false)).variable("S3HAUL_MFA_CODE", "000000");
        NOT_SHOWN.iter().fold(given, |given, (flag, good, bad)| {
            given.set(flag, *good).variable(&variable(flag), *bad)
        })
    })
    .await;
    assert_eq!(by_variables["job"], by_flags["job"]);
    assert_eq!(by_both["job"], by_flags["job"]);
    for (flag, pointer, ..) in SHOWN {
        let (one, other) = (by_flags.pointer(pointer), others.pointer(pointer));
        assert!(
            one.is_some() && other.is_some() && one != other,
            "{flag}: {one:?} {other:?}"
        );
    }
    let filters = &by_variables["job"]["read"]["filters"];
    assert_eq!(filters["include_prefixes"], serde_json::json!(["a", "b/"]));
    assert_eq!(
        others["job"]["read"]["filters"]["exclude_prefixes"],
        serde_json::json!(["d", "e"])
    );
    assert_eq!(by_variables["job"]["access"]["force_path_style"], true);
    assert_eq!(others["job"]["access"]["force_path_style"], false);
    assert_eq!(by_variables["job"]["copy"]["requester_pays"], true);
    let object = |shown: &Value| shown["job"]["copy"]["object"].clone();
    assert_eq!(object(&by_flags)["tags"], serde_json::json!([["k", "v"]]));
    assert_eq!(object(&others)["metadata"]["user"]["l"], "w");
    assert_eq!(object(&others)["allow_metadata_loss"], false);

    // Nothing is forgotten here.
    let help = run(&world, &["help", "copy"]).await;
    let known: BTreeSet<&str> = SHOWN
        .iter()
        .map(|(flag, ..)| *flag)
        .chain(NOT_SHOWN.iter().map(|(flag, ..)| *flag))
        .chain(SWITCHES)
        .chain([
            "--include-prefix",
            "--exclude-prefix",
            "--metadata",
            "--tag",
            // `settings` has these: they do not go with the others.
            "--grant-full-control",
            "--grant-read",
            "--grant-read-acp",
            "--grant-write-acp",
            "--sse-c-key-file",
            "--if-unmodified-since",
            "--manifest-etag",
            "--mfa-code",
            "--report",
            // For reports in S3 alone: `bucket` has them.
            "--report-account",
            "--report-profile",
            "--help",
            // With all versions alone: `versions` has it.
            "--delete-markers",
            // `shards` has these.
            "--shard",
            "--shards",
            // Of no job: `check` has it.
            "--skip-check",
        ])
        .collect();
    let helped = flags_of(&help.stdout);
    assert_eq!(
        helped
            .iter()
            .map(|(flag, _)| flag.as_str())
            .collect::<BTreeSet<_>>(),
        known
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_variables_are_refused_by_name() {
    let world = World::new();
    world.put("a", "a");
    world.manifest_of(["a"]);
    for (flag, _, bad) in NOT_SHOWN {
        let given = world.given().without(flag).variable(&variable(flag), bad);
        given.refused(2, &[flag]).await;
    }
    for bad in ["a,b", "{}", "[1]"] {
        let given = world.given().variable("S3HAUL_INCLUDE_PREFIX", bad);
        given
            .refused(2, &["S3HAUL_INCLUDE_PREFIX is no JSON array of strings"])
            .await;
    }
    // An empty list, or none at all, is no filter.
    let given = world.given().variable("S3HAUL_INCLUDE_PREFIX", "[]");
    given
        .variable("S3HAUL_EXCLUDE_PREFIX", "")
        .run()
        .await
        .expect(0);
    // A container needs no command line.
    let mut command = world.command(&["copy"]);
    command
        .env("S3HAUL_MANIFEST", world.path("manifest.csv"))
        .env("S3HAUL_TO", format!("s3://{DESTINATION}/again/"))
        .env(
            "S3HAUL_ROLE_ARN",
            format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}"),
        )
        .env("S3HAUL_EXTERNAL_ID", EXTERNAL_ID)
        .env("S3HAUL_REPORT", world.path("container"))
        .env("S3HAUL_OUTPUT", "json")
        .env("AWS_ENDPOINT_URL", world.sandbox.endpoint())
        .env("AWS_BATCH_JOB_ID", "batch-1:7");
    let run = Run::of(command).await;
    assert_eq!(run.expect(0).summary("job_id"), "batch-1");
    assert!(world.path("container/job-batch-1/manifest.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_asks_nobody() {
    let world = World::new();
    let rows = [
        "small,100,STANDARD",
        "small,100,STANDARD",
        "large,2147483648,STANDARD",
        "cold,7,GLACIER",
        "colder,7,DEEP_ARCHIVE",
        "cool,7,GLACIER_IR",
        "unknown,,",
        "x/left-out,5,STANDARD",
    ];
    world.manifest(rows.map(|row| format!("{SOURCE},{row}\n")).concat());
    let given = world
        .given()
        .set("--manifest-fields", "Bucket,Key,Size,StorageClass")
        .set("--exclude-prefix", "x/")
        .flag("--dry-run");
    let run = given.clone().run().await;
    let expected = serde_json::json!({
        "rows": 7,
        "bytes": 200 + 2_147_483_648_u64 + 21,
        "filtered": 1,
        "multipart_objects": 1,
        "parts": 16,
        // Six copies; HEAD, tags, annotations, Create, 16 parts and Complete.
        "requests": 6 + 21,
        "archived": 2,
        "delete_markers": 0,
        "latest_delete_markers": 0,
        "noncurrent_versions": 0,
        "duplicates": 1,
        "duplicates_estimated": false,
        "bad_rows": 0,
        "bad": [],
        "unknown_sizes": 1,
        "over_5gib": 0,
        "copied_before": 0,
        "encryption": {},
        "storage_classes": {
            "DEEP_ARCHIVE": {"rows": 1, "bytes": 7},
            "GLACIER": {"rows": 1, "bytes": 7},
            "GLACIER_IR": {"rows": 1, "bytes": 7},
            "STANDARD": {"rows": 3, "bytes": 200 + 2_147_483_648_u64},
        },
    });
    let mut counted: Value = serde_json::from_str(&run.expect(0).stdout).unwrap();
    let cost = counted.as_object_mut().unwrap().remove("cost_usd").unwrap();
    let sizes = counted.as_object_mut().unwrap().remove("sizes").unwrap();
    let objects = sizes.as_array().unwrap().iter();
    let objects: Vec<_> = objects.map(|class| class["objects"].clone()).collect();
    assert_eq!(objects, [0, 5, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(counted, expected);
    let expected = 24.0 * 0.005 / 1000.0 + 3.0 * 0.0004 / 1000.0;
    assert!((cost.as_f64().unwrap() - expected).abs() < 1e-9, "{cost}");
    assert_eq!(run.stderr, "");
    let text = given.set("--output", "text").run().await;
    assert_said("dry_run_text", &text);
    // Nor does it need anybody: no key, no role, no bucket.
    let alone = world
        .given()
        .without("--role-arn")
        .without("--external-id")
        .flag("--no-role");
    let alone = alone
        .set("--manifest-fields", "Bucket,Key,Size,StorageClass")
        .flag("--dry-run");
    alone
        .without_variable("AWS_ACCESS_KEY_ID")
        .run()
        .await
        .expect(0);
    assert_eq!(world.sandbox.log().arrived(), 0);
    assert!(!world.path("report").exists());
    // What would stop the job stops its dry run.
    world.manifest("source,\n");
    world
        .given()
        .flag("--dry-run")
        .refused(2, &["line 1 (byte 0): the key is empty"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_on_stderr_and_results_on_stdout() {
    let world = World::new();
    world.small_objects(3);
    let log = |job: &str| {
        let given = world
            .given()
            .set("--log-level", "trace")
            .set("--log-format", "json");
        given.set("--job-id", job).set("--progress", "plain")
    };
    let run = log("json").run().await;
    assert_eq!(run.expect(0).summary("succeeded"), 3);
    let lines: Vec<Value> = run
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    assert!(
        lines
            .iter()
            .any(|line| line["message"] == "the job runs" && line["rows"] == 3)
    );
    for line in &lines {
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
    // In text, stdout has the summary alone too.
    let run = log("text").set("--output", "text").run().await;
    run.expect(0);
    assert!(
        run.stdout.starts_with("job text complete in "),
        "{}",
        run.stdout
    );
    assert_eq!(run.stdout.lines().count(), 4, "{}", run.stdout);
    // A job that goes well says nothing unless it is asked to.
    for progress in ["auto", "plain", "none"] {
        let given = world
            .given()
            .set("--job-id", progress)
            .set("--progress", progress);
        assert_eq!(given.run().await.expect(0).stderr, "", "{progress}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_gone_is_no_failure() {
    let world = World::new();
    world.small_objects(1);
    let mut child = world.given().command().spawn().unwrap();
    drop(child.stdout.take());
    Run::end_of(child).await.expect(0);
    assert_eq!(world.row().status, TaskStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_progress_is_a_line_every_ten_seconds() {
    let world = World::new();
    world.small_objects(2);
    let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(11_000));
    world.sandbox.faults().add(slow.key("k00001"));
    let run = world.given().set("--progress", "plain").run().await;
    assert_eq!(run.expect(0).summary("succeeded"), 2);
    assert_eq!(run.stderr, "10 s: 1/2 rows, 0 failed\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_needs_nothing() {
    let world = World::new();
    let mut demo = world.command(&["demo", "--output", "json"]);
    // What is set for other jobs is not for this one.
    demo.env("S3HAUL_DRY_RUN", "true")
        .env("S3HAUL_TO", "s3://elsewhere")
        .env("AWS_PROFILE", "nobody")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let run = Run::of(demo).await;
    run.expect(0);
    let summary = run.summary("summary");
    // As the README has it: one of 261 is planted.
    assert_eq!(
        (&summary["rows"], &summary["failed"]),
        (&261.into(), &1.into())
    );
    assert_eq!(summary["errors"], serde_json::json!({"NoSuchKey": 1}));
    assert!(summary["bytes"].as_u64().unwrap() > 6 << 30);
    let command = run.summary("command");
    assert!(
        command
            .as_str()
            .unwrap()
            .starts_with("s3haul copy --manifest ")
    );
    // The report is one like any other.
    let report = world.path("s3haul-demo");
    let show = [
        "report",
        "show",
        report.to_str().unwrap(),
        "--output",
        "json",
    ];
    let shown = self::run(&world, &show).await;
    assert_eq!(shown.expect(1).summary("succeeded"), 260);
    let rows = crate::support::read_report(&world.path(summary["report"].as_str().unwrap()));
    assert_eq!(rows.len(), 261);
    // There is nothing to resume against.
    assert_eq!(run.stderr, "");
    assert_eq!(world.sandbox.log().arrived(), 0);
}

/// Every file below a folder, as text.
fn all_files(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &all_files(&path);
        } else {
            text += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere() {
    let world = World::new();
    world.put("a", "a");
    world.put("large", &"x".repeat(6 << 20));
    world.manifest("source,a,1\nsource,large,6291456\nsource,gone,5\n");
    let given = || {
        world
            .given()
            .set("--manifest-fields", "Bucket,Key,Size")
            .set("--multipart-threshold", "5MiB")
            .set("--mfa-serial", "arn:aws:iam::222222222222:mfa/operator")
            .set("--mfa-code", MFA_CODE)
            .set("--log-level", "trace")
    };
    // Every session's token begins so.
    let token = "FwoGZXIvYXdzE";
    let secrets = [
        OPERATOR_SECRET_ACCESS_KEY,
        token,
        MFA_CODE,
        "wrong/secret/access/key",
        "wrongtoken",
    ];
    let clean = |what: &str, text: &str| {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in the {what}: {text}");
        }
    };
    let done = given().run().await;
    done.expect(1);
    let resumed = world
        .resume(&["--mfa-code", MFA_CODE, "--log-level", "trace"])
        .await;
    resumed.expect(1);
    let refused = given()
        .set("--job-id", "refused")
        .set("--external-id", "no")
        .run()
        .await;
    refused.expect(3);
    let signed = given()
        .set("--job-id", "signed")
        .variable("AWS_SECRET_ACCESS_KEY", "wrong/secret/access/key")
        .variable("AWS_SESSION_TOKEN", "wrongtoken");
    let signed = signed.run().await;
    signed.expect(3);
    let expired = Fault::on(Operation::CopyObject, FaultKind::ExpireToken);
    world
        .sandbox
        .faults()
        .add(expired.when(s3haul_sandbox::When::First(1)));
    let renewed = given().set("--job-id", "renewed").run().await;
    renewed.expect(1);
    for run in [&done, &resumed, &refused, &signed, &renewed] {
        clean("output", &run.stdout);
        clean("log", &run.stderr);
    }
    let report = all_files(&world.path("report"));
    assert!(report.contains(EXTERNAL_ID), "the job file has been read");
    clean("report", &report);
    // Nor is it read from the program's own help.
    let mut help = world.command(&["help", "copy"]);
    help.env("S3HAUL_MFA_CODE", MFA_CODE);
    clean("help", &Run::of(help).await.stdout);
}
