//! The machine under the program: files that cannot be written, descriptors that run out, a stop of the whole
//! process, and being the first process of a container.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::{OPERATOR_ACCESS_KEY_ID, OPERATOR_SECRET_ACCESS_KEY};
use s3haul_sandbox::{BucketSettings, Fault, FaultKind, LogEntry, Operation, SandboxOptions};
use tokio::process::{Child, Command};

use crate::network::Front;
use crate::objects::{IN_PARTS, LARGE, PARTS, sent, sized_manifest};
use crate::resume::logged;
use crate::support::{Run, World, count, read_report};

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap()
}

fn slow(world: &World, operation: Operation, milliseconds: u64) {
    let fault = Fault::on(operation, FaultKind::Latency(milliseconds));
    world.sandbox.faults().add(fault);
}

fn copied(entry: &LogEntry) -> bool {
    entry.operation == Operation::CopyObject && entry.status == Some(200)
}

/// Waits until outcomes are in the journal, which is open from then on.
async fn has_journal(world: &World) {
    let journal = world.job().join("work/journal-00000001");
    for _ in 0..6_000 {
        if journal.metadata().is_ok_and(|file| file.len() > 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no outcome is ever written");
}

/// Every row of the ended report succeeded, and is in it once.
fn assert_all_once(world: &World, rows: usize) {
    assert_report_once(&world.job(), rows);
}

fn assert_report_once(job: &Path, expected: usize) {
    let rows = read_report(job);
    let keys: BTreeSet<_> = rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!((rows.len(), keys.len()), (expected, expected));
    assert_eq!(count(&rows, TaskStatus::Succeeded), expected);
}

/// Expects the job to have stopped over its report, with words that name the file and the cause, and nothing
/// lost of what it had said to be done; and goes on with it to the end.
async fn stopped_and_resumed(world: &World, run: &Run, rows: usize, words: &[&str]) {
    run.expect(4);
    for words in words {
        assert!(run.stderr.contains(words), "no {words:?} in {}", run.stderr);
    }
    assert_eq!(world.checkpoint()["counts"]["failed"], 0);
    world.sandbox.faults().clear();
    world.sandbox.log().clear();
    let resumed = world.resume(&[]).await;
    resumed.expect(0);
    assert_eq!(resumed.summary("succeeded"), rows);
    assert_all_once(world, rows);
    // What was durable is not sent again.
    let again = world.sandbox.log().count(Operation::CopyObject);
    assert!(again < rows, "{again} of {rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_may_not_grow_stops_the_job() {
    let world = World::new();
    world.small_objects(400);
    slow(&world, Operation::CopyObject, 5);
    let child = world.copy_command().spawn().unwrap();
    let limit = Rlimit {
        current: Some(64 << 10),
        maximum: Some(64 << 10),
    };
    prlimit(Some(pid(&child)), Resource::Fsize, limit).unwrap();
    let run = Run::end_of(child).await;
    stopped_and_resumed(&world, &run, 400, &["journal-", "File too large"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_lost_stops_the_job() {
    let world = World::new();
    world.small_objects(200);
    slow(&world, Operation::CopyObject, 10);
    let child = world.copy_command().spawn().unwrap();
    logged(&world, 20, copied).await;
    let (results, aside) = (world.job().join("results"), world.path("aside"));
    std::fs::rename(&results, &aside).unwrap();
    std::fs::write(&results, "").unwrap();
    let run = Run::end_of(child).await;
    std::fs::remove_file(&results).unwrap();
    std::fs::rename(&aside, &results).unwrap();
    stopped_and_resumed(&world, &run, 200, &["results", "Not a directory"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_made_is_told_before_the_job() {
    let world = World::new();
    world.small_objects(3);
    // Nobody makes files there, root neither.
    let run = Run::of(world.copy_command_into("/proc/s3haul")).await;
    run.expect(2);
    assert!(run.stderr.contains("/proc/s3haul"), "{}", run.stderr);
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 0);
}

/// Whether this machine lets a test do that; says so if not.
#[expect(
    clippy::print_stderr,
    reason = "a test that is skipped must not look like one that was run"
)]
pub(crate) async fn permitted(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let tried = command.output().await;
    let permitted = tried.as_ref().is_ok_and(|tried| tried.status.success());
    if !permitted {
        eprintln!("skipped: this machine does not permit {program} {arguments:?}: {tried:?}");
    }
    permitted
}

/// What makes a process the root of namespaces of its own.
pub(crate) fn unshare(kinds: &[&'static str]) -> Vec<&'static str> {
    let mut flags = kinds.to_vec();
    if !rustix::process::geteuid().is_root() {
        flags.extend(["--user", "--map-root-user"]);
    }
    flags
}

/// The program's command line as arguments of another program.
pub(crate) fn within(
    world: &World,
    program: &str,
    arguments: &[&str],
    command: &Command,
) -> Command {
    let mut outer = Command::new(program);
    let inner = command.as_std();
    outer
        .args(arguments)
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in world.command(&[]).as_std().get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
        .current_dir(world.path("."))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    outer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_job_until_there_is_room() {
    let namespace = unshare(&["--mount"]);
    let mounts = ["sh", "-c", "mount -t tmpfs none /mnt"];
    if !permitted("unshare", &[&namespace[..], &mounts].concat()).await {
        return;
    }
    let world = World::new();
    world.small_objects(300);
    std::fs::create_dir(world.path("report")).unwrap();
    // The file system is the namespace's own: what is in it at the end is copied out.
    let script = r#"
        mount -t tmpfs -o size=96k none report
        "$0" "$@" 2>first.err; echo $? >first.code
        mount -o remount,size=10m report
        "$0" resume report --output json; code=$?
        cp -r report copied
        exit $code"#;
    let outer = [&namespace[..], &["sh", "-c", script]].concat();
    let run = Run::of(within(&world, "unshare", &outer, &world.copy_command())).await;
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    let (code, said) = (read("first.code"), read("first.err"));
    assert_eq!(code.trim(), "4", "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("report/job-test/"), "{said}");
    run.expect(0);
    assert_report_once(&world.path("copied/job-test"), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_file_system_is_told_before_the_job() {
    let namespace = unshare(&["--mount"]);
    let mounts = ["sh", "-c", "mount -t tmpfs none /mnt"];
    if !permitted("unshare", &[&namespace[..], &mounts].concat()).await {
        return;
    }
    let world = World::new();
    world.small_objects(3);
    std::fs::create_dir(world.path("report")).unwrap();
    let script = r#"mount -t tmpfs -o ro none report && exec "$0" "$@""#;
    let outer = [&namespace[..], &["sh", "-c", script]].concat();
    let run = Run::of(within(&world, "unshare", &outer, &world.copy_command())).await;
    run.expect(2);
    for words in ["report", "Read-only file system"] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_stops_the_job() {
    let trace = ["-f", "-o", "/dev/null", "-e", "trace=fdatasync"];
    if !permitted("strace", &[&trace[..], &["true"]].concat()).await {
        return;
    }
    let world = World::new();
    world.small_objects(300);
    slow(&world, Operation::CopyObject, 100);
    let inject = ["-e", "inject=fdatasync:error=EIO:when=3+"];
    let traced = [&trace[..], &inject].concat();
    let mut command = world.copy_command();
    command.args(["--concurrency", "4"]);
    let run = Run::of(within(&world, "strace", &traced, &command)).await;
    stopped_and_resumed(&world, &run, 300, &["journal-", "Input/output error"]).await;
}

/// Lets it open nothing that is not open; gives the limit that it had.
fn no_more_files(child: &Child) -> Rlimit {
    let limit = Rlimit {
        current: Some(3),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(Some(pid(child)), Resource::Nofile, limit).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_fails_for_want_of_descriptors() {
    const ROWS: usize = 200;
    let world = World::new();
    world.small_objects(ROWS);
    // The rows behind the first ten: sixteen at a time, then thirty-two, sixty-four.
    let tens = (1..10).map(|tens| format!("k000{tens}"));
    for keys in tens.chain(["k001".to_owned()]) {
        let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(2_000));
        world.sandbox.faults().add(slow.key_contains(&keys));
    }
    let child = world.copy_command().spawn().unwrap();
    // The journal is there, the manifest has been read: what is opened from here on are connections.
    has_journal(&world).await;
    logged(&world, 12, copied).await;
    let before = no_more_files(&child);
    logged(&world, 60, copied).await;
    prlimit(Some(pid(&child)), Resource::Nofile, before).unwrap();
    world.sandbox.faults().clear();
    let run = Run::end_of(child).await;
    run.expect(0);
    assert!(run.summary("throttled").as_u64() > Some(0));
    assert_all_once(&world, ROWS);
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_opened_for_want_of_descriptors_stops_the_job() {
    let world = World::new();
    world.small_objects(600);
    slow(&world, Operation::CopyObject, 50);
    let mut command = world.copy_command();
    command.args(["--concurrency", "4"]);
    let child = command.spawn().unwrap();
    has_journal(&world).await;
    no_more_files(&child);
    let run = Run::end_of(child).await;
    stopped_and_resumed(&world, &run, 600, &["Too many open files"]).await;
}

/// Stops the program for a while, as a laptop that sleeps.
async fn sleep_and_wake(child: &Child, seconds: u64) {
    kill_process(pid(child), Signal::STOP).unwrap();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    kill_process(pid(child), Signal::CONT).unwrap();
}

/// Small and large objects, of which each request takes a while.
fn long_requests(world: &World) -> (Vec<String>, Vec<String>) {
    let small: Vec<_> = (0..40).map(|n| format!("k{n:02}")).collect();
    let large: Vec<_> = (0..4).map(|n| format!("large{n}")).collect();
    for key in &small {
        world.put(key, key);
    }
    for key in &large {
        world.declare(key, LARGE);
    }
    // Behind the first rows, which run alone.
    sized_manifest(world, small[..12].iter().chain(&large).chain(&small[12..]));
    slow(world, Operation::CopyObject, 500);
    slow(world, Operation::UploadPartCopy, 1_000);
    (small, large)
}

fn of_parts(entry: &LogEntry) -> bool {
    entry.operation == Operation::UploadPartCopy
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_sends_nothing_twice() {
    let world = World::new();
    let (small, large) = long_requests(&world);
    let mut command = world.copy_command();
    command.args(IN_PARTS).args(["--attempt-timeout", "2s"]);
    let mut child = command.spawn().unwrap();
    // In flight when it is stopped, answered while it is, and past their time-out when it goes on.
    let log = world.sandbox.log();
    let parts = || log.of(Operation::UploadPartCopy).len();
    while log.in_flight() < 4 || parts() == 0 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "too few requests at once"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sleep_and_wake(&child, 4).await;
    let run = Run::end_of(child).await;
    run.expect(0);
    assert_all_once(&world, small.len() + large.len());
    assert_eq!(run.summary("in_doubt"), 0);
    assert_eq!(log.count(Operation::CopyObject), small.len());
    assert_eq!(parts(), large.len() * PARTS);
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_while_the_process_is_stopped_is_renewed() {
    let options = SandboxOptions {
        min_session_seconds: 1,
        ..SandboxOptions::default()
    };
    let world = World::with(options, BucketSettings::default());
    let (small, large) = long_requests(&world);
    let mut command = world.copy_command();
    command
        .args(IN_PARTS)
        .args(["--role-duration", "3s", "--concurrency", "6"]);
    let child = command.spawn().unwrap();
    logged(&world, 1, of_parts).await;
    sleep_and_wake(&child, 5).await;
    let run = Run::end_of(child).await;
    run.expect(0);
    assert_all_once(&world, small.len() + large.len());
    for key in &small {
        let copies = sent(&world, Operation::CopyObject, key);
        assert_eq!(
            copies.iter().filter(|entry| copied(entry)).count(),
            1,
            "{key}"
        );
    }
    assert!(world.sandbox.log().count(Operation::AssumeRole) >= 3);
    world.assert_no_uploads();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_die_while_the_process_is_stopped_double_nothing() {
    let world = World::new();
    let (small, large) = long_requests(&world);
    let front = Front::before(&world, Duration::from_mins(2), || 0).await;
    let mut command = world.copy_command_by(&front.url, "report");
    command.args(IN_PARTS).args(["--attempt-timeout", "3s"]);
    command.args(["--overwrite", "never"]);
    let child = command.spawn().unwrap();
    logged(&world, 1, of_parts).await;
    kill_process(pid(&child), Signal::STOP).unwrap();
    // What was sent is carried out; the answers reach nobody.
    while world.sandbox.log().in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    front.drop_connections();
    kill_process(pid(&child), Signal::CONT).unwrap();
    let run = Run::end_of(child).await;
    run.expect(0);
    assert_all_once(&world, small.len() + large.len());
    for key in &small {
        let copies = sent(&world, Operation::CopyObject, key);
        assert_eq!(
            copies.iter().filter(|entry| copied(entry)).count(),
            1,
            "{key}"
        );
    }
    world.assert_no_uploads();
}

/// The process that a process started.
async fn child_of(parent: u32) -> Pid {
    for _ in 0..500 {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let status = std::fs::read_to_string(entry.path().join("status"));
            let ours = status.is_ok_and(|status| {
                status.lines().any(|line| {
                    let found = line.strip_prefix("PPid:");
                    found.is_some_and(|found| found.trim() == parent.to_string())
                })
            });
            if ours {
                let name = entry.file_name().to_string_lossy().into_owned();
                return Pid::from_raw(name.parse().unwrap()).unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{parent} has started nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_of_a_container_drains() {
    let world = World::new();
    world.small_objects(200);
    slow(&world, Operation::CopyObject, 100);
    let mut command = world.copy_command();
    command.args(["--concurrency", "4"]);
    let Some((outer, first)) = as_first_process(&world, &command).await else {
        return;
    };
    logged(&world, 20, copied).await;
    kill_process(first, Signal::TERM).unwrap();
    let run = Run::end_of(outer).await;
    run.expect(4);
    assert_eq!(run.summary("state"), "interrupted");
    let done = run.summary("succeeded").as_u64().unwrap();
    assert!((20..200).contains(&done), "{done}");
    // What was in flight has ended, and is in the report.
    assert_eq!(
        world.sandbox.log().count(Operation::CopyObject) as u64,
        done
    );
    world.resume(&[]).await.expect(0);
    assert_all_once(&world, 200);
    assert_eq!(world.sandbox.log().count(Operation::CopyObject), 200);
}

/// The program as the first process of a PID namespace; `None` where that is not permitted.
async fn as_first_process(world: &World, command: &Command) -> Option<(Child, Pid)> {
    let namespace = unshare(&["--pid", "--fork"]);
    let first = [&namespace[..], &["sh", "-c", "test $$ = 1"]].concat();
    if !permitted("unshare", &first).await {
        return None;
    }
    let outer = within(world, "unshare", &namespace, command).spawn();
    let outer = outer.unwrap();
    let first = child_of(outer.id().unwrap()).await;
    Some((outer, first))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_first_process_at_once() {
    let world = World::new();
    world.small_objects(40);
    // Nothing in flight is answered while the test runs.
    slow(&world, Operation::CopyObject, 3_600_000);
    let mut command = world.copy_command();
    command.args(["--drain-timeout", "1h", "--attempt-timeout", "1h"]);
    let Some((mut outer, first)) = as_first_process(&world, &command).await else {
        return;
    };
    while world.sandbox.log().in_flight() < 10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Until it is gone: of two that come together a process may see one.
    while outer.try_wait().unwrap().is_none() {
        let _ = kill_process(first, Signal::TERM);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let run = Run::end_of(outer).await;
    run.expect(4);
    assert!(
        run.stderr.contains("once more to stop at once"),
        "{}",
        run.stderr
    );
    world.sandbox.faults().clear();
    world.resume(&[]).await.expect(0);
    assert_all_once(&world, 40);
}

/// How many processes have ended whose parent, this one, has not asked how.
fn zombies_of(parent: Pid) -> usize {
    let parent = parent.as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats =
        processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| {
            let behind_name = stat.rsplit(')').next().unwrap_or_default();
            let mut fields = behind_name.split_whitespace();
            fields.next() == Some("Z") && fields.next() == Some(&parent)
        })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_collects_what_gives_credentials() {
    let options = SandboxOptions {
        min_session_seconds: 1,
        ..SandboxOptions::default()
    };
    let world = World::with(options, BucketSettings::default());
    world.small_objects(40);
    slow(&world, Operation::CopyObject, 200);
    // Asked for at each renewal of the role's session.
    let asked = world.path("asked");
    let script = format!(
        r#"echo >>{}; echo '{{"Version": 1, "AccessKeyId": "{OPERATOR_ACCESS_KEY_ID}",
        "SecretAccessKey": "{OPERATOR_SECRET_ACCESS_KEY}"}}'"#,
        asked.display()
    );
    std::fs::write(world.path("keys.sh"), script).unwrap();
    let profile = format!(
        "[profile p]\ncredential_process = sh {}\n",
        world.path("keys.sh").display()
    );
    std::fs::write(world.path("no-config"), profile).unwrap();
    let mut command = world.copy_command();
    command.args([
        "--profile",
        "p",
        "--role-duration",
        "3s",
        "--concurrency",
        "2",
    ]);
    let Some((outer, first)) = as_first_process(&world, &command).await else {
        return;
    };
    logged(&world, 36, copied).await;
    let times = std::fs::read_to_string(&asked).unwrap().lines().count();
    assert!(times >= 1);
    assert_eq!(zombies_of(first), 0);
    Run::end_of(outer).await.expect(0);
    assert_all_once(&world, 40);
}
