"""Manifests that lie in a bucket: read there, pinned by their ETag."""
import gzip, time
from urllib.parse import quote

from process import until
from program import expect, line
from registry import job
from world import in_parallel, noise

KEYS = ["plain", "a b", "a+b", "100%", "a%2Bb", "a,b", "ü/😀"]
# Column Ignore of a long manifest: more than one range is read of it, also compressed.
PADDED = "Bucket,Key,Ignore"


def put_manifest(world, content, key="lists/a b+ü%41.csv", bucket=None):
    """Makes it an object; its address and its ETag."""
    bucket = bucket or world.source
    answer = world.source_s3.put_object(Bucket=bucket, Key=key, Body=content)
    return f"s3://{bucket}/{key}", answer["ETag"].strip('"')


def listed(world, keys):
    return "".join(line(world.source, key) for key in keys).encode()


def padded(world, keys, count):
    """A manifest with so many more bytes a row."""
    return "".join(line(world.source, (key, noise(count // 2, key).hex())) for key in keys).encode()


@job("seaweedfs", "moto")
def manifest_in_a_bucket(world, check):
    world.put_all({key: None for key in KEYS})
    world.let_role_read()
    plain = padded(world, KEYS, 900_000)
    half = len(plain) // 2
    forms = {"plain": plain, "gzip": gzip.compress(plain, 1), "gzip-of-two-members":
             gzip.compress(plain[:half], 1) + gzip.compress(plain[half:], 1)}
    for name, content in forms.items():
        manifest, e_tag = put_manifest(world, content)
        copy = world.copy(name, None, "--manifest-etag", e_tag, fields=PADDED, manifest=manifest, prefix=f"{name}/")
        run = copy.run()
        with check(f"{name}: every row succeeds"):
            expect((run.code, run.summary.get("errors")), (0, {}), run.stderr)
            expect({key: row.status for key, row in copy.rows_by_key().items()}, dict.fromkeys(KEYS, "succeeded"))
            expect({key: world.body(f"{name}/{key}") for key in KEYS}, world.content)
    there = world.listed()
    refused = {"another ETag": (manifest, "--manifest-etag", "0" * 32), "one that is not there": (f"{manifest}.not",)}
    for what, (place, *flags) in refused.items():
        with check(f"{what} is refused before anything is sent"):
            copy = world.copy(what.replace(" ", "-"), None, *flags, fields=PADDED, manifest=place)
            run = copy.run()
            expect((run.code, copy.job.exists(), world.listed()), (2, False, there), run.stderr)


@job("seaweedfs", "moto")
def manifest_of_another_identity(world, check):
    """The role may not read the manifest; `--manifest-profile` may."""
    world.put_all({key: None for key in KEYS})
    world.let_role_read()
    lists = f"{world.source}-lists"
    world.source_s3.create_bucket(Bucket=lists)
    manifest, _ = put_manifest(world, listed(world, KEYS), bucket=lists)
    # moto looks at no bucket policy.
    if world.server.name != "moto":
        copy = world.copy("role", None, manifest=manifest)
        run = copy.run()
        with check("without it the manifest is refused"):
            expect((run.code, copy.job.exists(), world.listed()), (3, False, []), run.stderr)
    copy = world.copy("profile", None, "--manifest-profile", "lists", manifest=manifest)
    keys = world.server.source_admin
    copy.credentials.write_text(f"[lists]\naws_access_key_id = {keys.id}\naws_secret_access_key = {keys.secret}\n")
    run = copy.run()
    with check("with it the rows are copied"):
        expect((run.code, run.summary.get("succeeded")), (0, len(KEYS)), run.stderr)
        world.are_copied(KEYS)


def settled(world):
    """What is listed when nothing more lands: a server ends the requests of a client that was killed."""
    there = None
    while there != world.listed():
        there = world.listed()
        time.sleep(2)
    return there


@job("seaweedfs", "moto")
def manifest_replaced(world, check):
    """Killed in the middle; the manifest is another one by then."""
    keys = world.small(200)
    world.let_role_read()
    content = listed(world, keys)
    manifest, _ = put_manifest(world, content)
    copy = world.copy("killed", None, "--max-rps", "50", manifest=manifest)
    process = copy.start()
    until(lambda: len(world.listed()) >= 50, "50 objects to be copied")
    process.kill()
    process.wait()
    # As long as it was, with the same rows.
    put_manifest(world, listed(world, reversed(keys)))
    there = settled(world)
    run = copy.resume()
    with check("the resume refuses it, and copies nothing"):
        expect((run.code, world.listed()), (2, there), run.stderr)
        assert "has changed" in run.stderr, run.stderr
    put_manifest(world, content)
    run = copy.resume()
    with check("the first one again is taken, and each row is in the report once"):
        expect((run.code, run.summary.get("state")), (0, "complete"), run.stderr)
        expect({key: row.status for key, row in copy.rows_by_key().items()}, dict.fromkeys(keys, "succeeded"))
        world.are_copied(keys)


@job("seaweedfs", "moto")
def manifest_replaced_meanwhile(world, check):
    """Longer than what is held of it in memory, and another one before its last ranges are read."""
    keys = world.small(200)
    others = [f"others/{n:04}" for n in range(200)]
    in_parallel(lambda key: world.source_s3.put_object(Bucket=world.source, Key=key, Body=b""), others)
    world.let_role_read()
    content = padded(world, keys, 300_000)
    manifest, _ = put_manifest(world, content)
    copy = world.copy("meanwhile", None, "--max-rps", "20", fields=PADDED, manifest=manifest)
    process = copy.start()
    until(world.listed, "the first object to be copied")
    put_manifest(world, padded(world, others, 300_000))
    run = copy.ended(process)
    there = world.listed()
    with check("the job stops"):
        expect((run.code, run.summary.get("state")), (3, "failed"), run.stderr)
        assert "has changed" in run.stderr, run.stderr
    with check("nothing that the other one lists is copied"):
        expect(len(there), run.summary.get("succeeded"))
        assert 0 < len(there) < 200 and set(there) <= set(keys), there
    put_manifest(world, content)
    run = copy.resume("--max-rps", "3000")
    with check("with the first one again, the resume ends the job"):
        expect(run.code, 0, run.stderr)
        expect({key: row.status for key, row in copy.rows_by_key().items()}, dict.fromkeys(keys, "succeeded"))
        world.are_copied(keys)


@job("haproxy")
def manifest_over_a_bad_network(world, check):
    """Twenty ranges, read at least twice: each may be cut off, also in the middle."""
    keys = world.small(40)
    world.let_role_read()
    manifest, _ = put_manifest(world, padded(world, keys, 500_000))
    path = quote(manifest.removeprefix("s3:/"))
    for fault in ("reset", "torn", "share"):
        before = len(world.server.seen(fault))
        # A copy of unknown size is waited for for minutes, where it is not answered at all.
        copy = world.copy(fault, None, "--attempt-timeout", "20s", fields=PADDED, manifest=manifest,
                          prefix=f"{fault}/", endpoint=world.server.through(fault))
        run = copy.run()
        with check(f"{fault}: every row succeeds"):
            expect((run.code, run.summary.get("errors"), run.summary.get("succeeded")), (0, {}, len(keys)), run.stderr[:400])
            expect({key: world.body(f"{fault}/{key}") for key in keys}, world.content)
        with check(f"{fault}: the manifest's ranges had to be read again"):
            reads = [seen for seen in world.server.seen(fault)[before:] if (seen.method, seen.path) == ("GET", path)]
            broken = [seen for seen in reads if seen.ended != "--" or seen.status == "503"]
            assert len(reads) >= 40 and broken, f"{len(broken)} of {len(reads)}"
