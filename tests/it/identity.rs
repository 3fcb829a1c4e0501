//! Who copies, under stress: STS that is down, slow or refuses, sessions that end, and every place from which
//! base credentials come.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use s3haul::job::report::row::TaskStatus;
use s3haul_sandbox::iam::{
    Account, COPY_ROLE, Condition, DESTINATION_ACCOUNT, EXTERNAL_ID, OPERATOR_ACCESS_KEY_ID,
    OPERATOR_SECRET_ACCESS_KEY, Policy, PrincipalBlock, Role, Statement, account_arn, role_arn,
    user_arn,
};
use s3haul_sandbox::{
    AccountsFile, BucketSettings, Fault, FaultKind, MFA_CODE, Operation, SandboxOptions,
    SessionKeys, When,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::given::Given;
use crate::guards::error;
use crate::support::{Run, World, count};

/// A role of the destination's account that may take the one that copies, and no more.
const HOP: &str = "hop";
const DEVICE: &str = "arn:aws:iam::222222222222:mfa/operator";
const CREDENTIALS_GONE: &str = "the credentials are gone, and the job was stopped";

fn copy_role() -> String {
    role_arn(DESTINATION_ACCOUNT, COPY_ROLE)
}

fn hop() -> String {
    role_arn(DESTINATION_ACCOUNT, HOP)
}

fn operator() -> String {
    user_arn(DESTINATION_ACCOUNT, "operator")
}

/// Sessions may be of seconds, and roles of two hours; there is [`HOP`], which the operator may take.
fn accounts() -> AccountsFile {
    let mut accounts = AccountsFile::built_in();
    let is_destination = |account: &&mut Account| account.id == DESTINATION_ACCOUNT;
    let account = accounts.accounts.iter_mut().find(is_destination).unwrap();
    for role in &mut account.roles {
        role.max_session_seconds = 7200;
    }
    let anybody = PrincipalBlock::aws(&[&account_arn(DESTINATION_ACCOUNT)]);
    let takes_roles = || Policy::new(vec![Statement::allow(&["sts:*"], &["*"])]);
    account.roles.push(Role {
        name: HOP.to_owned(),
        trust_policy: Policy::new(vec![Statement::trust(anybody)]),
        policies: vec![takes_roles()],
        max_session_seconds: 7200,
    });
    for user in &mut account.users {
        user.policies.push(takes_roles());
    }
    accounts
}

fn world_of(accounts: AccountsFile) -> World {
    let options = SandboxOptions {
        accounts,
        min_session_seconds: 1,
        ..SandboxOptions::default()
    };
    World::with(options, BucketSettings::default())
}

fn world() -> World {
    world_of(accounts())
}

/// Only who comes with MFA may take the role of this name.
fn world_with_mfa(role: &str) -> World {
    let mut accounts = accounts();
    let mut roles = accounts.accounts.iter_mut().flat_map(|a| &mut a.roles);
    let role = roles.find(|found| found.name == role).unwrap();
    let values = vec!["true".to_owned()];
    let mfa = Condition::new("Bool", "aws:MultiFactorAuthPresent", values).unwrap();
    let user = PrincipalBlock::aws(&[&operator()]);
    role.trust_policy = Policy::new(vec![Statement::trust(user).when(mfa)]);
    world_of(accounts)
}

/// Rows that take about so many seconds: four requests in flight, a fifth of a second each.
fn rows_for(world: &World, seconds: usize) -> usize {
    let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(200));
    world.sandbox.faults().add(slow);
    world.small_objects(20 * seconds);
    20 * seconds
}

fn slowly(given: Given<'_>) -> Given<'_> {
    given.set("--concurrency", "4")
}

/// Without a role of its own: the base identity copies.
fn as_base(world: &World) -> Given<'_> {
    let given = slowly(world.given()).flag("--no-role");
    let given = given.without("--role-arn").without("--external-id");
    given
        .without_variable("AWS_ACCESS_KEY_ID")
        .without_variable("AWS_SECRET_ACCESS_KEY")
}

fn calls(world: &World, operation: Operation) -> usize {
    world.sandbox.log().count(operation)
}

#[track_caller]
fn assert_says(run: &Run, words: &[&str]) {
    for word in words {
        assert!(run.stderr.contains(word), "{word:?} is missing: {run:?}");
    }
}

/// All rows were copied and none of them failed on the way.
#[track_caller]
fn assert_all(world: &World, run: &Run, rows: usize) {
    run.expect(0);
    assert_eq!(run.summary("succeeded"), rows, "{run:?}");
    assert_eq!(run.summary("errors"), json!({}));
    assert_eq!(count(&world.rows(), TaskStatus::Succeeded), rows);
}

/// The sessions that have copied, by their ARNs.
fn sessions(world: &World) -> Vec<String> {
    let copies = world.sandbox.log().of(Operation::CopyObject);
    let good = copies.into_iter().filter(|copy| copy.status == Some(200));
    let mut seen: Vec<_> = good.filter_map(|copy| copy.principal).collect();
    seen.sort();
    seen.dedup();
    seen
}

/// The way to STS, which can be cut: then connections are refused.
struct Way {
    address: String,
    sandbox: String,
    open: Option<JoinSet<()>>,
}

impl Way {
    async fn to(world: &World) -> Self {
        let mut way = Self {
            address: "127.0.0.1:0".to_owned(),
            sandbox: world.sandbox.address().to_string(),
            open: None,
        };
        way.open().await;
        way
    }

    async fn open(&mut self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        self.address = listener.local_addr().unwrap().to_string();
        let sandbox = self.sandbox.clone();
        let mut open = JoinSet::new();
        open.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let sandbox = sandbox.clone();
                connections.spawn(async move {
                    let mut server = TcpStream::connect(sandbox).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        self.open = Some(open);
    }

    async fn cut(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.shutdown().await;
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// How STS is down.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Down {
    Refuses,
    Fails,
    Hangs,
}

#[tokio::test(flavor = "multi_thread")]
async fn sts_down_for_half_of_a_session() {
    let downs = [Down::Refuses, Down::Fails, Down::Hangs];
    futures::future::join_all(downs.map(down_for_half_of_a_session)).await;
}

/// A session of 8 s, which is to be renewed after 6 s: STS is gone from 5 s to 9 s.
async fn down_for_half_of_a_session(down: Down) {
    let world = world();
    let rows = rows_for(&world, 12);
    let mut way = Way::to(&world).await;
    let given = slowly(world.given()).set("--role-duration", "8s");
    let given = given.set("--sts-endpoint-url", way.url());
    // It is for requests to STS too: one that hangs is given up.
    let given = given.set("--attempt-timeout", "1s");
    let run = given.command().spawn().unwrap();
    let log = world.sandbox.log();
    log.wait_until(|entries| entries.iter().any(|e| e.operation == Operation::AssumeRole))
        .await;
    let begun = Instant::now();
    let at = |millis| tokio::time::sleep_until((begun + Duration::from_millis(millis)).into());
    at(5_000).await;
    let kind = match down {
        Down::Refuses => None,
        Down::Fails => Some(error(500, "InternalFailure")),
        Down::Hangs => Some(FaultKind::Hang),
    };
    let fault = kind.map(|kind| Fault::on(Operation::AssumeRole, kind));
    let fault = fault.map(|fault| world.sandbox.faults().add(fault));
    if fault.is_none() {
        way.cut().await;
    }
    // The renewal is due: the old session goes on meanwhile.
    at(6_400).await;
    let before = calls(&world, Operation::CopyObject);
    at(7_600).await;
    let after = calls(&world, Operation::CopyObject);
    assert!(after > before + 5, "{down:?}: {before} to {after}");
    at(9_000).await;
    match &fault {
        Some(fault) => {
            assert!(fault.hits() > 0, "{down:?}: no renewal was tried");
            fault.remove();
        }
        None => way.open().await,
    }
    let run = Run::end_of(run).await;
    // Who hangs for the 30 s of other requests takes 40 s.
    assert!(begun.elapsed() < Duration::from_secs(30), "{down:?}");
    assert_all(&world, &run, rows);
    let renewed = log.of(Operation::AssumeRole);
    let good = renewed.iter().filter(|call| call.status == Some(200));
    assert!(good.count() >= 2, "{down:?}: {renewed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_refused_serves_to_its_end() {
    let world = world();
    let rows = rows_for(&world, 12);
    let refused = Fault::on(Operation::AssumeRole, error(403, "AccessDenied"));
    world
        .sandbox
        .faults()
        .add(refused.when(When::FromTo(2, 1000)));
    let given = slowly(world.given()).set("--role-duration", "6s");
    let run = given.run().await;
    run.expect(3);
    assert_says(
        &run,
        &[
            "the credentials cannot be renewed, the old ones are used",
            "s3haul-copy cannot be assumed",
            // And the job's last words.
            &format!(
                "{CREDENTIALS_GONE}: the credentials cannot be renewed: role {}",
                copy_role()
            ),
            "the calling identity may lack sts:AssumeRole on the role",
            "with new credentials, go on with: s3haul resume",
        ],
    );
    // Refused for the first time after three quarters of its life, and used to the end.
    let entries = world.sandbox.log().entries();
    let first = |entry: &s3haul_sandbox::LogEntry| {
        entry.operation == Operation::AssumeRole && entry.status == Some(403)
    };
    let at = entries.iter().find(|entry| first(entry)).unwrap().number;
    let later = entries.iter().filter(|entry| entry.number > at);
    let copied = later
        .filter(|e| e.operation == Operation::CopyObject && e.status == Some(200))
        .count();
    assert!(copied > 5, "{copied}");
    let ended = run.summary("succeeded").as_u64().unwrap();
    assert!((60..rows as u64).contains(&ended), "{ended}");
    // What was not run is not run.
    let failed = (run.summary("failed"), run.summary("errors"));
    assert_eq!(failed, (json!(0), json!({})));
    assert_eq!(world.checkpoint()["state"], "failed");

    world.sandbox.faults().clear();
    let run = world.resume(&[]).await;
    assert_all(&world, &run, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_expired_requests_are_one_renewal() {
    const IN_FLIGHT: usize = 1000;
    // The limit begins with 16, and grows with the answers.
    const BEFORE: usize = 1400;
    let world = World::new();
    let rows = BEFORE + IN_FLIGHT + 200;
    world.small_objects(rows);
    // None is answered before all are there.
    let hit = When::FromTo(BEFORE as u64 + 1, (BEFORE + IN_FLIGHT) as u64);
    let late = Fault::on(Operation::CopyObject, FaultKind::Latency(10_000)).when(hit);
    let expired = Fault::on(Operation::CopyObject, FaultKind::ExpireToken).when(hit);
    world.sandbox.faults().add(late);
    let slow = Fault::on(Operation::CopyObject, FaultKind::Latency(200));
    let first = When::First(BEFORE as u64);
    world.sandbox.faults().add(slow.when(first));
    let expired = world.sandbox.faults().add(expired);
    let given = world.given().set("--concurrency", IN_FLIGHT.to_string());
    let run = given.set("--max-rps", "none").run().await;
    assert_eq!(expired.hits(), IN_FLIGHT as u64);
    let in_flight = world.sandbox.log().max_in_flight();
    assert!(in_flight >= IN_FLIGHT, "{in_flight}");
    assert_all(&world, &run, rows);
    assert_eq!(calls(&world, Operation::AssumeRole), 2);
    assert_eq!(calls(&world, Operation::CopyObject), rows + IN_FLIGHT);
}

fn session(world: &World, arn: &str, seconds: u64) -> SessionKeys {
    world.sandbox.begin_session(arn, "given", seconds).unwrap()
}

fn rfc3339(keys: &SessionKeys) -> String {
    let format = &time::format_description::well_known::Rfc3339;
    keys.expires.format(format).unwrap()
}

/// The session in the environment.
fn with_session<'w>(given: Given<'w>, keys: &SessionKeys) -> Given<'w> {
    given
        .variable("AWS_ACCESS_KEY_ID", &keys.access_key_id)
        .variable("AWS_SECRET_ACCESS_KEY", &keys.secret_access_key)
        .variable("AWS_SESSION_TOKEN", &keys.session_token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_as_base_tells_its_end_and_stops_the_job() {
    let world = world();
    let rows = rows_for(&world, 14);
    let keys = session(&world, &operator(), 8);
    let given = slowly(world.given()).set("--role-duration", "2s");
    let given = with_session(given, &keys).variable("AWS_CREDENTIAL_EXPIRATION", rfc3339(&keys));
    let run = given.run().await;
    run.expect(3);
    let end = format!("end at {}, and cannot be renewed", rfc3339(&keys));
    assert_says(
        &run,
        &[
            &end,
            "AWS_SESSION_TOKEN",
            "the job stops with exit code 3, to be resumed with new ones",
            // The warning.
            &format!(
                " s, at {}, and cannot be renewed: the job will stop",
                rfc3339(&keys)
            ),
            CREDENTIALS_GONE,
            "the base credentials have expired",
            "log in again",
        ],
    );
    let (said, warned) = (run.stderr.find(&end), run.stderr.find("the job will stop"));
    assert!(said < warned && warned < run.stderr.find(CREDENTIALS_GONE));
    // Renewed until the end of the base, and no row failed.
    assert!(calls(&world, Operation::AssumeRole) >= 4);
    assert_eq!(
        (run.summary("failed"), run.summary("errors")),
        (json!(0), json!({}))
    );
    let ended = run.summary("succeeded").as_u64().unwrap();
    assert!((100..rows as u64).contains(&ended), "{ended}");

    let mut resume = world.command(&["resume"]);
    let keys = session(&world, &operator(), 900);
    resume
        .arg(world.path("report"))
        .args(["--output", "json"])
        .env("AWS_ACCESS_KEY_ID", &keys.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", &keys.secret_access_key)
        .env("AWS_SESSION_TOKEN", &keys.session_token);
    let run = Run::of(resume).await;
    assert_all(&world, &run, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_known_end_says_so() {
    let world = world();
    world.small_objects(1);
    let keys = session(&world, &operator(), 900);
    let words = "have an end that is not known, and cannot be renewed";
    let run = with_session(world.given(), &keys).run().await;
    run.expect(0);
    assert_says(&run, &[words]);
    // What is not a session has no end, whatever is left over in the environment.
    let given = world.given().set("--job-id", "user");
    let left_over = ("AWS_CREDENTIAL_EXPIRATION", "2020-01-01T00:00:00Z");
    let run = given.variable(left_over.0, left_over.1).run().await;
    run.expect(0);
    assert_eq!(run.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_copies_itself_ends_the_job_too() {
    let world = world();
    let rows = rows_for(&world, 9);
    // The end is not known: S3 says it.
    let keys = session(&world, &copy_role(), 5);
    let run = with_session(as_base(&world), &keys).run().await;
    run.expect(3);
    assert_says(
        &run,
        &[
            CREDENTIALS_GONE,
            "the credentials cannot be renewed: the base credentials have expired",
            "s3haul resume",
        ],
    );
    let ended = run.summary("succeeded").as_u64().unwrap();
    assert!((10..rows as u64).contains(&ended), "{ended}");
    let failed = (run.summary("failed"), run.summary("errors"));
    assert_eq!(failed, (json!(0), json!({})));
}

/// A profile with the keys of a session.
fn session_profile(keys: &SessionKeys) -> String {
    format!(
        "[base]\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n\
         x_security_token_expires = {}\n",
        keys.access_key_id,
        keys.secret_access_key,
        keys.session_token,
        rfc3339(keys)
    )
}

/// Replaces a file at once.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_a_profile_is_read_again() {
    let world = world();
    let rows = rows_for(&world, 8);
    let credentials = world.path("no-credentials");
    let first = session(&world, &operator(), 5);
    replace(&credentials, &session_profile(&first));
    let given = slowly(world.given()).set("--role-duration", "2s");
    let given = given
        .set("--profile", "base")
        .without_variable("AWS_ACCESS_KEY_ID")
        .without_variable("AWS_SECRET_ACCESS_KEY");
    let run = given.command().spawn().unwrap();
    world
        .sandbox
        .log()
        .wait_until(|entries| entries.iter().any(|e| e.operation == Operation::CopyObject))
        .await;
    // Somebody logs in again.
    replace(
        &credentials,
        &session_profile(&session(&world, &operator(), 900)),
    );
    let run = Run::end_of(run).await;
    assert_all(&world, &run, rows);
    let words = [
        "a session in profile base",
        &format!("end at {}", rfc3339(&first)),
    ];
    assert_says(&run, &words);
    assert!(!run.stderr.contains("the job will stop"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chained_role_is_clamped_before_sts_refuses() {
    let world = world();
    world.small_objects(1);
    let keys = session(&world, &hop(), 900);
    let long = |job: &str| {
        let given = world.given().set("--job-id", job);
        given.set("--role-duration", "2h")
    };
    let run = with_session(long("chained"), &keys).run().await;
    run.expect(0);
    assert_says(
        &run,
        &[
            &copy_role(),
            "its sessions last one hour, not the 7200 s asked for",
        ],
    );
    let log = world.sandbox.log();
    let taken = log.of(Operation::AssumeRole);
    assert_eq!((taken.len(), taken[0].status), (1, Some(200)));
    // A user's session is none, and a user is not asked who it is.
    log.clear();
    with_session(long("session"), &session(&world, &operator(), 900))
        .run()
        .await
        .expect(0);
    assert_eq!(calls(&world, Operation::GetCallerIdentity), 1);
    log.clear();
    let run = long("user").run().await;
    run.expect(0);
    assert_eq!(
        (
            run.stderr.as_str(),
            calls(&world, Operation::GetCallerIdentity)
        ),
        ("", 0)
    );
}

/// The keys of the operator, as settings of a profile.
fn keys_of_operator() -> String {
    format!(
        "aws_access_key_id = {OPERATOR_ACCESS_KEY_ID}\n\
         aws_secret_access_key = {OPERATOR_SECRET_ACCESS_KEY}\n"
    )
}

/// Writes the profiles, and leaves no keys in the environment.
fn with_profiles<'w>(world: &'w World, given: Given<'w>, config: &str) -> Given<'w> {
    std::fs::write(world.path("no-config"), config).unwrap();
    given
        .without_variable("AWS_ACCESS_KEY_ID")
        .without_variable("AWS_SECRET_ACCESS_KEY")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_serves_for_many_renewals() {
    let world = world_with_mfa(COPY_ROLE);
    let rows = rows_for(&world, 7);
    let given = slowly(world.given()).set("--role-duration", "2s");
    let given = given
        .set("--mfa-serial", DEVICE)
        .set("--mfa-code", MFA_CODE);
    let run = given.run().await;
    assert_all(&world, &run, rows);
    assert_eq!(calls(&world, Operation::GetSessionToken), 1);
    let renewals = calls(&world, Operation::AssumeRole);
    assert!(renewals >= 4, "{renewals}");
    // 36 hours are told, for a job may take longer.
    assert_says(&run, &[DEVICE, "end at ", "cannot be renewed"]);
}

/// A profile that takes the role that copies: sessions of 2 s, with an external ID and MFA.
fn profile_with_mfa() -> String {
    format!(
        "[profile copies]\nrole_arn = {}\nsource_profile = user\nexternal_id = {EXTERNAL_ID}\n\
         mfa_serial = {DEVICE}\nduration_seconds = 2\nrole_session_name = from-profile\n\
         [profile user]\n{}",
        copy_role(),
        keys_of_operator()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_with_mfa_and_a_duration_is_honoured() {
    let world = world_with_mfa(COPY_ROLE);
    let rows = rows_for(&world, 7);
    let of_profile = || {
        let given = with_profiles(&world, as_base(&world), &profile_with_mfa());
        given.set("--profile", "copies")
    };
    // There is no terminal to ask on.
    of_profile().refused(2, &[DEVICE, "give --mfa-code"]).await;
    let wrong = of_profile().set("--mfa-code", "654321");
    wrong
        .refused(3, &["no session can be had with MFA device", DEVICE])
        .await;
    world.sandbox.log().clear();
    let run = of_profile().set("--mfa-code", MFA_CODE).run().await;
    assert_all(&world, &run, rows);
    assert_eq!(calls(&world, Operation::GetSessionToken), 1);
    // An hour each, if the duration were left out.
    let renewals = calls(&world, Operation::AssumeRole);
    assert!(renewals >= 4, "{renewals}");
    let arn = format!("arn:aws:sts::{DESTINATION_ACCOUNT}:assumed-role/{COPY_ROLE}/from-profile");
    assert_eq!(sessions(&world), [arn]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_taken_from_the_role_of_a_profile() {
    let world = world_with_mfa(HOP);
    let rows = rows_for(&world, 6);
    let config = format!(
        "[profile hops]\nrole_arn = {}\nsource_profile = hops\nmfa_serial = {DEVICE}\n\
         duration_seconds = 7200\n{}",
        hop(),
        keys_of_operator()
    );
    let given = |duration| {
        let given = with_profiles(&world, slowly(world.given()), &config);
        let given = given.set("--profile", "hops").set("--mfa-code", MFA_CODE);
        given.set("--role-duration", duration)
    };
    let run = given("2s").run().await;
    assert_all(&world, &run, rows);
    assert_eq!(calls(&world, Operation::GetSessionToken), 1);
    assert!(calls(&world, Operation::AssumeRole) >= 4);
    // STS is not asked who this is: the profile says it.
    world.sandbox.log().clear();
    world.sandbox.faults().clear();
    let run = given("2h").set("--job-id", "long").run().await;
    run.expect(0);
    assert_says(
        &run,
        &["its sessions last one hour, not the 7200 s asked for"],
    );
    let taken = world.sandbox.log().of(Operation::AssumeRole);
    assert!(taken.len() == 2 && taken.iter().all(|call| call.status == Some(200)));
    assert_eq!(calls(&world, Operation::GetCallerIdentity), 0);
    // A role has no device.
    let both = given("1h").set("--mfa-serial", DEVICE);
    let both = both.set("--report", world.path("other").to_str().unwrap());
    let run = both.run().await;
    run.expect(3);
    assert_says(&run, &["the profile takes a role already", "--mfa-serial"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_profiles_is_followed() {
    let world = world();
    let rows = rows_for(&world, 1);
    let config = format!(
        "[profile copies]\nrole_arn = {}\nsource_profile = hops\nexternal_id = {EXTERNAL_ID}\n\
         duration_seconds = 7200\n\
         [profile hops]\nrole_arn = {}\nsource_profile = user\nduration_seconds = 7200\n\
         [profile user]\n{}",
        copy_role(),
        hop(),
        keys_of_operator()
    );
    let given = with_profiles(&world, as_base(&world), &config);
    let run = given.variable("AWS_PROFILE", "copies").run().await;
    assert_all(&world, &run, rows);
    assert_says(&run, &[&copy_role(), "its sessions last one hour"]);
    let taken = world.sandbox.log().of(Operation::AssumeRole);
    let who: Vec<_> = taken.iter().map(|call| call.principal.clone()).collect();
    let hopped = format!("arn:aws:sts::{DESTINATION_ACCOUNT}:assumed-role/{HOP}/s3haul");
    assert_eq!(who, [Some(operator()), Some(hopped)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_of_a_manifest_may_take_a_role_with_mfa() {
    let world = world_with_mfa(HOP);
    let (rows, manifest) = (rows_for(&world, 1), world.path("manifest.csv"));
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let readable = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"AWS": hop()},
            "Action": "s3:*",
            "Resource": ["arn:aws:s3:::lists", "arn:aws:s3:::lists/*"],
        }],
    });
    let settings = BucketSettings {
        policy: Some(readable.to_string()),
        ..BucketSettings::default()
    };
    let store = world.store();
    store
        .create_bucket("lists", DESTINATION_ACCOUNT, "eu-west-1", settings)
        .unwrap();
    store
        .put_object(
            "lists",
            "m.csv",
            manifest,
            s3haul_sandbox::ObjectProperties::default(),
        )
        .unwrap();
    let config = format!(
        "[profile reads]\nrole_arn = {}\nsource_profile = reads\nmfa_serial = {DEVICE}\n{}",
        hop(),
        keys_of_operator()
    );
    std::fs::write(world.path("no-config"), config).unwrap();
    let given = || {
        let given = slowly(world.given()).set("--manifest", "s3://lists/m.csv");
        given.set("--manifest-profile", "reads")
    };
    given().refused(2, &[DEVICE, "give --mfa-code"]).await;
    let run = given().set("--mfa-code", MFA_CODE).run().await;
    assert_all(&world, &run, rows);
    assert_eq!(calls(&world, Operation::GetSessionToken), 1);
}

/// Credentials as processes and endpoints give them.
fn document(keys: &SessionKeys, token: &str, end: bool) -> String {
    let mut document = json!({
        "Version": 1,
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": "2026-01-01T00:00:00Z",
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key,
        token: keys.session_token,
    });
    if end {
        document["Expiration"] = Value::from(rfc3339(keys));
    }
    document.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_asked_again() {
    let ends = [true, false];
    futures::future::join_all(ends.map(process_asked_again)).await;
}

/// A process whose sessions live 3 s, and say so or not.
async fn process_asked_again(end: bool) {
    let world = world();
    let rows = rows_for(&world, 8);
    let (file, config) = (world.path("keys.json"), world.path("no-config"));
    let command = format!("[profile p]\ncredential_process = cat {}\n", file.display());
    std::fs::write(config, command).unwrap();
    let put = |n: usize| {
        let name = format!("process-{n}");
        let keys = world.sandbox.begin_session(&copy_role(), &name, 3);
        replace(&file, &document(&keys.unwrap(), "SessionToken", end));
    };
    put(0);
    let mut run = as_base(&world)
        .set("--profile", "p")
        .command()
        .spawn()
        .unwrap();
    let mut puts = 0;
    while run.try_wait().unwrap().is_none() {
        puts += 1;
        put(puts);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let run = Run::end_of(run).await;
    assert_all(&world, &run, rows);
    let (sessions, words) = (sessions(&world), "cannot be renewed");
    assert!(sessions.len() >= 3, "{end}: {sessions:?}");
    assert!(!run.stderr.contains(words), "{end}: {run:?}");
    let expired = world.sandbox.log().of(Operation::CopyObject);
    let expired = expired.iter().filter(|copy| copy.status == Some(400));
    // What says when it ends is replaced before.
    assert_eq!(expired.count() == 0, end);
}

/// A server that answers each request as a test says: status and body.
struct Local {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    _server: JoinSet<()>,
}

impl Local {
    async fn start(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(serve(client, Arc::clone(&log), Arc::clone(&answer)));
            }
        });
        Self {
            url,
            requests,
            _server: server,
        }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// A header of a request.
fn header<'r>(request: &'r str, name: &str) -> &'r str {
    let mut headers = request.lines().filter_map(|line| line.split_once(": "));
    let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value).unwrap_or_default()
}

/// Answers one request.
async fn serve(
    mut client: TcpStream,
    log: Arc<Mutex<Vec<String>>>,
    answer: Arc<impl Fn(&str) -> (u16, String)>,
) {
    let mut request = String::new();
    loop {
        let mut chunk = [0; 8192];
        let Ok(read @ 1..) = client.read(&mut chunk).await else {
            return;
        };
        request.push_str(&String::from_utf8_lossy(&chunk[..read]));
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
            break;
        }
    }
    let (status, body) = answer(&request);
    log.lock().unwrap().push(request);
    // The second header is what the metadata of an instance says of its token.
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let _ = client.write_all((head + &body).as_bytes()).await;
}

/// A world that a local server can make sessions of.
fn shared() -> Arc<World> {
    Arc::new(world())
}

/// Sessions of the role that copies, each with a name of its own.
fn giver(world: &Arc<World>, seconds: u64) -> impl Fn() -> SessionKeys + Send + Sync + 'static {
    let (world, given) = (Arc::clone(world), Mutex::new(0));
    move || {
        let mut given = given.lock().unwrap();
        *given += 1;
        let name = format!("given-{given}");
        let session = world.sandbox.begin_session(&copy_role(), &name, seconds);
        session.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_of_a_container_rotate() {
    let world = shared();
    let rows = rows_for(&world, 7);
    // As in a pod of EKS: a token in a file, which is replaced too.
    let token = world.path("token");
    std::fs::write(&token, "token-0").unwrap();
    let give = giver(&world, 3);
    let endpoint = Local::start(move |request| {
        let right = header(request, "authorization").starts_with("token-");
        if request.starts_with("GET /v1/credentials ") && right {
            (200, document(&give(), "Token", true))
        } else {
            (401, String::new())
        }
    })
    .await;
    let given = || {
        as_base(&world)
            .variable(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                format!("{}/v1/credentials", endpoint.url),
            )
            .variable(
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                token.to_str().unwrap(),
            )
    };
    let mut run = given().command().spawn().unwrap();
    let mut tokens = 0;
    while run.try_wait().unwrap().is_none() {
        tokens += 1;
        replace(&token, &format!("token-{tokens}"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let run = Run::end_of(run).await;
    assert_all(&world, &run, rows);
    let sessions = sessions(&world);
    assert!(sessions.len() >= 3, "{sessions:?}");
    assert!(!run.stderr.contains("cannot be renewed"), "{run:?}");
    let asked = endpoint.requests();
    assert!(asked.len() < 30, "asked all the time: {}", asked.len());
    let tokens = [0, asked.len() - 1].map(|at| header(&asked[at], "authorization"));
    assert_ne!(tokens[0], tokens[1]);

    // The same as what a profile's role is taken with.
    world.sandbox.faults().clear();
    let config = format!(
        "[profile c]\ncredential_source = EcsContainer\nrole_arn = {}\n",
        hop()
    );
    std::fs::write(world.path("no-config"), config).unwrap();
    world.sandbox.log().clear();
    let run = given()
        .set("--profile", "c")
        .set("--job-id", "profile")
        .run()
        .await;
    // The role that copies may take none.
    run.expect(3);
    assert_says(&run, &["role/hop cannot be assumed"]);
    let asked = &world.sandbox.log().of(Operation::AssumeRole)[0];
    assert!(asked.principal.as_ref().unwrap().contains("/given-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_an_instance_is_asked_again() {
    let world = shared();
    let rows = rows_for(&world, 7);
    let give = giver(&world, 3);
    let metadata = Local::start(move |request| {
        let line = request.lines().next().unwrap();
        if line.starts_with("PUT /latest/api/token") {
            return (200, "a-token".to_owned());
        }
        match line.split(' ').nth(1).unwrap() {
            "/latest/meta-data/iam/security-credentials/"
            | "/latest/meta-data/iam/security-credentials-extended/" => (200, "role".to_owned()),
            path if path.ends_with("/role") => (200, document(&give(), "Token", true)),
            _ => (404, String::new()),
        }
    })
    .await;
    let named = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url.clone());
    let given = as_base(&world).variable(named.0, named.1);
    let run = given
        .without_variable("AWS_EC2_METADATA_DISABLED")
        .run()
        .await;
    assert_all(&world, &run, rows);
    let sessions = sessions(&world);
    assert!(sessions.len() >= 2, "{sessions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_environment_as_the_source_of_a_profile() {
    let world = world();
    let rows = rows_for(&world, 1);
    let config = format!(
        "[profile e]\ncredential_source = Environment\nrole_arn = {}\nexternal_id = {EXTERNAL_ID}\n",
        copy_role()
    );
    std::fs::write(world.path("no-config"), config).unwrap();
    let given = as_base(&world)
        .variable("AWS_ACCESS_KEY_ID", OPERATOR_ACCESS_KEY_ID)
        .variable("AWS_SECRET_ACCESS_KEY", OPERATOR_SECRET_ACCESS_KEY);
    let run = given.set("--profile", "e").run().await;
    assert_all(&world, &run, rows);
    let arn = format!("arn:aws:sts::{DESTINATION_ACCOUNT}:assumed-role/{COPY_ROLE}/s3haul");
    assert_eq!(sessions(&world), [arn]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_web_identity_is_read_again() {
    let world = shared();
    let rows = rows_for(&world, 7);
    let token = world.path("token");
    std::fs::write(&token, "token-0\n").unwrap();
    let give = giver(&world, 3);
    // STS, of which the sandbox has not this request: it is not signed.
    let sts = Local::start(move |request| {
        let body = request.split("\r\n\r\n").nth(1).unwrap();
        let right = [
            "Action=AssumeRoleWithWebIdentity",
            "RoleSessionName=pod",
            "WebIdentityToken=token-",
        ];
        if request.contains("uthorization:") || !right.iter().all(|part| body.contains(part)) {
            return (400, String::new());
        }
        let keys = give();
        let body = format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>\
             <SessionToken>{}</SessionToken><Expiration>{}</Expiration></Credentials>\
             </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
            keys.access_key_id,
            keys.secret_access_key,
            keys.session_token,
            rfc3339(&keys)
        );
        (200, body)
    })
    .await;
    let given = as_base(&world)
        .set("--sts-endpoint-url", &sts.url)
        .variable("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap())
        .variable("AWS_ROLE_ARN", copy_role())
        .variable("AWS_ROLE_SESSION_NAME", "pod");
    let mut run = given.command().spawn().unwrap();
    let mut tokens = 0;
    while run.try_wait().unwrap().is_none() {
        tokens += 1;
        replace(&token, &format!("token-{tokens}"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let run = Run::end_of(run).await;
    assert_all(&world, &run, rows);
    let sessions = sessions(&world);
    assert!(sessions.len() >= 3, "{sessions:?}");
    let (first, last) = (&sts.requests()[0], sts.requests().pop().unwrap());
    let token_of = |request: &str| request.split("Token=").nth(1).map(str::to_owned);
    assert_ne!(token_of(first), token_of(&last));
}

const SSO: &str = "[profile s]\nsso_session = corp\nsso_account_id = 222222222222\nsso_role_name = r\n\
    [sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://corp.example/start\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_sso_login_is_used_and_asked_for() {
    let world = shared();
    let rows = rows_for(&world, 7);
    let give = giver(&world, 3);
    let portal = Local::start(move |request| {
        let asked = "GET /federation/credentials?";
        let token = "x-amz-sso_bearer_token: access-token";
        if !request.starts_with(asked) || !request.contains(token) {
            return (401, String::new());
        }
        let keys = give();
        let answer = json!({"roleCredentials": {
            "accessKeyId": keys.access_key_id,
            "secretAccessKey": keys.secret_access_key,
            "sessionToken": keys.session_token,
            "expiration": keys.expires.unix_timestamp() * 1000,
        }});
        (200, answer.to_string())
    })
    .await;
    let home = world.path("home");
    let cache = home.join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    let given = || {
        with_profiles(&world, as_base(&world), SSO)
            .set("--profile", "s")
            .variable("HOME", home.to_str().unwrap())
            .variable("AWS_ENDPOINT_URL_SSO", &portal.url)
    };
    // Nobody has logged in.
    let words = ["no AWS credentials were found", "aws sso login --profile s"];
    given().refused(3, &words).await;
    assert!(portal.requests().is_empty());
    // The name of the file is the SHA-1 of the session's.
    let file = cache.join(format!("{}.json", sha1_of("corp")));
    let login = json!({
        "startUrl": "https://corp.example/start",
        "region": "us-east-1",
        "accessToken": "access-token",
        "expiresAt": "2100-01-01T00:00:00Z",
    });
    std::fs::write(file, login.to_string()).unwrap();
    let run = given().run().await;
    assert_all(&world, &run, rows);
    let sessions = sessions(&world);
    assert!(sessions.len() >= 2, "{sessions:?}");
}

fn sha1_of(text: &str) -> String {
    use sha1::Digest;
    s3haul::job::report::passes::hex(&sha1::Sha1::digest(text))
}
