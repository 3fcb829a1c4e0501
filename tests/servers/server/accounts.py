"""What all servers are given: two accounts, their administrators, an operator and the roles."""
import dataclasses

import boto3
from botocore.config import Config

SOURCE_ACCOUNT, DESTINATION_ACCOUNT = "111111111111", "222222222222"
ROLE = "s3haul-copy"
# Its trust policy asks for EXTERNAL_ID.
ROLE_WITH_ID, EXTERNAL_ID = "s3haul-copy-with-id", "s3haul-servers"
REGION = "us-east-1"
# Buckets that the role may write, and no others: some servers take its policy or the bucket's as enough.
DESTINATIONS = ["arn:aws:s3:::destination-*", "arn:aws:s3:::destination-*/*"]


@dataclasses.dataclass(frozen=True)
class Keys:
    """An access key."""
    id: str
    secret: str
    token: str | None = None


def client(service, endpoint, keys):
    """A client of boto3, which knows nothing of s3haul."""
    config = Config(retries={"total_max_attempts": 2}, s3={"addressing_style": "path"},
                    max_pool_connections=16, read_timeout=60)
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, config=config,
                        aws_access_key_id=keys.id, aws_secret_access_key=keys.secret,
                        aws_session_token=keys.token)


def role_arn(role):
    return f"arn:aws:iam::{DESTINATION_ACCOUNT}:role/{role}"
