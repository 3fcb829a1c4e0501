//! A random job: what is at the source, what the manifest lists, the flags, the faults.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use fastrand::Rng;
use s3haul::job::manifest::key::encode;
use s3haul_sandbox::iam::DESTINATION_ACCOUNT;
use s3haul_sandbox::{
    BucketSettings, Fault, FaultKind, ObjectProperties, ObjectView, Operation, SandboxOptions,
    Versioning, When,
};

use crate::given::Given;
use crate::random::{maybe, metadata, of, tags, text};
use crate::support::{DESTINATION, SOURCE, World, source_policy};
use crate::versions::inventory;

const MIB: u64 = 1 << 20;
/// Above 16 MiB a part's digests cost the sandbox nothing.
const THRESHOLD: u64 = 17 * MIB;
/// A bucket of the destination's account.
const MANIFESTS: &str = "manifests";
/// Another one.
pub(super) const REPORTS: &str = "reports";

/// Pieces of which keys are made.
const KEY: [&str; 22] = [
    "a",
    "Z",
    "7",
    "-",
    "_",
    ".",
    "..",
    "/",
    "//",
    " ",
    "+",
    "%",
    "%2B",
    "=&",
    "?versionId=",
    "#",
    "\"'",
    ",",
    "\n",
    "é",
    "日本",
    "🦀",
];
/// What keys begin with, for filters and for what is stripped.
const BEGINNINGS: [&str; 4] = ["in/", "in/out/", "", "/"];
const STRIPPED: &str = "in/";

/// How much a case has to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Keys, those that are not there included.
    pub(super) keys: usize,
    /// Writes take their time, so that the job outlasts syncs of its journal.
    pub(super) slow: bool,
}

/// A row of the manifest, and what it means.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) key: String,
    pub(super) version_id: Option<String>,
    pub(super) marker: bool,
    /// What is there under its key and version.
    pub(super) object: Option<ObjectView>,
}

/// How the manifest is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    File,
    Compressed,
    Stdin,
    InS3,
}

/// What becomes of objects that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overwrite {
    Always,
    Never,
    IfDifferent,
}

/// A job, as it is given.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(super) struct Plan {
    /// Flags and their values, in their order.
    pub(super) flags: Vec<(&'static str, String)>,
    repeated: Vec<(&'static str, String)>,
    way: Way,
    manifest: Vec<u8>,
    /// The selected rows, in no order.
    pub(super) rows: Vec<Listed>,
    pub(super) filtered: usize,
    pub(super) overwrite: Overwrite,
    /// In place of the source's.
    pub(super) tags: Option<Vec<(String, String)>>,
    to: String,
    strip: String,
    /// All versions of each key, in their order.
    pub(super) chains: bool,
    /// Delete markers are replayed.
    pub(super) replays: bool,
    pub(super) lists_all: bool,
    /// The destination keeps versions.
    pub(super) versioned: bool,
    /// The report is kept in S3.
    pub(super) in_bucket: bool,
    /// What the destination had before, by its keys.
    pub(super) before: BTreeMap<String, ObjectView>,
    pub(super) faults: Vec<Fault>,
}

impl Plan {
    /// Makes a job, and a world for it.
    pub(super) fn random(rng: &mut Rng, size: Size) -> (World, Self) {
        let form = rng.usize(0..7);
        let (chains, latest) = (form == 5, form == 6);
        let lists_versions = matches!(form, 1 | 3);
        let versioned = chains || rng.bool();
        let world = World::with(SandboxOptions::default(), keeping(versioned));
        let source = BucketSettings {
            policy: Some(policy()),
            ..keeping(chains || latest || lists_versions || rng.bool())
        };
        world.store().configure_bucket(SOURCE, source).unwrap();
        for bucket in [MANIFESTS, REPORTS] {
            let (store, settings) = (world.store(), BucketSettings::default());
            let created = store.create_bucket(bucket, DESTINATION_ACCOUNT, "us-east-1", settings);
            created.unwrap();
        }
        let in_bucket = rng.bool();
        let in_bucket = match std::env::var("MODEL_REPORT").as_deref() {
            Ok("folder") => false,
            Ok("bucket") => true,
            _ => in_bucket,
        };

        let keys = keys(rng, size.keys);
        let missing = fill(rng, &world, &keys, chains || latest);
        let mut plan = Self {
            flags: Vec::new(),
            repeated: Vec::new(),
            way: of(rng, &[Way::File, Way::Compressed, Way::Stdin, Way::InS3]),
            manifest: Vec::new(),
            rows: Vec::new(),
            filtered: 0,
            overwrite: Overwrite::Always,
            tags: None,
            to: of(rng, &["", "", "to/", "é+ "]).to_owned(),
            strip: String::new(),
            chains,
            replays: chains && rng.bool(),
            lists_all: true,
            versioned,
            in_bucket,
            before: BTreeMap::new(),
            faults: faults(rng, size),
        };
        let sources = world.store().objects(SOURCE);
        let large = sources.iter().any(|object| object.size() > MIB);
        plan.options(rng, size, large);
        if chains || latest {
            let versions = if chains { "all" } else { "latest" };
            plan.flag("--versions", versions);
            inventory(&world);
            plan.way = Way::File;
            plan.manifest = std::fs::read(world.path("manifest.csv")).unwrap();
            plan.rows = inventoried(&world, latest);
            plan.filtered = world.store().versions(SOURCE).len() - plan.rows.len();
        } else {
            plan.list(rng, &world, &missing, lists_versions, form);
        }
        plan.filter(rng, form);
        if !chains {
            plan.put_before(rng, &world);
        }
        plan.deliver(&world);
        (world, plan)
    }

    /// The destination's key of a row; none if it lacks what is to be stripped.
    pub(super) fn destination_key(&self, row: &Listed) -> Option<String> {
        self.rename(&row.key)
    }

    /// The destination's key of a key of the source.
    pub(super) fn rename(&self, key: &str) -> Option<String> {
        let rest = key.strip_prefix(&self.strip)?;
        Some(format!("{}{rest}", self.to))
    }

    /// Where the report is kept.
    pub(super) fn report(&self, world: &World) -> String {
        if self.in_bucket {
            format!("s3://{REPORTS}")
        } else {
            world.path("report").to_str().unwrap().to_owned()
        }
    }

    /// `copy`, and what goes to its stdin.
    pub(super) fn copy<'w>(&self, world: &'w World) -> (Given<'w>, Option<&[u8]>) {
        let mut given = world
            .given()
            .set("--to", format!("s3://{DESTINATION}/{}", self.to))
            .set("--report", self.report(world));
        for (flag, value) in &self.flags {
            given = given.set(flag, value.as_str());
        }
        for (flag, value) in &self.repeated {
            given = given.repeat(flag, value);
        }
        match self.way {
            Way::File | Way::Compressed => (given, None),
            Way::InS3 => (
                given.set("--manifest", format!("s3://{MANIFESTS}/m+ .csv")),
                None,
            ),
            Way::Stdin => (given.set("--manifest", "-"), Some(&self.manifest)),
        }
    }

    fn flag(&mut self, flag: &'static str, value: impl Into<String>) {
        self.flags.push((flag, value.into()));
    }

    fn options(&mut self, rng: &mut Rng, size: Size, large: bool) {
        self.flag("--multipart-threshold", "17MiB");
        self.flag("--part-size", "17MiB");
        let concurrency = if size.slow { ["2", "4"] } else { ["4", "16"] };
        self.flag("--concurrency", of(rng, &concurrency));
        self.flag("--max-attempts", of(rng, &["2", "4", "10"]));
        self.flag("--drain-timeout", of(rng, &["1s", "20s"]));
        if !self.chains {
            let (overwrite, flag) = of(
                rng,
                &[
                    (Overwrite::Always, "always"),
                    (Overwrite::Always, "always"),
                    (Overwrite::Never, "never"),
                    (Overwrite::IfDifferent, "if-different"),
                ],
            );
            self.overwrite = overwrite;
            self.flag("--overwrite", flag);
        }
        // To make the bytes of large objects takes long.
        let full = if large { "head" } else { "full" };
        self.flag("--verify", of(rng, &["response", "head", "checksum", full]));
        match rng.usize(0..4) {
            0 => {
                self.flag("--tags", "none");
                self.tags = Some(Vec::new());
            }
            1 => {
                self.flag("--tags", "replace");
                self.repeated.push(("--tag", "new=é+".to_owned()));
                self.tags = Some(vec![("new".to_owned(), "é+".to_owned())]);
            }
            _ => {}
        }
        self.flag("--report-interval", "1s");
        // What is not listed names no versions, by which their order is told.
        if !self.chains && rng.usize(0..6) == 0 {
            self.flag("--report-scope", "failed");
            self.lists_all = false;
        }
        if rng.usize(0..5) == 0 {
            self.flag("--strip-prefix", STRIPPED);
            STRIPPED.clone_into(&mut self.strip);
        }
        if self.chains {
            let markers = if self.replays { "replay" } else { "skip" };
            self.flag("--delete-markers", markers);
        }
    }

    /// A CSV of keys, with or without versions and sizes, some of them more than once.
    fn list(
        &mut self,
        rng: &mut Rng,
        world: &World,
        missing: &[String],
        lists_versions: bool,
        form: usize,
    ) {
        let versions = world.store().versions(SOURCE);
        let sized = matches!(form, 2..=4);
        let mut rows = Vec::new();
        for version in &versions {
            let listed = if lists_versions {
                !version.is_delete_marker() && (version.is_latest || rng.bool())
            } else {
                version.is_latest
            };
            if listed {
                rows.push(Listed {
                    key: version.key.clone(),
                    version_id: lists_versions.then(|| version.version_id.clone()),
                    marker: false,
                    object: version.object.clone(),
                });
            }
        }
        for key in missing {
            // The version of another key.
            let version_id = lists_versions.then(|| versions[0].version_id.clone());
            rows.push(Listed {
                key: key.clone(),
                version_id,
                marker: false,
                object: None,
            });
        }
        let again: Vec<_> = rows
            .iter()
            .filter(|_| rng.usize(0..10) == 0)
            .cloned()
            .collect();
        rows.extend(again);
        rng.shuffle(&mut rows);
        if let Some(fields) = [
            (2, "Bucket,Key,Size"),
            (3, "Bucket,Key,VersionId,Size"),
            (4, "Bucket,Ignore,Key,Size"),
        ]
        .into_iter()
        .find_map(|(of, fields)| (of == form).then_some(fields))
        {
            self.flag("--manifest-fields", fields);
        }
        for row in &rows {
            let mut cells = vec![SOURCE.to_owned()];
            cells.extend((form == 4).then(|| "what is ignored".to_owned()));
            cells.push(encode(&row.key));
            cells.extend(row.version_id.clone());
            if sized {
                let size = row.object.as_ref().map(ObjectView::size);
                cells.push(size.map(|size| size.to_string()).unwrap_or_default());
            }
            writeln!(self.manifest, "{}", cells.join(",")).unwrap();
        }
        self.rows = rows;
    }

    /// Leaves rows out as the job's filters do.
    fn filter(&mut self, rng: &mut Rng, form: usize) {
        let all = self.rows.len();
        match rng.usize(0..6) {
            0 => {
                self.flag("--include-prefix", "in/");
                self.rows.retain(|row| row.key.starts_with("in/"));
            }
            1 => {
                self.flag("--exclude-prefix", "in/out/");
                self.rows.retain(|row| !row.key.starts_with("in/out/"));
            }
            // What is not there has no size that says that it is too small.
            2 if form == 2 && self.rows.iter().all(|row| row.object.is_some()) => {
                self.flag("--min-size", "3");
                let size = |row: &Listed| row.object.as_ref().map(ObjectView::size);
                self.rows
                    .retain(|row| size(row).is_some_and(|size| size >= 3));
            }
            _ => {}
        }
        self.filtered += all - self.rows.len();
    }

    /// Some objects have been at the destination before: equal ones, and others.
    fn put_before(&mut self, rng: &mut Rng, world: &World) {
        for row in &self.rows {
            let Some(key) = self.destination_key(row) else {
                continue;
            };
            if rng.usize(0..8) > 0 || self.before.contains_key(&key) {
                continue;
            }
            let equal = row.object.as_ref().filter(|object| object.size() < MIB);
            let bytes = match equal.filter(|_| rng.bool()) {
                Some(object) => object.bytes(),
                None => b"what was there before".to_vec(),
            };
            let properties = ObjectProperties {
                metadata: [("before".to_owned(), "yes".to_owned())].into(),
                ..ObjectProperties::default()
            };
            let put = world
                .store()
                .put_object(DESTINATION, &key, bytes, properties);
            put.unwrap();
            let there = world.store().object(DESTINATION, &key).unwrap();
            self.before.insert(key, there);
        }
    }

    /// Puts the manifest where the job reads it.
    fn deliver(&mut self, world: &World) {
        if self.way == Way::Compressed {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&self.manifest).unwrap();
            self.manifest = gzip.finish().unwrap();
        }
        match self.way {
            Way::File | Way::Compressed => {
                world.manifest(&self.manifest);
            }
            Way::InS3 => {
                let (bytes, properties) = (self.manifest.clone(), ObjectProperties::default());
                let put = world
                    .store()
                    .put_object(MANIFESTS, "m+ .csv", bytes, properties);
                put.unwrap();
            }
            Way::Stdin => {}
        }
    }
}

fn keeping(versions: bool) -> BucketSettings {
    let versioning = if versions {
        Versioning::Enabled
    } else {
        Versioning::Unversioned
    };
    BucketSettings {
        versioning,
        ..BucketSettings::default()
    }
}

/// With what `--verify checksum` takes.
fn policy() -> String {
    let with =
        "\"s3:GetObjectAttributes\", \"s3:GetObjectVersionAttributes\", \"s3:GetObjectTagging\"";
    source_policy().replace("\"s3:GetObjectTagging\"", with)
}

fn keys(rng: &mut Rng, count: usize) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    while keys.len() < count {
        let key = format!("{}{}", of(rng, &BEGINNINGS), text(rng, &KEY, 1, 6));
        if !key.is_empty() && key != STRIPPED {
            keys.insert(key);
        }
    }
    keys
}

/// Puts the objects, and gives the keys that are left out.
fn fill(rng: &mut Rng, world: &World, keys: &BTreeSet<String>, markers: bool) -> Vec<String> {
    let keeps = world.store().settings(SOURCE).unwrap().versioning == Versioning::Enabled;
    let mut missing = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        if n > 0 && rng.usize(0..12) == 0 {
            missing.push(key.clone());
            continue;
        }
        let versions = if keeps { rng.usize(1..=3) } else { 1 };
        for version in 0..versions {
            let properties = ObjectProperties {
                content_type: maybe(rng, |rng| {
                    of(rng, &["text/plain", "a/b; c=\"d\""]).to_owned()
                }),
                cache_control: maybe(rng, |_| "max-age=1".to_owned()),
                metadata: metadata(rng),
                tags: tags(rng),
                ..ObjectProperties::default()
            };
            let store = world.store();
            let seed = (n * 4 + version) as u64;
            // Of one content there is no second version: it could not be told from the first.
            let put = match rng.usize(0..20) {
                0 if versions == 1 => store.put_object(SOURCE, key, "", properties),
                1 | 2 => {
                    let size = of(rng, &[THRESHOLD + 1, 34 * MIB, 40 * MIB]);
                    store.declare_object(SOURCE, key, size, seed, properties)
                }
                _ => store.put_object(SOURCE, key, format!("{n} {version}"), properties),
            };
            put.unwrap();
            if markers && rng.usize(0..10) == 0 {
                store.delete_object(SOURCE, key).unwrap();
            }
        }
    }
    missing
}

/// What an inventory of the source selects.
fn inventoried(world: &World, latest: bool) -> Vec<Listed> {
    let mut versions = world.store().versions(SOURCE);
    versions.retain(|version| !latest || version.is_latest && !version.is_delete_marker());
    let listed = versions.into_iter().map(|version| Listed {
        marker: version.is_delete_marker(),
        key: version.key,
        version_id: (!latest).then_some(version.version_id),
        object: version.object,
    });
    listed.collect()
}

/// A fault that hides from the program what was done.
fn hiding(rng: &mut Rng) -> FaultKind {
    let slow = FaultKind::Trickle {
        every_ms: 20,
        spaces: 5,
    };
    let kinds = [
        FaultKind::AnswerLost,
        FaultKind::CutBody,
        FaultKind::ErrorInOkAfterWork("InternalError".to_owned()),
        FaultKind::EmptyETag,
        slow,
    ];
    rng.choice(kinds).unwrap()
}

/// Faults that a row can outlive, or that a resume repairs.
fn faults(rng: &mut Rng, size: Size) -> Vec<Fault> {
    const WRITES: [Operation; 5] = [
        Operation::CopyObject,
        Operation::CreateMultipartUpload,
        Operation::UploadPartCopy,
        Operation::CompleteMultipartUpload,
        Operation::DeleteObject,
    ];
    const OTHERS: [Operation; 6] = [
        Operation::HeadObject,
        Operation::GetObjectTagging,
        Operation::PutObjectTagging,
        Operation::ListMultipartUploads,
        Operation::ListParts,
        Operation::AbortMultipartUpload,
    ];
    let mut faults = Vec::new();
    for _ in 0..rng.usize(0..7) {
        let writes = rng.usize(0..3) > 0;
        let operation = match writes {
            true if rng.bool() => Operation::CopyObject,
            true => of(rng, &WRITES),
            false => of(rng, &OTHERS),
        };
        let kind = if writes && rng.bool() {
            hiding(rng)
        } else {
            match rng.usize(0..if writes { 8 } else { 6 }) {
                0 => FaultKind::Reset,
                1 => FaultKind::AnswerLost,
                2 => FaultKind::internal_error(),
                3 => FaultKind::slow_down(),
                4 => FaultKind::CutBody,
                5 => FaultKind::Latency(150),
                6 => FaultKind::ErrorInOk("InternalError".to_owned()),
                _ => FaultKind::ExpireToken,
            }
        };
        let when = match rng.usize(0..5) {
            _ if kind == FaultKind::ExpireToken => When::Nth(rng.u64(1..30)),
            0 => When::First(rng.u64(1..10)),
            1 => When::Nth(rng.u64(1..20)),
            _ => When::Probability {
                p: of(rng, &[0.05, 0.15, 0.3]),
                seed: rng.u64(..),
            },
        };
        faults.push(Fault::on(operation, kind).when(when));
    }
    if size.slow {
        for operation in WRITES {
            faults.push(Fault::on(operation, FaultKind::Latency(60)));
        }
    }
    faults
}
