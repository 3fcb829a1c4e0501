//! Whether the report can be written where it is to lie, without leaving anything there.

use std::path::Path;

use bytes::Bytes;
use futures::FutureExt;
use md5::{Digest, Md5};
use s3haul_s3::{
    Head, HeadObject, HeaderPair, Operation, Put, PutBody, PutObject, S3Client, S3Error,
};
use tokio_util::sync::CancellationToken;

use super::denial::{Needed, Who, explain};
use super::finding::{Finding, Outcome, REPORT};
use super::identity;
use super::{Asker, Stopped, owner_header, probe_key, within};
use crate::job::access::Connection;

/// What a row of a report takes at most, journal and results together; a little more than most.
const ROW_BYTES: u64 = 1_000;

/// A folder: the nearest one that is there is written to, and cleared again.
pub(super) fn folder(report: &Path, rows: u64) -> Finding {
    let place = report.display();
    let report = std::path::absolute(report).unwrap_or_else(|_| report.to_owned());
    let there = report.ancestors().find(|folder| folder.exists());
    let there = there.unwrap_or(Path::new("/"));
    let made = tempfile::Builder::new()
        .prefix(".s3haul-check-")
        .tempdir_in(there);
    let cleared = made.and_then(tempfile::TempDir::close);
    if let Err(error) = cleared {
        let what = format!("the report cannot be written to {place}");
        return Finding::new(&REPORT, Outcome::Fail, what)
            .evidence(format!(
                "cannot make a folder in {}: {error}",
                there.display()
            ))
            .remedy("see --report");
    }
    let free = rustix::fs::statvfs(there);
    let free = free
        .ok()
        .map(|found| found.f_bavail.saturating_mul(found.f_frsize));
    let needed = rows.saturating_mul(ROW_BYTES);
    match free {
        Some(free) if free < needed => {
            let what = format!(
                "the report in {place} may take {needed} bytes for {rows} rows, and {free} are free"
            );
            Finding::new(&REPORT, Outcome::Warning, what)
                .remedy("make room, or give --report another place")
        }
        _ => {
            let what = format!("the report can be written to {place}");
            Finding::new(&REPORT, Outcome::Pass, what)
        }
    }
}

/// A report's place in S3.
pub(super) struct Place<'a> {
    pub(super) bucket: &'a str,
    pub(super) prefix: &'a str,
    pub(super) account: Option<&'a str>,
    /// Who writes it, where that is a role whose ARN is known.
    pub(super) role: Option<&'a str>,
}

/// A place in S3: a PUT on a condition that cannot hold, and a look at a key that is not there.
pub(super) async fn in_s3(
    connection: &Connection,
    ask: &Asker,
    place: &Place<'_>,
    stop: &CancellationToken,
) -> Result<Finding, Stopped> {
    let Place {
        bucket,
        prefix,
        account,
        role,
    } = *place;
    let address = format!("s3://{bucket}/{prefix}");
    let found = within(stop, connection.report(bucket).boxed_local()).await?;
    let client = match found {
        Ok(client) => client,
        Err(error) => {
            let what = format!("the report cannot be written to {address}: {error}");
            return Ok(Finding::new(&REPORT, Outcome::Fail, what).remedy("see --report"));
        }
    };
    let caller = if role.is_some() {
        None
    } else {
        let caller = identity::caller(connection.credentials());
        within(stop, caller.boxed_local()).await?
    };
    let who = Who::new(role, caller.as_ref());
    let (key, owner) = (probe_key(prefix), owner_header(account));
    let answers = write_and_look(&client, ask, (bucket, &key), &owner);
    let (put, looked) = answers.boxed_local().await;
    let (error, actions): (_, &[&str]) = match (put, looked) {
        (Ok(put), _) => {
            let version = put.version_id.as_deref();
            let delete = || client.delete_object(bucket, &key, version, &owner);
            let deleted = ask.ask(Operation::DeleteObject, delete).await;
            let left = match deleted {
                Ok(_) => "and was deleted again".to_owned(),
                Err(error) => format!("and stays there: {key} ({error})"),
            };
            let what = format!(
                "the store of {address} does not honour If-Match: what was put on a condition landed, {left}"
            );
            return Ok(Finding::new(&REPORT, Outcome::Fail, what).remedy(
                "two processes could write one report there: keep the report in another store, or in a folder",
            ));
        }
        // Refused for the condition, hence not for who asked.
        (Err(error), Err(looked)) if [Some(404), Some(412)].contains(&error.status) => {
            if looked.status == Some(404) {
                let what = format!("the report can be written to {address}, and read again");
                return Ok(Finding::new(&REPORT, Outcome::Pass, what)
                    .evidence(format!("{error}; HeadObject: 404")));
            }
            (looked, &["s3:GetObject", "s3:ListBucket"])
        }
        (Err(error), _) => (error, &["s3:PutObject"]),
    };
    if matches!(error.status, None | Some(429 | 500..)) {
        let what = format!("it cannot be told whether the report can be written to {address}");
        return Ok(Finding::new(&REPORT, Outcome::Unknown, what).answered(&error));
    }
    let what = format!("the report cannot be written to {address}, or not read again");
    let finding = Finding::new(&REPORT, Outcome::Fail, what);
    if error.status != Some(403) {
        return Ok(finding.answered(&error));
    }
    let resource = who.objects_arn(bucket, prefix);
    let needed = Needed {
        actions,
        resource: &resource,
        bucket,
        account,
        kms_key: None,
    };
    let mut finding = explain(finding, &error, &who, &needed);
    if let Some(statement) = &mut finding.statement
        && actions.contains(&"s3:ListBucket")
    {
        statement.resource.push(who.bucket_arn(bucket));
    }
    Ok(finding)
}

/// A PUT that depends on an object that is not there writes nothing, and says whether it might.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
async fn write_and_look(
    client: &S3Client,
    ask: &Asker,
    (bucket, key): (&str, &str),
    owner: &[HeaderPair],
) -> (Result<Put, S3Error>, Result<Head, S3Error>) {
    let bytes = Bytes::from_static(b"s3haul check\n");
    let condition = [(
        "if-match".into(),
        "\"00000000000000000000000000000000\"".to_owned(),
    )];
    let headers: Vec<_> = owner.iter().cloned().chain(condition).collect();
    let put = PutObject {
        bucket,
        key,
        body: PutBody::Bytes(&bytes),
        content_md5: Md5::digest(&bytes).into(),
        headers: &headers,
    };
    let put = || client.put_object(put);
    let head = HeadObject {
        bucket,
        key,
        version_id: None,
        part_number: None,
        headers: owner,
    };
    let head = || client.head_object(head);
    tokio::join!(
        ask.write(Operation::PutObject, put),
        ask.ask(Operation::HeadObject, head)
    )
}
