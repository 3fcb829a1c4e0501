"""moto: versions, checksums, encryption, external IDs; signatures are checked, bucket policies are not."""
import json, pathlib, sys, urllib.request
from importlib import metadata

from process import Process, free_ports
from server import accounts
from server.accounts import DESTINATION_ACCOUNT, SOURCE_ACCOUNT, Keys

MOTO = pathlib.Path(sys.prefix) / "bin/moto_server"
NOBODY = Keys("NOBODY", "nobody")


class Moto:
    name, version = "moto", metadata.version("moto")
    process = None
    role_principal = accounts.role_arn(accounts.ROLE)
    operator_arn = f"arn:aws:iam::{DESTINATION_ACCOUNT}:user/operator"

    def start(self, folder):
        [port] = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}"
        self.process = Process([sys.executable, MOTO, "-H", "127.0.0.1", "-p", port], pathlib.Path(folder) / "output.log")
        self.process.wait_for(self.answers)
        source, destination = (self.administrator_of(account) for account in (SOURCE_ACCOUNT, DESTINATION_ACCOUNT))
        self.source_admin = user(source, "source-admin", allow("s3:*", "*"))
        self.destination_admin = user(destination, "destination-admin", allow(["s3:*", "iam:*"], "*"))
        self.operator = user(destination, "operator", allow("sts:AssumeRole", "*"))
        for name, condition in ((accounts.ROLE, {}), (
                accounts.ROLE_WITH_ID, {"Condition": {"StringEquals": {"sts:ExternalId": accounts.EXTERNAL_ID}}})):
            role(destination, name, document(
                {"Effect": "Allow", "Principal": {"AWS": self.operator_arn}, "Action": "sts:AssumeRole", **condition}), OWN)
        # Until here it took every request; from here on, those that are signed and allowed.
        self.ask("/moto-api/reset-auth", b"0")

    def make_role(self, name, trust, permissions):
        iam = accounts.client("iam", self.endpoint, self.destination_admin)
        role(iam, name, json.dumps(trust), json.dumps(permissions))

    def stop(self):
        if self.process:
            self.process.stop()

    def ask(self, path, body=None):
        request = urllib.request.Request(self.endpoint + path, data=body, headers={"Content-Type": "text/plain"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200

    def answers(self):
        try:
            return self.ask("/moto-api/")
        except OSError:
            return False

    def administrator_of(self, account):
        """A client of IAM in an account, which exists as soon as somebody takes a role in it."""
        sts = accounts.client("sts", self.endpoint, NOBODY)
        role = f"arn:aws:iam::{account}:role/first"
        keys = sts.assume_role(RoleArn=role, RoleSessionName="first")["Credentials"]
        return accounts.client("iam", self.endpoint,
                               Keys(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]))


def allow(action, resource):
    return {"Effect": "Allow", "Action": action, "Resource": resource}


def document(statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def user(iam, name, statement):
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(statement))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Keys(key["AccessKeyId"], key["SecretAccessKey"])


def role(iam, name, trust, permissions):
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=permissions)
    # The answer is called GetBucketVersioningResponse here, which the AWS SDK for Rust refuses: who may not ask goes on.
    iam.put_role_policy(RoleName=name, PolicyName="no-question", PolicyDocument=document(
        {"Effect": "Deny", "Action": "s3:GetBucketVersioning", "Resource": "*"}))


# Bucket policies are not looked at: that of the role has to cover the source too.
OWN = document(allow("s3:*", [*accounts.DESTINATIONS, "arn:aws:s3:::source-*", "arn:aws:s3:::source-*/*"]))
