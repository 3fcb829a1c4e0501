"""What `s3haul policy` prints lets the job pass, and without it the job is refused."""
import contextlib, json

from jobs.access import refused
from jobs.multipart import IN_PARTS
from jobs.properties import TAGGING, TAGS
from program import expect
from registry import job
from server import accounts
from server.seaweedfs import SeaweedFS
from world import World

# Roles: as printed; the source left to its bucket's policy; with no permission at all.
WHOLE, OUTPUT, BARE = "printed", "printed-output", "printed-trust"
NOTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": ["s3:*"], "Resource": ["*"]}]}
# Ceph refuses a policy with an action that it does not know.
FLAGS = {"seaweedfs": (), "moto": (), "ceph": ("--annotations", "exclude")}
# The others let nobody in where a trust policy asks for one.
EXTERNAL_ID = {"moto": accounts.EXTERNAL_ID}


@job("seaweedfs", "moto", "ceph")
def policy(world, check):
    printed = {role: documents(world, role) for role in (WHOLE, OUTPUT, BARE)}
    whole, output = (printed[role]["job-permissions"] for role in (WHOLE, OUTPUT))
    output = {**output, "Statement": [each for each in output["Statement"] if "Destination" in each["Sid"]]}
    permissions = {WHOLE: whole, OUTPUT: output, BARE: NOTHING}
    roles = {role: (printed[role]["role-trust"], permissions[role]) for role in printed}
    with with_roles(world, roles) as world:
        run_with(world, check, {role: printed[role]["source-bucket-policy"] for role in printed})


def run_with(world, check, bucket_policies):
    server = world.server
    # moto keeps tags by account.
    rows = world.two(**({} if server.name == "moto" else {"Tagging": TAGGING}))
    if server.name == "ceph":
        # No role may copy in parts.
        rows = [row for row in rows if row[0] == "small"]

    def is_refused(what, role, **how):
        refused(world, check, what, rows, *flags(world), prefix=f"{role}/", **{**whose(world, role), **how})

    def passes(what, role):
        copy = copy_of(world, what.replace(" ", "-"), rows, role)
        # As anybody runs it: the job looks first.
        del copy.environment["S3HAUL_SKIP_CHECK"]
        found = copy.ended(copy.start(["check", *copy.command[1:]]))
        with check(f"{what}: a check finds nothing that fails"):
            failing = [each for each in found.summary["findings"] if each["outcome"] in ("likely", "fail")]
            expect((found.code, failing), (0, []), found.stderr)
            world.no_uploads()
        run = copy.run()
        with check(f"{what}: every row succeeds"):
            expect((run.code, run.summary.get("errors")), (0, {}), run.stderr)
            expect({key: row.status for key, row in copy.rows_by_key().items()}, {key: "succeeded" for key, _ in rows})
            for key, _ in rows:
                assert world.body(f"{role}/{key}") == world.content[key], key
        with check(f"{what}: both buckets may be looked at"):
            assert "may not be looked at" not in run.stderr, run.stderr
        if server.name != "moto":
            with check(f"{what}: tags are carried"):
                for key, _ in rows:
                    expect(world.tags(f"{role}/{key}"), TAGS)

    def let(role):
        world.source_s3.put_bucket_policy(Bucket=world.source, Policy=json.dumps(bucket_policies[role]))

    is_refused("no bucket policy", OUTPUT)
    let(BARE)
    is_refused("a role without permissions", BARE)
    let(WHOLE)
    is_refused("another user", WHOLE, keys=server.source_admin)
    if server.name in EXTERNAL_ID:
        is_refused("a wrong external ID", WHOLE, external_id="wrong-id")
    passes("role and bucket policy", WHOLE)
    if server.name != "moto":
        # Which looks at no bucket policy.
        let(OUTPUT)
        passes("bucket policy alone", OUTPUT)
    world.source_s3.delete_bucket_policy(Bucket=world.source)
    with check("what reads another account's bucket takes its policy too"):
        run = copy_of(world, "role-alone", rows, WHOLE).run()
        expect(run.code, 3, run.stderr)


def flags(world):
    return [*IN_PARTS, *FLAGS[world.server.name]]


def whose(world, role):
    return {"role": role, "external_id": EXTERNAL_ID.get(world.server.name), "fields": "Bucket,Key,Size"}


def copy_of(world, name, rows, role):
    return world.copy(name, rows, *flags(world), prefix=f"{role}/", **whose(world, role))


def documents(world, role):
    """What is printed for the job's own flags, by ID, with the role by the name that the server has for it."""
    copy = copy_of(world, f"policy-{role}", [], role)
    if world.server.name != "ceph":
        # There not: `check` looks by actions that it does not know.
        del copy.environment["S3HAUL_SKIP_CHECK"]
    run = copy.ended(copy.start([
        "policy", *copy.command[1:], "--source", f"s3://{world.source}", "--source-account", accounts.SOURCE_ACCOUNT,
        "--base", world.server.operator_arn]))
    expect(run.code, 0, run.stderr)
    here = world.server.role_principal.replace(accounts.ROLE, role)

    def spelled(document):
        for statement in document["Statement"]:
            if statement.get("Principal") == {"AWS": accounts.role_arn(role)}:
                statement["Principal"] = {"AWS": here}
        return document
    return {each["id"]: spelled(each["document"]) for each in run.summary["documents"]}


@contextlib.contextmanager
def with_roles(world, roles):
    """The world on a server that has these roles too: trust and permissions by name."""
    if not isinstance(world.server, SeaweedFS):
        for name, (trust, permissions) in roles.items():
            world.server.make_role(name, trust, permissions)
        yield world
        return
    server = SeaweedFS()
    try:
        server.start(world.folder / "server", more_roles=roles)
        yield World(server, world.folder / "world", "policy", world.binary)
    finally:
        server.stop()
