//! Flags, words and exit codes: the only code that knows clap. One file a command.

mod abandon;
mod access;
mod attempt;
mod check;
mod completions;
mod container;
mod copy;
#[cfg(feature = "demo")]
mod demo;
mod dry_run;
mod exit;
mod flags;
mod inspection;
mod log;
mod man;
mod manifest;
mod metrics;
mod policy;
mod previous;
mod progress;
mod reach;
mod read;
mod report;
mod resume;
mod settings;
mod shard;
mod spool;
mod values;
mod verify;

use std::ffi::OsString;
use std::io::Write;

use clap::{Parser, Subcommand, ValueEnum};

pub use self::exit::Exit;
use self::exit::Failed;

/// Copies what a manifest lists from an S3 bucket in one AWS account to a bucket in another, and
/// writes a completion report from which a failed or interrupted job resumes.
#[derive(Debug, Parser)]
#[command(name = "s3haul", version, long_version = LONG_VERSION, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// With commit and features; `build.rs` makes it.
const LONG_VERSION: &str = env!("S3HAUL_LONG_VERSION");

const EXIT_CODES: &str = "\
Exit codes:
  0  every row succeeded or was skipped on purpose
  1  the job ran to its end and some rows failed: the report names them; s3haul resume tries them again
  2  bad flags, bad job file, unreadable manifest: nothing was copied
  3  access refused, the first rows all refused, or the failure threshold stopped the job
  4  stopped by a signal or lost its report; s3haul resume goes on";

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy what a manifest lists, and write a completion report
    Copy(Box<copy::CopyArgs>),
    /// Finish a job from its report: rows not reached are run, failed rows are tried again
    Resume(Box<resume::ResumeArgs>),
    /// Compare what a manifest or a report lists with what stands at the destination; write a report
    Verify(Box<verify::VerifyArgs>),
    /// Abort the multipart uploads that an interrupted job keeps, and mark the job abandoned
    Abandon(Box<abandon::AbandonArgs>),
    /// Look at what a job with these flags will meet: who copies, both buckets, rows, the report's place
    Check(Box<check::CheckArgs>),
    /// Print the policies that a job with these flags needs, for both accounts; nobody is asked
    Policy(Box<policy::PolicyArgs>),
    /// Make manifests, and see what is in them
    #[command(subcommand)]
    Manifest(manifest::ManifestCommand),
    /// Read completion reports
    #[command(subcommand)]
    Report(Box<report::ReportCommand>),
    /// The whole job on an embedded two-account S3, with no account and no set-up
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Print what a shell completes
    Completions(completions::CompletionsArgs),
    /// Print the manual page of s3haul or of one of its commands
    Man(man::ManArgs),
}

/// The form of what goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A few lines for people.
    Text,
    /// One JSON object.
    Json,
    /// A line for each action, with its reason.
    Table,
    /// A template of one account.
    #[value(name = "cloudformation")]
    CloudFormation,
}

/// Runs the command that `arguments` give, and says what the program exits with.
pub async fn run(arguments: Vec<OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage as u8
            } else {
                0
            };
        }
    };
    let ended = match cli.command {
        Command::Copy(args) => Box::pin(copy::run(*args)).await,
        Command::Resume(args) => Box::pin(resume::run(*args)).await,
        Command::Verify(args) => Box::pin(verify::run(*args)).await,
        Command::Abandon(args) => Box::pin(abandon::run(*args)).await,
        Command::Check(args) => Box::pin(check::run(*args)).await,
        Command::Policy(args) => policy::run(*args),
        Command::Manifest(command) => Box::pin(manifest::run(command)).await,
        Command::Report(command) => Box::pin(report::run(*command)).await,
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    ended.unwrap_or_else(|failed| failed.print())
}

/// Says that the program cannot even start.
pub fn cannot_start(error: &std::io::Error) -> std::process::ExitCode {
    let failed = Failed::usage(format!("cannot start: {error}"));
    std::process::ExitCode::from(failed.print())
}

/// Writes a command's result to stdout: one JSON object or the text.
fn print_result<T: serde::Serialize + std::fmt::Display>(
    output: Output,
    result: &T,
) -> Result<(), Failed> {
    let text = match output {
        Output::Json => {
            serde_json::to_string(result).map_err(|error| Failed::new(error, Exit::Stopped))?
        }
        _ => result.to_string(),
    };
    print_text(format!("{text}\n").as_bytes())
}

/// Writes to stdout what is a result as it stands.
fn print_text(text: &[u8]) -> Result<(), Failed> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failed::new(error, Exit::Stopped))
        }
        _ => Ok(()),
    }
}
