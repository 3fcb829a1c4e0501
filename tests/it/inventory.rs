//! An S3 Inventory as manifest, in every format.

use std::path::{Path, PathBuf};

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::{BucketSettings, ObjectProperties, Operation, SandboxOptions, Versioning};
use serde_json::{Value, json};

use crate::support::{Run, SOURCE, World, count, message, read_report};

/// Keys of the samples whose latest version is no delete marker.
const KEYS: [&str; 11] = [
    "plain", "a b", "a+b", "100%", "a%2Bb", "a,b", "q\"q", "ü/😀", "nl\nx", "/lead", "a//b",
];

pub(crate) fn sample(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    format!("{root}/sample-manifests/inventory/{name}/2026-01-01T01-00Z/manifest.json")
}

/// These samples in ORC, if this build reads them.
pub(crate) fn if_read(orc: &'static [&'static str]) -> &'static [&'static str] {
    if cfg!(feature = "orc") { orc } else { &[] }
}

/// A world that has what the samples list.
pub(crate) fn world() -> World {
    let world = World::with(SandboxOptions::default(), BucketSettings::default());
    let long = "k".repeat(300);
    for key in KEYS.into_iter().chain([long.as_str()]) {
        world.put(key, "content");
    }
    world
}

async fn copy(world: &World, name: &str, flags: &[(&str, &str)]) -> Run {
    let given = world
        .given()
        .set("--manifest", sample(name))
        .set("--job-id", name);
    let given = flags
        .iter()
        .fold(given, |given, (flag, value)| given.set(flag, *value));
    given.run().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_versions_of_every_format_are_copied() {
    let names = ["csv", "parquet-snappy", "csv-current", "parquet-current"];
    for name in names.iter().chain(if_read(&["orc-zlib", "orc-current"])) {
        let world = world();
        let latest: &[_] = if name.ends_with("current") {
            &[]
        } else {
            &[("--versions", "latest")]
        };
        let run = copy(&world, name, latest).await;
        run.expect(0);
        assert_eq!(run.summary("succeeded"), 12, "{name}");
        assert_eq!(
            run.summary("filtered"),
            if latest.is_empty() { 0 } else { 14 },
            "{name}"
        );
        for key in KEYS {
            world.assert_copied(key);
        }
        // The size is listed: one request an object.
        assert_eq!(world.sandbox.log().count(Operation::CopyObject), 12);
        assert_eq!(world.sandbox.log().count(Operation::HeadObject), 0);
        // The same again says how it ended.
        let again = copy(&world, name, latest).await;
        again.expect(0);
        assert_eq!(world.sandbox.log().count(Operation::CopyObject), 12);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_versions_name_the_null_version_and_skip_delete_markers() {
    let settings = BucketSettings {
        versioning: Versioning::Enabled,
        policy: Some(crate::support::source_policy()),
        ..BucketSettings::default()
    };
    let world = World::new();
    world.store().remove_bucket(SOURCE);
    world
        .store()
        .create_bucket(
            SOURCE,
            s3haul_sandbox::iam::SOURCE_ACCOUNT,
            "us-east-1",
            settings,
        )
        .unwrap();
    let properties = ObjectProperties::default();
    world
        .store()
        .put_object(SOURCE, "plain", "content", properties)
        .unwrap();
    let run = copy(&world, "parquet-gzip", &[("--versions", "listed")]).await;
    // No version of these IDs is there.
    run.expect(1);
    assert_eq!(
        run.summary("errors"),
        json!({"InvalidArgument": 24, "NoSuchVersion": 1})
    );
    let copies = world.sandbox.log().of(Operation::CopyObject);
    let source = |end: &str| {
        let sources = copies
            .iter()
            .filter_map(|copy| copy.header("x-amz-copy-source"));
        sources.filter(|source| source.ends_with(end)).count()
    };
    assert_eq!(source("/plain?versionId=null"), 1);
    assert_eq!(source("?versionId=v2.11"), 0);
    let rows = read_report(&world.path("report/job-parquet-gzip"));
    assert_eq!(count(&rows, TaskStatus::Skipped), 1);
    let marker = rows
        .iter()
        .find(|row| row.status == TaskStatus::Skipped)
        .unwrap();
    assert_eq!(
        (marker.key.as_str(), marker.error_code.as_str()),
        ("dir/", "DeleteMarker")
    );
    assert_eq!(
        message(marker, "message"),
        "a delete marker has no content: nothing is copied"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_of_every_format_agree() {
    let world = World::new();
    let mut seen = Vec::new();
    let names = ["csv", "parquet-snappy", "parquet-gzip", "parquet-zstd"];
    for name in names.iter().chain(if_read(&["orc-zlib", "orc-zstd"])) {
        let given = world
            .given()
            .set("--manifest", sample(name))
            .set("--versions", "listed");
        let run = given.flag("--dry-run").run().await;
        run.expect(0);
        seen.push(serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap());
    }
    assert!(seen.iter().all(|estimate| *estimate == seen[0]));
    assert_eq!(
        (&seen[0]["rows"], &seen[0]["delete_markers"]),
        (&json!(26), &json!(1))
    );
    assert_eq!(seen[0]["archived"], 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn inventories_that_say_too_little_are_refused() {
    let world = world();
    let csv = || world.given().set("--manifest", sample("csv"));
    csv()
        .refused(2, &["lists all versions", "--versions latest"])
        .await;
    let fields = csv()
        .set("--manifest-fields", "Bucket,Key")
        .set("--versions", "latest");
    fields.refused(2, &["leave out --manifest-fields"]).await;
    let as_csv = csv().set("--manifest-format", "csv");
    as_csv.refused(2, &["is JSON, not CSV"]).await;
    world.manifest_of(["plain"]);
    let latest = world.given().set("--versions", "latest");
    latest
        .refused(2, &["--versions latest needs an inventory"])
        .await;
}

/// What is wrong with an inventory: of which sample, in `manifest.json`, in its data file, and what is
/// to be said.
struct Wrong {
    sample: &'static str,
    manifest: fn(&mut Value),
    file: fn(&Path),
    words: &'static [&'static str],
}

impl Wrong {
    fn manifest(words: &'static [&'static str], manifest: fn(&mut Value)) -> Self {
        let sample = "csv-current";
        let file = |_: &Path| ();
        Self {
            sample,
            manifest,
            file,
            words,
        }
    }

    fn file(sample: &'static str, words: &'static [&'static str], file: fn(&Path)) -> Self {
        let manifest = |_: &mut Value| ();
        Self {
            sample,
            manifest,
            file,
            words,
        }
    }

    /// Makes it, with its data file's new MD5; its `manifest.json`.
    fn write(&self, folder: &Path) -> PathBuf {
        let sample = sample(self.sample);
        let mut manifest: Value = serde_json::from_slice(&std::fs::read(&sample).unwrap()).unwrap();
        let key = manifest["files"][0]["key"].as_str().unwrap();
        let name = key.rsplit('/').next().unwrap();
        let (data, day) = (folder.join("data"), folder.join("day"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::create_dir_all(&day).unwrap();
        let file = data.join(name);
        let from = Path::new(&sample).ancestors().nth(2).unwrap();
        std::fs::copy(from.join("data").join(name), &file).unwrap();
        (self.file)(&file);
        if let Ok(content) = std::fs::read(&file) {
            let (md5, _) = s3haul::job::manifest::digest_of(&*content).unwrap();
            manifest["files"][0]["MD5checksum"] = md5.into();
        }
        (self.manifest)(&mut manifest);
        let path = day.join("manifest.json");
        std::fs::write(&path, manifest.to_string()).unwrap();
        path
    }
}

fn cut(file: &Path, bytes: usize) {
    let content = std::fs::read(file).unwrap();
    std::fs::write(file, &content[..content.len() - bytes]).unwrap();
}

fn write_lines(file: &Path, lines: &str) {
    // What is not compressed is read too.
    std::fs::write(file, lines).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_inventory_is_named_before_the_first_request() {
    const CSV: &str = "00000000-0000-4000-8000-000000000000.csv.gz";
    const PARQUET: &str = "00000000-0000-4000-8000-000000000000.parquet";
    let mut wrong = vec![
        Wrong::file("csv-current", &[CSV, "data file"], |file| cut(file, 9)),
        Wrong::file(
            "csv-current",
            &[CSV, "its Size is 1 MiB, no number"],
            |file| {
                write_lines(
                    file,
                    "\"source\",\"a\",\"1\",\"\",\"\",\"\",\"\"\n\
                 \"source\",\"b\",\"1 MiB\",\"\",\"\",\"\",\"\"\n",
                );
            },
        ),
        Wrong::file(
            "csv-current",
            &[
                CSV,
                "line 2 (byte 29)",
                "its bucket is other, the inventory's source",
            ],
            |file| {
                write_lines(
                    file,
                    "\"source\",\"a\",\"1\",\"\",\"\",\"\",\"\"\n\
                     \"other\",\"b\",\"1\",\"\",\"\",\"\",\"\"\n",
                );
            },
        ),
        Wrong::file(
            "csv-current",
            &[CSV, "which lies neither beside it nor above"],
            |file| {
                std::fs::remove_file(file).unwrap();
            },
        ),
        Wrong::file("parquet-current", &[PARQUET, "data file"], |file| {
            cut(file, 9);
        }),
        Wrong::file(
            "parquet-latin",
            &[PARQUET, "row 7: the key is not UTF-8"],
            |_| (),
        ),
        Wrong::manifest(&[CSV, "manifest.json lists 0"], |manifest| {
            manifest["files"][0]["MD5checksum"] = "0".into();
        }),
        Wrong::manifest(
            &["manifest.json", "no column Key in its fileSchema"],
            |manifest| {
                manifest["fileSchema"] = "Bucket, Size".into();
            },
        ),
        Wrong::manifest(&["manifest.json", "the unknown format Avro"], |manifest| {
            manifest["fileFormat"] = "Avro".into();
        }),
        Wrong::manifest(
            &["manifest.json", "--versions latest", "--versions listed"],
            |manifest| {
                manifest["fileSchema"] = "Bucket, Key, Size, X, Y, Z, IsLatest".into();
            },
        ),
    ];
    if cfg!(feature = "orc") {
        wrong.extend([
            Wrong::file("orc-current", &[".orc", "data file"], |file| cut(file, 9)),
            // The first stripe, behind the three letters that begin the file.
            Wrong::file("orc-current", &[".orc", "data file"], |file| {
                let mut content = std::fs::read(file).unwrap();
                content[3..600].fill(0xff);
                std::fs::write(file, content).unwrap();
            }),
            Wrong::file(
                "orc-latin",
                &[".orc", "row 7: the key is not UTF-8"],
                |_| (),
            ),
        ]);
    } else {
        let words = &[
            "manifest.json",
            "does not read",
            "cargo install --features orc",
        ];
        wrong.push(Wrong::file("orc-current", words, |_| ()));
    }
    let world = world();
    for (number, wrong) in wrong.iter().enumerate() {
        let manifest = wrong.write(&world.path(&number.to_string()));
        let given = world.given().set("--manifest", manifest.to_str().unwrap());
        given.refused(2, wrong.words).await;
    }
    assert_eq!(world.sandbox.log().entries().len(), 0);
}
