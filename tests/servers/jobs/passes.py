"""`--previous-report`: a later pass copies what changed since an earlier one, and nothing else."""
import time

from jobs.inventory import KEYS
from jobs.multipart import IN_PARTS
from program import expect
from registry import job
from world import noise

FIELDS = "Bucket,Key,Size,LastModifiedDate,ETag"
PARTS = {f"parts/{n}": noise(6 * 2**20, n) for n in range(3)}


@job("seaweedfs", "moto")
def previous_report(world, check):
    world.put_all({**{key: None for key in KEYS}, **{f"small/{n:04}": None for n in range(60)}, **PARTS})
    world.let_role_read()

    def one_pass(name, *flags):
        """Lists the source and copies what it lists; the rows by status."""
        copy = world.copy(name, None, *IN_PARTS, *flags, fields=FIELDS)
        made = copy.list_source("--fields", FIELDS)
        expect(made.code, 0, made.stderr)
        run = copy.run()
        expect((run.code, run.summary.get("rows")), (0, len(world.content)), run.stderr)
        found = {}
        for key, row in copy.rows_by_key().items():
            found.setdefault((row.status, row.error_code), set()).add(key)
        return copy, run, found

    copied, skipped = ("succeeded", ""), ("skipped", "CopiedBefore")
    everything = set(world.content)
    first, _, found = one_pass("first")
    with check("the first pass copies everything"):
        expect(found, {copied: everything})
        world.are_copied(world.content)

    # Dates of a listing have whole seconds.
    time.sleep(1.1)
    changed = {
        # The same size, the same content, another size; in parts too; and a new key.
        "plain": b"CONTENT OF plain", "small/0007": world.content["small/0007"], "small/0008": b"",
        "parts/1": noise(6 * 2**20, "new"), "new/a b+c": None}
    world.put_all(changed)
    old = {key: world.body(key) for key in everything & changed.keys()}
    key_only, _, found = one_pass("key-only", "--previous-report", first.job, "--previous-report-match", "key")
    with check("by key: what is new is copied, what changed stays old"):
        expect(found, {copied: {"new/a b+c"}, skipped: everything})
        expect({key: world.body(key) for key in old}, old)
    world.destination_s3.delete_object(Bucket=world.destination, Key="new/a b+c")

    second, run, found = one_pass("second", "--previous-report", first.job)
    with check("the second pass copies what was written since, and nothing else"):
        expect(found, {copied: set(changed), skipped: everything - changed.keys()})
        world.are_copied(world.content)
    third, run, found = one_pass("third", "--previous-report", second.job)
    with check("a third pass finds nothing to do"):
        expect((found, run.summary["requests"]), ({skipped: set(world.content)}, 0))
    world.put("small/0009", b"again")
    _, _, found = one_pass("fourth", "--previous-report", third.job)
    with check("passes go on from the last one"):
        expect(found, {copied: {"small/0009"}, skipped: world.content.keys() - {"small/0009"}})
        world.are_copied(world.content)
    with check("a manifest without ETags is refused"):
        copy = world.copy("without", ["plain"], "--previous-report", first.job)
        run = copy.run()
        expect((run.code, copy.job.exists()), (2, False), run.stderr)
