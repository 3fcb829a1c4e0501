"""Who may copy: a refusal is told as one, at once, and nothing is copied."""
from program import expect
from registry import job
from server import accounts
from server.accounts import Keys


def refused(world, check, what, rows, *flags, prefix=None, **how):
    """A job ends with code 3 before it has copied anything."""
    prefix = prefix or f"{what}/"
    copy = world.copy(what.replace(" ", "-"), rows, *flags, prefix=prefix, **how)
    run = copy.run()
    with check(f"{what} is refused"):
        expect(run.code, 3, run.stderr)
        expect([key for key in world.listed() if key.startswith(prefix)], [], "keys at the destination")
    return copy, run


@job("seaweedfs", "moto", "ceph")
def role(world, check):
    keys = world.small(3)
    world.let_role_read()
    operator, with_id = world.server.operator, accounts.ROLE_WITH_ID
    refused(world, check, "an absent role", keys, role="nobody-made-this")
    refused(world, check, "a wrong external ID", keys, role=with_id, external_id="wrong-id")
    refused(world, check, "a missing external ID", keys, role=with_id)
    refused(world, check, "a wrong secret", keys, keys=Keys(operator.id, "not-the-secret"))
    refused(world, check, "a user whom the role does not trust", keys, keys=world.server.source_admin)
    run = world.copy("right", keys, role=with_id, external_id=accounts.EXTERNAL_ID).run()
    with check("the right external ID is taken"):
        expect((run.code, run.summary.get("succeeded")), (0, len(keys)), run.stderr)


# moto looks at no bucket policy.
@job("seaweedfs", "ceph")
def source(world, check):
    """Without the bucket policy the first rows tell; with it, a resume finishes."""
    keys = world.small(40)
    copy, run = refused(world, check, "a role without the bucket policy", keys)
    with check("ten rows were tried, each refused"):
        expect((run.summary["state"], run.summary["failed"]), ("failed", 10), run.summary)
        expect(set(run.summary["errors"]), {"AccessDenied"})
    world.let_role_read()
    run = copy.resume()
    with check("with it, a resume copies every row"):
        expect((run.code, run.summary["succeeded"]), (0, len(keys)), run.stderr)
        expect({row.status for row in copy.rows_by_key().values()}, {"succeeded"})
        expect(len(world.listed()), len(keys), "objects at the destination")


@job("seaweedfs", "moto", "ceph")
def buckets(world, check):
    """Buckets that are not there are told before a row is copied."""
    keys = world.small(2)
    world.let_role_read()
    there = world.destination
    world.destination = "destination-nowhere"
    run = world.copy("destination", keys).run()
    world.destination = there
    with check("a missing destination bucket is told"):
        expect(run.code, 2, run.stderr)
        assert "does not exist" in run.stderr, run.stderr
