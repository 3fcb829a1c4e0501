"""Versions and checksums."""
from jobs.multipart import IN_PARTS
from program import expect
from registry import job
from world import noise, sha256


@job("seaweedfs", "moto", "ceph")
def versions(world, check):
    for s3, bucket in ((world.source_s3, world.source), (world.destination_s3, world.destination)):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old_small = world.put("small", b"old")["VersionId"]
    old_parts = world.put("parts", noise(6 * 2**20, "old"))["VersionId"]
    listed = dict(world.content)
    world.put("small", b"new")
    world.put("parts", noise(6 * 2**20, "new"))
    who = world.let_copy_in_parts()
    rows = [("small", old_small, len(listed["small"])), ("parts", old_parts, len(listed["parts"]))]
    copy = world.copy("versions", rows, *IN_PARTS, fields="Bucket,Key,VersionId,Size", **who)
    run = copy.run()
    report = copy.rows_by_key()
    for key, version in (("small", old_small), ("parts", old_parts)):
        with check(f"{key}: the version that is listed is copied"):
            expect(report[key].status, "succeeded", report[key].message)
            expect(sha256(world.body(key)), sha256(listed[key]))
        with check(f"{key}: the report has both versions"):
            message = report[key].message
            expect((report[key].version_id, message.get("source_version_id"), message.get("version_id")),
                   (version, version, world.head(key)["VersionId"]))
    copy = world.copy("absent", [("small", old_parts)], fields="Bucket,Key,VersionId", **who)
    run = copy.run()
    with check("a version that is not there fails its row"):
        expect((run.code, run.summary["errors"]), (1, {"NoSuchVersion": 1}), run.stderr)


@job("moto")
def checksums(world, check):
    """The algorithm of the source's checksum is kept, by CopyObject and in parts."""
    for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        world.put(f"small-{algorithm}", ChecksumAlgorithm=algorithm)
        world.put(f"parts-{algorithm}", noise(6 * 2**20, algorithm), ChecksumAlgorithm=algorithm)
    world.let_role_read()
    sizes = [(key, len(body)) for key, body in world.content.items()]
    run = world.copy("checksums", sizes, *IN_PARTS, fields="Bucket,Key,Size").run()
    with check("every row succeeds"):
        expect((run.code, run.summary["errors"]), (0, {}), run.stderr)
    for key in world.content:
        with check(f"{key}: the copy has that checksum, and it is right"):
            name = "Checksum" + key.split("-")[1]
            head = world.head(key, ChecksumMode="ENABLED")
            assert head.get(name), f"HEAD shows {[name for name in head if name.startswith('Checksum')]}"
            # boto3 compares it where it can.
            world.is_copied(key)
    with check("GetObjectAttributes of source and copy agree"):
        names = ["ETag", "Checksum", "ObjectSize"]
        source, copied = (
            s3.get_object_attributes(Bucket=bucket, Key="small-SHA256", ObjectAttributes=names)
            for s3, bucket in ((world.source_s3, world.source), (world.destination_s3, world.destination)))
        expect([copied.get(name) for name in names], [source.get(name) for name in names])
