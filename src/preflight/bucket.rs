//! A bucket, whichever side it is of: whether it is there, where, and whose.

use s3haul_s3::{BucketFacts, Operation, S3Client, S3Error};
use time::OffsetDateTime;

use super::denial::{Who, statement};
use super::finding::{
    DESTINATION_BUCKET, DESTINATION_OWNER, DESTINATION_REGION, Finding, Outcome, SOURCE_BUCKET,
    SOURCE_OWNER, SOURCE_REGION, Topic,
};
use super::{Asker, owner_header};
use crate::job::access::{Connection, Owner};
use crate::job::spec::JobSpec;

/// A side of the copy.
pub(super) struct Side<'a> {
    name: &'static str,
    pub(super) bucket: &'a str,
    /// The account that its bucket is expected to be of.
    pub(super) account: Option<String>,
    /// Where the account comes from.
    account_flag: &'static str,
    account_is_of_role: bool,
    /// The region that was given.
    region: Option<&'a str>,
    region_flag: &'static str,
    clients: &'a Connection,
    is_source: bool,
    topics: [&'static Topic; 3],
}

/// What a look at it gave.
pub(super) struct Looked {
    /// Of the bucket's region.
    pub(super) client: S3Client,
    /// It is there, and nobody else's than expected, as far as can be told: more may be asked.
    pub(super) open: bool,
    /// It may be looked at, hence listed: what is missing answers 404.
    pub(super) listed: bool,
    /// S3 has said that it is the expected account's.
    pub(super) owned: bool,
    /// How far our clock goes ahead.
    pub(super) clock_ahead: Option<time::Duration>,
    pub(super) findings: Vec<Finding>,
    /// Its account, where it was said.
    pub(super) account: Option<String>,
}

impl<'a> Side<'a> {
    pub(super) fn source(connection: &'a Connection, job: &'a JobSpec, bucket: &'a str) -> Self {
        let access = &job.access;
        Self {
            name: "source",
            bucket,
            account: access.source_account.clone(),
            account_flag: "--source-account",
            account_is_of_role: false,
            region: access.source_region.as_deref(),
            region_flag: "--source-region",
            clients: connection,
            is_source: true,
            topics: [&SOURCE_BUCKET, &SOURCE_REGION, &SOURCE_OWNER],
        }
    }

    pub(super) fn destination(
        connection: &'a Connection,
        job: &'a JobSpec,
        account: Option<String>,
    ) -> Self {
        let access = &job.access;
        Self {
            name: "destination",
            bucket: &job.destination_bucket,
            account,
            account_flag: "--destination-account",
            account_is_of_role: access.destination_account == Owner::OfRole,
            region: access.region.as_deref(),
            region_flag: "--region",
            clients: connection,
            is_source: false,
            topics: [&DESTINATION_BUCKET, &DESTINATION_REGION, &DESTINATION_OWNER],
        }
    }

    /// Looks at it.
    pub(super) async fn look(&self, ask: &Asker, who: &Who) -> Looked {
        let [bucket_topic, region_topic, owner_topic] = self.topics;
        let mut client = self.client(self.region);
        let mut answer = self.head(ask, &client, None).await;
        let found = region_of(&answer);
        let mut findings = Vec::new();
        let elsewhere = found.as_deref().filter(|found| *found != client.region());
        // What answers in the region that was given takes the job's requests there too: no S3, but stores like it.
        let takes_it = self.region.is_some() && answer.is_ok();
        if let Some(found) = elsewhere.filter(|_| !takes_it) {
            if self.region.is_some() {
                findings.push(self.other_region(region_topic, found, client.region()));
            }
            client = self.client(Some(found));
            answer = self.head(ask, &client, None).await;
        }
        if findings.is_empty() {
            let (outcome, what) = match &found {
                Some(region) => (Outcome::Pass, format!("it is in {region}")),
                None => (
                    Outcome::Unknown,
                    "the answer does not say in which region it is".to_owned(),
                ),
            };
            findings.push(Finding::new(region_topic, outcome, what));
        }
        let clock_ahead = clock_ahead(&answer);
        let there = self.is_there(bucket_topic, &answer, who);
        let (mut open, mut owned) = (there.outcome != Outcome::Fail, false);
        findings.insert(0, there);
        if let (Some(account), true) = (self.account.as_deref(), answer.is_ok()) {
            let owner = self.head(ask, &client, Some(account)).await;
            owned = owner.is_ok();
            let refused = matches!(&owner, Err(error) if error.status == Some(403));
            open = open && !refused;
            findings.push(self.owner(owner_topic, account, owner.as_ref().err()));
        } else if open && let Some(account) = &self.account {
            let what = format!("it cannot be told whether account {account} owns it");
            findings.push(Finding::new(owner_topic, Outcome::Unknown, what));
        }
        Looked {
            client,
            open,
            listed: answer.is_ok(),
            owned,
            clock_ahead,
            findings,
            account: self.account.clone().filter(|_| owned),
        }
    }

    fn client(&self, region: Option<&str>) -> S3Client {
        if self.is_source {
            self.clients.source_client(region)
        } else {
            self.clients.destination_client(region)
        }
    }

    async fn head(
        &self,
        ask: &Asker,
        client: &S3Client,
        account: Option<&str>,
    ) -> s3haul_s3::Result<BucketFacts> {
        let headers = owner_header(account);
        let head = || client.head_bucket(self.bucket, &headers);
        ask.ask(Operation::HeadBucket, head).await
    }

    fn is_there(
        &self,
        topic: &Topic,
        answer: &s3haul_s3::Result<BucketFacts>,
        who: &Who,
    ) -> Finding {
        let (name, bucket) = (self.name, self.bucket);
        let Err(error) = answer else {
            let what = format!("the {name} bucket {bucket} is there");
            return Finding::new(topic, Outcome::Pass, what);
        };
        match error.status {
            Some(404) => {
                let what = format!("the {name} bucket {bucket} does not exist");
                Finding::new(topic, Outcome::Fail, what).remedy("check the bucket's name")
            }
            Some(403) => {
                let what = format!("the {name} bucket {bucket} may not be looked at");
                let own = self.account.is_some() && self.account == who.account;
                let principal = who.principal.as_deref().filter(|_| !own);
                let arn = who.bucket_arn(bucket);
                let finding = Finding::new(topic, Outcome::Unknown, what)
                    .in_account(self.account.as_deref())
                    .granted_by(statement(principal, &["s3:ListBucket"], &arn));
                finding.remedy(
                    "s3:ListBucket on it, for who copies, tells more: without it a missing object answers 403 \
                     as a refusal does",
                )
            }
            Some(429 | 500..) => {
                let what = format!("the {name} bucket {bucket} did not answer: S3 was not able to");
                Finding::new(topic, Outcome::Unknown, what).remedy("try again")
            }
            _ => {
                let what = format!("the {name} bucket {bucket} cannot be reached");
                Finding::new(topic, Outcome::Fail, what)
                    .remedy("check the network, the bucket's name, --endpoint-url and --region")
            }
        }
        .answered(error)
    }

    fn other_region(&self, topic: &Topic, found: &str, given: &str) -> Finding {
        let (name, flag) = (self.name, self.region_flag);
        let what = format!("the {name} bucket is in {found}, and {flag} says {given}");
        Finding::new(topic, Outcome::Fail, what)
            .evidence(format!("HeadBucket: x-amz-bucket-region {found}"))
            .remedy(format!("give {flag} {found}, or leave it out"))
    }

    fn owner(&self, topic: &Topic, account: &str, error: Option<&S3Error>) -> Finding {
        let name = self.name;
        let Some(error) = error else {
            let what = format!("account {account} owns the {name} bucket");
            return Finding::new(topic, Outcome::Pass, what);
        };
        if error.status != Some(403) {
            let what = format!("it cannot be told whether account {account} owns it");
            return Finding::new(topic, Outcome::Unknown, what).answered(error);
        }
        let (flag, whose) = if self.account_is_of_role {
            (self.account_flag, "the role's account")
        } else {
            (self.account_flag, "what was given")
        };
        let what = format!("account {account} does not own the {name} bucket");
        Finding::new(topic, Outcome::Fail, what)
            .evidence(format!(
                "{error}, with account {account} as the expected owner; 200 without"
            ))
            .remedy(format!(
                "if that is meant, name its account with {flag}; {account} is {whose}"
            ))
    }
}

/// The region that an answer names.
fn region_of(answer: &s3haul_s3::Result<BucketFacts>) -> Option<String> {
    match answer {
        Ok(facts) => facts.region.clone(),
        Err(error) => error.bucket_region.clone().map(Into::into),
    }
}

fn clock_ahead(answer: &s3haul_s3::Result<BucketFacts>) -> Option<time::Duration> {
    match answer {
        Ok(facts) => facts.date.map(|date| OffsetDateTime::now_utc() - date),
        Err(error) => {
            let seconds = error.clock_ahead_seconds.map(i64::from);
            seconds.map(time::Duration::seconds)
        }
    }
}
