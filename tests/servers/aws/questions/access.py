"""Refusals, and what they tell."""
from prices import MIB, Cost
from questions import Answer, asks
from questions.copying import copied

# The account of AWS's own examples.
NOBODYS = "111122223333"


@asks("design", Cost(reads=4))
def region_of_a_refused_bucket(stage):
    """Does a HeadBucket that is refused tell the bucket's region all the same?"""
    refused = stage.copier_without("s3:*").ask("head_bucket", Bucket=stage.destination.bucket)
    region = refused.headers.get("x-amz-bucket-region")
    return Answer("HeadBucket by a session that may nothing", f"{refused.status}, x-amz-bucket-region {region}",
                  "regions are found without permission", refused.status == 403 and region == stage.destination.region)


@asks("design", Cost(reads=6))
def region_of_a_bucket_elsewhere(stage):
    """Does HeadBucket at another region's endpoint tell the bucket's region?"""
    here = stage.destination.region
    client = stage.role_in("us-west-2" if here != "us-west-2" else "us-east-1")
    client.ask("head_bucket", Bucket=stage.destination.bucket)
    # boto3 goes on to the right region; the first answer is the one that was asked for.
    first = client.heard[0]
    headers = {name.lower(): value for name, value in first.headers.items()}
    return Answer("HeadBucket at an endpoint of a region that is not the bucket's",
                  f"{first.status}, x-amz-bucket-region {headers.get('x-amz-bucket-region')}",
                  "--region and --source-region need not be given", headers.get("x-amz-bucket-region") == here)


@asks("design", Cost(writes=3, reads=2, copied=MIB))
def wrong_owner(stage):
    """Is a request refused with 403 that expects another owner, on either side?"""
    head = stage.copier.ask("head_bucket", Bucket=stage.destination.bucket, ExpectedBucketOwner=NOBODYS)
    destination = copied(stage.copier, stage, stage.small, "q-owner/1", ExpectedBucketOwner=NOBODYS)
    source = copied(stage.copier, stage, stage.small, "q-owner/2", ExpectedSourceBucketOwner=NOBODYS)
    right = copied(stage.copier, stage, stage.small, "q-owner/3", ExpectedBucketOwner=stage.destination.account,
                   ExpectedSourceBucketOwner=stage.source.account)
    return Answer("HeadBucket and CopyObject with x-amz-expected-bucket-owner, CopyObject with "
                  "x-amz-source-expected-bucket-owner of an account that is no owner; CopyObject with the right ones",
                  f"HeadBucket {head.status}; destination {destination}; source {source}; right {right}",
                  "s3haul sends them with every request and tells a wrong owner before the first row",
                  (head.status, destination.status, source.status, right.status) == (403, 403, 403, 200))
