"""What a job asks of the copies besides their bytes: the same by CopyObject and in parts."""
import base64, datetime, email.header, hashlib, zlib

from botocore.exceptions import ClientError

from jobs.multipart import IN_PARTS
from jobs.properties import PROPERTIES, TAGGING
from program import expect
from registry import job
from world import TWO

MIB = 2**20


def copied(world, check, name, rows, *flags, fields="Bucket,Key,Size"):
    """Copies both objects below `name/`, each its own way."""
    copy = world.copy(name, rows, *IN_PARTS, *flags, fields=fields, prefix=f"{name}/")
    run = copy.run()
    with check(f"{name}: every row succeeds"):
        expect((run.code, run.summary.get("errors")), (0, {}), run.stderr)
        expect({key: row.message["by"] for key, row in copy.rows_by_key().items()}, {"small": "copy", "parts": "multipart"})


def head(world, name, key, **more):
    return world.head(f"{name}/{key}", **more)


@job("seaweedfs", "moto")
def storage_class(world, check):
    rows = world.two(StorageClass="ONEZONE_IA")
    world.let_role_read()
    copied(world, check, "default", rows)
    copied(world, check, "asked", rows, "--storage-class", "STANDARD_IA")
    copied(world, check, "looked-up", rows, "--storage-class", "preserve")
    listed = [(*row, "ONEZONE_IA") for row in rows]
    copied(world, check, "listed", listed, "--storage-class", "preserve", fields="Bucket,Key,Size,StorageClass")
    # HEAD names no class that is STANDARD.
    classes = {"default": "STANDARD", "asked": "STANDARD_IA", "looked-up": "ONEZONE_IA", "listed": "ONEZONE_IA"}
    for name, asked in classes.items():
        for key in TWO:
            with check(f"{name}: {key}: has its class"):
                expect(head(world, name, key).get("StorageClass", "STANDARD"), asked)


@job("seaweedfs", "moto")
def metadata_replaced(world, check):
    rows = world.two(**{name: value for name, value in PROPERTIES.items() if name != "Tagging"})
    world.let_role_read()
    copied(world, check, "replaced", rows, "--metadata-directive", "replace", "--metadata", "plain=new",
           "--metadata", "text=grüße, 世界", "--content-type", "application/x-new", "--cache-control", "no-store",
           "--expires", "2031-02-03T04:05:06Z")
    for key in TWO:
        with check(f"{key}: has what is asked"):
            there = head(world, "replaced", key)
            expect([there.get(name) for name in ("ContentType", "CacheControl", "ExpiresString")],
                   ["application/x-new", "no-store", "Mon, 03 Feb 2031 04:05:06 GMT"])
            expect({name: decoded(value) for name, value in there["Metadata"].items()},
                   {"plain": "new", "text": "grüße, 世界"})
        with check(f"{key}: has nothing of the source's"):
            there = head(world, "replaced", key)
            names = ("ContentLanguage", "ContentDisposition", "ContentEncoding")
            expect({name: there[name] for name in names if name in there}, {})


def decoded(value):
    """Words of RFC 2047."""
    return str(email.header.make_header(email.header.decode_header(value)))


@job("seaweedfs", "moto")
def tags_replaced(world, check):
    rows = world.two(Tagging=TAGGING)
    world.let_role_read()
    copied(world, check, "none", rows, "--tags", "none")
    copied(world, check, "replaced", rows, "--tags", "replace", "--tag", "odd key=a+b=c/d:e@f", "--tag", "new=")
    for name, asked in (("none", {}), ("replaced", {"odd key": "a+b=c/d:e@f", "new": ""})):
        for key in TWO:
            with check(f"{name}: {key}: has those tags and no others"):
                expect(world.tags(f"{name}/{key}"), asked)


# SeaweedFS has no KMS here, and answers 500.
@job("moto")
def encryption_asked(world, check):
    rows = world.two()
    world.let_role_read()
    kms_key = "arn:aws:kms:us-east-1:222222222222:key/11111111-2222-3333-4444-555555555555"
    copied(world, check, "s3", rows, "--sse", "AES256")
    copied(world, check, "kms", rows, "--sse", "aws:kms", "--sse-kms-key-id", kms_key, "--bucket-key")
    for key in TWO:
        with check(f"{key}: AES256"):
            expect(head(world, "s3", key).get("ServerSideEncryption"), "AES256")
        with check(f"{key}: aws:kms under that key"):
            there = head(world, "kms", key)
            expect((there.get("ServerSideEncryption"), there.get("SSEKMSKeyId")), ("aws:kms", kms_key))
        with check(f"{key}: with a bucket key"):
            expect(head(world, "kms", key).get("BucketKeyEnabled"), True)


# moto takes SSE-C for nothing.
@job("seaweedfs")
def customer_keys(world, check):
    """Copies under a key of ours, of sources under another one (SeaweedFS: not in parts, 501) and under none."""
    files = {}
    for name in ("source", "copy"):
        files[name] = world.folder / name
        files[name].write_bytes(name[:1].encode() * 32)
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": files["copy"].read_bytes()}
    rows = world.two()
    world.put("ours", SSECustomerAlgorithm="AES256", SSECustomerKey=files["source"].read_bytes())
    world.let_role_read()
    copied(world, check, "plain", rows, "--sse-c-key-file", files["copy"])
    run = world.copy("ours", ["ours"], "--source-sse-c-key-file", files["source"], "--sse-c-key-file", files["copy"]).run()
    with check("ours: the row succeeds"):
        expect((run.code, run.summary["errors"]), (0, {}), run.stderr)
    for there, source in (("plain/small", "small"), ("plain/parts", "parts"), ("ours", "ours")):
        with check(f"{there}: is read with the new key"):
            answer = world.destination_s3.get_object(Bucket=world.destination, Key=there, **key)
            assert answer["Body"].read() == world.content[source], "other bytes"
        with check(f"{there}: is not read without it"):
            try:
                world.body(there)
            except ClientError as error:
                expect(error.response["ResponseMetadata"]["HTTPStatusCode"], 400)
            else:
                raise AssertionError("it was read")


# SeaweedFS keeps the checksum that an object came with, and makes none.
@job("moto")
def checksum_asked(world, check):
    rows = world.two()
    world.let_role_read()
    copied(world, check, "sha256", rows, "--checksum-algorithm", "SHA256")
    copied(world, check, "crc32", rows, "--checksum-algorithm", "CRC32")
    copied(world, check, "composite", rows, "--checksum-algorithm", "CRC32", "--checksum-type", "composite")
    whole = world.content
    parts = [whole["parts"][:5 * MIB], whole["parts"][5 * MIB:]]
    asked = {
        ("sha256", "small"): ("ChecksumSHA256", sha256(whole["small"])),
        ("sha256", "parts"): ("ChecksumSHA256", sha256(b"".join(map(sha256, parts)))),
        ("crc32", "small"): ("ChecksumCRC32", crc32(whole["small"])),
        ("crc32", "parts"): ("ChecksumCRC32", crc32(whole["parts"])),
        ("composite", "small"): ("ChecksumCRC32", crc32(whole["small"])),
        ("composite", "parts"): ("ChecksumCRC32", crc32(b"".join(map(crc32, parts)))),
    }
    for (name, key), (checksum, value) in asked.items():
        with check(f"{name}: {key}: has that checksum, and it is right"):
            found = head(world, name, key, ChecksumMode="ENABLED").get(checksum)
            # Composite ones end in the number of parts.
            expect((found or "").split("-")[0], base64.b64encode(value).decode())


def sha256(content):
    return hashlib.sha256(content).digest()


def crc32(content):
    return zlib.crc32(content).to_bytes(4, "big")


# moto refuses a CopyObject with a lock (it wants an upload's checksum), and takes it for nothing in parts.
@job("seaweedfs")
def object_lock(world, check):
    world.destination += "-locked"
    world.destination_s3.create_bucket(Bucket=world.destination, ObjectLockEnabledForBucket=True)
    rows = world.two()
    world.let_role_read()
    copied(world, check, "locked", rows, "--object-lock-mode", "governance",
           "--object-lock-retain-until", "2040-01-02T03:04:05Z", "--object-lock-legal-hold", "on")
    until = datetime.datetime(2040, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
    for key in TWO:
        with check(f"{key}: has the lock and the legal hold"):
            there = head(world, "locked", key)
            names = ("ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus")
            expect([there.get(name) for name in names], ["GOVERNANCE", until, "ON"])


# SeaweedFS takes both for nothing.
@job("moto")
def redirect_and_grants(world, check):
    rows = world.two(WebsiteRedirectLocation="/source")
    world.let_role_read()
    signed_in = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
    copied(world, check, "bare", rows)
    copied(world, check, "asked", rows, "--website-redirect-location", "/there?a=b", "--grant-full-control", "id=owner",
           "--grant-read", "id=reader", "--grant-read-acp", f"uri={signed_in}")
    for key in TWO:
        with check(f"{key}: the source's redirect is not taken along"):
            expect(head(world, "bare", key).get("WebsiteRedirectLocation"), None)
        with check(f"{key}: has the redirect that is asked"):
            expect(head(world, "asked", key).get("WebsiteRedirectLocation"), "/there?a=b")
        with check(f"{key}: has those grants and no others"):
            answer = world.destination_s3.get_object_acl(Bucket=world.destination, Key=f"asked/{key}")
            grants = {(grant["Permission"], grant["Grantee"].get("ID") or grant["Grantee"]["URI"])
                      for grant in answer["Grants"]}
            expect(grants, {("FULL_CONTROL", "owner"), ("READ", "reader"), ("READ_ACP", signed_in)})
