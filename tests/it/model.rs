//! One model of a job: random sources, manifests, options, faults and kills, and what must hold at the end.
//!
//! A case kills the program again and again, goes on with the same command line or `resume`, and lets it end without
//! faults. Then the destination is what the model says, each row is in the report once, and of what was written more
//! than once each version is one that the job knows to be in doubt: see [`check`].
//!
//! `SEED=n` runs that case alone. `MODEL_KILLS=n` makes it a long run of so many kills instead, of which
//! `MODEL_JOBS` (4) go on side by side, with `MODEL_KEYS` (60) keys each: `tests/torture/kill.sh`. `MODEL_REPORT` is
//! `folder` or `bucket`; else the seed says where the report is kept.

mod check;
mod plan;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fastrand::Rng;
use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::{COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID, role_arn};
use s3haul_sandbox::{LogEntry, Operation};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use self::plan::{Plan, Size};
use self::record::{Durable, durable};
use crate::resume::terminate;
use crate::support::{DESTINATION, Run, SOURCE, World};

/// Writes that leave an object or a marker when they are done.
const LANDING: [Operation; 3] = [
    Operation::CopyObject,
    Operation::CompleteMultipartUpload,
    Operation::DeleteObject,
];
/// Faults that hide from the program that its request was done.
const HIDING: [&str; 4] = [
    "answer_lost",
    "cut_body",
    "error_in_ok_after_work",
    "empty_e_tag",
];

/// What cases did together.
#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    cases: usize,
    kills: usize,
    terminations: usize,
    stops: usize,
    attempts: usize,
    rows: usize,
    requests: u64,
    /// Outcomes that were durable when the program was killed.
    durable: usize,
    /// Rows that the reports count.
    in_doubt: usize,
    /// Versions that no row names: of writes that a kill left in doubt, and of rows counted in doubt or tried again.
    doubled_by_kills: usize,
    doubled_in_doubt: usize,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.kills += other.kills;
        self.terminations += other.terminations;
        self.stops += other.stops;
        self.attempts += other.attempts;
        self.rows += other.rows;
        self.requests += other.requests;
        self.durable += other.durable;
        self.in_doubt += other.in_doubt;
        self.doubled_by_kills += other.doubled_by_kills;
        self.doubled_in_doubt += other.doubled_in_doubt;
    }
}

/// How a case went so far.
struct Course {
    rng: Rng,
    world: World,
    plan: Plan,
    figures: Figures,
    /// Rows that were durable and not failed, as the report has them.
    good: BTreeSet<String>,
    /// Versions written by an attempt that died before the row that would name them was durable.
    orphans: BTreeSet<(String, String)>,
    /// By destination key, writes that were done and whose answer did not say so, and requests whose answer may
    /// have failed a row behind its write.
    hidden: BTreeMap<String, usize>,
    /// All requests, attempt by attempt.
    history: Vec<(usize, LogEntry)>,
}

/// Runs a case; it panics with the seed in its words.
async fn case(seed: u64, size: Size, kills: usize) -> Figures {
    let mut rng = Rng::with_seed(seed);
    let (world, plan) = Plan::random(&mut rng, size);
    // What is there is older than the job: S3's dates have whole seconds.
    world.sandbox.advance(Duration::from_secs(2));
    for fault in &plan.faults {
        world.sandbox.faults().add(fault.clone());
    }
    let sources = listed(&world, SOURCE);
    let mut course = Course {
        rng,
        world,
        plan,
        figures: Figures::default(),
        good: BTreeSet::new(),
        orphans: BTreeSet::new(),
        hidden: BTreeMap::new(),
        history: Vec::new(),
    };
    for _ in 0..2 * kills {
        if course.figures.kills < kills {
            course.attempt(Some(kills)).await;
        }
    }
    let mut run = course.attempt(None).await;
    course.world.sandbox.faults().clear();
    loop {
        let failed = run.summary("failed");
        run = course.resume().await;
        if run.summary("failed") == failed {
            break;
        }
    }
    assert_eq!(listed(&course.world, SOURCE), sources);
    check::check(&mut course, &run);
    course.figures.cases = 1;
    course.figures
}

/// Key, version ID and ETag.
type Version = (String, String, Option<String>);

/// The versions of a bucket.
fn listed(world: &World, bucket: &str) -> BTreeSet<Version> {
    let versions = world.store().versions(bucket).into_iter();
    let listed = versions.map(|version| {
        let e_tag = version.object.map(|object| object.e_tag());
        (version.key, version.version_id, e_tag)
    });
    listed.collect()
}

impl Course {
    /// Runs the program once, by the same command line or by `resume`; of `kills` it is one, unless it ends before.
    async fn attempt(&mut self, kills: Option<usize>) -> Run {
        let exists = self.world.job().join("job.json").exists();
        let resumes = exists && self.rng.bool();
        let (command, stdin) = if resumes {
            (self.resume_command(), None)
        } else {
            let (given, stdin) = self.plan.copy(&self.world);
            // What was spooled is enough.
            let again = stdin.filter(|_| !exists || self.rng.bool());
            (given.command(), again.map(<[u8]>::to_vec))
        };
        self.run(command, stdin, resumes, kills).await
    }

    async fn resume(&mut self) -> Run {
        self.run(self.resume_command(), None, true, None).await
    }

    fn resume_command(&self) -> Command {
        let mut command = self.world.command(&["resume"]);
        command.arg(self.plan.report(&self.world));
        command.args(["--output", "json"]);
        if self.plan.in_bucket {
            command
                .args(["--role-arn", &role_arn(DESTINATION_ACCOUNT, COPY_ROLE)])
                .args(["--external-id", EXTERNAL_ID])
                .args(["--endpoint-url", &self.world.sandbox.endpoint()]);
        }
        command
    }

    async fn run(
        &mut self,
        mut command: Command,
        stdin: Option<Vec<u8>>,
        resumes: bool,
        kills: Option<usize>,
    ) -> Run {
        let before = durable(&self.world);
        let settled = self.settled(&before, resumes);
        let there = listed(&self.world, DESTINATION);
        let log = self.world.sandbox.log().clone();
        log.clear();
        let arrived = log.arrived();
        let mut child = match &stdin {
            None => command.spawn().unwrap(),
            Some(_) => command.stdin(Stdio::piped()).spawn().unwrap(),
        };
        if let (Some(manifest), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(&manifest).await.unwrap();
        }
        let end = match kills {
            None => Run::end_of(child).await,
            Some(kills) => self.end_early(child, arrived, kills).await,
        };
        let dead = end.status.code().is_none_or(|code| code == 4);
        assert!(dead || matches!(end.code(), 0 | 1), "{end:?}");
        assert!(!dead || kills.is_some(), "{end:?}");
        if dead {
            self.quiet().await;
            // Who is silent for so long, by S3's clock, is taken for dead by the next writer.
            self.world.sandbox.advance(Duration::from_secs(62));
        }
        if self.plan.in_bucket {
            record::export(&self.world, plan::REPORTS);
        }
        self.figures.attempts += 1;
        self.figures.requests += log.arrived() - arrived;
        let entries = log.entries();
        self.check_requests(&entries, &settled);
        self.take_note(&entries, dead, &there);
        let attempt = self.figures.attempts;
        let entries = entries.into_iter().map(|entry| (attempt, entry));
        self.history.extend(entries);
        end
    }

    /// What was sent for a key of the destination, attempt by attempt.
    fn told(&self, key: &str) -> String {
        let of_key = self
            .history
            .iter()
            .filter(|(_, entry)| key.ends_with(&entry.key));
        let line = |(attempt, entry): &(usize, LogEntry)| {
            let (status, fault) = (entry.status, entry.fault.as_deref());
            let (operation, bucket, query) = (entry.operation, &entry.bucket, &entry.query);
            format!("{attempt}: {operation:?} {bucket} {query:?} {status:?} {fault:?}\n")
        };
        of_key.map(line).collect()
    }

    /// Lets the program live until some request, then ends it in some way.
    async fn end_early(&mut self, mut child: Child, arrived: u64, kills: usize) -> Run {
        let log = self.world.sandbox.log().clone();
        // Some requests come before the first row.
        let first = if self.plan.in_bucket { 20 } else { 10 };
        let most = first + 2 * self.plan.rows.len() / kills;
        let last = arrived + self.rng.u64(1..=most as u64);
        tokio::select! {
            () = log.wait_until(|_| log.arrived() >= last) => {}
            _ = child.wait() => return Run::end_of(child).await,
        }
        let pause = self.rng.u64(0..60);
        if self.rng.bool() {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if self.rng.usize(0..8) == 0 {
            self.figures.stops += 1;
            signal(&child, rustix::process::Signal::STOP);
            tokio::time::sleep(Duration::from_millis(50 + pause)).await;
            signal(&child, rustix::process::Signal::CONT);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        if child.try_wait().unwrap().is_none() {
            if self.rng.usize(0..5) == 0 {
                self.figures.terminations += 1;
                terminate(&child);
            } else {
                self.figures.kills += 1;
                child.start_kill().unwrap();
            }
        }
        Run::end_of(child).await
    }

    /// Waits until nothing more lands of a program that is dead.
    async fn quiet(&self) {
        let log = self.world.sandbox.log();
        loop {
            let arrived = log.arrived();
            log.wait_until(|_| log.in_flight() == 0).await;
            // What was sent may wait in a socket.
            tokio::time::sleep(Duration::from_millis(30)).await;
            if log.in_flight() == 0 && log.arrived() == arrived {
                return;
            }
        }
    }

    /// Rows of which nothing may be sent any more, as encoded keys with their versions; `None` for a version stands
    /// for all rows of a key.
    fn settled(&self, before: &[Durable], resumes: bool) -> BTreeSet<(String, Option<String>)> {
        let mut left = BTreeMap::<_, i64>::new();
        for row in &self.plan.rows {
            for version_id in [Some(row.version_id.clone().unwrap_or_default()), None] {
                *left.entry((row.key.clone(), version_id)).or_default() += 1;
            }
        }
        for row in before {
            // A pass over failed rows tries them again.
            let done = row.row.status != TaskStatus::Failed || (row.in_hand && !resumes);
            if !done {
                continue;
            }
            for version_id in [Some(row.row.version_id.clone()), None] {
                *left.get_mut(&(row.key(), version_id)).unwrap() -= 1;
            }
        }
        let settled = left.into_iter().filter(|(_, left)| *left <= 0);
        settled.map(|(row, _)| row).collect()
    }

    /// Nothing is written to the source, and nothing is sent again whose outcome was durable.
    fn check_requests(&self, entries: &[LogEntry], settled: &BTreeSet<(String, Option<String>)>) {
        let mut by_destination = BTreeMap::<_, Vec<_>>::new();
        for row in &self.plan.rows {
            if let Some(key) = self.plan.destination_key(row) {
                by_destination.entry(key).or_default().push(row);
            }
        }
        for entry in entries {
            let written = check::is_write(entry.operation);
            assert!(
                !written || entry.bucket != SOURCE,
                "the source is written to: {entry:?}"
            );
            if !written || entry.bucket != DESTINATION {
                continue;
            }
            let Some(rows) = by_destination.get(&entry.key) else {
                panic!("nobody asked for {entry:?}");
            };
            let source = entry.header("x-amz-copy-source").unwrap_or_default();
            let version_id = source
                .split_once("?versionId=")
                .map(|(_, id)| id.to_owned());
            let is_open = |row: &&plan::Listed| {
                let exact = (
                    row.key.clone(),
                    Some(row.version_id.clone().unwrap_or_default()),
                );
                let named =
                    row.version_id.is_none() || source.is_empty() || row.version_id == version_id;
                named && !settled.contains(&exact)
            };
            let again = !rows.iter().any(is_open);
            assert!(!again, "sent again, and its outcome was durable: {entry:?}");
        }
    }

    /// What an attempt has left: durable outcomes, none of which is ever lost, and writes that are in doubt.
    fn take_note(&mut self, entries: &[LogEntry], dead: bool, there: &BTreeSet<Version>) {
        for entry in entries {
            let hidden = entry
                .fault
                .as_deref()
                .is_some_and(|fault| HIDING.contains(&fault));
            let lands = LANDING.contains(&entry.operation);
            let behind = entry.fault.is_some() && !lands;
            let key = match entry.bucket.as_str() {
                SOURCE => self.plan.rename(&entry.key),
                _ => Some(entry.key.clone()),
            };
            if let (true, Some(key)) = (hidden && lands || behind, key) {
                *self.hidden.entry(key).or_default() += 1;
            }
        }
        let now = durable(&self.world);
        let good: BTreeSet<_> = now
            .iter()
            .filter(|row| row.row.status != TaskStatus::Failed)
            .map(|row| format!("{:?}", row.row))
            .collect();
        if self.plan.lists_all {
            let lost: Vec<_> = self.good.difference(&good).collect();
            assert!(lost.is_empty(), "durable outcomes were lost: {lost:?}");
            self.good = good;
        }
        if dead {
            self.figures.durable += now.len();
            self.note_orphans(&now, there);
        }
    }

    /// Takes note of versions of an attempt that died whose rows had not ended for good.
    fn note_orphans(&mut self, now: &[Durable], there: &BTreeSet<Version>) {
        let named: BTreeSet<_> = now.iter().filter_map(Durable::names).collect();
        let mut open = BTreeMap::<_, i64>::new();
        for row in &self.plan.rows {
            if let Some(key) = self.plan.destination_key(row) {
                *open.entry(key).or_default() += 1;
            }
        }
        let good = |row: &&Durable| row.row.status != TaskStatus::Failed;
        for row in now.iter().filter(good) {
            let source = row.key();
            if let Some(key) = self.plan.rename(&source) {
                *open.entry(key).or_default() -= 1;
            }
        }
        let written = listed(&self.world, DESTINATION);
        for (key, version_id, _) in written.into_iter().filter(|row| !there.contains(row)) {
            if open[&key] > 0 && !named.contains(&version_id) {
                self.orphans.insert((key, version_id));
            }
        }
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    if let Some(id) = child.id() {
        let pid = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

/// Cases of so many seeds in a row, or of as many as make so many kills, some side by side.
#[expect(clippy::print_stderr, reason = "by its seed a case can be had again")]
async fn cases(first: u64, until: Until, jobs: usize, size: Size) -> Figures {
    let (mut all, mut next, mut running) = (Figures::default(), first, JoinSet::new());
    let (mut seeds, mut failed) = (BTreeMap::new(), BTreeMap::new());
    loop {
        let (enough, kills) = match until {
            Until::Seeds(seeds) => (next - first >= seeds, 3),
            Until::Kills(kills) => (all.kills >= kills, 8),
        };
        if !enough && failed.len() < 5 && running.len() < jobs {
            let seed = next;
            next += 1;
            eprintln!("SEED={seed}");
            let size = Size {
                slow: seed % 2 == 0,
                ..size
            };
            let id = running.spawn(case(seed, size, kills)).id();
            seeds.insert(id, seed);
            continue;
        }
        match running.join_next_with_id().await {
            Some(Ok((_, figures))) => all.add(figures),
            Some(Err(error)) => {
                failed.insert(seeds[&error.id()], error.to_string());
            }
            None => break,
        }
    }
    for (seed, why) in &failed {
        eprintln!("SEED={seed} fails: {why}");
    }
    assert!(failed.is_empty(), "seeds that fail: {:?}", failed.keys());
    all
}

/// How many cases.
#[derive(Debug, Clone, Copy)]
enum Until {
    Seeds(u64),
    Kills(usize),
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_killed_again_and_again_ends_as_the_model_says() {
    let began = Instant::now();
    let number = |variable: &str| {
        let value = std::env::var(variable).ok();
        value.map(|value| value.parse::<u64>().unwrap())
    };
    let count =
        |variable, default| number(variable).map_or(default, |n| usize::try_from(n).unwrap());
    let kills = count("MODEL_KILLS", 0);
    let size = Size {
        keys: count("MODEL_KEYS", if kills > 0 { 60 } else { 30 }),
        slow: false,
    };
    let seed = number("SEED");
    let mut figures = match seed {
        _ if kills > 0 => {
            let jobs = count("MODEL_JOBS", 4);
            cases(seed.unwrap_or(1), Until::Kills(kills), jobs, size).await
        }
        Some(seed) => cases(seed, Until::Seeds(1), 1, size).await,
        None => cases(1, Until::Seeds(6), 4, size).await,
    };
    if seed.is_none() && kills == 0 {
        // Another one each time.
        figures.add(
            cases(
                fastrand::u64(1_000..1_000_000_000),
                Until::Seeds(1),
                1,
                size,
            )
            .await,
        );
    }
    eprintln!("in {:.1} s: {figures:#?}", began.elapsed().as_secs_f64());
    assert!(figures.kills > 0 && figures.rows > 0, "{figures:?}");
}
