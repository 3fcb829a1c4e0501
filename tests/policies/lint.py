"""Lints what `s3haul policy` prints for many combinations of flags: policies by parliament, templates by cfn-lint.

Any finding is a failure. What a linter is wrong about is left out here, by name and with its reason.
"""

import json
import os
import subprocess
import sys
import tempfile

import parliament

PROGRAM, CFN_LINT = sys.argv[1:3]
SOURCE, DESTINATION, THIRD = "111111111111", "222222222222", "333333333333"
ROLE = f"arn:aws:iam::{DESTINATION}:role/jobs/s3-copy"
SOURCE_KEY, DESTINATION_KEY = (
    f"arn:aws:kms:us-east-1:{account}:key/1234abcd-12ab-34cd-56ef-1234567890ab" for account in (SOURCE, DESTINATION)
)
CANONICAL = ["--canonical-user-id", "a" * 64, "--source-canonical-user-id", "b" * 64]

BUCKETS = ["--source", "s3://source-bucket/photos/", "--to", "s3://destination-bucket/copies/", "--source-account", SOURCE]
USER = ["--base", f"arn:aws:iam::{DESTINATION}:user/operator"]
JOB = [*BUCKETS, "--role-arn", ROLE, *USER]

# Each with what it is there for.
JOBS = {
    "plain": JOB,
    "whole-buckets": [
        "--source", "s3://source-bucket", "--to", "s3://destination-bucket", "--source-account", SOURCE, "--role-arn", ROLE, *USER,
    ],
    "trust-conditions": [
        *JOB, "--external-id", "s3haul-2026", "--mfa-serial", f"arn:aws:iam::{DESTINATION}:mfa/operator", "--role-duration", "12h",
    ],
    "trust-role-elsewhere": [*BUCKETS, "--role-arn", ROLE, "--base", f"arn:aws:iam::{THIRD}:role/pipelines/night"],
    "trust-ecs-task": [*BUCKETS, "--role-arn", ROLE, "--base", "ecs-task", "--region", "eu-west-1"],
    "trust-batch-job": [*BUCKETS, "--role-arn", ROLE, "--base", "batch-job", "--region", "eu-west-1"],
    "trust-ec2-instance": [*BUCKETS, "--role-arn", ROLE, "--base", "ec2-instance"],
    "no-role": [*BUCKETS, "--no-role", *USER],
    "role-of-the-source": [
        *BUCKETS, "--role-arn", f"arn:aws:iam::{SOURCE}:role/s3-copy", "--base", f"arn:aws:iam::{SOURCE}:user/operator",
        "--destination-account", DESTINATION,
    ],
    "bare": [*JOB, "--tags", "none", "--annotations", "exclude", "--acl", "none"],
    "kms": [*JOB, "--source-kms-key-id", SOURCE_KEY, "--sse", "aws:kms", "--sse-kms-key-id", DESTINATION_KEY],
    "kms-of-the-bucket": [*JOB, "--source-kms-key-id", SOURCE_KEY, "--destination-kms-key-id", DESTINATION_KEY],
    "locks": [
        *JOB, "--object-lock-mode", "GOVERNANCE", "--object-lock-retain-until", "2099-01-01T00:00:00Z",
        "--object-lock-legal-hold", "on",
    ],
    "versions": [*JOB, "--versions", "all", "--delete-markers", "replay"],
    "archived": [*JOB, "--archived", "restore", "--overwrite", "never"],
    "verified": [*JOB, "--verify", "checksum", "--overwrite", "if-different"],
    "manifest-and-report": [
        *JOB, "--manifest", "s3://manifest-bucket/inventory/manifest.json", "--manifest-account", SOURCE,
        "--report", "s3://report-bucket/reports", "--report-account", DESTINATION,
    ],
    "manifest-and-report-of-others": [
        *JOB, "--manifest", "s3://manifest-bucket/list.csv", "--manifest-account", THIRD, "--manifest-profile", "lists",
        "--manifest-reader", f"arn:aws:iam::{DESTINATION}:user/reader", "--report", "s3://report-bucket", "--report-account", THIRD,
        "--report-profile", "reports", "--report-writer", f"arn:aws:iam::{DESTINATION}:role/writer",
    ],
    "inventory": [*JOB, "--inventory", "s3://inventory-bucket/daily"],
    "inventory-in-the-source": [*JOB, "--inventory", "s3://inventory-bucket", "--inventory-account", SOURCE],
    "enforced-acl": [*JOB, "--enforce-acl"],
    "by-acl": [*JOB, *CANONICAL],
    "input": [*JOB, "--minimum", "input"],
    "output": [*JOB, "--minimum", "output"],
    "everything": [
        *JOB, "--external-id", "s3haul-2026", "--source-kms-key-id", SOURCE_KEY, "--destination-kms-key-id", DESTINATION_KEY,
        "--manifest", "s3://manifest-bucket/list.csv", "--manifest-account", SOURCE, "--report", "s3://report-bucket/reports",
        "--report-account", DESTINATION, "--inventory", "s3://inventory-bucket/daily", "--enforce-acl", *CANONICAL,
    ],
}

# Actions that S3 has had since 2026, and parliament's list of 2023 has not.
NEW_ACTIONS = {
    f"s3:{name}"
    for name in (
        "GetObjectAnnotation", "GetObjectVersionAnnotation", "ListObjectAnnotations", "PutObjectAnnotation",
        "PutObjectVersionAnnotation",
    )
}

# Where parliament has the resources of an action wrong: it takes this one for one on access points alone.
WRONG_RESOURCES = [{"action": "s3:GetObjectAttributes", "required_format": "arn:*:s3:*:*:accesspoint/*"}]

# The policy that a bucket may have before.
EXISTING = {
    "Version": "2012-10-17",
    "Statement": [{
        "Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": ["arn:aws:s3:::source-bucket", "arn:aws:s3:::source-bucket/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }],
}

POLICIES = {"identity-policy", "trust-policy", "bucket-policy", "key-policy"}
SETTINGS = {"ownership-controls", "acl"}


def run(*arguments):
    """What the program prints."""
    done = subprocess.run([PROGRAM, "policy", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"s3haul policy {' '.join(arguments)}: code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def readable(document):
    """A policy as parliament can judge it whole: it gives up on a statement at the first thing that it does not know."""
    policy = json.loads(json.dumps(document["document"]))
    statements = []
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        actions = [action for action in actions if action not in NEW_ACTIONS]
        if not actions:
            continue
        statement["Action"] = actions
        if document["kind"] == "trust-policy":
            # It takes every policy for one that names resources; that of a trust policy is its role.
            assert "Resource" not in statement, f"{document['id']} names a resource"
            statement["Resource"] = document["on"]
        if document["kind"] == "key-policy" and statement["Resource"] == ["*"]:
            # In the policy of a key that is the key, and not all keys.
            statement["Resource"] = document["on"]
        statements.append(statement)
    return {**policy, "Statement": statements}


def lint_policy(document):
    policy = readable(document)
    if not policy["Statement"]:
        return []
    findings = parliament.analyze_policy_string(json.dumps(policy)).findings
    return [
        f"{finding.issue}: {finding.detail} {finding.location}"
        for finding in findings
        if (finding.issue, finding.detail) != ("RESOURCE_MISMATCH", WRONG_RESOURCES)
    ]


def lint_templates(folder, names):
    paths = [os.path.join(folder, f"{name}.json") for name in names]
    done = subprocess.run([CFN_LINT, "--format", "parseable", "--", *paths], capture_output=True, text=True)
    if done.returncode not in (0, 2, 4, 6, 8, 10, 12, 14):
        raise SystemExit(f"cfn-lint: code {done.returncode}\n{done.stderr}")
    return (done.stdout + done.stderr).replace(folder + os.sep, "").splitlines()


def main():
    findings, linted, templates = [], 0, {}
    for name, flags in JOBS.items():
        documents = run(*flags, "--output", "json")["documents"]
        for document in documents:
            kind = document["kind"]
            if kind in POLICIES:
                linted += 1
                findings += [f"{name}: {document['id']}: {finding}" for finding in lint_policy(document)]
            elif kind not in SETTINGS:
                findings.append(f"{name}: {document['id']}: {kind} is no kind of document that is linted")
        for account in sorted({document["account"] for document in documents}):
            template = run(*flags, "--output", "cloudformation", "--account", account)
            # Many jobs need the same of an account.
            templates.setdefault(json.dumps(template, indent=1), f"{name}-{account}")
    with tempfile.TemporaryDirectory() as folder:
        existing = os.path.join(folder, "existing")
        with open(existing, "w") as file:
            json.dump(EXISTING, file)
        merged = run(*JOB, "--account", SOURCE, "--merge", existing, "--output", "json")
        assert len(merged["Statement"]) > 1, "nothing was merged"
        merged = {"id": "merged", "kind": "bucket-policy", "on": "arn:aws:s3:::source-bucket", "document": merged}
        findings += [f"merged: {finding}" for finding in lint_policy(merged)]
        for text, name in templates.items():
            with open(os.path.join(folder, f"{name}.json"), "w") as file:
                file.write(text)
        findings += lint_templates(folder, templates.values())
    for finding in findings:
        print(finding)
    print(f"{len(JOBS)} jobs, {linted} policies, {len(templates)} templates: {len(findings)} findings")
    assert linted > 2 * len(JOBS) and len(templates) > 10, "too few were linted"
    sys.exit(1 if findings else 0)


main()
