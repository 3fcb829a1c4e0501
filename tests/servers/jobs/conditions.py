"""Copies that depend on what is there: never silently over an object, never of another object."""
from jobs.multipart import IN_PARTS
from program import expect
from registry import job

OLD = b"was there before"


@job("seaweedfs", "moto", "ceph")
def overwrite_never(world, check):
    world.put_all({"new": None, "there": None, "parts-new": bytes(6 * 2**20), "parts-there": bytes(6 * 2**20)})
    there = ["there", "parts-there"]
    for key in there:
        world.destination_s3.put_object(Bucket=world.destination, Key=key, Body=OLD)
    who = world.let_copy_in_parts()
    sizes = [(key, len(body)) for key, body in world.content.items()]
    copy = world.copy("never", sizes, "--overwrite", "never", *IN_PARTS, fields="Bucket,Key,Size", **who)
    run = copy.run()
    report = copy.rows_by_key()
    with check("ends with code 0 and two skipped rows"):
        expect((run.code, run.summary["succeeded"], run.summary["skipped"]), (0, 2, 2), run.stderr)
    for key in there:
        with check(f"{key}: is skipped and stays"):
            expect((report[key].status, report[key].error_code), ("skipped", "DestinationExists"))
            expect(world.body(key), OLD)
    for key in ("new", "parts-new"):
        with check(f"{key}: is copied"):
            expect(report[key].status, "succeeded", report[key].message)
            world.is_copied(key)
    with check("no multipart upload is left"):
        world.no_uploads()


@job("seaweedfs", "moto", "ceph")
def overwrite_if_different(world, check):
    world.put_all({"same": b"same", "other": b"new!"})
    for key, body in (("same", b"same"), ("other", b"old!")):
        world.destination_s3.put_object(Bucket=world.destination, Key=key, Body=body)
    world.let_role_read()
    copy = world.copy("different", list(world.content), "--overwrite", "if-different")
    run = copy.run()
    with check("the equal object is skipped, the other replaced"):
        found = {key: (row.status, row.error_code) for key, row in copy.rows_by_key().items()}
        expect(found, {"same": ("skipped", "DestinationEqual"), "other": ("succeeded", "")}, run.stderr)
        world.are_copied(world.content)


@job("seaweedfs", "moto", "ceph")
def source_changed(world, check):
    """`--source-changed fail` makes the manifest's ETag a condition."""
    e_tags = {"listed": world.put("listed")["ETag"].strip('"'), "changed": "0" * 32}
    world.put("changed")
    world.let_role_read()
    copy = world.copy("changed", list(e_tags.items()), "--source-changed", "fail", fields="Bucket,Key,ETag")
    run = copy.run()
    report = copy.rows_by_key()
    with check("the object that is as listed is copied"):
        expect(report["listed"].status, "succeeded", report["listed"].message)
        world.is_copied("listed")
    with check("the other fails and is not copied"):
        expect((run.code, report["changed"].status, report["changed"].error_code), (1, "failed", "SourceChanged"))
        expect(world.listed(), ["listed"])
