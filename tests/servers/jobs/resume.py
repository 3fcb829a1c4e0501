"""SIGKILL in the middle, and the resume after it."""
from process import until
from program import expect
from registry import job
from world import noise


def finished(world, copy, run, check):
    with check("the resume ends the job"):
        expect((run.code, run.summary["state"]), (0, "complete"), run.stderr)
        expect(run.summary["succeeded"], len(world.content))
    with check("each row is in the report once"):
        report = copy.rows_by_key()
        expect({key: row.status for key, row in report.items()}, dict.fromkeys(world.content, "succeeded"))
    with check("every object has arrived"):
        world.are_copied(world.content)
    with check("no multipart upload is left"):
        world.no_uploads()


@job("seaweedfs", "moto", "ceph")
def killed_among_rows(world, check):
    keys = world.small(200)
    world.let_role_read()
    # Slow, so that the kill comes in the middle of it.
    copy = world.copy("rows", keys, "--max-rps", "50")
    process = copy.start()
    until(lambda: len(world.listed()) >= 50, "50 objects to be copied")
    process.kill()
    with check("it was killed before its end"):
        expect(process.wait(), -9)
        assert len(world.listed()) < len(keys)
    finished(world, copy, copy.resume(), check)


@job("seaweedfs", "moto", "ceph")
def killed_among_parts(world, check):
    world.put("large", noise(40 * 2**20))
    who = world.let_copy_in_parts()
    copy = world.copy("parts", [("large", 40 * 2**20)], "--multipart-threshold", "5MiB", "--part-size", "5MiB",
                      "--max-rps", "4", fields="Bucket,Key,Size", **who)
    process = copy.start()
    # An upload is recorded before its first part is sent.
    until(lambda: any(map(world.parts, world.uploads())), "a part to be copied")
    process.kill()
    with check("it was killed before its end"):
        expect((process.wait(), world.listed(), len(world.uploads())), (-9, [], 1))
    # Few attempts: a server whose list of parts cannot be read would keep it waiting.
    run = copy.resume("--max-attempts", "3")
    with check("no part that is there is sent again"):
        # HEAD, tags, annotations, ListParts, Complete, at most seven of the eight parts, and HEAD if Complete left it
        # in doubt.
        requests, in_doubt = run.summary["requests"], run.summary["in_doubt"]
        assert requests <= 5 + 7 + in_doubt, f"{requests} requests, {in_doubt} rows in doubt"
    finished(world, copy, run, check)
