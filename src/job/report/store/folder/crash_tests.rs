//! Every prefix of every step, with what was not synced dropped or torn, then recovery: each row
//! ends in exactly one row of the final report, and nothing durable is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest, Md5};

use super::*;
use crate::job::manifest::{Facts, Place};
use crate::job::report::journal::{OpenUpload, OutcomeRecord, Record, read_frames, write_frame};
use crate::job::report::passes::{Checkpoint, JobState, State, hex};
use crate::job::report::row::ReportRow;

const JOB: &str = "job-x";
const ROWS: u64 = 14;

/// A disk that knows what would survive the loss of power.
#[derive(Debug, Clone, Default)]
struct Disk {
    files: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    inodes: Vec<Inode>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    data: Vec<u8>,
    synced: Vec<u8>,
}

/// What a crash leaves.
#[derive(Debug, Clone, Copy)]
enum Crash {
    /// The process dies: the page cache survives, the last write may be half done.
    Kill,
    /// Power is lost: what was not synced is gone.
    Power,
    /// Power is lost: half of what was not synced has reached the disk.
    Torn,
}

impl Disk {
    fn read(&self, path: &str) -> Option<&[u8]> {
        Some(&self.inodes[*self.files.get(path)?].data)
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Write { path, content } => {
                let data = self.content(content);
                self.inodes.push(Inode {
                    data,
                    synced: Vec::new(),
                });
                self.files.insert(path.clone(), self.inodes.len() - 1);
            }
            Operation::Append { path, bytes, first } => {
                if *first {
                    self.inodes.push(Inode::default());
                    self.files.insert(path.clone(), self.inodes.len() - 1);
                }
                self.inodes[self.files[path]].data.extend_from_slice(bytes);
            }
            Operation::Sync { path } => {
                let inode = &mut self.inodes[self.files[path]];
                inode.synced = inode.data.clone();
            }
            Operation::SyncFolder { path } if path == "." => self.durable = self.files.clone(),
            Operation::SyncFolder { path } => {
                let inside = |file: &String| parent(file) == *path;
                self.durable.retain(|file, _| !inside(file));
                let now = self.files.iter().filter(|(file, _)| inside(file));
                self.durable
                    .extend(now.map(|(file, inode)| (file.clone(), *inode)));
            }
            Operation::Rename { from, to } => {
                let moved: Vec<_> = self
                    .files
                    .keys()
                    .filter(|file| *file == from || file.starts_with(&format!("{from}/")))
                    .cloned()
                    .collect();
                for file in moved {
                    let inode = self.files.remove(&file).unwrap();
                    self.files
                        .insert(format!("{to}{}", &file[from.len()..]), inode);
                }
            }
            Operation::Remove { path } => {
                self.files.remove(path);
            }
        }
    }

    fn content(&self, content: &Content) -> Vec<u8> {
        let mut written = Vec::new();
        match content {
            Content::Bytes(bytes) => written.clone_from(bytes),
            Content::Extract { journal, status } => {
                let journal = self.read(journal).unwrap();
                journal::extract(journal, *status, &mut written)
                    .unwrap()
                    .unwrap();
            }
            Content::Cut { from } => cut(self.read(from).unwrap(), &mut written)
                .unwrap()
                .unwrap(),
        }
        written
    }

    fn crash(&mut self, crash: Crash) {
        match crash {
            Crash::Kill => {
                if let Some(inode) = self.inodes.last_mut()
                    && inode.data.len() > inode.synced.len()
                {
                    let torn = inode.synced.len() + (inode.data.len() - inode.synced.len()) / 2;
                    inode.data.truncate(torn);
                }
                return;
            }
            Crash::Power => {
                for inode in &mut self.inodes {
                    inode.data.clone_from(&inode.synced);
                }
            }
            Crash::Torn => {
                for inode in &mut self.inodes {
                    let more = inode.data.len().saturating_sub(inode.synced.len());
                    inode.data.truncate(inode.synced.len() + more / 2);
                }
            }
        }
        self.files = self.durable.clone();
    }
}

/// A disk that crashes after a number of operations.
#[derive(Debug, Clone)]
struct Machine {
    disk: Disk,
    left: usize,
    used: usize,
    /// Rows, by key, whose success or skip was durable.
    settled: BTreeSet<String>,
    /// Uploads whose opening was durable, and not their end.
    uploads: BTreeSet<String>,
    /// Rows that ended, by key, with how often.
    sent: BTreeMap<String, u32>,
    /// Rows are versions of few keys, and end in their order.
    chains: bool,
    /// Versions in the order in which they landed.
    landed: Vec<String>,
}

#[derive(Debug)]
struct Crashed;

impl Machine {
    fn new(left: usize) -> Self {
        Self {
            disk: Disk::default(),
            left,
            used: 0,
            settled: BTreeSet::new(),
            uploads: BTreeSet::new(),
            sent: BTreeMap::new(),
            chains: false,
            landed: Vec::new(),
        }
    }

    fn apply(&mut self, steps: &[Step]) -> Result<(), Crashed> {
        for step in steps {
            for operation in operations(step, JOB) {
                if self.left == 0 {
                    return Err(Crashed);
                }
                self.left -= 1;
                self.used += 1;
                self.disk.apply(&operation);
            }
        }
        Ok(())
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        let json = self.disk.read(&format!("{JOB}/work/checkpoint.json"))?;
        Some(serde_json::from_slice(json).unwrap())
    }

    fn recover(&mut self, checkpoint: Checkpoint) -> Result<State, Crashed> {
        let mut state = State::of("x", true, checkpoint);
        let journal = format!("{JOB}/{}", state.journal());
        let journal = self.disk.read(&journal).unwrap_or_default().to_vec();
        let valid = read_frames(&journal[..], |record| {
            state.take(&record).unwrap();
            Ok(())
        });
        let steps = state.recover(valid.unwrap());
        let open: BTreeSet<_> = state
            .checkpoint()
            .uploads
            .iter()
            .map(|upload| upload.upload_id.clone())
            .collect();
        let at = state.checkpoint();
        for upload in self.uploads.difference(&open) {
            // Its row's outcome may have been durable before the crash said so.
            let (pass, ordinal) = upload.split_once('/').unwrap();
            let ended = pass == at.pass.to_string() && at.done.contains(ordinal.parse().unwrap());
            assert!(ended, "{upload} forgotten, {open:?} known");
        }
        self.uploads.clear();
        self.apply(&steps)?;
        Ok(state)
    }

    /// An attempt: starts or recovers, runs the pass in hand, and one over what failed if asked.
    fn attempt(&mut self, mut passes: u32) -> Result<(), Crashed> {
        let mut state = match self.checkpoint() {
            None => {
                let files = vec![("job.json".to_owned(), b"{}".to_vec())];
                let (state, steps) = State::start("x", true, ROWS, 0, files);
                self.apply(&steps)?;
                state
            }
            Some(at) if at.state == JobState::Complete && passes == 1 => return Ok(()),
            Some(checkpoint) => self.recover(checkpoint)?,
        };
        loop {
            self.pass(&mut state)?;
            let steps = state.seal(JobState::Running, 1);
            self.apply(&steps)?;
            passes -= 1;
            if passes == 0 || state.checkpoint().counts.failed == 0 {
                let steps = state.finish("now", "", "job-x/").unwrap();
                return self.apply(&steps);
            }
            let steps = state.next_pass();
            self.apply(&steps)?;
        }
    }

    fn pass(&mut self, state: &mut State) -> Result<(), Crashed> {
        let pass = state.checkpoint().pass;
        if state.checkpoint().done.is_all_of(state.checkpoint().rows) {
            // The end of a report removes what no later pass reads.
            return Ok(());
        }
        let keys = self.keys(state);
        assert_eq!(keys.len() as u64, state.checkpoint().rows);
        if self.chains {
            return self.pass_of_chains(state, &keys);
        }
        let done = state.checkpoint().done.clone();
        // Workers end rows out of order.
        let mut rows: Vec<u64> = (0..keys.len() as u64)
            .filter(|n| !done.contains(*n))
            .collect();
        rows.sort_by_key(|n| n * 5 % 11);
        for (batch, rows) in rows.chunks(3).enumerate() {
            let (mut frames, mut ended, mut opened) = (Vec::new(), Vec::new(), Vec::new());
            for &ordinal in rows {
                let key = &keys[usize::try_from(ordinal).unwrap()];
                if ordinal % 4 == 1 {
                    let upload = upload(ordinal, pass);
                    opened.push(upload.upload_id.clone());
                    Self::record(state, &mut frames, &Record::UploadOpened(upload));
                    let steps = state.commit(std::mem::take(&mut frames));
                    self.apply(&steps)?;
                    self.uploads.extend(opened.drain(..));
                }
                let status = status(pass, key);
                let outcome = outcome(ordinal, key, status);
                Self::record(state, &mut frames, &Record::Outcome(outcome));
                *self.sent.entry(key.clone()).or_default() += 1;
                assert!(
                    !self.settled.contains(key),
                    "{key} was settled and ran again"
                );
                ended.push((ordinal, key.clone(), status));
            }
            let steps = state.commit(frames);
            self.apply(&steps)?;
            for (ordinal, key, status) in ended {
                self.uploads.remove(&upload(ordinal, pass).upload_id);
                if status != TaskStatus::Failed {
                    self.settled.insert(key);
                }
            }
            if batch % 2 == 1 {
                let steps = state.seal(JobState::Running, 1);
                self.apply(&steps)?;
            }
        }
        Ok(())
    }

    /// As the planner and its workers do it: a chain that failed before goes on failed, and chains run
    /// side by side.
    fn pass_of_chains(&mut self, state: &mut State, versions: &[String]) -> Result<(), Crashed> {
        let at = state.checkpoint();
        let pass = at.pass;
        let mut chains: Vec<Vec<u64>> = Vec::new();
        for ordinal in (0..at.rows).filter(|ordinal| !at.done.contains(*ordinal)) {
            let key = |ordinal: u64| chain_of(&versions[usize::try_from(ordinal).unwrap()]);
            match chains.last_mut() {
                Some(chain) if key(chain[0]) == key(ordinal) => chain.push(ordinal),
                _ => chains.push(vec![ordinal]),
            }
        }
        let mut failed: Vec<_> = chains
            .iter()
            .map(|chain| at.broken.contains(&chain[0]))
            .collect();
        let (mut frames, mut ended) = (Vec::new(), 0);
        for turn in 0..3 {
            for (chain, failed) in chains.iter().zip(&mut failed) {
                let Some(&ordinal) = chain.get(turn) else {
                    continue;
                };
                let version = &versions[usize::try_from(ordinal).unwrap()];
                *failed |= pass == 0 && ["c0v0", "c1v1", "c2v2"].contains(&version.as_str());
                let status = if *failed {
                    TaskStatus::Failed
                } else {
                    self.landed.push(version.clone());
                    TaskStatus::Succeeded
                };
                let outcome = OutcomeRecord {
                    chained: turn + 1 < chain.len(),
                    ..outcome(ordinal, version, status)
                };
                Self::record(state, &mut frames, &Record::Outcome(outcome));
                let at = state.checkpoint();
                assert!(at.broken.len() <= chains.len());
                assert!(at.broken.iter().all(|broken| !at.done.contains(*broken)));
                ended += 1;
                if ended % 2 == 0 {
                    let steps = state.commit(std::mem::take(&mut frames));
                    self.apply(&steps)?;
                }
                if ended % 5 == 0 && frames.is_empty() {
                    let steps = state.seal(JobState::Running, 1);
                    self.apply(&steps)?;
                }
            }
        }
        let steps = state.commit(frames);
        self.apply(&steps)
    }

    fn record(state: &mut State, frames: &mut Vec<u8>, record: &Record) {
        state.take(record).unwrap();
        write_frame(frames, record).unwrap();
    }

    /// The keys of the pass in hand, as its source lists them.
    fn keys(&self, state: &State) -> Vec<String> {
        if state.checkpoint().pass == 0 {
            let name = |n| {
                if self.chains {
                    format!("c{}v{}", n / 3, n % 3)
                } else {
                    format!("k{n}")
                }
            };
            return (0..ROWS).map(name).collect();
        }
        let files = state.source_files();
        let mut keys: Vec<String> = files
            .iter()
            .flat_map(|file| rows(self.disk.read(&format!("{JOB}/{}", file.name)).unwrap()))
            .map(|row| row.key)
            .collect();
        if self.chains {
            keys.sort_by(|a, b| chain_of(a).cmp(chain_of(b)));
        }
        keys
    }

    /// What must hold of a job that ran to its end.
    fn check(&self) {
        let at = self.checkpoint().unwrap();
        assert_eq!(at.state, JobState::Complete);
        assert!(at.uploads.is_empty());
        let manifest = self.disk.read("job-x/manifest.json").unwrap();
        let sum = self.disk.read("job-x/manifest.json.md5").unwrap();
        assert_eq!(sum, format!("{}\n", hex(&Md5::digest(manifest))).as_bytes());
        let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
        let mut listed = BTreeSet::new();
        let mut seen = BTreeMap::new();
        for file in manifest["Results"].as_array().unwrap() {
            let path = file["Key"].as_str().unwrap();
            let content = self.disk.read(path).unwrap();
            assert_eq!(file["MD5Checksum"], hex(&Md5::digest(content)), "{path}");
            listed.insert(path.to_owned());
            for row in rows(content) {
                assert_eq!(file["TaskExecutionStatus"], row.status.as_str());
                assert_eq!(
                    seen.insert(row.key.clone(), row.status),
                    None,
                    "{} twice",
                    row.key
                );
            }
        }
        let keys: BTreeSet<_> = (0..ROWS).map(|n| format!("k{n}")).collect();
        assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), keys);
        for (key, status) in &seen {
            assert_eq!(*status, super::crash_tests::status(at.pass, key), "{key}");
        }
        let count = |s| seen.values().filter(|status| **status == s).count() as u64;
        assert_eq!(at.counts.succeeded, count(TaskStatus::Succeeded));
        assert_eq!(at.counts.skipped, count(TaskStatus::Skipped));
        assert_eq!(at.counts.failed, count(TaskStatus::Failed));
        let results = self
            .disk
            .files
            .keys()
            .filter(|file| file.starts_with("job-x/results/"));
        let results: BTreeSet<_> = results
            .filter(|file| !file.contains(".csv.tmp"))
            .cloned()
            .collect();
        assert_eq!(
            results, listed,
            "a file in results/ that the report does not name"
        );
    }
}

fn rows(csv: &[u8]) -> Vec<ReportRow> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(csv);
    reader
        .into_records()
        .map(|record| ReportRow::parse(&record.unwrap()).unwrap())
        .collect()
}

fn chain_of(version: &str) -> &str {
    version.split_once('v').unwrap().0
}

/// How a row ends in a pass: some fail at first, some for good.
fn status(pass: u32, key: &str) -> TaskStatus {
    let n: u32 = key[1..].parse().unwrap();
    match (n % 5, pass) {
        (0, 0) | (3, 0..=5) => TaskStatus::Failed,
        (4, _) => TaskStatus::Skipped,
        _ => TaskStatus::Succeeded,
    }
}

fn outcome(ordinal: u64, key: &str, status: TaskStatus) -> OutcomeRecord {
    OutcomeRecord {
        ordinal,
        after: Place {
            file: 0,
            byte: ordinal + 1,
            row: 0,
        },
        status,
        error_code: if status == TaskStatus::Failed {
            "Code".into()
        } else {
            String::new()
        },
        evidence: None,
        bytes: 1,
        requests: 1,
        throttled: 0,
        in_doubt: false,
        chained: false,
        row: format!(
            "b,{key},,{},200,,\"a \"\"message\"\", quoted\"\n",
            status.as_str()
        ),
        facts: (status == TaskStatus::Failed).then(|| Facts {
            size: Some(7),
            ..Facts::default()
        }),
    }
}

fn upload(ordinal: u64, pass: u32) -> OpenUpload {
    OpenUpload {
        ordinal,
        key: "k".into(),
        upload_id: format!("{pass}/{ordinal}"),
        part_bytes: 1,
        object_bytes: 1,
        source_e_tag: "e".into(),
        source_version_id: None,
        checksum: None,
        looks: None,
    }
}

/// The whole life of a job: copied, then resumed twice.
fn life(machine: &mut Machine) -> Result<(), Crashed> {
    machine.attempt(1)?;
    machine.attempt(2)?;
    machine.attempt(2)
}

#[test]
fn a_job_without_crashes_ends_with_each_row_once() {
    let mut machine = Machine::new(usize::MAX);
    machine.attempt(1).unwrap();
    machine.check();
    assert_eq!(machine.checkpoint().unwrap().pass, 0);
    machine.attempt(2).unwrap();
    machine.check();
    assert_eq!(machine.checkpoint().unwrap().pass, 1);
    assert!(
        machine
            .sent
            .iter()
            .all(|(key, times)| *times == 1 + u32::from(status(0, key) == TaskStatus::Failed))
    );
}

#[test]
fn every_prefix_of_the_steps_recovers() {
    let mut whole = Machine::new(usize::MAX);
    life(&mut whole).unwrap();
    assert!(whole.used > 150, "only {} operations", whole.used);
    for crash in [Crash::Kill, Crash::Power, Crash::Torn] {
        for stop in 0..whole.used {
            let mut machine = Machine::new(stop);
            assert!(life(&mut machine).is_err());
            machine.disk.crash(crash);
            machine.left = usize::MAX;
            machine.attempt(2).unwrap();
            machine.check();
        }
    }
}

#[test]
fn no_older_version_lands_last_wherever_it_crashes() {
    let chains = |left| Machine {
        chains: true,
        ..Machine::new(left)
    };
    let life = |machine: &mut Machine| {
        machine.attempt(1)?;
        machine.attempt(2)
    };
    let mut whole = chains(usize::MAX);
    life(&mut whole).unwrap();
    assert_eq!(whole.landed.len() as u64, ROWS);
    for crash in [Crash::Kill, Crash::Power, Crash::Torn] {
        for stop in 0..whole.used {
            let mut machine = chains(stop);
            assert!(life(&mut machine).is_err());
            machine.disk.crash(crash);
            machine.left = usize::MAX;
            machine.attempt(1).unwrap();
            machine.attempt(2).unwrap();
            let at = machine.checkpoint().unwrap();
            assert_eq!(at.counts.succeeded, ROWS);
            assert!(at.broken.is_empty());
            // What was not durable lands again; each version for the last time behind the older ones.
            let last: BTreeMap<_, _> = machine.landed.iter().zip(0..).collect();
            let versions: Vec<_> = last.iter().collect();
            assert_eq!(versions.len() as u64, ROWS);
            for pair in versions.windows(2) {
                let same = chain_of(pair[0].0) == chain_of(pair[1].0);
                assert!(
                    !same || pair[0].1 < pair[1].1,
                    "{stop}: {:?}",
                    machine.landed
                );
            }
        }
    }
}

#[test]
fn every_prefix_of_a_recovery_recovers() {
    let mut whole = Machine::new(usize::MAX);
    life(&mut whole).unwrap();
    for first in (0..whole.used).step_by(3) {
        for second in 0..25 {
            let mut machine = Machine::new(first);
            assert!(life(&mut machine).is_err());
            let crash = [Crash::Kill, Crash::Power, Crash::Torn][(first + second) % 3];
            machine.disk.crash(crash);
            machine.left = second;
            if machine.attempt(2).is_err() {
                machine.disk.crash(crash);
                machine.left = usize::MAX;
                machine.attempt(2).unwrap();
            }
            machine.check();
        }
    }
}
