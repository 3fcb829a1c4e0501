//! In a container: what a retry would lose is refused, or warned of.

use s3haul_sandbox::Operation;

use crate::bucket::{REPORTS, address, world as with_reports};
use crate::given::Given;
use crate::machine::{permitted, unshare, within};
use crate::support::{CONTAINER_SIGNS, Run, World};

/// A new job with its report in S3, and without an ID.
fn nameless(world: &World) -> Given<'_> {
    world.small_objects(3);
    let given = world.given().set("--report", address(""));
    given.without("--job-id")
}

fn in_container<'w>(given: &Given<'w>) -> Given<'w> {
    given.clone().variable("container", "docker")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_in_s3_needs_a_job_id() {
    let world = with_reports();
    let given = nameless(&world);
    for sign in CONTAINER_SIGNS {
        let given = given.clone().variable(sign, "something");
        given.refused(2, &["--job-id", "S3HAUL_JOB_ID"]).await;
    }
    let verify = world.verifying().set("--report", address(""));
    let verify = in_container(&verify.without("--job-id"));
    verify.refused(2, &["--job-id"]).await;
    assert_eq!(world.sandbox.log().count(Operation::AssumeRole), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_id_is_one_wherever_it_comes_from() {
    let world = with_reports();
    let given = in_container(&nameless(&world));
    let named = [
        ("S3HAUL_JOB_ID", "variable", "variable"),
        ("AWS_BATCH_JOB_ID", "batch:3", "batch"),
        ("SLURM_ARRAY_JOB_ID", "77", "77"),
    ];
    for (variable, value, job_id) in named {
        let run = given.clone().variable(variable, value).run().await;
        run.expect(0);
        assert_eq!(run.summary("job_id"), job_id);
        // What lies in S3 outlives the container: nothing to warn of.
        assert!(!run.stderr.contains("the report is gone"), "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_container_or_a_report_nothing_is_refused() {
    let world = with_reports();
    let given = nameless(&world);
    let run = given.clone().run().await;
    run.expect(0);
    let reported = run.summary("report");
    assert!(reported.as_str().unwrap().contains(REPORTS), "{reported}");
    in_container(&given).flag("--dry-run").run().await.expect(0);
    let empty = given.variable("container", "").run().await;
    empty.expect(0);
}

/// What a job in a container says when this was done first, in a mount namespace.
async fn said_behind(prepared: &str) -> Option<String> {
    let namespace = unshare(&["--mount"]);
    let mounts = ["sh", "-c", "mount -t tmpfs none /mnt"];
    if !permitted("unshare", &[&namespace[..], &mounts].concat()).await {
        return None;
    }
    let world = World::new();
    world.small_objects(3);
    std::fs::create_dir(world.path("report")).unwrap();
    let script =
        format!(r#"export TMPDIR=/mnt && {prepared} && export container=docker && exec "$0" "$@""#);
    let outer = [&namespace[..], &["sh", "-c", &script]].concat();
    let run = Run::of(within(&world, "unshare", &outer, &world.copy_command())).await;
    run.expect(0);
    Some(run.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_goes_with_the_container_is_warned_of() {
    if let Some(said) = said_behind("mount -t tmpfs none report").await {
        assert!(said.contains("the report is gone"), "{said}");
        assert!(said.contains("it lies in memory"), "{said}");
    }
    // A volume, as Docker mounts them: a folder of the host.
    let volume = "mount --bind report report";
    if let Some(said) = said_behind(volume).await {
        assert!(!said.contains("the report is gone"), "{said}");
    }
    // The same as scratch: the volume is there, and is emptied.
    if let Some(said) = said_behind(&format!("{volume} && export TMPDIR=report")).await {
        assert!(said.contains("it lies among temporary files"), "{said}");
    }
}
