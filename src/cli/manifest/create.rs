//! `s3haul manifest create`: list a bucket into a manifest.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use s3haul_s3::{
    HeaderPair, ListedObject, OnDoubt, Operation, PutBody, PutObject, Requests, S3Client, Tally,
    Throttle,
};
use serde::Serialize;
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{CreateArgs, Destination};
use crate::cli::attempt::{Listening, mfa_code_for};
use crate::cli::exit::{Exit, Failed};
use crate::cli::flags::REQUESTS_PER_SECOND;
use crate::cli::values::Location;
use crate::cli::{print_result, progress};
use crate::job::access::{AccessOptions, Connection};
use crate::job::manifest::{Field, md5_of};
use crate::job::shard::session_name;
use crate::job::spec::SpeedOptions;
use crate::job::summary::Size;
use crate::job::{max_concurrency, retry_options, throttle_options};
use crate::listing::rows::{Counts, Draft, Place, RowOptions};
use crate::listing::{Listing, Progress};

/// What was made.
#[derive(Debug, Serialize)]
struct Created {
    manifest: String,
    manifest_fields: String,
    #[serde(flatten)]
    counts: Counts,
    requests: u64,
    throttled: u64,
    elapsed_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    e_tag: Option<String>,
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            rows,
            bytes,
            filtered,
            delete_markers,
        } = self.counts;
        write!(
            f,
            "{rows} rows, {} in {:.1} s",
            Size(bytes),
            self.elapsed_seconds
        )?;
        for (count, what) in [
            (filtered, "filtered out"),
            (delete_markers, "delete markers left out"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        let (requests, throttled) = (self.requests, self.throttled);
        writeln!(f, "\n  {requests} requests, {throttled} throttled")?;
        write!(f, "  manifest: {}", self.manifest)?;
        if let Some(e_tag) = &self.e_tag {
            write!(f, ", ETag {e_tag}")?;
        }
        Ok(())
    }
}

/// Runs `s3haul manifest create`.
pub(super) async fn run(args: CreateArgs) -> Result<u8, Failed> {
    args.words.start_log();
    let (output, destination) = (args.words.output, args.manifest.output_file.clone());
    let created = Box::pin(create(args)).await?;
    let mut stderr = io::stderr();
    if created.counts.rows == 0 {
        let _ = writeln!(stderr, "no object is selected: the manifest is empty");
    }
    if destination == Destination::Stdout {
        // stdout has the manifest.
        let _ = writeln!(stderr, "{created}");
    } else {
        print_result(output, &created)?;
    }
    let fields = &created.manifest_fields;
    let _ = writeln!(
        stderr,
        "hint: s3haul copy reads it with --manifest-fields {fields}"
    );
    Ok(0)
}

async fn create(args: CreateArgs) -> Result<Created, Failed> {
    let begun = Instant::now();
    let mut listening = Listening::start();
    let drain = listening.signals.drain.clone();
    let (destination, shuffle) = (args.manifest.output_file.clone(), args.manifest.shuffle);
    let (show, asked) = (args.progress, Asked::of(args)?);
    // What cannot be written is said before the first request.
    let draft = begin(&destination, shuffle)?;
    let connected = drain.run_until_cancelled(Box::pin(asked.connect(&destination)));
    let (listing, rows, store) = connected.await.ok_or_else(stopped)??;

    let credentials = listing.requests.credentials().clone();
    listening.services.spawn(credentials.keep_renewed());
    let progress = Arc::new(Progress::default());
    let shown = Arc::clone(&progress);
    let line = move || {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let (listed, rows) = (load(&shown.listed), load(&shown.rows));
        format!("{listed} listed, {rows} rows")
    };
    listening.services.spawn(progress::show_line(show, line));
    let columns: Vec<_> = rows.fields.iter().map(|field| field.name()).collect();
    let manifest_fields = columns.join(",");
    let requests = listing.requests.clone();
    let work = Work {
        listing,
        rows,
        draft,
        progress,
    };
    let (counts, file) = work.run(&destination, &listening).await?;
    let e_tag = match (file, store) {
        (Some(file), Some(store)) => {
            let sent = drain.run_until_cancelled(store.send(&requests, file));
            Some(sent.await.ok_or_else(stopped)??)
        }
        _ => None,
    };
    listening.services.shutdown().await;
    let totals = requests.totals();
    Ok(Created {
        manifest: destination.to_string(),
        manifest_fields,
        counts,
        requests: totals.requests,
        throttled: totals.throttled,
        elapsed_seconds: begun.elapsed().as_secs_f64(),
        e_tag,
    })
}

fn begin(destination: &Destination, shuffle: Option<u32>) -> Result<Draft, Failed> {
    let place = match destination {
        Destination::Stdout => Place::Stdout,
        Destination::File(path) => Place::File(path.clone()),
        Destination::Object(_) => Place::Temporary,
    };
    let draft = match destination {
        Destination::File(path) if path.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Draft::begin(place, shuffle),
    };
    draft.map_err(|error| unwritable(destination, &error, Exit::Usage))
}

/// What the flags ask for.
struct Asked {
    bucket: String,
    prefixes: Vec<String>,
    rows: RowOptions,
    headers: Vec<HeaderPair>,
    access: AccessOptions,
    mfa_code: Option<String>,
    speed: SpeedOptions,
}

impl Asked {
    fn of(args: CreateArgs) -> Result<Self, Failed> {
        let rows = args.row_options()?;
        let account = args.access.source_account.as_deref();
        let headers = headers(account, args.access.requester_pays);
        let (selection, prefixes) = args.filters.selection(args.from.prefix)?;
        Ok(Self {
            bucket: args.from.bucket,
            prefixes,
            rows: RowOptions { selection, ..rows },
            headers,
            access: args
                .access
                .options(args.again.profile, session_name("manifest", None))?,
            mfa_code: args.again.mfa_code,
            speed: args.speed.options(REQUESTS_PER_SECOND),
        })
    }

    /// Connects to the bucket, and to the one that the manifest goes to.
    async fn connect(
        self,
        destination: &Destination,
    ) -> Result<(Listing, RowOptions, Option<Store>), Failed> {
        let (bucket, speed) = (self.bucket, self.speed);
        let mfa_code = mfa_code_for(&self.access, self.mfa_code.as_deref()).await?;
        let (most, retry) = (max_concurrency(&speed) as usize, retry_options(&speed));
        let connection = Connection::begin(&self.access, mfa_code, most, retry).await?;
        let (credentials, client, store) = if let Destination::Object(to) = destination {
            let both = Box::pin(connection.job(&bucket, &to.bucket)).await?;
            let store = Store {
                client: both.destination,
                to: to.clone(),
                headers: headers(both.destination_account.as_deref(), false),
            };
            (both.credentials, both.source, Some(store))
        } else {
            let (credentials, client) = Box::pin(connection.source(&bucket)).await?;
            (credentials, client, None)
        };
        let throttle = Throttle::new(&throttle_options(&speed));
        let listing = Listing {
            requests: Requests::new(throttle, credentials, retry_options(&speed)),
            client,
            bucket,
            prefixes: self.prefixes,
            versions: !self.rows.latest || self.rows.fields.contains(&Field::VersionId),
            headers: self.headers,
            concurrency: most,
        };
        Ok((listing, self.rows, store))
    }
}

fn headers(account: Option<&str>, requester_pays: bool) -> Vec<HeaderPair> {
    let account = account.map(|account| ("x-amz-expected-bucket-owner", account));
    let payer = requester_pays.then_some(("x-amz-request-payer", "requester"));
    let pairs = account.into_iter().chain(payer);
    pairs
        .map(|(name, value)| (name.into(), value.to_owned()))
        .collect()
}

/// A listing on its way into a manifest.
struct Work {
    listing: Listing,
    rows: RowOptions,
    draft: Draft,
    progress: Arc<Progress>,
}

impl Work {
    /// Lists, writes, and puts the manifest where it goes; gives what is to be sent on.
    ///
    /// A signal ends it. What had been written is removed by then.
    async fn run(
        self,
        destination: &Destination,
        listening: &Listening,
    ) -> Result<(Counts, Option<NamedTempFile>), Failed> {
        let Self {
            listing,
            rows,
            draft,
            progress,
        } = self;
        let unwritable = |error| unwritable(destination, &error, Exit::Stopped);
        let (sender, pages) = mpsc::channel(16);
        let mut stages = JoinSet::new();
        let written = Arc::clone(&progress);
        stages.spawn_blocking(move || write(draft, &rows, pages, &written));
        let listed = listing.run(sender, progress);
        let drain = &listening.signals.drain;
        let listed = drain.run_until_cancelled(Box::pin(listed)).await;
        let (draft, counts) = joined(&mut stages).await?.map_err(unwritable)?;
        listed.ok_or_else(stopped)??;
        let mut stages = JoinSet::new();
        stages.spawn_blocking(move || draft.finish());
        let file = joined(&mut stages).await?.map_err(unwritable)?;
        Ok((counts, file))
    }
}

/// Writes the rows of all pages.
fn write(
    mut draft: Draft,
    rows: &RowOptions,
    mut pages: mpsc::Receiver<Vec<ListedObject>>,
    progress: &Progress,
) -> io::Result<(Draft, Counts)> {
    let mut counts = Counts::default();
    while let Some(page) = pages.blocking_recv() {
        rows.write(&page, &mut counts, &mut draft)?;
        progress.rows.store(counts.rows, Ordering::Relaxed);
    }
    Ok((draft, counts))
}

async fn joined<T: 'static>(stages: &mut JoinSet<T>) -> Result<T, Failed> {
    match stages.join_next().await {
        Some(Ok(done)) => Ok(done),
        Some(Err(error)) => Err(Failed::new(error, Exit::Stopped)),
        None => Err(stopped()),
    }
}

/// The place of a manifest in S3.
struct Store {
    client: S3Client,
    to: Location,
    headers: Vec<HeaderPair>,
}

impl Store {
    /// Sends a whole manifest, and gives its ETag.
    async fn send(&self, requests: &Requests, file: NamedTempFile) -> Result<String, Failed> {
        let mut stages = JoinSet::new();
        stages.spawn_blocking(move || {
            let (content_md5, bytes) = md5_of(file.reopen()?)?;
            Ok::<_, io::Error>((file, bytes, content_md5))
        });
        let digested = joined(&mut stages).await?;
        let (file, bytes, content_md5) =
            digested.map_err(|error| Failed::new(error, Exit::Stopped))?;
        let request = PutObject {
            bucket: &self.to.bucket,
            key: &self.to.prefix,
            body: PutBody::File(file.path()),
            content_md5,
            headers: &self.headers,
        };
        let (mut tally, operation) = (Tally::default(), Operation::PutObject);
        let (bytes, resend) = (Some(bytes), OnDoubt::Resend);
        let put = || self.client.put_object(request);
        let sent = requests.send_uncounted(&mut tally, operation, bytes, resend, put);
        sent.await.map(|put| put.e_tag).map_err(|error| {
            let exit = if error.is_access_refusal() {
                Exit::Access
            } else {
                Exit::Stopped
            };
            let hint = "the manifest was not written: it takes s3:PutObject there; or write it \
                        to a file";
            Failed::new(error, exit).hinted(hint.to_owned())
        })
    }
}

fn unwritable(destination: &Destination, error: &io::Error, exit: Exit) -> Failed {
    let to = match destination {
        Destination::Stdout => "to stdout".to_owned(),
        _ => format!("to {destination}"),
    };
    Failed::new(
        io::Error::other(format!("cannot write the manifest {to}: {error}")),
        exit,
    )
}

fn stopped() -> Failed {
    Failed::new(
        io::Error::other("stopped by a signal: no manifest was made"),
        Exit::Stopped,
    )
}
