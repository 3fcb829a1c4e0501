"""What proves a copy."""
import collections

from jobs.multipart import IN_PARTS
from program import expect
from registry import job
from world import TWO, allow

# What a row may name: what was asked for, or more.
PROOFS = {"response": ("response", "e_tag", "checksum"), "head": ("head", "e_tag", "checksum"), "checksum": ("checksum",),
          "full": ("full",)}


@job("seaweedfs", "moto")
def verify(world, check):
    # Versioned, so that what is looked at is the version that was written.
    world.destination_s3.put_bucket_versioning(Bucket=world.destination, VersioningConfiguration={"Status": "Enabled"})
    rows = world.two()
    reading = [*world.read, "s3:GetObjectAttributes"]
    allow(world.source_s3, world.source, world.server.role_principal, reading, ["s3:ListBucket"])
    for strength, proofs in PROOFS.items():
        copy = world.copy(strength, rows, *IN_PARTS, "--verify", strength, fields="Bucket,Key,Size", prefix=f"{strength}/")
        run = copy.run()
        report = copy.rows_by_key()
        with check(f"{strength}: every row succeeds"):
            expect((run.code, run.summary["errors"]), (0, {}), run.stderr)
        for key in TWO:
            with check(f"{strength}: {key}: is proved by that or more"):
                message = report[key].message
                assert message.get("evidence") in proofs, message
        with check(f"{strength}: the summary counts the evidence"):
            evidence = collections.Counter(row.message.get("evidence") for row in report.values())
            expect(run.summary["evidence"], dict(evidence))
