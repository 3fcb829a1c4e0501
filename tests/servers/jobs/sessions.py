"""Sessions that end while the job runs."""
import contextlib

from program import expect
from registry import job
from server.seaweedfs import SeaweedFS
from world import World

SECONDS = 5


@contextlib.contextmanager
def short_lived(world):
    """A world whose server ends each session after a few seconds."""
    server = SeaweedFS()
    try:
        server.start(world.folder / "server", longest_session=f"{SECONDS}s")
        yield World(server, world.folder / "short", "short", world.binary)
    finally:
        server.stop()


def goes_on(world, check, *flags):
    keys = world.small(140)
    world.let_role_read()
    copy = world.copy("ends", keys, "--max-rps", "20", *flags)
    run = copy.run()
    with check("the job goes on with a new session"):
        expect((run.code, run.summary["succeeded"], run.summary["errors"]), (0, len(keys), {}), run.stderr[:400])
        world.are_copied(keys)


# moto's sessions never end.
@job("seaweedfs")
def session_ends(world, check):
    with short_lived(world) as world:
        goes_on(world, check)


@job("ceph")
def session_as_short_as_asked_for(world, check):
    goes_on(world, check, "--role-duration", f"{SECONDS}s")
