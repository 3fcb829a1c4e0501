//! What stands in `deploy/`: its exit codes, flags, variables and paths are the program's; its scripts submit what
//! they say. `tests/deploy` lints the same files.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use s3haul::cli::Exit;

use crate::structure::{flags_in, read, root};
use crate::support::{Run, World};

const FAILED_ROWS: u8 = 1;

/// The value behind a word, as YAML and the shell write it.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text
        .split_once(name)
        .unwrap_or_else(|| panic!("{name} is not there"));
    let rest = rest.trim_start();
    let quoted = rest
        .strip_prefix('"')
        .and_then(|rest| rest.split('"').next());
    quoted.unwrap_or_else(|| rest.split([' ', '\n', ',']).next().unwrap())
}

/// What a piece of text says between two words.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(begin)
        .unwrap_or_else(|| panic!("{begin} is not there"));
    rest.split(end).next().unwrap()
}

/// What AWS Batch does with an attempt, by the first rule that fits.
fn batch_action(rules: &str, exit_code: u8, status_reason: &str) -> String {
    let fits = |pattern: &str, text: &str| match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern,
    };
    for rule in rules.split("- On").skip(1) {
        let (name, _) = rule.split_once(':').unwrap();
        let pattern = value(rule, ":");
        let text = match name {
            "ExitCode" => exit_code.to_string(),
            "StatusReason" => status_reason.to_owned(),
            "Reason" => String::new(),
            other => panic!("On{other}"),
        };
        if fits(pattern, &text) {
            return value(rule, "Action:").to_owned();
        }
    }
    "RETRY".to_owned()
}

#[test]
fn aws_batch_tries_again_what_was_stopped() {
    let template = read("deploy/aws-batch.yaml");
    let of = |job: &str| {
        between(
            between(&template, job, "Timeout:"),
            "EvaluateOnExit:",
            "\n\n",
        )
        .to_owned()
    };
    let (copy, merge) = (of("\n  Copy:\n"), of("\n  Merge:\n"));
    for rules in [&copy, &merge] {
        assert!((3..=5).contains(&rules.matches("- On").count()), "{rules}");
        for code in 1..=4 {
            let expected = if code == Exit::Stopped as u8 {
                "RETRY"
            } else {
                "EXIT"
            };
            let ended = batch_action(rules, code, "Essential container in task exited");
            assert_eq!(ended, expected, "{code}");
        }
        let reclaimed = "Host EC2 (instance i-0123456789abcdef0) terminated.";
        assert_eq!(batch_action(rules, 137, reclaimed), "RETRY");
        assert_eq!(batch_action(rules, 137, "OutOfMemoryError"), "EXIT");
    }
    let spot = "Your Spot Task was interrupted.";
    assert_eq!(batch_action(&copy, 137, spot), "RETRY");
    // The children leave failed rows to the merge, which does not.
    let (copies, merges) = template.split_once("\n  Merge:\n").unwrap();
    let exit = between(copies, "S3HAUL_FAILED_ROWS_EXIT", "- Name");
    assert_eq!(value(exit, "Value:"), "0");
    assert!(!merges.contains("FAILED_ROWS_EXIT"));
}

/// What Kubernetes does with a pod that ended with this code.
fn pod_action(job: &str, exit_code: u8) -> String {
    for rule in between(job, "rules:", "template:")
        .split("- action:")
        .skip(1)
    {
        let values = rule.split_once("values: [").map_or("", |(_, rest)| rest);
        let values = values.split(']').next().unwrap().split(", ");
        if values
            .into_iter()
            .any(|value| value == exit_code.to_string())
        {
            return rule.trim_start().lines().next().unwrap().to_owned();
        }
    }
    // What it does where no rule fits.
    "Count".to_owned()
}

#[test]
fn kubernetes_tries_again_what_was_stopped() {
    let text = read("deploy/kubernetes-job.yaml");
    let jobs: Vec<_> = text
        .split("\n---\n")
        .filter(|d| d.contains("kind: Job"))
        .collect();
    let [copy, merge] = jobs[..] else {
        panic!("{} jobs", jobs.len())
    };
    let actions = [
        (FAILED_ROWS, "Count", "FailJob"),
        (Exit::Usage as u8, "FailIndex", "FailJob"),
        (Exit::Access as u8, "FailIndex", "FailJob"),
        (Exit::Stopped as u8, "Count", "Count"),
    ];
    for (code, of_copy, of_merge) in actions {
        assert_eq!(pod_action(copy, code), of_copy, "{code}");
        assert_eq!(pod_action(merge, code), of_merge, "{code}");
    }
    assert_eq!(value(&text, "S3HAUL_FAILED_ROWS_EXIT:"), "0");
    // Only a first rule of that kind lets a drained node pass.
    for job in [copy, merge] {
        let first = between(
            between(job, "rules:", "template:"),
            "- action:",
            "- action:",
        );
        assert!(first.trim_start().starts_with("Ignore"), "{first}");
        assert!(first.contains("type: DisruptionTarget"), "{first}");
    }
}

#[test]
fn slurm_tries_again_what_was_stopped() {
    let script = read("deploy/slurm.sh");
    assert_eq!(
        value(&script, "\nRETRIED="),
        (Exit::Stopped as u8).to_string()
    );
    assert_eq!(value(&script, "\"$shards\" --failed-rows-exit "), "0");
}

#[test]
fn engines_wait_longer_than_a_stop_takes() {
    let ecs = read("deploy/ecs-task.yaml");
    let drain = between(&ecs, "S3HAUL_DRAIN_TIMEOUT", "- Name");
    let drain = value(drain, "Value:")
        .trim_end_matches('s')
        .parse::<u32>()
        .unwrap();
    let stop: u32 = value(&ecs, "StopTimeout:").parse().unwrap();
    assert!(drain + 10 <= stop && stop <= 120, "{drain} {stop}");
    // The others leave the drain at its 20 seconds.
    for path in [
        "deploy/aws-batch.yaml",
        "deploy/kubernetes-job.yaml",
        "deploy/slurm.sh",
    ] {
        assert!(!read(path).contains("S3HAUL_DRAIN_TIMEOUT"), "{path}");
    }
    let kubernetes = read("deploy/kubernetes-job.yaml");
    let grace: u32 = value(&kubernetes, "terminationGracePeriodSeconds:")
        .parse()
        .unwrap();
    assert!(grace >= 20 + 10, "{grace}");
}

/// The names of `deploy/`'s files that others are to use.
fn files() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("deploy")).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let names = entries.map(|entry| format!("deploy/{}", name(entry).to_string_lossy()));
    // What tries the image out has variables of its own.
    let others = |name: &String| Path::new(name).extension() != Some("py".as_ref());
    names.filter(others).collect()
}

/// The variables of ours that a text names.
fn variables_in(text: &str) -> BTreeSet<String> {
    let named = text.match_indices("S3HAUL_").map(|(at, _)| {
        let rest = &text[at..];
        let inside = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        rest[..rest.find(|c| !inside(c)).unwrap_or(rest.len())].to_owned()
    });
    named.filter(|name| name != "S3HAUL_").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_name_flags_and_variables_that_there_are() {
    let world = World::new();
    let (mut flags, mut variables) = (BTreeSet::new(), BTreeSet::new());
    let commands: [&[&str]; 7] = [
        &["copy"],
        &["check"],
        &["policy"],
        &["resume"],
        &["report", "merge"],
        &["report", "show"],
        &["man"],
    ];
    for command in commands {
        let mut arguments = vec!["help"];
        arguments.extend(command);
        let help = Run::of(world.command(&arguments)).await;
        let help = &help.expect(0).stdout;
        flags.extend(flags_in(help));
        variables.extend(variables_in(help));
    }
    // What the build reads, and where the program lies on a node.
    let others = ["S3HAUL_COMMIT", "S3HAUL_PROGRAM"].map(str::to_owned);
    variables.extend(others);
    flags.insert("--version".to_owned());
    let mut named = BTreeSet::new();
    for path in files() {
        // A command may go on in the next line.
        let text = read(&path).replace("\\\n", " ");
        let unknown: Vec<_> = variables_in(&text)
            .difference(&variables)
            .cloned()
            .collect();
        assert_eq!(unknown, Vec::<String>::new(), "{path}");
        // Scripts have flags of their own, and of others.
        let ours = |line: &&str| match path.rsplit('.').next() {
            Some("yaml") => !line.contains("kubectl ") && !line.contains("aws "),
            Some("md") => line.starts_with("s3haul "),
            _ => line.contains("\"$s3haul\""),
        };
        let lines: Vec<_> = text.lines().filter(ours).collect();
        named.extend(flags_in(&lines.join("\n")));
    }
    assert!(named.len() > 5, "{named:?}");
    let unknown: Vec<_> = named.difference(&flags).collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

#[test]
fn the_pages_name_files_that_there_are() {
    for page in ["deploy/README.md", "docs/install.md"] {
        let text = read(page);
        let mut paths = BTreeSet::new();
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split([')', '#']).next().unwrap();
            if !link.is_empty() && !link.contains("://") {
                paths.insert(Path::new(page).parent().unwrap().join(link));
            }
        }
        for word in text.split([' ', '\n', '`', '(', ')', '"', ',']) {
            let folders = ["deploy/", "docs/", "tests/"];
            if folders.iter().any(|folder| word.starts_with(folder)) {
                paths.insert(word.trim_end_matches(['.', ':', ';']).into());
            }
        }
        assert!(paths.len() > 1, "{page}: {paths:?}");
        for path in paths {
            assert!(root().join(&path).exists(), "{page}: {}", path.display());
        }
    }
    // From nothing to an array's report.
    let page = read("deploy/README.md");
    let array = between(&page, "\n## AWS Batch\n", "\n## ");
    assert_eq!(array.matches("```sh\n").count(), 6);
}

/// Runs the submission script where `aws` writes down what it is asked; what it printed, and the requests.
async fn submit(world: &World, arguments: &[&str]) -> (Run, Vec<Vec<String>>) {
    let aws = world.path("bin/aws");
    std::fs::create_dir_all(aws.parent().unwrap()).unwrap();
    let fake = r#"#!/bin/bash
printf '%s\0' "$@" >>requests; printf '\n' >>requests
case "$*" in
    *OutputKey==*) [[ $* =~ OutputKey==\'([A-Za-z]*)\' ]]; echo "the-${BASH_REMATCH[1]}" ;;
    *--array-properties*) echo id-of-array ;;
    *) echo id-of-job ;;
esac
"#;
    std::fs::write(&aws, fake).unwrap();
    std::fs::set_permissions(&aws, std::fs::Permissions::from_mode(0o755)).unwrap();
    let requests = world.path("requests");
    let _ = std::fs::remove_file(&requests);
    let mut command = tokio::process::Command::new(root().join("deploy/submit-array.sh"));
    crate::support::hermetic(&mut command, aws.parent().unwrap().parent().unwrap());
    let path = std::env::var("PATH").unwrap();
    command.args(arguments).env(
        "PATH",
        format!("{}:{path}", aws.parent().unwrap().display()),
    );
    let run = Run::of(command).await;
    let requests = std::fs::read_to_string(&requests).unwrap_or_default();
    let request = |line: &str| line.split_terminator('\0').map(str::to_owned).collect();
    (run, requests.lines().map(request).collect())
}

/// What follows a flag in a request.
fn given<'a>(request: &'a [String], flag: &str) -> &'a str {
    let at = request.iter().position(|word| word == flag);
    &request[at.unwrap_or_else(|| panic!("no {flag}: {request:?}")) + 1]
}

fn json(request: &[String], flag: &str) -> serde_json::Value {
    serde_json::from_str(given(request, flag)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_and_its_merge_are_submitted() {
    let world = World::new();
    let stack = [
        "--stack",
        "copies",
        "--manifest",
        "s3://lists/a \"b\".csv",
        "--size",
        "8",
    ];
    let (run, requests) = submit(&world, &[&stack[..], &["--region", "eu-west-1"]].concat()).await;
    let said = "copy id-of-array\nmerge id-of-job\nreport the-Report/job-id-of-array\n";
    assert_eq!(run.expect(0).stdout, said);
    assert!(
        requests
            .iter()
            .all(|request| request[..2] == ["--region", "eu-west-1"])
    );
    let jobs: Vec<_> = requests
        .iter()
        .filter(|r| r.contains(&"submit-job".to_owned()))
        .collect();
    let [array, merge] = jobs[..] else {
        panic!("{requests:?}")
    };
    assert_eq!(given(array, "--job-queue"), "the-Queue");
    assert_eq!(given(array, "--job-definition"), "the-CopyDefinition");
    assert_eq!(given(array, "--array-properties"), "size=8");
    let parameters = serde_json::json!({"manifest": "s3://lists/a \"b\".csv", "shards": "8"});
    assert_eq!(json(array, "--parameters"), parameters);
    assert_eq!(given(merge, "--job-queue"), "the-MergeQueue");
    assert_eq!(given(merge, "--job-definition"), "the-MergeDefinition");
    assert_eq!(given(merge, "--depends-on"), "jobId=id-of-array");
    let parameters = serde_json::json!({"report": "the-Report/job-id-of-array"});
    assert_eq!(json(merge, "--parameters"), parameters);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_job_goes_on_with_its_flags() {
    let world = World::new();
    let (run, requests) = submit(
        &world,
        &[
            "--stack",
            "copies",
            "--manifest",
            "s3://lists/m.csv",
            "--size",
            "2",
            "--job-id",
            "first",
            r#"S3HAUL_METADATA={"owner":"a\\b"}"#,
            "S3HAUL_TAGS=none",
        ],
    )
    .await;
    assert!(
        run.expect(0)
            .stdout
            .ends_with("report the-Report/job-first\n")
    );
    let environment = serde_json::json!({"environment": [
        {"name": "S3HAUL_METADATA", "value": r#"{"owner":"a\\b"}"#},
        {"name": "S3HAUL_TAGS", "value": "none"},
        {"name": "S3HAUL_JOB_ID", "value": "first"},
    ]});
    let array = &requests[requests.len() - 2];
    assert_eq!(json(array, "--container-overrides"), environment);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_one_job() {
    let world = World::new();
    let arguments = [
        "--stack",
        "copies",
        "--manifest",
        "s3://lists/m.csv",
        "--check",
    ];
    let (run, requests) = submit(&world, &arguments).await;
    assert_eq!(run.expect(0).stdout, "check id-of-job\n");
    let check = requests.last().unwrap();
    let command = serde_json::json!(["check", "--manifest", "s3://lists/m.csv"]);
    assert_eq!(json(check, "--container-overrides")["command"], command);
    assert!(!check.contains(&"--array-properties".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_array_is_not_submitted() {
    let world = World::new();
    let stack = ["--stack", "copies", "--manifest", "s3://lists/m.csv"];
    for (more, word) in [
        (&["--size", "1"][..], "2 to 10000"),
        (&["--size", "10001"], "2 to 10000"),
        (&["--size", "two"], "2 to 10000"),
        (&["--size", "2", "--job-id", "a/b"], "--job-id"),
        (&["--check", "--size", "2"], "--check"),
        (&["--sizes", "2"], "usage"),
        (&[], "--size"),
    ] {
        let (run, requests) = submit(&world, &[&stack[..], more].concat()).await;
        assert_eq!(run.code(), 2, "{more:?}");
        assert!(run.stderr.contains(word), "{more:?}: {}", run.stderr);
        assert_eq!(requests, Vec::<Vec<String>>::new(), "{more:?}");
    }
}
