"""Lints deploy/ (cfn-lint, kubernetes-validate, shellcheck), and holds that the role of the AWS Batch template may do
what `s3haul policy` prints, no less and no more, and that the program takes each container's command and environment.

Any finding is a failure.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

import yaml

WORKSPACE, PROGRAM, BIN = sys.argv[1:4]
DEPLOY = os.path.join(WORKSPACE, "deploy")
SOURCE, DESTINATION = "111111111111", "222222222222"
KEYS = [f"arn:aws:kms:eu-west-1:{account}:key/1234abcd-12ab-34cd-56ef-1234567890ab" for account in (SOURCE, DESTINATION)]
# Gone when there is nothing of it, as AWS::NoValue says.
NO_VALUE = object()


class Template(yaml.SafeLoader):
    """CloudFormation's short forms, as the long ones."""


def short_form(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name: value}


Template.add_multi_constructor("!", short_form)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=WORKSPACE)
    return done.returncode, done.stdout + done.stderr


def policy(*flags):
    code, text = run(PROGRAM, "policy", *flags)
    if code != 0:
        raise SystemExit(f"s3haul policy {' '.join(flags)}: code {code}\n{text}")
    return json.loads(text)


def resolved(value, names, conditions):
    """What CloudFormation makes of a piece of a template."""
    if isinstance(value, list):
        items = [resolved(item, names, conditions) for item in value]
        return [item for item in items if item is not NO_VALUE]
    if not isinstance(value, dict):
        return value
    if list(value) == ["Ref"]:
        return NO_VALUE if value["Ref"] == "AWS::NoValue" else names[value["Ref"]]
    if list(value) == ["Fn::Sub"]:
        return re.sub(r"\$\{([^}]+)\}", lambda name: names[name[1]], value["Fn::Sub"])
    if list(value) == ["Fn::If"]:
        condition, yes, no = value["Fn::If"]
        return resolved(yes if conditions[condition] else no, names, conditions)
    return {name: resolved(inner, names, conditions) for name, inner in value.items()}


def drift(template, prefixes, keys):
    """Where the role of the template and the printed policies differ, for one set of parameters."""
    names = {
        "AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": DESTINATION,
        "SourceBucket": "photos", "SourcePrefix": prefixes[0], "DestinationBucket": "archive", "DestinationPrefix": prefixes[1],
        "ManifestBucket": "lists", "ReportBucket": "reports", "ReportPrefix": "s3haul", "RoleName": "s3haul-copy",
        "SourceKmsKeyArn": keys[0], "DestinationKmsKeyArn": keys[1],
    }
    conditions = {"SourceHasKey": keys[0] != "", "DestinationHasKey": keys[1] != ""}
    role = resolved(template["Resources"]["JobRole"]["Properties"], names, conditions)
    flags = [
        "--source", f"s3://photos/{prefixes[0]}", "--to", f"s3://archive/{prefixes[1]}", "--source-account", SOURCE,
        "--role-arn", f"arn:aws:iam::{DESTINATION}:role/{role['RoleName']}", "--base", "batch-job", "--region", "eu-west-1",
        "--manifest", "s3://lists/daily/manifest.json", "--manifest-account", DESTINATION, "--report", "s3://reports/s3haul",
        "--report-account", DESTINATION,
    ]
    for flag, key in zip(("--source-kms-key-id", "--destination-kms-key-id"), keys):
        flags += [flag, key] if key else []
    pairs = {
        "job-permissions": role["Policies"][0]["PolicyDocument"],
        "role-trust": role["AssumeRolePolicyDocument"],
    }
    findings = []
    for document, found in pairs.items():
        printed = policy(*flags, "--document", document)
        assert len(printed["Statement"]) >= (1 if document == "role-trust" else 8), printed
        if found != printed:
            ours, theirs = ([json.dumps(statement) for statement in policy["Statement"]] for policy in (found, printed))
            findings.append(
                "\n  ".join(
                    [f"aws-batch.yaml: {document} is not what s3haul policy prints, for {prefixes} and {keys}"]
                    + [f"only in the template: {statement}" for statement in ours if statement not in theirs]
                    + [f"only printed: {statement}" for statement in theirs if statement not in ours]
                )
            )
    return findings


def jobs(documents):
    """What the two Jobs say of each other."""
    config, copy, merge = (
        next(d for d in documents if (d["kind"], d["metadata"]["name"]) == name)
        for name in (("ConfigMap", "s3haul"), ("Job", "s3haul"), ("Job", "s3haul-merge"))
    )
    shards = int(config["data"]["S3HAUL_SHARDS"])
    containers = [job["spec"]["template"]["spec"]["containers"][0] for job in (copy, merge)]
    held = {
        "as many completions as shards": copy["spec"]["completions"] == shards,
        "the merge reads the report of the Job's name": containers[1]["args"][2].endswith(f"/job-{copy['metadata']['name']}"),
        "one image": containers[0]["image"] == containers[1]["image"],
        "rules for the container that there is": all(
            rule["onExitCodes"]["containerName"] == containers[0]["name"] == containers[1]["name"]
            for job in (copy, merge)
            for rule in job["spec"]["podFailurePolicy"]["rules"]
            if "onExitCodes" in rule
        ),
        "the merge waits": merge["spec"]["suspend"] is True,
    }
    return [f"kubernetes-job.yaml: not so: {name}" for name, holds in held.items() if not holds]


def containers(batch, ecs, kubernetes):
    """What each engine tells the program, as a dry run of shards that deal three rows among them."""
    names = {
        "AWS::AccountId": DESTINATION, "SourceAccount": SOURCE, "DestinationBucket": "archive", "DestinationPrefix": "",
        "ReportBucket": "reports", "ReportPrefix": "s3haul", "DestinationAccount": DESTINATION, "To": "s3://archive",
        "Report": "s3://reports/s3haul",
    }

    def environment(container):
        return {each["Name"]: resolved(each["Value"], names, {}) for each in container["Environment"]}

    of_batch = batch["Resources"]["Copy"]["Properties"]["ContainerProperties"]
    of_ecs = ecs["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]
    config = next(d for d in kubernetes if d["kind"] == "ConfigMap")["data"]
    job = next(d for d in kubernetes if d["kind"] == "Job")
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        manifest = os.path.join(folder, "manifest.csv")
        with open(manifest, "w") as file:
            file.write("photos,a\nphotos,b\nphotos,c\n")
        shared = {"container": "oci", "S3HAUL_OUTPUT": "json", "S3HAUL_WORK_DIR": folder, "S3HAUL_MANIFEST": manifest}
        command = [{"Ref::manifest": manifest, "Ref::shards": "2"}.get(word, word) for word in of_batch["Command"]]
        index = {"AWS_BATCH_JOB_ID": "9f3c:1", "AWS_BATCH_JOB_ARRAY_INDEX": "1", "AWS_BATCH_JOB_ARRAY_SIZE": "2"}
        runs = {
            "aws-batch.yaml": (command, environment(of_batch) | index, 1),
            "ecs-task.yaml": (of_ecs["Command"], environment(of_ecs) | {"S3HAUL_JOB_ID": "first"}, 3),
            "kubernetes-job.yaml": (
                job["spec"]["template"]["spec"]["containers"][0]["args"],
                config | {"S3HAUL_JOB_ID": "s3haul", "JOB_COMPLETION_INDEX": "2"}, 1,
            ),
        }
        for name, (command, variables, rows) in runs.items():
            done = subprocess.run(
                [PROGRAM, *command, "--dry-run"], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                env=variables | shared,
            )
            if done.returncode != 0 or json.loads(done.stdout)["rows"] != rows:
                findings.append(f"{name}: the program says code {done.returncode}\n{done.stdout}{done.stderr}")
    return findings


def main():
    names = sorted(os.listdir(DEPLOY))
    paths = [os.path.join("deploy", name) for name in names]
    kubernetes = os.path.join("deploy", "kubernetes-job.yaml")
    templates = [path for path in paths if path.endswith(".yaml") and path != kubernetes]
    scripts = [path for path in paths if path.endswith(".sh")] + ["tests/deploy/run", "tests/engines/slurm/run"]
    findings = []
    for command in (
        [f"{BIN}/cfn-lint", "--format", "parseable", "--", *templates],
        [f"{BIN}/kubernetes-validate", "--strict", "--quiet", kubernetes],
        [f"{BIN}/shellcheck", "--", *scripts],
    ):
        code, text = run(*command)
        if code != 0:
            findings.append(f"{os.path.basename(command[0])}: code {code}\n{text}")
    batch, ecs = (yaml.load(open(os.path.join(DEPLOY, name)), Template) for name in ("aws-batch.yaml", "ecs-task.yaml"))
    documents = list(yaml.safe_load_all(open(os.path.join(WORKSPACE, kubernetes))))
    parameters = [
        (prefixes, keys)
        for prefixes in (("", ""), ("in/", "copies/"))
        for keys in (("", ""), (KEYS[0], ""), ("", KEYS[1]), KEYS)
    ]
    for prefixes, keys in parameters:
        findings += drift(batch, prefixes, keys)
    findings += jobs(documents)
    findings += containers(batch, ecs, documents)
    for finding in findings:
        print(finding)
    assert len(templates) >= 2 and len(scripts) >= 4, "too few were linted"
    print(f"{len(templates)} templates, {len(scripts)} scripts, {len(parameters)} sets of parameters: {len(findings)} findings")
    sys.exit(1 if findings else 0)


main()
