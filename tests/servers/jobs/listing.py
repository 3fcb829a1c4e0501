"""`manifest create`: what it lists, copied."""
from jobs.keys import odd_keys
from program import expect
from registry import job
from world import READ, allow


@job("seaweedfs", "moto")
def listing(world, check):
    for key in odd_keys().values():
        try:
            world.put(key)
        except Exception:
            # The job of the keys has a word for it.
            continue
    world.small(60)
    world.let_role_read()
    pages = world.source_s3.get_paginator("list_objects_v2").paginate(Bucket=world.source)
    there = {entry["Key"]: entry["Size"] for page in pages for entry in page["Contents"]}
    copy = world.copy("listing", None, fields="Bucket,Key,Size")
    run = copy.list_source("--fields", "Bucket,Key,Size")
    with check("each object is listed once, with its size"):
        expect((run.code, run.summary["rows"]), (0, len(there)), run.stderr)
        expect(sorted(copy.listed()), sorted([world.source, key, str(size)] for key, size in there.items()))
    copy.run()
    with check("what is listed is what the copy reports"):
        expect(copy.rows_by_key().keys(), there.keys())
    again = world.copy("filtered", None)
    run = again.list_source("--match-any-prefix", "small/", "--match-any-suffix", "7")
    with check("prefix and suffix select"):
        expect(sorted(key for _, key in again.listed()), [f"small/{n:04}" for n in range(7, 60, 10)], run.stderr)


@job("seaweedfs", "moto")
def listing_of_versions(world, check):
    world.source_s3.put_bucket_versioning(Bucket=world.source, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"old", b"newer"):
        world.put_all({f"v/{n:02}": body for n in range(30)})
    for n in range(5):
        world.source_s3.delete_object(Bucket=world.source, Key=f"v/{n:02}")
    allow(world.source_s3, world.source, world.server.role_principal, READ, ["s3:ListBucket", "s3:ListBucketVersions"])
    answer = world.source_s3.list_object_versions(Bucket=world.source)
    copy = world.copy("versions", None, fields="Bucket,Key,VersionId")
    run = copy.list_source("--versions", "all")
    with check("every version is listed, and the delete markers are counted"):
        expect((run.code, run.summary["rows"], run.summary["delete_markers"]), (0, 60, 5), run.stderr)
        expect(sorted(copy.listed()),
               sorted([world.source, entry["Key"], entry["VersionId"]] for entry in answer["Versions"]))
    run = copy.run()
    with check("every version is copied"):
        expect((run.code, run.summary["succeeded"]), (0, 60), run.stderr)
    current = world.copy("current", None)
    run = current.list_source()
    with check("latest: what was deleted is not listed"):
        expect(sorted(key for _, key in current.listed()), [f"v/{n:02}" for n in range(5, 30)], run.stderr)
