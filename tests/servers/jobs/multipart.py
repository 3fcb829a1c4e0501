"""A copy in parts of 5 MiB lands as CopyObject would have made it."""
from jobs.properties import PROPERTIES, same_metadata, same_tags
from program import expect
from registry import job
from world import noise

IN_PARTS = ("--multipart-threshold", "5MiB", "--part-size", "5MiB")


@job("seaweedfs", "moto", "ceph")
def multipart(world, check):
    big, exact, small = "parts/17 MiB+.bin", "parts/10-mib", "parts/5-mib"
    properties = PROPERTIES if world.server.name != "moto" else {**PROPERTIES, "Tagging": ""}
    world.put(big, noise(17 * 2**20 + 1, 1), **properties)
    world.put(exact, noise(10 * 2**20, 2))
    world.put(small, noise(5 * 2**20, 3))
    who = world.let_copy_in_parts()
    copy = world.copy("multipart", [(key, len(body)) for key, body in world.content.items()], *IN_PARTS,
                      fields="Bucket,Key,Size", **who)
    run = copy.run()
    report = {}
    with check("every row succeeds"):
        expect((run.code, run.summary.get("errors")), (0, {}), run.stderr)
        report = copy.rows_by_key()
    with check("parts are what was asked"):
        found = {key: (row.message["by"], row.message.get("parts")) for key, row in report.items()}
        expect(found, {big: ("multipart", 4), exact: ("multipart", 2), small: ("copy", found[small][1])})
    with check("bytes are the same"):
        world.are_copied(world.content)
    with check("the ETag counts the parts"):
        expect(world.head(big)["ETag"].strip('"')[32:], "-4")
    with check("the report has the object's ETag"):
        for key in (big, exact):
            expect(report[key].message["e_tag"], world.head(key)["ETag"].strip('"'))
    with check("metadata and content headers are carried"):
        same_metadata(world.head(big))
    if world.server.name != "moto":
        with check("tags are carried"):
            same_tags(world, big)
    with check("no annotations are known here, and the row says so"):
        for key in (big, exact):
            assert any("annotations" in note for note in report[key].message.get("notes", [])), report[key].message
    with check("no multipart upload is left"):
        world.no_uploads()


@job("seaweedfs", "moto", "ceph")
def multipart_odd_keys(world, check):
    """The source of a part is encoded once."""
    keys = ["parts/ü?#", "parts/a+b c", "parts/%2B"]
    world.put_all({key: noise(6 * 2**20, key) for key in keys})
    who = world.let_copy_in_parts()
    copy = world.copy("odd", [(key, 6 * 2**20) for key in keys], *IN_PARTS, fields="Bucket,Key,Size", **who)
    copy.run()
    report = copy.rows_by_key()
    for key in keys:
        with check(key):
            row = report[key]
            expect(row.status, "succeeded", f"{row.http_status} {row.error_code}")
            expect(row.message["by"], "multipart")
            world.is_copied(key)


# Elsewhere the role copies all that goes in parts.
@job("ceph")
def multipart_by_role(world, check):
    world.put("parts", noise(6 * 2**20))
    world.let_role_read()
    copy = world.copy("role", [("parts", 6 * 2**20)], *IN_PARTS, fields="Bucket,Key,Size")
    run = copy.run()
    with check("the role copies in parts"):
        expect((run.code, run.summary["errors"]), (0, {}), run.stderr)
        world.is_copied("parts")
    with check("no multipart upload is left"):
        world.no_uploads()


@job("moto")
def multipart_tags_not_shown(world, check):
    """moto keeps tags by account: HEAD counts them, and GetObjectTagging shows others none."""
    world.put("tagged", noise(6 * 2**20), **PROPERTIES)
    copy = world.copy("tagged", [("tagged", 6 * 2**20)], *IN_PARTS, fields="Bucket,Key,Size")
    run = copy.run()
    with check("the row fails rather than lose them"):
        expect((run.code, run.summary["errors"], world.listed()), (1, {"TagsNotCopied": 1}, []))
    with check("no multipart upload is left"):
        world.no_uploads()


@job("seaweedfs", "moto", "ceph")
def multipart_unknown_size(world, check):
    """Without a size, what is not over 5 GiB goes by CopyObject."""
    world.put("big", noise(8 * 2**20))
    world.let_role_read()
    copy = world.copy("unknown", ["big"], *IN_PARTS)
    run = copy.run()
    with check("goes by CopyObject"):
        expect((run.code, copy.rows_by_key()["big"].message["by"]), (0, "copy"), run.stderr)
        world.is_copied("big")


@job("seaweedfs", "moto", "ceph")
def multipart_layout(world, check):
    """`--part-size match-source` takes the source's parts, so that the ETag comes out equal."""
    s3, bucket = world.source_s3, world.source
    body = noise(13 * 2**20)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="uploaded")["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(body), 6 * 2**20), 1):
        part = s3.upload_part(Bucket=bucket, Key="uploaded", UploadId=upload, PartNumber=number,
                              Body=body[start:start + 6 * 2**20])
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(Bucket=bucket, Key="uploaded", UploadId=upload, MultipartUpload={"Parts": parts})
    world.content["uploaded"] = body
    # Over the threshold, and in one part.
    world.put("whole", noise(6 * 2**20))
    e_tags = {key: s3.head_object(Bucket=bucket, Key=key)["ETag"].strip('"') for key in world.content}
    who = world.let_copy_in_parts()
    rows = [(key, len(world.content[key]), e_tag) for key, e_tag in e_tags.items()]
    copy = world.copy("layout", rows, "--multipart-threshold", "5MiB", "--part-size", "match-source",
                      fields="Bucket,Key,Size,ETag", **who)
    run = copy.run()
    with check("the ETag comes out equal"):
        expect(run.code, 0, run.stderr)
        world.is_copied("uploaded")
        expect(world.head("uploaded")["ETag"].strip('"'), e_tags["uploaded"])
    with check("what was uploaded whole has its ETag too"):
        world.is_copied("whole")
        expect(world.head("whole")["ETag"].strip('"'), e_tags["whole"])
