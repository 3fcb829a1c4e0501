//! The flags of `copy` or `verify` one by one, so that a test can change, drop or add any of them.

use std::collections::BTreeMap;
use std::process::Stdio;

use s3haul_sandbox::Operation;
use s3haul_sandbox::iam::{COPY_ROLE, DESTINATION_ACCOUNT, EXTERNAL_ID};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{DESTINATION, JOB, Run, World};

/// Requests that write an object, or begin to.
pub(crate) const WRITES: [Operation; 4] = [
    Operation::CopyObject,
    Operation::CreateMultipartUpload,
    Operation::UploadPartCopy,
    Operation::PutObject,
];

/// The ID of the jobs of [`World::verifying`].
pub(crate) const VERIFYING: &str = "verifying";

/// A command line of `copy` or `verify`, about to run.
#[derive(Clone)]
pub(crate) struct Given<'w> {
    world: &'w World,
    command: &'static str,
    flags: BTreeMap<String, Option<String>>,
    repeated: Vec<(String, String)>,
    variables: BTreeMap<String, Option<String>>,
    stdin: Option<Vec<u8>>,
}

impl World {
    /// The flags of [`World::copy`], to be changed.
    pub(crate) fn given(&self) -> Given<'_> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let role = format!("arn:aws:iam::{DESTINATION_ACCOUNT}:role/{COPY_ROLE}");
        let given = Given {
            world: self,
            command: "copy",
            flags: BTreeMap::new(),
            repeated: Vec::new(),
            variables: BTreeMap::new(),
            stdin: None,
        };
        given
            .set("--manifest", path("manifest.csv"))
            .set("--to", format!("s3://{DESTINATION}"))
            .set("--role-arn", role)
            .set("--external-id", EXTERNAL_ID)
            .set("--endpoint-url", self.sandbox.endpoint())
            .set("--job-id", JOB)
            .set("--output", "json")
            .set("--report", path("report"))
    }

    /// The same of `verify`, as a job of another ID.
    pub(crate) fn verifying(&self) -> Given<'_> {
        let given = self.given().set("--job-id", VERIFYING);
        Given {
            command: "verify",
            ..given
        }
    }

    /// The same of `check`.
    pub(crate) fn checking(&self) -> Given<'_> {
        Given {
            command: "check",
            ..self.given()
        }
    }

    /// How many requests the server has seen that write an object.
    pub(crate) fn writes(&self) -> usize {
        WRITES
            .into_iter()
            .map(|operation| self.sandbox.log().count(operation))
            .sum()
    }
}

impl Given<'_> {
    /// Gives a flag a value, in place of the one that it has.
    pub(crate) fn set(mut self, flag: &str, value: impl Into<String>) -> Self {
        self.flags.insert(flag.to_owned(), Some(value.into()));
        self
    }

    /// Gives a flag that takes no value.
    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.insert(flag.to_owned(), None);
        self
    }

    /// Gives a flag once more.
    pub(crate) fn repeat(mut self, flag: &str, value: &str) -> Self {
        self.repeated.push((flag.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a flag out.
    pub(crate) fn without(mut self, flag: &str) -> Self {
        self.flags.remove(flag);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), Some(value.into()));
        self
    }

    /// Removes a variable from the environment.
    pub(crate) fn without_variable(mut self, name: &str) -> Self {
        self.variables.insert(name.to_owned(), None);
        self
    }

    /// Gives the manifest on stdin.
    pub(crate) fn stdin(mut self, manifest: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(manifest.as_ref().to_owned());
        self.set("--manifest", "-")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = self.world.command(&[self.command]);
        for (flag, value) in &self.flags {
            command.arg(flag).args(value);
        }
        for (flag, value) in &self.repeated {
            command.args([flag, value]);
        }
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    pub(crate) async fn run(self) -> Run {
        let mut command = self.command();
        let Some(manifest) = self.stdin else {
            return Run::of(command).await;
        };
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&manifest).await.unwrap();
        drop(stdin);
        Run::end_of(child).await
    }

    /// Runs it and expects that it is refused before anything is copied, with one error that has
    /// all of `words`, and that nothing is left of the job.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> impl Future<Output = Run> {
        let caller = std::panic::Location::caller();
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        async move {
            let world = self.world;
            let before = world.writes();
            let run = self.run().await;
            let told = format!("{caller}: {run:?}");
            assert_eq!(run.code(), code, "{told}");
            assert_eq!(run.stdout, "", "{told}");
            let errors = run
                .stderr
                .lines()
                .filter(|line| line.starts_with("error: "))
                .count();
            assert_eq!(errors, 1, "{told}");
            for word in &words {
                assert!(
                    run.stderr.contains(word.as_str()),
                    "{word:?} is missing: {told}"
                );
            }
            assert_eq!(world.writes(), before, "{told}");
            assert!(!world.path("report").exists(), "a folder is left: {told}");
            run
        }
    }
}
