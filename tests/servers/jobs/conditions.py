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


@job("seaweedfs")
def overwrite_never_if_listed(world, check):
    """Two conditions in one request: the row says which of them was not met. SeaweedFS does not (`Condition`)."""
    e_tags = {key: world.put(key)["ETag"].strip('"') for key in ("new", "there", "changed")}
    world.destination_s3.put_object(Bucket=world.destination, Key="there", Body=OLD)
    e_tags["changed"] = "0" * 32
    world.let_role_read()
    copy = world.copy("both", list(e_tags.items()), "--overwrite", "never", "--source-changed", "fail",
                      fields="Bucket,Key,ETag")
    run = copy.run()
    report = copy.rows_by_key()
    for key, ended in (("new", ("succeeded", "")), ("there", ("skipped", "DestinationExists")),
                       ("changed", ("failed", "SourceChanged"))):
        with check(f"{key}: {ended[1] or ended[0]}"):
            expect((report[key].status, report[key].error_code), ended, run.stderr)
    with check("only the new one was written"):
        expect(world.listed(), ["new", "there"])
        expect(world.body("there"), OLD)


# moto looks at no dates.
@job("seaweedfs")
def source_dates(world, check):
    rows = world.two()
    world.let_role_read()
    for name, (flag, code, errors, listed) in {
            "unmodified-since": ("--if-unmodified-since", 1, {"PreconditionFailed": 2}, []),
            "modified-since": ("--if-modified-since", 0, {}, ["parts", "small"])}.items():
        run = world.copy(name, rows, *IN_PARTS, flag, "2020-01-01", fields="Bucket,Key,Size").run()
        with check(f"{name}: both rows end by the source's date"):
            expect((run.code, run.summary["errors"]), (code, errors), run.stderr)
            expect(world.listed(), listed)


# SeaweedFS archives nothing; moto copies parts of what is archived.
@job("moto")
def archived(world, check):
    """The answer to the copy says that an object is archived. A restore is asked for, and a resume finishes."""
    world.put("archived", StorageClass="GLACIER")
    world.put("here")
    rows = list(world.content)

    def restored():
        return world.source_s3.head_object(Bucket=world.source, Key="archived").get("Restore")

    for answer, (code, status, error) in {
            "fail": (1, "failed", "ObjectNotInActiveTierError"), "skip": (0, "skipped", "Archived"),
            "restore": (1, "failed", "RestoreInProgress")}.items():
        with check(f"{answer}: nothing was restored before"):
            expect(restored(), None)
        copy = world.copy(answer, rows, "--archived", answer, prefix=f"{answer}/")
        run = copy.run()
        report = copy.rows_by_key()
        with check(f"{answer}: the row ends so, and the other is copied"):
            expect((run.code, report["archived"].status, report["archived"].error_code), (code, status, error), run.stderr)
            expect(report["here"].status, "succeeded")
            assert f"{answer}/archived" not in world.listed(), "it was copied"
    with check("a resume finishes when it is there"):
        assert 'ongoing-request="false"' in restored(), restored()
        run = copy.resume()
        expect((run.code, run.summary["succeeded"], run.summary["errors"]), (0, 2, {}), run.stderr)
        expect(world.body("restore/archived"), world.content["archived"])
