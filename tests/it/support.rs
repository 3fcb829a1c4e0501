//! A sandbox with two buckets, and the program run against it as a user would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use s3haul::job::manifest::key::encode;
use s3haul::job::report::row::{ReportRow, TaskStatus};
use s3haul_sandbox::iam::{
    COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID, OPERATOR_ACCESS_KEY_ID,
    OPERATOR_SECRET_ACCESS_KEY, SOURCE_ACCOUNT,
};
use s3haul_sandbox::{BucketSettings, ObjectProperties, Sandbox, SandboxOptions, Store};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub(crate) const SOURCE: &str = "source";
pub(crate) const DESTINATION: &str = "destination";
pub(crate) const JOB: &str = "test";

/// What lets the role read the source bucket.
pub(crate) fn source_policy() -> String {
    include_str!("../../sample-manifests/source-bucket-policy.json")
        .replace("example-source", SOURCE)
}

/// A sandbox, its buckets, and a folder for manifests and reports.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(SandboxOptions::default(), BucketSettings::default())
    }

    /// `destination` are the settings of the destination bucket.
    pub(crate) fn with(options: SandboxOptions, destination: BucketSettings) -> Self {
        let sandbox = Sandbox::start(options).unwrap();
        let store = sandbox.store();
        let policy = Some(source_policy());
        let source = BucketSettings {
            policy,
            ..BucketSettings::default()
        };
        store
            .create_bucket(SOURCE, SOURCE_ACCOUNT, "eu-west-1", source)
            .unwrap();
        store
            .create_bucket(DESTINATION, DESTINATION_ACCOUNT, "us-east-1", destination)
            .unwrap();
        Self {
            sandbox,
            folder: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        self.sandbox.store()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts an object into the source bucket.
    pub(crate) fn put(&self, key: &str, bytes: &str) {
        self.put_with(key, bytes, ObjectProperties::default());
    }

    pub(crate) fn put_with(&self, key: &str, bytes: &str, properties: ObjectProperties) {
        self.store()
            .put_object(SOURCE, key, bytes.to_owned(), properties)
            .unwrap();
    }

    /// Declares an object of a size in the source bucket.
    pub(crate) fn declare(&self, key: &str, size: u64) {
        self.store()
            .declare_object(SOURCE, key, size, 1, ObjectProperties::default())
            .unwrap();
    }

    /// Writes a manifest file.
    pub(crate) fn manifest(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path("manifest.csv");
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes a manifest of keys, URL-encoded.
    pub(crate) fn manifest_of<S: AsRef<str>>(&self, keys: impl IntoIterator<Item = S>) -> PathBuf {
        let row = |key: S| format!("{SOURCE},{}\n", encode(key.as_ref()));
        self.manifest(keys.into_iter().map(row).collect::<Vec<_>>().concat())
    }

    /// Makes `count` small objects and their manifest.
    pub(crate) fn small_objects(&self, count: usize) -> PathBuf {
        for n in 0..count {
            self.put(&format!("k{n:05}"), &format!("content of {n}"));
        }
        self.manifest_of((0..count).map(|n| format!("k{n:05}")))
    }

    /// `copy` with the flags that every test needs.
    pub(crate) fn copy_command(&self) -> Command {
        self.copy_command_into("report")
    }

    /// `copy` with its report in a folder of this name.
    pub(crate) fn copy_command_into(&self, report: &str) -> Command {
        self.copy_command_by(&self.sandbox.endpoint(), report)
    }

    /// `copy` by another way to the sandbox.
    pub(crate) fn copy_command_by(&self, endpoint_url: &str, report: &str) -> Command {
        let mut command = self.command(&["copy"]);
        command
            .arg("--manifest")
            .arg(self.path("manifest.csv"))
            .args(["--to", &format!("s3://{DESTINATION}")])
            .args([
                "--role-arn",
                &format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}"),
            ])
            .args(["--external-id", EXTERNAL_ID])
            .args(["--endpoint-url", endpoint_url])
            .args(["--job-id", JOB, "--output", "json"])
            .arg("--report")
            .arg(match report.strip_prefix("s3://") {
                Some(_) => PathBuf::from(report),
                None => self.path(report),
            });
        command
    }

    /// Runs `copy` with more flags.
    pub(crate) async fn copy(&self, more: &[&str]) -> Run {
        let mut command = self.copy_command();
        command.args(more);
        Run::of(command).await
    }

    /// Runs `resume` on the job, with more flags.
    pub(crate) async fn resume(&self, more: &[&str]) -> Run {
        let mut command = self.command(&["resume"]);
        command
            .arg(self.path("report"))
            .args(["--output", "json"])
            .args(more);
        Run::of(command).await
    }

    /// The program as the operator of the destination account runs it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3haul"));
        hermetic(&mut command, self.folder.path());
        command.args(arguments);
        if arguments.first() == Some(&"copy") {
            // What it looks at first would be among the requests that tests count; those of `check` do without this.
            command.env("S3HAUL_SKIP_CHECK", "true");
        }
        command
    }

    /// The job's folder.
    pub(crate) fn job(&self) -> PathBuf {
        self.path("report").join(format!("job-{JOB}"))
    }

    /// The rows of an ended report, through its `manifest.json`, with all that must hold of one.
    pub(crate) fn rows(&self) -> Vec<ReportRow> {
        read_report(&self.job())
    }

    /// The rows of an ended report by key.
    pub(crate) fn rows_by_key(&self) -> BTreeMap<String, ReportRow> {
        self.rows()
            .into_iter()
            .map(|row| (row.key.clone(), row))
            .collect()
    }

    /// The one row of a report.
    pub(crate) fn row(&self) -> ReportRow {
        let mut rows = self.rows();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    pub(crate) fn checkpoint(&self) -> Value {
        let json = std::fs::read(self.job().join("work/checkpoint.json")).unwrap();
        serde_json::from_slice(&json).unwrap()
    }

    /// Every object of the manifest that succeeded is at the destination with its content.
    pub(crate) fn assert_copied(&self, key: &str) {
        let same = self.store().same_content((SOURCE, key), (DESTINATION, key));
        assert!(
            same,
            "{key:?} is not at the destination as it is at the source"
        );
    }

    /// No multipart upload is left.
    pub(crate) fn assert_no_uploads(&self) {
        assert!(self.store().uploads(DESTINATION).is_empty());
    }
}

/// What says that the program runs in a container.
pub(crate) const CONTAINER_SIGNS: [&str; 3] = [
    "ECS_CONTAINER_METADATA_URI_V4",
    "KUBERNETES_SERVICE_HOST",
    "container",
];

/// In this folder, as the operator of the destination account, and with nothing of this machine's own settings.
pub(crate) fn hermetic(command: &mut Command, folder: &Path) {
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        let ours = name.starts_with("AWS_") || name.starts_with("S3HAUL_");
        let ours = ours || CONTAINER_SIGNS.contains(&&*name);
        if ours || name.to_ascii_uppercase().ends_with("_PROXY") {
            command.env_remove(&variable);
        }
    }
    command
        .env("AWS_ACCESS_KEY_ID", OPERATOR_ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", OPERATOR_SECRET_ACCESS_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", folder.join("no-config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", folder.join("no-credentials"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
}

/// Reads the rows that `manifest.json` names, and checks names, checksums and statuses.
pub(crate) fn read_report(job: &Path) -> Vec<ReportRow> {
    let folder = format!("{}/", job.file_name().unwrap().to_string_lossy());
    read_report_by("", &folder, |name| {
        std::fs::read(job.join(name)).unwrap_or_else(|e| panic!("{}/{name}: {e}", job.display()))
    })
}

/// The same of a report wherever it lies; `prefix` is what its files' keys begin with.
pub(crate) fn read_report_by(
    bucket: &str,
    prefix: &str,
    read: impl Fn(&str) -> Vec<u8>,
) -> Vec<ReportRow> {
    let manifest = read("manifest.json");
    assert_eq!(
        read("manifest.json.md5"),
        format!("{}\n", md5(&manifest)).as_bytes()
    );
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["Format"], "Report_CSV_20180820");
    let mut rows = Vec::new();
    for file in manifest["Results"].as_array().unwrap() {
        assert_eq!(file["Bucket"], bucket);
        let content = read(file["Key"].as_str().unwrap().strip_prefix(prefix).unwrap());
        assert_eq!(file["MD5Checksum"], md5(&content).as_str());
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(&content[..]);
        for record in reader.into_records() {
            let row = ReportRow::parse(&record.unwrap()).unwrap();
            assert_eq!(file["TaskExecutionStatus"], row.status.as_str());
            rows.push(row);
        }
    }
    rows
}

pub(crate) fn md5(bytes: &[u8]) -> String {
    use md5::Digest;
    s3haul::job::report::passes::hex(&md5::Md5::digest(bytes))
}

/// A member of a row's message.
pub(crate) fn message(row: &ReportRow, member: &str) -> Value {
    let message: Value = serde_json::from_str(&row.message).unwrap();
    message[member].clone()
}

/// Counts rows of a status.
pub(crate) fn count(rows: &[ReportRow], status: TaskStatus) -> usize {
    rows.iter().filter(|row| row.status == status).count()
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) async fn of(mut command: Command) -> Self {
        Self::end_of(command.spawn().unwrap()).await
    }

    /// Waits for a program that was started; at most two minutes.
    pub(crate) async fn end_of(child: Child) -> Self {
        Self::end_within(child, Duration::from_mins(2)).await
    }

    /// Waits for a program that was started, and has much to do.
    pub(crate) async fn end_within(child: Child, limit: Duration) -> Self {
        let output = tokio::time::timeout(limit, child.wait_with_output())
            .await
            .expect("the program hangs")
            .unwrap();
        Self {
            status: output.status,
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("killed: {self:?}"))
    }

    /// Expects an exit code; prints what was said if it is another.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &Self {
        assert_eq!(
            self.code(),
            code,
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// A member of the summary on stdout.
    pub(crate) fn summary(&self, member: &str) -> Value {
        let summary: Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        summary[member].clone()
    }
}
