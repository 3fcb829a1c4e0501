"""`--versions all`: every version of every key, in the order that they have at the source."""
import collections, time

from botocore.exceptions import ClientError

from jobs.inventory import FIELDS, KEYS, every_version, written
from jobs.multipart import IN_PARTS
from process import until
from program import expect
from registry import job
from world import READ, allow, in_parallel, noise, sha256

# No server's listing has parts of a second, as S3's has not: only so does it tell the order.
SECOND = 1.1
PARTS = "parts"
# Its latest version is a delete marker.
GONE = "a+b"
# It was deleted between its first and its second version.
BACK = "a b"


def enabled(s3, bucket, status="Enabled"):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def three_versions(world):
    """Makes three versions of each key, and two delete markers; the keys."""
    enabled(world.source_s3, world.source)
    keys = [*KEYS, PARTS]
    for n in range(3):
        time.sleep(SECOND)
        world.put_all({key: noise(6 * 2**20, n) if key == PARTS else f"{n} of {key}".encode() for key in keys})
        if n == 0:
            time.sleep(SECOND)
            world.source_s3.delete_object(Bucket=world.source, Key=BACK)
    time.sleep(SECOND)
    world.source_s3.delete_object(Bucket=world.source, Key=GONE)
    return keys


def history(s3, bucket, prefix=""):
    """The SHA-256 of the versions of each key, the newest first."""
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    entries = [entry for page in pages for entry in page.get("Versions", [])]
    contents = in_parallel(lambda entry: sha256(s3.get_object(
        Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])["Body"].read()), entries)
    found = collections.defaultdict(list)
    for entry, content in zip(entries, contents):
        found[entry["Key"].removeprefix(prefix)].append(content)
    return found


def markers(s3, bucket, prefix=""):
    """The keys of the delete markers, and whether each is the latest version."""
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
    return sorted((entry["Key"].removeprefix(prefix), entry["IsLatest"])
                  for page in pages for entry in page.get("DeleteMarkers", []))


def is_gone(world, key):
    try:
        world.body(key)
    except ClientError as error:
        expect(error.response["ResponseMetadata"]["HTTPStatusCode"], 404)
    else:
        raise AssertionError(f"{key} can be read")


def copy_all(world, manifest, name, *flags):
    """A job of all versions, to a prefix of its own, run."""
    copy = world.copy(name, None, "--versions", "all", *IN_PARTS, *flags, fields=None, manifest=manifest,
                      prefix=f"{name}/")
    return copy, copy.run()


def refused(world, manifest, name, code, *flags):
    """It is refused, and neither a version nor a delete marker is at the destination."""
    copy, run = copy_all(world, manifest, name, *flags)
    expect((run.code, copy.job.exists()), (code, False), run.stderr)
    answer = world.destination_s3.list_object_versions(Bucket=world.destination)
    expect((answer.get("Versions", []), answer.get("DeleteMarkers", [])), ([], []))
    return run


# Ceph's CopyObject answers with no version, which fails each row.
@job("seaweedfs", "moto")
def all_versions_skip(world, check):
    keys = three_versions(world)
    enabled(world.destination_s3, world.destination)
    world.let_role_read()
    manifest = written(world, "lists", FIELDS, every_version(world))
    with check("what shall become of delete markers has to be said"):
        run = refused(world, manifest, "unsaid", 2)
        assert "--delete-markers" in run.stderr, run.stderr
    copy, run = copy_all(world, manifest, "skip", "--delete-markers", "skip")
    with check("every version is copied, the delete markers are skipped"):
        expect((run.code, run.summary.get("succeeded"), run.summary.get("skipped")), (0, 3 * len(keys), 2), run.stderr)
        skipped = sorted((row.key, row.error_code) for row in copy.rows() if row.status == "skipped")
        expect(skipped, [(BACK, "DeleteMarker"), (GONE, "DeleteMarker")])
    with check("versions have the order of the source's, and no delete marker is there"):
        source = history(world.source_s3, world.source)
        expect(history(world.destination_s3, world.destination, "skip/"), source)
        expect(markers(world.destination_s3, world.destination, "skip/"), [])
    with check("the deleted key reappears, and a warning says so"):
        expect(world.body(f"skip/{GONE}"), world.content[GONE])
        assert "reappear" in run.stderr, run.stderr


# moto's role may not ask whether the bucket keeps versions, without which no delete is sent.
@job("seaweedfs")
def all_versions_replay(world, check):
    keys = three_versions(world)
    world.let_role_read()
    manifest = written(world, "lists", FIELDS, every_version(world))
    for markers_are in ("replay", "skip"):
        with check(f"{markers_are}: a destination without versions is refused, and nothing is written"):
            refused(world, manifest, f"none-{markers_are}", 2, "--delete-markers", markers_are)
    enabled(world.destination_s3, world.destination, "Suspended")
    with check("one whose versioning is suspended is refused too"):
        refused(world, manifest, "suspended", 2, "--delete-markers", "replay")
    enabled(world.destination_s3, world.destination)
    copy, run = copy_all(world, manifest, "replay", "--delete-markers", "replay")
    with check("every version and every delete marker is copied"):
        expect((run.code, run.summary.get("errors"), run.summary.get("succeeded")), (0, {}, 3 * len(keys) + 2), run.stderr)
        expect({row.status for row in copy.rows()}, {"succeeded"})
    with check("versions have the order of the source's"):
        expect(history(world.destination_s3, world.destination, "replay/"), history(world.source_s3, world.source))
    with check("delete markers have their places"):
        expect(markers(world.source_s3, world.source), [(BACK, False), (GONE, True)])
        expect(markers(world.destination_s3, world.destination, "replay/"), [(BACK, False), (GONE, True)])
    with check("what is deleted cannot be read, all else is as it was last written"):
        is_gone(world, f"replay/{GONE}")
        for key in set(keys) - {GONE}:
            expect(sha256(world.body(f"replay/{key}")), sha256(world.content[key]), key)


@job("moto")
def all_versions_unasked(world, check):
    """Who may not ask whether the destination keeps versions is told so by the first answers, or before a delete."""
    keys = three_versions(world)
    manifest = written(world, "lists", FIELDS, every_version(world))
    with check("replay is refused, and nothing is written"):
        refused(world, manifest, "replay", 3, "--delete-markers", "replay")
    copy, run = copy_all(world, manifest, "skip", "--delete-markers", "skip")
    with check("without, each key fails at its first version, and nothing newer is sent"):
        expect((run.code, run.summary.get("errors", {}).get("DestinationNotVersioned")), (1, len(keys)), run.stderr)
        assert "s3:GetBucketVersioning" in run.stderr, run.stderr
        expect(set(world.listed()), {f"skip/{key}" for key in keys})
        for key in set(keys) - {PARTS}:
            expect(world.body(f"skip/{key}"), f"0 of {key}".encode())


@job("seaweedfs", "moto")
def all_versions_of_a_listing(world, check):
    keys = three_versions(world)
    enabled(world.destination_s3, world.destination)
    allow(world.source_s3, world.source, world.server.role_principal, READ, ["s3:ListBucket", "s3:ListBucketVersions"])
    names = "Bucket,Key,VersionId,Size,LastModifiedDate"
    copy = world.copy("listing", None, "--versions", "all", *IN_PARTS, fields=names)
    run = copy.list_source("--versions", "all", "--fields", names)
    with check("every version is listed"):
        expect((run.code, run.summary.get("rows"), run.summary.get("delete_markers")), (0, 3 * len(keys), 2), run.stderr)
    run = copy.run()
    with check("every version is copied, in the order of the source's"):
        expect((run.code, run.summary.get("succeeded")), (0, 3 * len(keys)), run.stderr)
        expect(history(world.destination_s3, world.destination), history(world.source_s3, world.source))


@job("seaweedfs", "moto")
def all_versions_but_one(world, check):
    """A version that is gone since it was listed: nothing newer of its key lands."""
    keys = three_versions(world)
    enabled(world.destination_s3, world.destination)
    world.let_role_read()
    objects = every_version(world)
    manifest = written(world, "lists", FIELDS, objects)
    plain = [entry for entry in objects if entry["Key"] == "plain"]
    by_date = sorted(plain, key=lambda entry: entry["LastModifiedDate"])
    world.source_s3.delete_object(Bucket=world.source, Key="plain", VersionId=by_date[1]["VersionId"])
    source = history(world.source_s3, world.source)
    copy = world.copy("missing", None, "--versions", "all", "--delete-markers", "skip", *IN_PARTS, fields=None,
                      manifest=manifest)
    run = copy.run()
    with check("the row fails, and so does the newer one, unsent"):
        expect((run.code, run.summary.get("succeeded")), (1, 3 * len(keys) - 2), run.stderr)
        report = {row.version_id: row for row in copy.rows() if row.key == "plain"}
        rows = [report[entry["VersionId"]] for entry in by_date]
        expect([row.status for row in rows], ["succeeded", "failed", "failed"])
        expect((rows[1].http_status, rows[2].error_code), ("404", "EarlierVersionFailed"))
    with check("all else is copied, in the order of the source's"):
        there = history(world.destination_s3, world.destination)
        expect(there, {**source, "plain": source["plain"][1:]})


@job("seaweedfs", "moto")
def all_versions_killed(world, check):
    """What was in flight is written again: versions may stand there twice, and never in another order."""
    enabled(world.source_s3, world.source)
    enabled(world.destination_s3, world.destination)
    for n in range(4):
        time.sleep(SECOND)
        world.put_all({f"v/{key:02}": f"{n} of {key}".encode() for key in range(30)})
    world.let_role_read()
    manifest = written(world, "lists", FIELDS, every_version(world))
    copy = world.copy("killed", None, "--versions", "all", "--max-rps", "40", fields=None, manifest=manifest)
    process = copy.start()
    until(lambda: len(world.listed()) >= 8, "8 keys to be begun")
    process.kill()
    with check("it was killed before its end"):
        expect(process.wait(), -9)
        assert sum(map(len, history(world.destination_s3, world.destination).values())) < 120
    run = copy.resume()
    with check("the resume ends the job"):
        expect((run.code, run.summary.get("state"), run.summary.get("succeeded")), (0, "complete", 120), run.stderr)
        expect(len({(row.key, row.version_id) for row in copy.rows()}), 120)
    with check("the versions end in the order of the source's"):
        source = history(world.source_s3, world.source)
        there = history(world.destination_s3, world.destination)
        expect(there.keys(), source.keys())
        for key, versions in source.items():
            # What was written again comes behind what was there.
            newest = iter(there[key])
            assert there[key][0] == versions[0], f"another version of {key} is the current one"
            assert all(version in newest for version in versions), f"{key}: {there[key]}, not {versions}"
