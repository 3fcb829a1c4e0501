"""What the run costs: requests and bytes at list prices."""
import dataclasses

MIB = 2**20
GB = 10**9
PAGE = "https://aws.amazon.com/s3/pricing/"
# Dollars here; other regions ask more, and must stay under one.
LIMIT = 0.50


@dataclasses.dataclass(frozen=True)
class Cost:
    """At most so much of each. DELETE and AbortMultipartUpload are free, and so is what goes in."""
    writes: int = 0
    reads: int = 0
    # Bytes from one bucket to the other, taken to be in two regions.
    copied: int = 0
    # Bytes that come back to this machine.
    received: int = 0
    # Bytes that lie in the buckets until the end.
    stored: int = 0
    batch_jobs: int = 0
    batch_objects: int = 0

    def __add__(self, other):
        return Cost(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other))))


# Field, what it is, unit, units a price, dollars. S3 Standard, us-east-1, as PAGE lists them.
PRICES = [
    ("writes", "PUT, COPY, POST and LIST requests", 1, 1_000, 0.005),
    ("reads", "GET and all other requests", 1, 1_000, 0.0004),
    ("copied", "GB from one region to another", GB, 1, 0.02),
    ("received", "GB out to the internet", GB, 1, 0.09),
    ("stored", "GB stored for a month", GB, 1, 0.023),
    ("batch_jobs", "jobs of S3 Batch Operations", 1, 1, 0.25),
    ("batch_objects", "objects of S3 Batch Operations", 1, 1_000_000, 1.00),
]


def dollars(cost):
    return sum(getattr(cost, field) / unit / per * price for field, _, unit, per, price in PRICES)


def told(cost):
    lines = [f"At most, at the list prices of us-east-1 ({PAGE}; other regions ask more):"]
    for field, what, unit, per, price in PRICES:
        if count := getattr(cost, field):
            amount = f"{count:,}" if unit == 1 else f"{count / unit:.3f}"
            lines.append(f"  {amount:>8} {what:36} {price:>7} USD per {per:<9,} {count / unit / per * price:8.4f} USD")
    lines.append(f"  {'in all':67} {dollars(cost):8.4f} USD")
    return "\n".join(lines)
