"""What stands between the program and S3 throttles, breaks, slows and closes: no row may fail for it."""
import collections

from jobs.multipart import IN_PARTS
from program import expect
from registry import job
from world import noise


def survives(world, check, fault, *flags, small=200, happened):
    """Copies through a fault, and checks that it was there: `happened` says so of a request in haproxy's log."""
    world.put_all({f"small/{n:04}": None for n in range(small)} | {f"parts/{n}": noise(11 * 2**20, n) for n in range(3)})
    world.let_role_read()
    sizes = [(key, len(body)) for key, body in world.content.items()]
    before = len(world.server.seen(fault))
    copy = world.copy(fault, sizes, *IN_PARTS, *flags, fields="Bucket,Key,Size", endpoint=world.server.through(fault))
    run = copy.run()
    with check("every row succeeds"):
        expect((run.code, run.summary.get("errors"), run.summary.get("succeeded")), (0, {}, len(sizes)), run.stderr[:400])
        expect({row.status for row in copy.rows_by_key().values()}, {"succeeded"})
    with check("every object has arrived"):
        world.are_copied(world.content)
    with check("no multipart upload is left"):
        world.no_uploads()
    seen = world.server.seen(fault)[before:]
    with check("the fault was there"):
        assert any(happened(request) for request in seen), f"not in {len(seen)} requests"
    return run, seen


def throttled(request):
    return request.status == "503"


def cut_off(request):
    return request.ended.startswith("P")


@job("haproxy")
def throttled_above_a_rate(world, check):
    run, _ = survives(world, check, "rate", small=60, happened=throttled)
    with check("throttling is counted"):
        assert run.summary["throttled"] > 0, run.summary


@job("haproxy")
def throttled_at_random(world, check):
    run, seen = survives(world, check, "share", small=100, happened=throttled)
    with check("throttling is counted"):
        expect(run.summary["throttled"], sum(map(throttled, seen)))


@job("haproxy")
def reset_before_the_server(world, check):
    survives(world, check, "reset", happened=cut_off)


@job("haproxy")
def answers_lost(world, check):
    survives(world, check, "lost", happened=cut_off)


@job("haproxy")
def answers_lost_without_overwriting(world, check):
    """A copy that meets itself is not taken for another's object."""
    run, _ = survives(world, check, "lost", "--overwrite", "never", happened=cut_off)
    with check("rows in doubt are counted"):
        assert run.summary["in_doubt"] > 0, run.summary


@job("haproxy")
def create_multipart_upload_lost(world, check):
    """An upload that nobody was told of is found and aborted, or stays for ever."""
    survives(world, check, "lost-create", small=10, happened=cut_off)


@job("haproxy")
def dropped_in_silence(world, check):
    survives(world, check, "silent", "--attempt-timeout", "1s", small=50, happened=cut_off)


@job("haproxy")
def slow_answers(world, check):
    survives(world, check, "slow", small=50, happened=lambda request: int(request.active_ms) >= 1200)


@job("haproxy")
def answers_after_the_time_out(world, check):
    survives(world, check, "slow", "--attempt-timeout", "1s", small=50, happened=lambda request: int(request.active_ms) >= 1000)


@job("haproxy")
def idle_connections_closed(world, check):
    _, seen = survives(world, check, "idle", happened=lambda request: request.status == "200")
    with check("connections were not kept"):
        connections = len({request.client_port for request in seen})
        assert connections > 100, f"{connections} connections for {len(seen)} requests"


@job("haproxy")
def idle_connections_killed_as_they_are_used(world, check):
    """A request every half second, over connections that haproxy keeps for about as long: some are closed just
    as they are used. What haproxy never read is sent again; nothing is written twice."""
    run, seen = survives(world, check, "idle-soon", "--max-rps", "2", "--overwrite", "never", small=20,
                         happened=lambda request: request.status == "200")
    with check("connections were not kept"):
        connections = len({request.client_port for request in seen})
        assert connections > 15, f"{connections} connections for {len(seen)} requests"
    with check("nothing is written twice"):
        written = collections.Counter(request.path for request in seen
                                      if request.method == "PUT" and "/small/" in request.path and request.status == "200")
        expect(set(written.values()), {1}, written)
        expect(len(written), 20)
    with check("no row is in doubt"):
        expect(run.summary["in_doubt"], 0)


@job("haproxy")
def session_expires(world, check):
    """Each session is good for 100 requests, then S3 says that it has expired."""
    _, seen = survives(world, check, "expired", happened=lambda request: (request.status, request.ended) == ("400", "LR"))
    with check("the role is taken anew"):
        taken = sum(request.method == "POST" and request.path == "/" for request in seen)
        assert taken >= 3, f"{taken} requests of STS"
