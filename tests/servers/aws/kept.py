"""Settings of a bucket: read before the run changes them, and put back."""
import contextlib, json, time

from botocore.exceptions import ClientError

from wire import refused_with

READS = 20


class Setting:
    """One setting; `before` is None where the bucket has none."""

    def __init__(self, side):
        self.side = side
        self.before = self.read()
        self.changed = False

    def change(self, value):
        # First, so that what is interrupted in the middle is put back too.
        self.changed = True
        self.write(value)

    def restore(self):
        if self.changed:
            self.write(self.before)
            # A moment later S3 may still tell what it was changed to.
            for _ in range(READS):
                if self.read() == self.before:
                    self.changed = False
                    return
                time.sleep(1)
            raise RuntimeError(f"it is not what it was before: {json.dumps(self.before)}")

    @contextlib.contextmanager
    def changed_to(self, value):
        self.change(value)
        try:
            yield
        finally:
            self.restore()


class Policy(Setting):
    """The bucket's policy, as a document."""

    def read(self):
        try:
            return json.loads(self.side.s3.get_bucket_policy(Bucket=self.side.bucket)["Policy"])
        except ClientError as error:
            if refused_with(error, "NoSuchBucketPolicy"):
                return None
            raise

    def write(self, document):
        if document is None:
            self.side.s3.delete_bucket_policy(Bucket=self.side.bucket)
        else:
            self.side.s3.put_bucket_policy(Bucket=self.side.bucket, Policy=json.dumps(document))

    def plus(self, statements):
        """What was there stays: a policy may be all that keeps others out."""
        before = self.before or {"Version": "2012-10-17", "Statement": []}
        there = before["Statement"] if isinstance(before["Statement"], list) else [before["Statement"]]
        return self.changed_to({**before, "Statement": [*there, *statements]})


class Ownership(Setting):
    """Object Ownership."""

    def read(self):
        try:
            controls = self.side.s3.get_bucket_ownership_controls(Bucket=self.side.bucket)["OwnershipControls"]
            return controls["Rules"][0]["ObjectOwnership"]
        except ClientError as error:
            if refused_with(error, "OwnershipControlsNotFoundError"):
                return None
            raise

    def write(self, value):
        bucket = self.side.bucket
        if value is None:
            self.side.s3.delete_bucket_ownership_controls(Bucket=bucket)
        else:
            self.side.s3.put_bucket_ownership_controls(
                Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": value}]})
