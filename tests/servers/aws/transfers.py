"""Jobs of the real program, checked by boto3 and by the report."""
import os, signal

from botocore.exceptions import ClientError

import program
from program import expect
from prices import MIB, Cost
from world import in_parallel, sha256

TRANSFERS = []
# What must not decide where s3haul goes, nor as whom.
NOT_PASSED_ON = ("S3HAUL_", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
                 "AWS_ENDPOINT_URL")
IN_PARTS = ("--multipart-threshold", "5MiB", "--part-size", "5MiB")
ODD = ["a+b c+d.txt", "%2B%20%41.txt", " both ends ", "ü é 日本 😀", "a?versionId=null&x=y", "a#b", "a//b",
       "a/../b", "carriage\rreturn", "line\nfeed", 'quote",comma', "=1+1", "back\\slash", "folder/"]
PROPERTIES = {"ContentType": "text/x-s3haul; charset=utf-8", "CacheControl": "max-age=60, private",
              "ContentDisposition": 'attachment; filename="a b.txt"', "Metadata": {"plain": "value", "spaced": "a  b"}}
TAGS = {"project": "s3haul", "odd key": "a+b=c/d:e@f"}
TAGGING = "project=s3haul&odd%20key=a%2Bb%3Dc%2Fd%3Ae%40f"


def transfer(cost):
    """Registers a function as a job: `job(stage, check)`."""
    def register(function):
        TRANSFERS.append((function, cost))
        return function
    return register


class Transfer(program.Copy):
    """A job from below the run's prefix in the source to a prefix of its own below the run's in the destination."""

    def __init__(self, stage, name, rows, *flags, fields="Bucket,Key"):
        given = stage.given
        self.stage, self.program = stage, stage.binary
        self.folder = stage.folder / name
        self.folder.mkdir()
        self.manifest = self.folder / "manifest.csv"
        self.manifest.write_text("".join(program.line(given.source_bucket, row) for row in rows), newline="")
        self.report = self.folder / "report"
        self.job = self.report / f"job-{stage.run_id}-{name}"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
        # What is refused is to be refused by the first rows, and requests are counted.
        self.environment["S3HAUL_SKIP_CHECK"] = "true"
        self.prefix = destination_prefix(stage, name)
        self.command = [
            "copy", "--manifest", self.manifest, "--manifest-fields", fields, "--strip-prefix", stage.prefix,
            "--to", f"s3://{given.destination_bucket}/{self.prefix}", "--profile", given.destination_profile,
            "--role-arn", given.role_arn, *(["--external-id", given.external_id] if given.external_id else []),
            *(["--endpoint-url", given.endpoint_url, "--force-path-style"] if given.endpoint_url else []),
            "--source-account", stage.source.account, "--report", self.report,
            "--job-id", f"{stage.run_id}-{name}", *flags]

    def start(self, command=None):
        process = super().start(command)
        self.stage.processes.append(process)
        return process

    def ended(self, process):
        run = super().ended(process)
        # The summary does not tell reads from writes.
        self.stage.counts["writes"] += run.summary.get("requests", 0)
        return run

    def landed(self, key):
        """Where a source's key goes to."""
        return self.prefix + key.removeprefix(self.stage.prefix)

    def head(self, key, **more):
        return self.stage.destination.s3.head_object(
            Bucket=self.stage.given.destination_bucket, Key=self.landed(key), **more)

    def has_properties(self, key):
        head = self.head(key)
        expect({name: head.get(name) for name in PROPERTIES}, PROPERTIES)
        tags = self.stage.destination.s3.get_object_tagging(
            Bucket=self.stage.given.destination_bucket, Key=self.landed(key))["TagSet"]
        expect({tag["Key"]: tag["Value"] for tag in tags}, TAGS)

    def are_copied(self, content):
        """These objects have landed, byte for byte, and no others."""
        expect(sorted(self.stage.destination.listed(self.prefix)), sorted(map(self.landed, content)), "what has landed")
        bodies = in_parallel(lambda key: sha256(self.stage.body(self.landed(key))), content)
        expect(dict(zip(content, bodies)), {key: sha256(body) for key, body in content.items()}, "SHA-256")

    def no_uploads(self):
        expect([upload["Key"] for upload in self.stage.destination.uploads(self.prefix)], [], "uploads left")


def destination_prefix(stage, name):
    return f"{stage.prefix}copied-{name}/"


def put_all(stage, bodies, **properties):
    """Makes objects of the source; gives their bodies by key."""
    keys = in_parallel(lambda item: stage.put(*item, **properties), bodies.items())
    return dict(zip(keys, bodies.values()))


@transfer(Cost(writes=60, reads=60, copied=MIB, received=MIB, stored=MIB))
def small_objects(stage, check):
    """Odd keys, metadata and tags; one missing object is one failed row."""
    # 1,024 bytes at the destination, where it is longer.
    rest = 1024 - len(destination_prefix(stage, "small")) - len("odd/")
    longest = "ü" * (rest // 2) + "x" * (rest % 2)
    content, not_taken = {}, {}
    for odd in [*ODD, longest]:
        body = f"content of {odd}".encode()
        try:
            content[stage.put(f"odd/{odd}", body)] = body
        except ClientError as error:
            not_taken[odd] = str(error)
    with check("S3 takes odd keys"):
        expect(not_taken, {})
    rich = put_all(stage, {"rich": b"rich", "empty": b""}, Tagging=TAGGING, **PROPERTIES)
    missing = stage.prefix + "missing"
    copy = Transfer(stage, "small", [*content, *rich, missing])
    run = copy.run()
    rows = {}
    with check("exactly one row fails"):
        expect((run.code, run.summary.get("errors")), (1, {"NoSuchKey": 1}), run.stderr)
    with check("each row is in the report once"):
        rows = copy.rows_by_key()
        expect({key: row.status for key, row in rows.items()},
               {**dict.fromkeys(content | rich, "succeeded"), missing: "failed"})
        expect((rows[missing].http_status, rows[missing].error_code), ("404", "NoSuchKey"))
    with check("bytes are the same"):
        copy.are_copied(content | rich)
    with check("metadata and tags are carried"):
        for key in rich:
            copy.has_properties(key)
    with check("the report has the objects' ETags"):
        for key in rich:
            expect(rows[key].message["e_tag"], copy.head(key)["ETag"].strip('"'))


@transfer(Cost(writes=20, reads=20, copied=18 * MIB, received=18 * MIB, stored=36 * MIB))
def in_parts(stage, check):
    """17 MiB in parts of 5 MiB."""
    key = stage.put("parts/17 MiB+.bin", stage.large_body, ChecksumAlgorithm="CRC64NVME", Tagging=TAGGING, **PROPERTIES)
    copy = Transfer(stage, "parts", [(key, len(stage.large_body))], *IN_PARTS, fields="Bucket,Key,Size")
    run = copy.run()
    with check("the row succeeds, in four parts"):
        expect(run.code, 0, run.stderr)
        row = copy.rows_by_key()[key]
        expect((row.status, row.message["by"], row.message["parts"]), ("succeeded", "multipart", 4))
        expect(row.message["e_tag"], copy.head(key)["ETag"].strip('"'))
    with check("bytes are the same"):
        copy.are_copied({key: stage.large_body})
    with check("metadata and tags are carried"):
        copy.has_properties(key)
    with check("the checksum is the source's"):
        source = stage.source.s3.head_object(Bucket=stage.given.source_bucket, Key=key, ChecksumMode="ENABLED")
        there = copy.head(key, ChecksumMode="ENABLED")
        expect((there.get("ChecksumCRC64NVME"), there.get("ChecksumType")),
               (source["ChecksumCRC64NVME"], "FULL_OBJECT"))
    with check("no multipart upload is left"):
        copy.no_uploads()


@transfer(Cost(writes=15, reads=15, copied=MIB, received=MIB, stored=MIB))
def overwrite_never(stage, check):
    """An object that is there stays."""
    content = put_all(stage, {"never/new": b"new", "never/there": b"newer"})
    new, there = content
    copy = Transfer(stage, "never", list(content), "--overwrite", "never")
    stage.destination.s3.put_object(Bucket=stage.given.destination_bucket, Key=copy.landed(there), Body=b"was there")
    run = copy.run()
    with check("one row is copied, one skipped"):
        rows = copy.rows_by_key()
        expect({key: (row.status, row.error_code) for key, row in rows.items()},
               {new: ("succeeded", ""), there: ("skipped", "DestinationExists")}, run.stderr)
        expect(run.code, 0)
    with check("the object that was there is as it was"):
        copy.are_copied({new: b"new", there: b"was there"})


@transfer(Cost(writes=420, reads=50, copied=36 * MIB, received=18 * MIB, stored=54 * MIB))
def killed_and_resumed(stage, check):
    """SIGKILL among rows and parts; the resume ends the job."""
    content = put_all(stage, {f"killed/{n:02}": f"{n}".encode() for n in range(20)})
    large = stage.put("killed/large", stage.large_body)
    sizes = [(key, len(body)) for key, body in [*content.items(), (large, stage.large_body)]]
    # Slow, so that the kill comes in the middle of it.
    copy = Transfer(stage, "killed", sizes, "--max-rps", "2", *IN_PARTS, fields="Bucket,Key,Size")
    there = stage.destination

    def in_the_middle():
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode} before it was killed: {copy.folder}")
        uploads = there.uploads(copy.prefix)
        parts = uploads and there.s3.list_parts(Bucket=there.bucket, Key=uploads[0]["Key"],
                                                UploadId=uploads[0]["UploadId"]).get("Parts")
        return parts and there.listed(copy.prefix)

    process = copy.start()
    stage.until(in_the_middle, "a row and a part to be copied")
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = copy.resume()
    content[large] = stage.large_body
    with check("the resume ends the job"):
        expect((run.code, run.summary.get("state"), run.summary.get("succeeded")), (0, "complete", len(content)),
               run.stderr)
    with check("each row is in the report once"):
        expect({key: row.status for key, row in copy.rows_by_key().items()}, dict.fromkeys(content, "succeeded"))
    with check("bytes are the same"):
        copy.are_copied(content)
    with check("no multipart upload is left"):
        copy.no_uploads()


@transfer(Cost(writes=60, reads=100, copied=MIB, received=MIB, stored=MIB))
def refused_source(stage, check):
    """Without the source bucket's policy the job stops with code 3; with it, a resume finishes."""
    content = put_all(stage, {f"refused/{n:02}": f"{n}".encode() for n in range(12)})
    copy = Transfer(stage, "refused", list(content))
    role, bucket = stage.role_in(stage.source.region), stage.given.source_bucket

    def look():
        return role.ask("head_bucket", Bucket=bucket)

    with stage.source_policy.changed_to(None):
        with check("the policy is what lets the role in"):
            assert stage.takes_effect(look, 403), f"without it, HeadBucket of the source says {look()}"
        run = copy.run()
        with check("the job stops with code 3"):
            expect((run.code, run.summary.get("errors")), (3, {"AccessDenied": 10}), run.stderr)
        with check("nothing is copied"):
            expect(stage.destination.listed(copy.prefix), [])
    with check("with the policy, a resume ends the job"):
        assert stage.takes_effect(look, 200), f"with it again, HeadBucket of the source says {look()}"
        run = copy.resume()
        expect((run.code, run.summary.get("succeeded")), (0, len(content)), run.stderr)
        copy.are_copied(content)
