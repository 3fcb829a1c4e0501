//! The sandbox as a program: S3 and STS for any client of this machine.
//!
//! Prints one line of JSON when it serves: endpoint, Region, accounts with their keys, roles. Ends with SIGINT or
//! SIGTERM, code 0.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use s3haul_sandbox::{
    AccountsFile, BucketSettings, Fault, FaultKind, Fill, Sandbox, SandboxOptions, iam,
};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// An S3 and STS in memory, with accounts, permissions and faults, for this machine only.
#[derive(Debug, Parser)]
#[command(name = "s3haul-sandbox", version)]
struct Flags {
    /// Where to listen; a loopback address. Port 0 is any free one.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Users, roles and KMS keys, as JSON; the built-in three accounts by default.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Faults, as a JSON array.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Buckets and declared objects to start with, as JSON.
    #[arg(long, value_name = "FILE")]
    fill: Option<PathBuf>,
    /// A bucket to start with, ACCOUNT/NAME or ACCOUNT/NAME@REGION; may be repeated.
    #[arg(long, value_name = "BUCKET")]
    bucket: Vec<String>,
    /// Writes each request to a file as a line of JSON.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Delays every request by so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// The shortest session that STS gives; AWS: 900.
    #[arg(long, value_name = "N", default_value_t = 900)]
    min_session_seconds: u64,
    /// How many seconds its clock goes ahead of this machine's; behind if negative.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    clock_ahead: i64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    // Handlers first, so that a signal right after the line of JSON ends it as any other.
    let (interrupt, terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let sandbox = start(flags)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", description(&sandbox))?;
    stdout.flush()?;
    drop(stdout);
    either(interrupt, terminate).await;
    sandbox.stop().await;
    Ok(())
}

fn start(flags: &Flags) -> Result<Sandbox, Box<dyn Error>> {
    let accounts = match &flags.accounts {
        Some(path) => AccountsFile::parse(&read(path)?)?,
        None => AccountsFile::built_in(),
    };
    let faults: Vec<Fault> = match &flags.faults {
        Some(path) => serde_json::from_str(&read(path)?)?,
        None => Vec::new(),
    };
    let fill: Fill = match &flags.fill {
        Some(path) => serde_json::from_str(&read(path)?)?,
        None => Fill::default(),
    };
    let options = SandboxOptions {
        listen: flags.listen,
        accounts,
        min_session_seconds: flags.min_session_seconds,
        clock_ahead_seconds: flags.clock_ahead,
    };
    let sandbox = Sandbox::start(options)?;
    sandbox.store().fill(&fill)?;
    for bucket in &flags.bucket {
        let (account, rest) = bucket
            .split_once('/')
            .ok_or_else(|| format!("{bucket:?} is not ACCOUNT/NAME"))?;
        let (name, region) = rest
            .split_once('@')
            .unwrap_or((rest, s3haul_sandbox::DEFAULT_REGION));
        sandbox
            .store()
            .create_bucket(name, account, region, BucketSettings::default())?;
    }
    if flags.latency > 0 {
        sandbox
            .faults()
            .add(Fault::on_all(FaultKind::Latency(flags.latency)));
    }
    for fault in faults {
        sandbox.faults().add(fault);
    }
    if let Some(path) = &flags.log {
        sandbox.log().write_to(File::create(path)?);
    }
    // The file has them all; nobody asks the memory.
    sandbox.log().keep_none();
    Ok(sandbox)
}

fn read(path: &Path) -> Result<String, Box<dyn Error>> {
    fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

/// What a client needs to know.
fn description(sandbox: &Sandbox) -> Value {
    let accounts: Vec<Value> = sandbox
        .accounts()
        .accounts
        .iter()
        .map(|account| {
            let users: Vec<Value> = account
                .users
                .iter()
                .map(|user| {
                    json!({
                        "name": user.name,
                        "arn": iam::user_arn(&account.id, &user.name),
                        "access_key_id": user.access_key_id,
                        "secret_access_key": user.secret_access_key,
                    })
                })
                .collect();
            let roles: Vec<Value> = account
                .roles
                .iter()
                .map(|role| {
                    json!({"name": role.name, "arn": iam::role_arn(&account.id, &role.name)})
                })
                .collect();
            json!({"id": account.id, "users": users, "roles": roles})
        })
        .collect();
    json!({
        "endpoint": sandbox.endpoint(),
        "region": sandbox.region(),
        "role_arn": iam::role_arn(iam::DESTINATION_ACCOUNT, iam::COPY_ROLE),
        "external_id": iam::EXTERNAL_ID,
        "accounts": accounts,
    })
}

async fn either(mut interrupt: Signal, mut terminate: Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one place where the program says why it ends"
)]
fn report(error: &dyn Error) {
    let mut causes = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
        source = cause.source();
    }
    eprintln!("s3haul-sandbox: {error}{causes}");
}
