"""Checks the sandbox with boto3 and the AWS CLI, which know nothing of it.

Usage: check.py SANDBOX AWS [NAME…]: the binaries, then the checks to run; all by default.
"""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import boto3
import botocore.exceptions
from botocore.config import Config

SANDBOX, AWS = sys.argv[1:3]
SOURCE, DESTINATION, STRANGER = "111111111111", "222222222222", "333333333333"
MIB = 1024 * 1024
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


class Server:
    """A sandbox process."""

    def __init__(self, *flags, faults=None):
        flags = [SANDBOX, "--listen", "127.0.0.1:0", *flags]
        self.folder = tempfile.TemporaryDirectory()
        if faults is not None:
            flags += ["--faults", self.file("faults.json", json.dumps(faults))]
        self.log_path = os.path.join(self.folder.name, "log.jsonl")
        self.process = subprocess.Popen([*flags, "--log", self.log_path], stdout=subprocess.PIPE)
        self.about = json.loads(self.process.stdout.readline())
        self.endpoint = self.about["endpoint"]
        self.users = {user["name"]: user for account in self.about["accounts"] for user in account["users"]}

    def file(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def log(self):
        with open(self.log_path) as file:
            return [json.loads(line) for line in file]

    def client(self, user="source-admin", service="s3", region="us-east-1", **config):
        keys = self.users[user] if isinstance(user, str) else user
        credentials = {
            "aws_access_key_id": keys.get("access_key_id") or keys.get("AccessKeyId"),
            "aws_secret_access_key": keys.get("secret_access_key") or keys.get("SecretAccessKey"),
            "aws_session_token": keys.get("SessionToken"),
        }
        config = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, **config}
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name=region, config=Config(**config), **credentials
        )

    def assume(self, user="operator", **arguments):
        arguments = {
            "RoleArn": self.about["role_arn"],
            "RoleSessionName": "check",
            "ExternalId": self.about["external_id"],
            **arguments,
        }
        arguments = {name: value for name, value in arguments.items() if value is not None}
        return self.client(user, "sts", parameter_validation=False).assume_role(**arguments)["Credentials"]

    def role(self):
        return self.client(self.assume())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        self.folder.cleanup()
        return code


@contextlib.contextmanager
def refused(code, status=None):
    """Expects an error of S3 or STS; yields a dict that gets its response."""
    caught = {}
    try:
        yield caught
    except botocore.exceptions.ClientError as error:
        actual = error.response["Error"]["Code"]
        caught.update(error.response)
        assert actual == code, f"{actual}, not {code}: {error}"
        actual = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status in (None, actual), f"{actual}, not {status}"
        return
    raise AssertionError(f"not refused with {code}")


def equal(actual, expected):
    assert actual == expected, f"{actual!r}, not {expected!r}"


def md5(data):
    return hashlib.md5(data).hexdigest()


def header(client, operation, **headers):
    """Makes a client add headers to an operation, signed."""

    def add(request, **_):
        for name, value in headers.items():
            request.headers[name.replace("_", "-")] = value

    client.meta.events.register(f"before-sign.s3.{operation}", add)
    return client


def allow_role(server, bucket, *actions):
    """Lets the copy role read the source bucket, as the source's account would."""
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": server.about["role_arn"]},
            "Action": list(actions or ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging"]),
            "Resource": f"arn:aws:s3:::{bucket}/*",
        },
        {
            "Effect": "Allow",
            "Principal": {"AWS": server.about["role_arn"]},
            "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{bucket}",
        },
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    server.client().put_bucket_policy(Bucket=bucket, Policy=policy)


def buckets(server, name):
    """A source bucket and a destination bucket of the two accounts."""
    source, destination = f"{name}-source", f"{name}-destination"
    server.client().create_bucket(Bucket=source)
    server.client("destination-admin").create_bucket(Bucket=destination)
    return source, destination


@contextlib.contextmanager
def filled(*filled_buckets):
    """A sandbox of its own, with these buckets to start with."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"buckets": filled_buckets}, file)
        file.flush()
        server = Server("--fill", file.name)
    try:
        yield server
    finally:
        equal(server.stop(), 0)


@check
def credentials(server):
    s3 = server.client()
    s3.create_bucket(Bucket="credentials")
    equal([bucket["Name"] for bucket in s3.list_buckets()["Buckets"] if bucket["Name"] == "credentials"], ["credentials"])
    wrong = {**server.users["source-admin"], "secret_access_key": "wrong"}
    with refused("SignatureDoesNotMatch", 403):
        server.client(wrong).list_objects_v2(Bucket="credentials")
    unknown = {**server.users["source-admin"], "access_key_id": "AKIANOBODY0000000000"}
    with refused("InvalidAccessKeyId", 403):
        server.client(unknown).list_objects_v2(Bucket="credentials")
    with refused("InvalidClientTokenId", 403):
        server.client(unknown, "sts").get_caller_identity()
    with refused("AccessDenied", 403):
        server.client("stranger").list_objects_v2(Bucket="credentials")
    session = server.assume()
    with refused("InvalidToken", 400):
        server.client({**session, "SessionToken": "wrong"}).list_objects_v2(Bucket="credentials")
    with refused("InvalidAccessKeyId", 403):
        server.client({**session, "SessionToken": None}).list_objects_v2(Bucket="credentials")
    anonymous = http.client.HTTPConnection(server.endpoint.removeprefix("http://"))
    anonymous.request("GET", "/credentials/k")
    answer = anonymous.getresponse()
    equal(answer.status, 403)
    assert b"<Code>AccessDenied</Code>" in answer.read()
    for name in ("x-amz-request-id", "x-amz-id-2", "date"):
        assert answer.headers[name], name


@check
def sts(server):
    operator = server.client("operator", "sts")
    equal(operator.get_caller_identity()["Arn"], f"arn:aws:iam::{DESTINATION}:user/operator")
    identity = server.client(server.assume(), "sts").get_caller_identity()
    equal(identity["Arn"], f"arn:aws:sts::{DESTINATION}:assumed-role/s3haul-copy/check")
    equal(identity["Account"], DESTINATION)
    for wrong in ({"ExternalId": "wrong"}, {"ExternalId": None}, {"RoleArn": server.about["role_arn"] + "x"}):
        with refused("AccessDenied", 403):
            server.assume(**wrong)
    with refused("AccessDenied", 403):
        server.assume("source-admin")
    with refused("ValidationError", 400):
        server.assume(DurationSeconds=899)
    with refused("ValidationError", 400):
        server.assume(DurationSeconds=3601)
    session = operator.get_session_token()["Credentials"]
    equal(server.client(session, "sts").get_caller_identity()["Arn"], f"arn:aws:iam::{DESTINATION}:user/operator")
    with refused("AccessDenied", 403):
        server.client(session, "sts").get_session_token()
    with refused("AccessDenied", 403):
        operator.get_session_token(SerialNumber="arn:aws:iam::222222222222:mfa/operator", TokenCode="000000")
    operator.get_session_token(SerialNumber="arn:aws:iam::222222222222:mfa/operator", TokenCode="123456")
    # A session policy takes away.
    source, destination = buckets(server, "session-policy")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]}
    narrow = server.client(server.assume(Policy=json.dumps(policy)))
    equal(narrow.list_objects_v2(Bucket=destination)["KeyCount"], 0)
    with refused("AccessDenied", 403):
        narrow.put_object(Bucket=destination, Key="k", Body=b"")


@check
def session_expiry(server):
    short = Server("--min-session-seconds", "1")
    try:
        short.client("destination-admin").create_bucket(Bucket="expiry")
        session = short.assume(DurationSeconds=1)
        s3 = short.client(session)
        equal(s3.list_objects_v2(Bucket="expiry")["KeyCount"], 0)
        time.sleep(1.1)
        with refused("ExpiredToken", 400):
            s3.list_objects_v2(Bucket="expiry")
        with refused("ExpiredToken", 403):
            short.client(session, "sts").get_caller_identity()
    finally:
        equal(short.stop(), 0)


@check
def objects(server):
    s3 = server.client()
    s3.create_bucket(Bucket="objects")
    properties = {
        "ContentType": "text/x-check",
        "CacheControl": "no-cache",
        "ContentDisposition": "attachment",
        "ContentLanguage": "de",
        "ContentEncoding": "gzip",
        "Metadata": {"a": "1", "umlaut": "plain"},
        "StorageClass": "STANDARD_IA",
        "WebsiteRedirectLocation": "/elsewhere",
    }
    put = s3.put_object(Bucket="objects", Key="k", Body=b"hello", Tagging="a=1&b=x+y", **properties)
    equal(put["ETag"], f'"{md5(b"hello")}"')
    for answer in (s3.get_object(Bucket="objects", Key="k"), s3.head_object(Bucket="objects", Key="k")):
        equal({name: answer[name] for name in properties}, properties)
        equal(answer["ContentLength"], 5)
    # The tag count needs the permission, which the owner has.
    equal(s3.get_object(Bucket="objects", Key="k")["TagCount"], 2)
    tags = s3.get_object_tagging(Bucket="objects", Key="k")["TagSet"]
    equal(tags, [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "x y"}])
    for text, expected in (("bytes=1-2", b"el"), ("bytes=3-", b"lo"), ("bytes=-2", b"lo"), ("bytes=0-99", b"hello")):
        answer = s3.get_object(Bucket="objects", Key="k", Range=text)
        equal(answer["Body"].read(), expected)
        equal(answer["ResponseMetadata"]["HTTPStatusCode"], 206)
    with refused("InvalidRange", 416):
        s3.get_object(Bucket="objects", Key="k", Range="bytes=5-")
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket="objects", Key="none")
    with refused("404", 404):
        s3.head_object(Bucket="objects", Key="none")
    with refused("NoSuchBucket", 404):
        s3.get_object(Bucket="no-such-bucket", Key="k")
    with refused("KeyTooLongError", 400):
        s3.put_object(Bucket="objects", Key="k" * 1025, Body=b"")
    with refused("MetadataTooLarge", 400):
        s3.put_object(Bucket="objects", Key="m", Body=b"", Metadata={"a": "x" * 2048})
    with refused("BadDigest", 400):
        s3.put_object(Bucket="objects", Key="d", Body=b"x", ContentMD5=base64.b64encode(bytes(16)).decode())
    with refused("304", 304):
        s3.get_object(Bucket="objects", Key="k", IfNoneMatch=put["ETag"])
    with refused("PreconditionFailed", 412):
        s3.get_object(Bucket="objects", Key="k", IfMatch='"other"')
    s3.delete_object(Bucket="objects", Key="k")
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket="objects", Key="k")
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        put = s3.put_object(Bucket="objects", Key=algorithm, Body=b"hello", ChecksumAlgorithm=algorithm)
        head = s3.head_object(Bucket="objects", Key=algorithm, ChecksumMode="ENABLED")
        equal(head[f"Checksum{algorithm}"], put[f"Checksum{algorithm}"])
        equal(head["ChecksumType"], "FULL_OBJECT")
        equal(s3.get_object(Bucket="objects", Key=algorithm)["Body"].read(), b"hello")
    attributes = s3.get_object_attributes(
        Bucket="objects", Key="SHA1", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    equal(attributes["ETag"], md5(b"hello"))
    equal(attributes["Checksum"]["ChecksumSHA1"], base64.b64encode(hashlib.sha1(b"hello").digest()).decode())
    equal((attributes["ObjectSize"], attributes["StorageClass"]), (5, "STANDARD"))


@check
def words_in_metadata(server):
    """Metadata outside ASCII goes as RFC 2047 words, both ways, and its limit counts what they say."""
    server.client().create_bucket(Bucket="words")

    def put(key, **metadata):
        client = header(server.client(), "PutObject", **{f"x_amz_meta_{name}": text for name, text in metadata.items()})
        client.put_object(Bucket="words", Key=key, Body=b"")

    def get(key, method):
        answer = getattr(server.client(), method)(Bucket="words", Key=key)
        sent = answer["ResponseMetadata"]["HTTPHeaders"]
        return {name.removeprefix("x-amz-meta-"): text for name, text in sent.items() if name.startswith("x-amz-meta-")}

    def word(text):
        return f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="

    put("k", plain="a=?b", b=word("naïve"), q="=?utf-8?q?na=C3=AFve_a=3Db?=", two=f"{word('naïve ')} {word('日本')}",
        between=f"a {word('é')} b", ascii=word("plain"))
    for method in ("head_object", "get_object"):
        equal(get("k", method), {
            "plain": "a=?b", "b": word("naïve"), "q": word("naïve a=b"), "two": word("naïve 日本"),
            "between": f"a {word('é')} b", "ascii": "plain",
        })
    server.client().copy_object(Bucket="words", Key="c", CopySource="words/k")
    equal(get("c", "head_object"), get("k", "head_object"))
    # 2,047 bytes in 682 characters behind a name of one; three bytes more are too many.
    text = "日" * 682 + "x"
    words = " ".join(word(text[at : at + 15]) for at in range(0, len(text), 15))
    assert len(words) > 2048, len(words)
    put("full", a=words)
    shown = get("full", "head_object")["a"].split(" ")
    equal("".join(base64.b64decode(part[10:-2]).decode() for part in shown), text)
    with refused("MetadataTooLarge", 400):
        put("over", a=words + " " + word("日"))


ODD_KEYS = [
    "a+b", "a%b", "a%20b", "100%", "a b", " leading", "trailing ", "naïve/ключ/鍵", "😀", "a?b=c", "a#b", "/leading",
    "a//b", "//", "a/", "a\rb", "a\nb", "a\tb", "a\"b", "a'b", "a,b", "a&b<c>", "a\\b", "..", "a/../b", "./a", "~", "*",
    "a=b;c", "k" * 1024, "é" * 512, "\x01\x1f\x7f",
]


@check
def odd_keys(server):
    source, destination = buckets(server, "odd")
    allow_role(server, source)
    s3, role = server.client(), server.role()
    for number, key in enumerate(ODD_KEYS):
        body = f"{number}".encode()
        s3.put_object(Bucket=source, Key=key, Body=body)
        equal(s3.get_object(Bucket=source, Key=key)["Body"].read(), body)
        role.copy_object(Bucket=destination, Key=key, CopySource={"Bucket": source, "Key": key})
        equal(role.get_object(Bucket=destination, Key=key)["Body"].read(), body)
    listed = [entry["Key"] for entry in role.list_objects_v2(Bucket=destination)["Contents"]]
    equal(listed, sorted(ODD_KEYS, key=str.encode))
    # Without encoding-type the keys must survive XML; what XML 1.0 cannot carry stays out.
    plain = server.client()
    plain.meta.events.unregister("before-parameter-build.s3.ListObjectsV2", botocore_url_encoding(plain))
    for key in ("a\rb", "a&b<c>", " leading", "😀"):
        listed = plain.list_objects_v2(Bucket=source, Prefix=key)["Contents"]
        equal([entry["Key"] for entry in listed], [key])
    # Page by page gives the same.
    pages = role.get_paginator("list_objects_v2").paginate(Bucket=destination, PaginationConfig={"PageSize": 3})
    equal([entry["Key"] for page in pages for entry in page["Contents"]], sorted(ODD_KEYS, key=str.encode))
    xml_keys = [key for key in ODD_KEYS if "\x01" not in key]
    deleted = s3.delete_objects(Bucket=source, Delete={"Objects": [{"Key": key} for key in xml_keys]})
    equal(sorted(entry["Key"] for entry in deleted["Deleted"]), sorted(xml_keys))
    equal([entry["Key"] for entry in s3.list_objects_v2(Bucket=source)["Contents"]], ["\x01\x1f\x7f"])


def botocore_url_encoding(_client):
    from botocore.handlers import set_list_objects_encoding_type_url

    return set_list_objects_encoding_type_url


@check
def listing(server):
    s3 = server.client()
    s3.create_bucket(Bucket="listing")
    keys = ["a/1", "a/2", "b", "c/1/x", "c/2", "d"]
    for key in keys:
        s3.put_object(Bucket="listing", Key=key, Body=b"x")

    def listed(**arguments):
        found = []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket="listing", **arguments):
            found += [entry["Key"] for entry in page.get("Contents", [])]
            found += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
        return sorted(found)

    for size in (1, 2, 3, 1000):
        paging = {"PaginationConfig": {"PageSize": size}}
        equal(listed(**paging), keys)
        equal(listed(Delimiter="/", **paging), ["a/", "b", "c/", "d"])
        equal(listed(Prefix="c/", Delimiter="/", **paging), ["c/1/", "c/2"])
        equal(listed(StartAfter="b", **paging), ["c/1/x", "c/2", "d"])
        equal(listed(Prefix="z", **paging), [])
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket="listing", ContinuationToken="nonsense")


@check
def copies(server):
    source, destination = buckets(server, "copies")
    s3, role = server.client(), server.role()
    put = s3.put_object(
        Bucket=source, Key="k", Body=b"hello", ContentType="text/x-check", Metadata={"a": "1"}, Tagging="t=1",
        StorageClass="STANDARD_IA", ChecksumAlgorithm="SHA256",
    )
    from_k = {"Bucket": source, "Key": "k"}
    with refused("AccessDenied", 403):
        role.copy_object(Bucket=destination, Key="k", CopySource=from_k)
    allow_role(server, source, "s3:GetObject")
    with refused("AccessDenied", 403):  # The tags want a permission of their own.
        role.copy_object(Bucket=destination, Key="k", CopySource=from_k)
    role.copy_object(Bucket=destination, Key="untagged", CopySource=from_k, TaggingDirective="REPLACE")
    equal(role.get_object_tagging(Bucket=destination, Key="untagged")["TagSet"], [])
    allow_role(server, source)
    copied = role.copy_object(Bucket=destination, Key="k", CopySource=from_k, ACL="bucket-owner-full-control")
    equal(copied["CopyObjectResult"]["ETag"], put["ETag"])
    equal(copied["CopyObjectResult"]["ChecksumSHA256"], put["ChecksumSHA256"])
    head = role.head_object(Bucket=destination, Key="k")
    equal((head["ContentType"], head["Metadata"], head.get("StorageClass")), ("text/x-check", {"a": "1"}, None))
    equal(role.get_object_tagging(Bucket=destination, Key="k")["TagSet"], [{"Key": "t", "Value": "1"}])
    role.copy_object(
        Bucket=destination, Key="r", CopySource=from_k, MetadataDirective="REPLACE", Metadata={"b": "2"},
        TaggingDirective="REPLACE", Tagging="u=2", StorageClass="ONEZONE_IA",
    )
    head = role.head_object(Bucket=destination, Key="r")
    equal((head["ContentType"], head["Metadata"], head["StorageClass"]), ("binary/octet-stream", {"b": "2"}, "ONEZONE_IA"))
    equal(role.get_object_tagging(Bucket=destination, Key="r")["TagSet"], [{"Key": "u", "Value": "2"}])

    modified = s3.head_object(Bucket=source, Key="k")["LastModified"]
    after, before = modified.replace(year=modified.year + 1), modified.replace(year=modified.year - 1)
    for conditions, condition in (
        ({"CopySourceIfMatch": put["ETag"]}, None),
        ({"CopySourceIfMatch": '"other"'}, "x-amz-copy-source-If-Match"),
        ({"CopySourceIfNoneMatch": put["ETag"]}, "x-amz-copy-source-If-None-Match"),
        ({"CopySourceIfModifiedSince": after}, "x-amz-copy-source-If-Modified-Since"),
        ({"CopySourceIfUnmodifiedSince": before}, "x-amz-copy-source-If-Unmodified-Since"),
        ({"CopySourceIfMatch": put["ETag"], "CopySourceIfUnmodifiedSince": before}, None),
        ({"CopySourceIfNoneMatch": put["ETag"], "CopySourceIfModifiedSince": before}, "x-amz-copy-source-If-None-Match"),
    ):
        with refused("PreconditionFailed", 412) if condition else contextlib.nullcontext() as caught:
            role.copy_object(Bucket=destination, Key="c", CopySource=from_k, **conditions)
        if condition:
            equal(caught["Error"]["Condition"], condition)

    once = header(server.role(), "CopyObject", If_None_Match="*")
    with refused("PreconditionFailed", 412) as caught:
        once.copy_object(Bucket=destination, Key="k", CopySource=from_k)
    equal(caught["Error"]["Condition"], "If-None-Match")
    once.copy_object(Bucket=destination, Key="once", CopySource=from_k)
    same = header(server.role(), "CopyObject", If_Match=put["ETag"])
    same.copy_object(Bucket=destination, Key="k", CopySource=from_k)
    with refused("NoSuchKey", 404):
        same.copy_object(Bucket=destination, Key="absent", CopySource=from_k)

    with refused("NoSuchKey", 404):
        role.copy_object(Bucket=destination, Key="k", CopySource={"Bucket": source, "Key": "none"})
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=source, Key="k", CopySource=from_k)
    s3.copy_object(Bucket=source, Key="k", CopySource=from_k, StorageClass="STANDARD")
    with refused("NotImplemented", 501) as caught:
        header(server.role(), "CopyObject", x_amz_new_thing="1").copy_object(
            Bucket=destination, Key="k", CopySource=from_k
        )
    assert "x-amz-new-thing" in caught["Error"]["Message"], caught
    with refused("NotImplemented", 501):
        s3.get_bucket_replication(Bucket=source)
    with refused("AccessDenied", 403):
        role.copy_object(Bucket=destination, Key="k", CopySource=from_k, ExpectedBucketOwner=SOURCE)
    with refused("AccessDenied", 403):
        role.copy_object(Bucket=destination, Key="k", CopySource=from_k, ExpectedSourceBucketOwner=DESTINATION)
    role.copy_object(
        Bucket=destination, Key="k", CopySource=from_k, ExpectedBucketOwner=DESTINATION, ExpectedSourceBucketOwner=SOURCE
    )
    # A missing object is 403 to who may not list.
    only_get = {
        "Effect": "Allow", "Principal": {"AWS": server.about["role_arn"]}, "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{source}/*",
    }
    s3.put_bucket_policy(Bucket=source, Policy=json.dumps({"Version": "2012-10-17", "Statement": [only_get]}))
    with refused("AccessDenied", 403):
        role.copy_object(Bucket=destination, Key="k", CopySource={"Bucket": source, "Key": "none"})


@check
def large_copies(_server):
    bucket = {"name": "large", "account": DESTINATION, "objects": [
        {"key": "5GiB", "size": 5 * 1024 * MIB, "seed": 1},
        {"key": "5GiB+1", "size": 5 * 1024 * MIB + 1, "seed": 2},
        {"key": "50TB", "size": 50_000_000_000_000, "seed": 3},
        {"key": "16MiB", "size": 16 * MIB, "seed": 4},
        {"key": "many/{}", "size": 10, "count": 20},
    ]}
    with filled(bucket) as large:
        s3 = large.client("destination-admin")
        equal(s3.list_objects_v2(Bucket="large", Prefix="many/")["KeyCount"], 20)
        copied = s3.copy_object(Bucket="large", Key="c", CopySource="large/5GiB")
        equal(copied["CopyObjectResult"]["ETag"], s3.head_object(Bucket="large", Key="5GiB")["ETag"])
        with refused("InvalidRequest", 400) as caught:
            s3.copy_object(Bucket="large", Key="c", CopySource={"Bucket": "large", "Key": "5GiB+1"})
        message = "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120"
        equal(caught["Error"]["Message"], message)
        # 50 TB in 10,000 parts would take a while here; ten of them show the rule.
        upload = s3.create_multipart_upload(Bucket="large", Key="m")["UploadId"]
        size, parts = 5 * 1024 * MIB, []
        for number in range(1, 4):
            part = s3.upload_part_copy(
                Bucket="large", Key="m", UploadId=upload, PartNumber=number, CopySource={"Bucket": "large", "Key": "50TB"},
                CopySourceRange=f"bytes={(number - 1) * size}-{number * size - 1}",
            )
            parts.append({"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]})
        s3.complete_multipart_upload(Bucket="large", Key="m", UploadId=upload, MultipartUpload={"Parts": parts})
        equal(s3.head_object(Bucket="large", Key="m")["ContentLength"], 3 * size)
        first = s3.get_object(Bucket="large", Key="m", Range=f"bytes={size}-{size + 99}")["Body"].read()
        equal(first, s3.get_object(Bucket="large", Key="50TB", Range=f"bytes={size}-{size + 99}")["Body"].read())
        body = s3.get_object(Bucket="large", Key="16MiB")["Body"].read()
        equal(s3.head_object(Bucket="large", Key="16MiB")["ETag"], f'"{md5(body)}"')


@check
def multipart(server):
    source, destination = buckets(server, "multipart")
    allow_role(server, source)
    s3, role = server.client(), server.role()
    data = os.urandom(12 * MIB)
    put = s3.put_object(Bucket=source, Key="k", Body=data)
    pieces = [data[: 5 * MIB], data[5 * MIB : 10 * MIB], data[10 * MIB :]]
    expected = f'"{md5(b"".join(hashlib.md5(piece).digest() for piece in pieces))}-3"'

    def create(key="m", **arguments):
        return role.create_multipart_upload(Bucket=destination, Key=key, **arguments)["UploadId"]

    def copy_parts(upload, key="m", sizes=(5, 5, 2), **arguments):
        parts, start = [], 0
        for number, mebibytes in enumerate(sizes, 1):
            end = start + mebibytes * MIB
            part = role.upload_part_copy(
                Bucket=destination, Key=key, UploadId=upload, PartNumber=number, CopySource={"Bucket": source, "Key": "k"},
                CopySourceRange=f"bytes={start}-{end - 1}", CopySourceIfMatch=put["ETag"], **arguments,
            )["CopyPartResult"]
            parts.append({"PartNumber": number, **{name: part[name] for name in part if name != "LastModified"}})
            start = end
        return parts

    def complete(upload, parts, key="m", client=None, **arguments):
        return (client or role).complete_multipart_upload(
            Bucket=destination, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **arguments
        )

    upload = create(ContentType="text/x-check", Metadata={"a": "1"}, Tagging="t=1")
    parts = copy_parts(upload)
    listed = role.list_parts(Bucket=destination, Key="m", UploadId=upload)["Parts"]
    equal([(part["PartNumber"], part["Size"]) for part in listed], [(1, 5 * MIB), (2, 5 * MIB), (3, 2 * MIB)])
    pages = role.get_paginator("list_parts").paginate(
        Bucket=destination, Key="m", UploadId=upload, PaginationConfig={"PageSize": 1}
    )
    equal([part["PartNumber"] for page in pages for part in page.get("Parts", [])], [1, 2, 3])
    uploads = role.list_multipart_uploads(Bucket=destination)["Uploads"]
    equal([(entry["Key"], entry["UploadId"]) for entry in uploads], [("m", upload)])
    done = complete(upload, parts)
    equal(done["ETag"], expected)
    head = role.head_object(Bucket=destination, Key="m")
    equal((head["ETag"], head["ContentType"], head["Metadata"]), (expected, "text/x-check", {"a": "1"}))
    equal(role.get_object(Bucket=destination, Key="m")["Body"].read(), data)
    part = role.head_object(Bucket=destination, Key="m", PartNumber=2)
    equal((part["PartsCount"], part["ContentLength"]), (3, 5 * MIB))
    equal(role.get_object(Bucket=destination, Key="m", PartNumber=3)["Body"].read(), pieces[2])
    with refused("NoSuchUpload", 404):
        complete(upload, parts)
    # A multipart object copied whole is a single-part one.
    role.copy_object(Bucket=destination, Key="whole", CopySource={"Bucket": destination, "Key": "m"})
    equal(role.head_object(Bucket=destination, Key="whole")["ETag"], put["ETag"])

    upload = create()
    parts = copy_parts(upload)
    with refused("InvalidPartOrder", 400):
        complete(upload, parts[::-1])
    with refused("InvalidPart", 400):
        complete(upload, [{**parts[0], "ETag": '"other"'}])
    with refused("InvalidPart", 400):
        complete(upload, [*parts, {"PartNumber": 4, "ETag": parts[0]["ETag"]}])
    with refused("InvalidRequest", 400):
        complete(upload, parts, MpuObjectSize=12 * MIB + 1)
    with refused("PreconditionFailed", 412) as caught:
        complete(upload, parts, IfNoneMatch="*")
    equal(caught["Error"]["Condition"], "If-None-Match")
    complete(upload, parts, IfMatch=expected, MpuObjectSize=12 * MIB)
    upload = create()
    with refused("EntityTooSmall", 400):
        complete(upload, copy_parts(upload, sizes=(1, 5)))
    role.abort_multipart_upload(Bucket=destination, Key="m", UploadId=upload)
    with refused("NoSuchUpload", 404):
        role.list_parts(Bucket=destination, Key="m", UploadId=upload)
    with refused("NoSuchUpload", 404):
        role.abort_multipart_upload(Bucket=destination, Key="m", UploadId=upload)
    upload = create()
    with refused("PreconditionFailed", 412):
        put_again = s3.put_object(Bucket=source, Key="k", Body=data[::-1])
        copy_parts(upload)
    s3.put_object(Bucket=source, Key="k", Body=data)
    for wrong in ("bytes=0-", f"bytes=0-{12 * MIB}", "bytes=9-1", "0-9"):
        with refused("InvalidArgument", 400):
            role.upload_part_copy(
                Bucket=destination, Key="m", UploadId=upload, PartNumber=1, CopySource={"Bucket": source, "Key": "k"},
                CopySourceRange=wrong,
            )

    # Checksums: full-object ones do not depend on the parts, composite ones do.
    full = create("full", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    done = complete(full, copy_parts(full, "full"), "full")
    whole = s3.put_object(Bucket=source, Key="crc", Body=data, ChecksumAlgorithm="CRC32")
    equal((done["ChecksumCRC32"], done["ChecksumType"]), (whole["ChecksumCRC32"], "FULL_OBJECT"))
    composite = create("composite", ChecksumAlgorithm="SHA256")
    parts = copy_parts(composite, "composite")
    digests = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    with refused("InvalidRequest", 400):
        complete(composite, [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts], "composite")
    done = complete(composite, parts, "composite")
    equal(done["ChecksumSHA256"], base64.b64encode(hashlib.sha256(digests).digest()).decode() + "-3")
    attributes = role.get_object_attributes(Bucket=destination, Key="composite", ObjectAttributes=["ObjectParts"])
    equal(attributes["ObjectParts"]["TotalPartsCount"], 3)
    equal(len(attributes["ObjectParts"]["Parts"]), 3)
    with refused("InvalidRequest", 400):
        create(ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")

    # boto3's own transfer, up and across.
    server.client("destination-admin").upload_fileobj(__import__("io").BytesIO(data), destination, "managed")
    equal(role.get_object(Bucket=destination, Key="managed")["Body"].read(), data)
    role.copy({"Bucket": source, "Key": "k"}, destination, "managed-copy", Config=boto3.s3.transfer.TransferConfig(
        multipart_threshold=6 * MIB, multipart_chunksize=6 * MIB))
    assert role.head_object(Bucket=destination, Key="managed-copy")["ETag"].endswith('-2"')
    keys = [role.create_multipart_upload(Bucket=destination, Key=key)["UploadId"] for key in ("u/b", "u/a", "u/a")]
    pages = role.get_paginator("list_multipart_uploads").paginate(
        Bucket=destination, Prefix="u/", PaginationConfig={"PageSize": 1}
    )
    found = [(entry["Key"], entry["UploadId"]) for page in pages for entry in page.get("Uploads", [])]
    equal(found, [("u/a", keys[1]), ("u/a", keys[2]), ("u/b", keys[0])])


@check
def conditional_writes(server):
    s3 = server.client()
    s3.create_bucket(Bucket="conditional")
    put = s3.put_object(Bucket="conditional", Key="k", Body=b"1", IfNoneMatch="*")
    with refused("PreconditionFailed", 412) as caught:
        s3.put_object(Bucket="conditional", Key="k", Body=b"2", IfNoneMatch="*")
    equal(caught["Error"]["Condition"], "If-None-Match")
    s3.put_object(Bucket="conditional", Key="k", Body=b"3", IfMatch=put["ETag"])
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket="conditional", Key="k", Body=b"4", IfMatch=put["ETag"])
    with refused("NoSuchKey", 404):
        s3.put_object(Bucket="conditional", Key="absent", Body=b"5", IfMatch=put["ETag"])
    # One of many wins.
    won = []

    def race(number):
        with contextlib.suppress(botocore.exceptions.ClientError):
            server.client().put_object(Bucket="conditional", Key="race", Body=str(number).encode(), IfNoneMatch="*")
            won.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(len(won), 1)
    equal(s3.get_object(Bucket="conditional", Key="race")["Body"].read(), str(won[0]).encode())


@check
def enforced_conditions(_server):
    bucket = {
        "name": "enforcing", "account": DESTINATION, "settings": {"enforces_conditional_writes": True},
        "objects": [{"key": "k", "size": 6 * MIB}],
    }
    with filled(bucket) as server:
        s3, at = server.client("destination-admin"), {"Bucket": "enforcing", "Key": "new"}
        with refused("AccessDenied", 403):
            s3.put_object(Body=b"", **at)
        put = s3.put_object(Body=b"", IfNoneMatch="*", **at)
        s3.put_object(Body=b"1", IfMatch=put["ETag"], **at)
        with refused("AccessDenied", 403):
            s3.copy_object(CopySource="enforcing/k", **at)
        for condition in ({"If_None_Match": "*"}, {"If_Match": put["ETag"]}):
            with refused("NotImplemented", 501):
                header(server.client("destination-admin"), "CopyObject", **condition).copy_object(
                    CopySource="enforcing/k", **at)
        upload = s3.create_multipart_upload(Bucket="enforcing", Key="m")["UploadId"]
        at = {"Bucket": "enforcing", "Key": "m", "UploadId": upload}
        part = s3.upload_part_copy(PartNumber=1, CopySource="enforcing/k", **at)["CopyPartResult"]
        at["MultipartUpload"] = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        with refused("AccessDenied", 403):
            s3.complete_multipart_upload(**at)
        s3.complete_multipart_upload(IfNoneMatch="*", **at)


@check
def tagging(server):
    s3 = server.client()
    s3.create_bucket(Bucket="tagging")
    s3.put_object(Bucket="tagging", Key="k", Body=b"")
    tags = [{"Key": f"k{n}", "Value": "ä b+c&=/"} for n in range(10)]
    s3.put_object_tagging(Bucket="tagging", Key="k", Tagging={"TagSet": tags})
    equal(s3.get_object_tagging(Bucket="tagging", Key="k")["TagSet"], tags)
    with refused("BadRequest", 400):
        s3.put_object_tagging(Bucket="tagging", Key="k", Tagging={"TagSet": [*tags, {"Key": "x", "Value": ""}]})
    with refused("InvalidTag", 400):
        s3.put_object(Bucket="tagging", Key="k", Body=b"", Tagging=f"{'k' * 129}=1")
    s3.delete_object_tagging(Bucket="tagging", Key="k")
    equal(s3.get_object_tagging(Bucket="tagging", Key="k")["TagSet"], [])
    with refused("NoSuchKey", 404):
        s3.get_object_tagging(Bucket="tagging", Key="none")


@check
def versions(server):
    s3 = server.client()
    s3.create_bucket(Bucket="versions")
    s3.put_object(Bucket="versions", Key="k", Body=b"null")
    equal(s3.get_bucket_versioning(Bucket="versions").get("Status"), None)
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    ids = [s3.put_object(Bucket="versions", Key="k", Body=body)["VersionId"] for body in (b"one", b"two")]
    marker = s3.delete_object(Bucket="versions", Key="k")
    assert marker["DeleteMarker"] and marker["VersionId"], marker
    with refused("NoSuchKey", 404) as caught:
        s3.get_object(Bucket="versions", Key="k")
    equal(caught["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"], "true")
    with refused("MethodNotAllowed", 405):
        s3.get_object(Bucket="versions", Key="k", VersionId=marker["VersionId"])
    for version_id, body in zip(["null", *ids], (b"null", b"one", b"two")):
        equal(s3.get_object(Bucket="versions", Key="k", VersionId=version_id)["Body"].read(), body)
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket="versions", Key="none", VersionId=ids[0])
    with refused("InvalidArgument", 400):
        s3.get_object(Bucket="versions", Key="k", VersionId="nonsense")
    listed = s3.list_object_versions(Bucket="versions")
    equal([version["VersionId"] for version in listed["Versions"]], [ids[1], ids[0], "null"])
    equal([entry["IsLatest"] for entry in listed["DeleteMarkers"]], [True])
    pages = s3.get_paginator("list_object_versions").paginate(Bucket="versions", PaginationConfig={"PageSize": 1})
    found = [entry["VersionId"] for page in pages for entry in page.get("Versions", []) + page.get("DeleteMarkers", [])]
    equal(found, [marker["VersionId"], ids[1], ids[0], "null"])
    source = {"Bucket": "versions", "Key": "k"}
    copied = s3.copy_object(Bucket="versions", Key="c", CopySource={**source, "VersionId": ids[0]})
    equal(copied["CopySourceVersionId"], ids[0])
    assert copied["VersionId"], copied
    equal(s3.get_object(Bucket="versions", Key="c")["Body"].read(), b"one")
    copied = s3.copy_object(Bucket="versions", Key="c", CopySource={**source, "VersionId": "null"})
    equal((copied["CopySourceVersionId"], s3.get_object(Bucket="versions", Key="c")["Body"].read()), ("null", b"null"))
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket="versions", Key="c", CopySource={**source, "VersionId": marker["VersionId"]})
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket="versions", Key="c", CopySource=source)
    # A deleted key counts as absent.
    s3.put_object(Bucket="versions", Key="k", Body=b"three", IfNoneMatch="*")
    s3.delete_object(Bucket="versions", Key="k", VersionId=marker["VersionId"])
    equal(len(s3.list_object_versions(Bucket="versions", Prefix="k").get("DeleteMarkers", [])), 0)


@check
def regions(server):
    ireland = server.client(region="eu-west-1")
    ireland.create_bucket(Bucket="ireland", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    equal(ireland.head_bucket(Bucket="ireland")["BucketRegion"], "eu-west-1")
    equal(server.client().get_bucket_location(Bucket="ireland")["LocationConstraint"], "eu-west-1")
    with refused("301", 301) as caught:
        bare_head_bucket(server.client(signature_version="s3v4"), "ireland")
    equal(caught["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"], "eu-west-1")
    # boto3 follows by itself.
    server.client().put_object(Bucket="ireland", Key="k", Body=b"x")
    equal(server.client().get_object(Bucket="ireland", Key="k")["Body"].read(), b"x")
    statuses = [
        (entry["operation"], entry["status"], entry["error_code"])
        for entry in server.log() if entry["bucket"] == "ireland" and entry["status"] != 200
    ]
    assert ("PutObject", 301, "PermanentRedirect") in statuses, statuses
    with refused("403", 403) as caught:
        server.client("stranger", region="eu-west-1").head_bucket(Bucket="ireland")
    equal(caught["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"], "eu-west-1")
    # A copy goes to the destination's Region; the source may be in another.
    server.client().create_bucket(Bucket="virginia")
    server.client().copy_object(Bucket="virginia", Key="k", CopySource="ireland/k")


def bare_head_bucket(client, bucket):
    """HeadBucket without boto3's own following of redirects."""
    parsed = urllib.parse.urlsplit(client.generate_presigned_url("head_bucket", Params={"Bucket": bucket}))
    connection = http.client.HTTPConnection(parsed.netloc)
    connection.request("HEAD", f"{parsed.path}?{parsed.query}")
    answer = connection.getresponse()
    equal(answer.read(), b"")
    response = {
        "Error": {"Code": str(answer.status), "Message": ""},
        "ResponseMetadata": {
            "HTTPStatusCode": answer.status,
            "HTTPHeaders": {name.lower(): value for name, value in answer.getheaders()},
        },
    }
    raise botocore.exceptions.ClientError(response, "HeadBucket")


@check
def ownership(server):
    source, destination = buckets(server, "ownership")
    owner = server.client("destination-admin")
    equal(
        owner.get_bucket_ownership_controls(Bucket=destination)["OwnershipControls"]["Rules"],
        [{"ObjectOwnership": "BucketOwnerEnforced"}],
    )
    # The source's user writes into the destination's bucket.
    statement = {
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{SOURCE}:user/source-admin"}, "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{destination}", f"arn:aws:s3:::{destination}/*"],
    }
    owner.put_bucket_policy(Bucket=destination, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    writer = server.client()
    owner_id = owner.list_buckets()["Owner"]["ID"]
    writer_id = writer.list_buckets()["Owner"]["ID"]

    def configure(ownership):
        if ownership:
            rules = {"Rules": [{"ObjectOwnership": ownership}]}
            owner.put_bucket_ownership_controls(Bucket=destination, OwnershipControls=rules)
        else:
            owner.delete_bucket_ownership_controls(Bucket=destination)

    def shown(answer):
        grants = [(grant["Grantee"].get("ID") or grant["Grantee"]["URI"], grant["Permission"]) for grant in answer["Grants"]]
        return answer["Owner"]["ID"], sorted(grants)

    def written(client, **acl):
        client.put_object(Bucket=destination, Key="k", Body=b"", **acl)
        return shown(client.get_object_acl(Bucket=destination, Key="k"))

    full, read = "FULL_CONTROL", "READ"
    owners, writers = (owner_id, [(owner_id, full)]), (writer_id, [(writer_id, full)])
    control, reads = {"ACL": "bucket-owner-full-control"}, {"ACL": "bucket-owner-read"}
    both = writer_id, sorted([(owner_id, full), (writer_id, full)])
    read_too = writer_id, sorted([(owner_id, read), (writer_id, full)])
    # The table of Object Ownership, for a writer of another account and for one of the bucket's.
    for ownership, bare, with_control, with_read in (
        ("BucketOwnerEnforced", owners, owners, None),
        ("BucketOwnerPreferred", writers, owners, read_too),
        ("ObjectWriter", writers, both, read_too),
        (None, writers, both, read_too),
    ):
        configure(ownership)
        for acl, expected in (({}, bare), (control, with_control), (reads, with_read)):
            if expected:
                equal(written(writer, **acl), expected)
                equal(written(owner, **acl), owners)
            else:
                for client in (writer, owner):
                    with refused("AccessControlListNotSupported", 400):
                        written(client, **acl)
    # Grants are all that there is; with a canned ACL they are refused.
    grantee = f'id="{owner_id}"'
    equal(written(writer, GrantRead=grantee, GrantReadACP=f'id="{writer_id}"'),
        (writer_id, sorted([(owner_id, read), (writer_id, "READ_ACP")])))
    with refused("InvalidRequest", 400):
        written(writer, GrantRead=grantee, **control)
    with refused("InvalidArgument", 400):
        written(writer, GrantRead=owner_id)
    role_writes = server.role()
    equal(written(role_writes, ACL="public-read"),
        (owner_id, sorted([(owner_id, full), ("http://acs.amazonaws.com/groups/global/AllUsers", read)])))
    equal(shown(role_writes.get_bucket_acl(Bucket=destination)), owners)
    equal(shown(writer.get_bucket_acl(Bucket=source)), writers)
    with refused("AccessDenied", 403):
        server.client("stranger").get_bucket_acl(Bucket=destination)
    owner.delete_bucket_ownership_controls(Bucket=destination)
    with refused("OwnershipControlsNotFoundError", 404):
        owner.get_bucket_ownership_controls(Bucket=destination)


@check
def foreign_objects(server):
    source, destination = buckets(server, "foreign")
    s3, role, stranger = server.client(), server.role(), server.client("stranger")
    statement = {
        "Effect": "Allow", "Principal": {"AWS": [f"arn:aws:iam::{STRANGER}:root", server.about["role_arn"]]},
        "Action": "s3:*", "Resource": [f"arn:aws:s3:::{source}", f"arn:aws:s3:::{source}/*"],
    }

    def allow(*denied):
        statements = [statement, *({**statement, "Effect": "Deny", "Action": action} for action in denied)]
        s3.put_bucket_policy(Bucket=source, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))

    def reads(client, key="k"):
        """Which reads of a foreign object a client may do, in the order of the calls."""
        at, answers = {"Bucket": source, "Key": key}, []
        for call in (
            lambda: client.head_object(**at), lambda: client.get_object(**at),
            lambda: client.get_object_attributes(ObjectAttributes=["ETag"], **at),
            lambda: client.get_object_tagging(**at), lambda: client.get_object_acl(**at),
            lambda: client.list_object_annotations(**at),
        ):
            try:
                call()
                answers.append(True)
            except botocore.exceptions.ClientError as error:
                equal(error.response["ResponseMetadata"]["HTTPStatusCode"], 403)
                answers.append(False)
        return answers

    everything, nothing = [True] * 6, [False] * 6
    content = [True, True, True, False, False, False]
    rules = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    s3.put_bucket_ownership_controls(Bucket=source, OwnershipControls=rules)
    allow()
    for acl, of_bucket, of_role in (
        ("private", nothing, nothing), ("bucket-owner-read", content, nothing),
        ("bucket-owner-full-control", everything, nothing), ("public-read", content, content),
    ):
        stranger.put_object(Bucket=source, Key="k", Body=b"1", Tagging="t=1", ACL=acl)
        equal((acl, reads(stranger), reads(s3), reads(role)), (acl, everything, of_bucket, of_role))
        # Tags are not to be had with what a canned ACL gives.
        with refused("AccessDenied", 403):
            role.copy_object(Bucket=destination, Key="k", CopySource={"Bucket": source, "Key": "k"})
        upload = role.create_multipart_upload(Bucket=destination, Key="m")["UploadId"]
        with contextlib.nullcontext() if of_role[1] else refused("AccessDenied", 403):
            role.upload_part_copy(
                Bucket=destination, Key="m", UploadId=upload, PartNumber=1, CopySource={"Bucket": source, "Key": "k"})
        role.abort_multipart_upload(Bucket=destination, Key="m", UploadId=upload)
    # The bucket's owner can still refuse, and sees that the object is there.
    allow("s3:GetObject")
    equal(reads(stranger), [False, False, False, True, True, True])
    allow()
    equal([entry["Key"] for entry in role.list_objects_v2(Bucket=source)["Contents"]], ["k"])
    with refused("NoSuchKey", 404):
        role.get_object(Bucket=source, Key="none")
    # Without ACLs the bucket's account owns all of it.
    rules = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    s3.put_bucket_ownership_controls(Bucket=source, OwnershipControls=rules)
    equal((reads(s3), reads(role)), (everything, everything))
    role.copy_object(Bucket=destination, Key="k", CopySource={"Bucket": source, "Key": "k"})


@check
def archived(server):
    s3 = server.client()
    s3.create_bucket(Bucket="archived")
    s3.put_object(Bucket="archived", Key="k", Body=b"cold", StorageClass="GLACIER")
    with refused("InvalidObjectState", 403):
        s3.get_object(Bucket="archived", Key="k")
    with refused("InvalidObjectState", 403):
        s3.copy_object(Bucket="archived", Key="c", CopySource="archived/k")
    equal(s3.head_object(Bucket="archived", Key="k")["StorageClass"], "GLACIER")
    restore = {"Days": 1, "GlacierJobParameters": {"Tier": "Standard"}}
    answer = s3.restore_object(Bucket="archived", Key="k", RestoreRequest=restore)
    equal(answer["ResponseMetadata"]["HTTPStatusCode"], 202)
    with refused("RestoreAlreadyInProgress", 409):
        s3.restore_object(Bucket="archived", Key="k", RestoreRequest=restore)
    equal(s3.head_object(Bucket="archived", Key="k")["Restore"], 'ongoing-request="true"')
    s3.put_object(Bucket="archived", Key="deep", Body=b"cold", StorageClass="DEEP_ARCHIVE")
    s3.put_object(Bucket="archived", Key="warm", Body=b"warm", StorageClass="GLACIER_IR")
    s3.copy_object(Bucket="archived", Key="c", CopySource="archived/warm")
    for key, request, code in (
        ("warm", {"Days": 1}, "InvalidObjectState"), ("deep", {}, "MalformedXML"), ("deep", {"Days": 0}, "MalformedXML"),
        ("deep", {"Days": 1, "GlacierJobParameters": {"Tier": "Fast"}}, "MalformedXML"),
        ("deep", {"Days": 1, "GlacierJobParameters": {"Tier": "Expedited"}}, "InvalidArgument"),
    ):
        with refused(code):
            s3.restore_object(Bucket="archived", Key=key, RestoreRequest=request)
    s3.restore_object(
        Bucket="archived", Key="deep", RestoreRequest={"Days": 3, "GlacierJobParameters": {"Tier": "Bulk"}})

    def tiered(key, tier, restore="None"):
        properties = {"storage_class": "INTELLIGENT_TIERING", "archive_tier": tier, "restore": restore}
        return {"key": key, "size": 6 * MIB, "properties": properties}

    def glacier(key, restore):
        return {"key": key, "size": 6 * MIB, "properties": {"storage_class": "GLACIER", "restore": restore}}

    bucket = {"name": "tiers", "account": DESTINATION, "objects": [
        tiered("archive", "ARCHIVE_ACCESS"), tiered("deep", "DEEP_ARCHIVE_ACCESS"),
        tiered("ongoing", "ARCHIVE_ACCESS", "Ongoing"), tiered("frequent", None),
        glacier("restored", {"Done": {"days": 2}}), glacier("over", {"Done": {"days": 0}}),
    ]}
    with filled(bucket) as server:
        s3 = server.client("destination-admin")
        upload = s3.create_multipart_upload(Bucket="tiers", Key="m")["UploadId"]
        for key, tier in (
            ("archive", "ARCHIVE_ACCESS"), ("deep", "DEEP_ARCHIVE_ACCESS"), ("ongoing", "ARCHIVE_ACCESS"), ("over", None),
            ("frequent", False), ("restored", False),
        ):
            equal(s3.head_object(Bucket="tiers", Key=key).get("ArchiveStatus"), tier or None)
            part = {"Bucket": "tiers", "Key": "m", "UploadId": upload, "PartNumber": 1}
            for call in (
                lambda: s3.get_object(Bucket="tiers", Key=key),
                lambda: s3.copy_object(Bucket="tiers", Key="c", CopySource=f"tiers/{key}"),
                lambda: s3.upload_part_copy(CopySource=f"tiers/{key}", **part),
            ):
                with refused("InvalidObjectState", 403) if tier is not False else contextlib.nullcontext() as caught:
                    call()
                if caught:
                    equal(caught["Error"]["StorageClass"], "INTELLIGENT_TIERING" if tier else "GLACIER")
                    equal(caught["Error"].get("AccessTier"), tier)
        restored = s3.head_object(Bucket="tiers", Key="restored")
        equal(restored["StorageClass"], "GLACIER")
        assert restored["Restore"].startswith('ongoing-request="false", expiry-date="'), restored
        assert "Restore" not in s3.head_object(Bucket="tiers", Key="over")
        with refused("InvalidArgument", 400):
            s3.restore_object(Bucket="tiers", Key="archive", RestoreRequest={"Days": 1})
        with refused("InvalidArgument", 400):
            s3.restore_object(
                Bucket="tiers", Key="deep", RestoreRequest={"GlacierJobParameters": {"Tier": "Expedited"}})
        with refused("RestoreAlreadyInProgress", 409):
            s3.restore_object(Bucket="tiers", Key="ongoing", RestoreRequest={})
        with refused("InvalidObjectState", 403):
            s3.restore_object(Bucket="tiers", Key="frequent", RestoreRequest={})
        for key, request, status in (
            ("archive", {"GlacierJobParameters": {"Tier": "Expedited"}}, 202), ("deep", {}, 202),
            ("over", {"Days": 1}, 202), ("restored", {"Days": 9}, 200),
        ):
            answer = s3.restore_object(Bucket="tiers", Key=key, RestoreRequest=request)
            equal(answer["ResponseMetadata"]["HTTPStatusCode"], status)
        head = s3.head_object(Bucket="tiers", Key="archive")
        equal((head["Restore"], head["ArchiveStatus"]), ('ongoing-request="true"', "ARCHIVE_ACCESS"))


@check
def encryption_and_lock(server):
    s3 = server.client()
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    until = __import__("datetime").datetime(2099, 1, 1, tzinfo=__import__("datetime").timezone.utc)
    put = s3.put_object(
        Bucket="locked", Key="k", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId="arn:aws:kms:us-east-1:1:key/a",
        BucketKeyEnabled=True, ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until, ObjectLockLegalHoldStatus="ON",
    )
    assert put["ETag"] != f'"{md5(b"x")}"', put
    head = s3.head_object(Bucket="locked", Key="k")
    equal(
        [head[name] for name in ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "ObjectLockMode")],
        ["aws:kms", "arn:aws:kms:us-east-1:1:key/a", True, "GOVERNANCE"],
    )
    equal((head["ObjectLockRetainUntilDate"], head["ObjectLockLegalHoldStatus"]), (until, "ON"))
    with refused("AccessDenied", 403):
        s3.delete_object(Bucket="locked", Key="k", VersionId=put["VersionId"])
    s3.create_bucket(Bucket="unlocked")
    with refused("InvalidRequest", 400):
        s3.put_object(Bucket="unlocked", Key="k", Body=b"", ObjectLockLegalHoldStatus="ON")
    with refused("ObjectLockConfigurationNotFoundError", 404):
        s3.get_object_lock_configuration(Bucket="unlocked")


@check
def kms(server):
    s3, arn = server.client(), "arn:aws:kms:us-east-1:111111111111:key/a"
    s3.create_bucket(Bucket="kms")
    with_kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn}
    context = base64.b64encode(b'{"a": "b"}').decode()
    s3.put_object(Bucket="kms", Key="plain", Body=b"x" * 6 * MIB)
    upload = {"Bucket": "kms", "Key": "m"}

    def written(**headers):
        """What CopyObject, CreateMultipartUpload and PutObject show of the encryption, which must be the same."""
        copied = s3.copy_object(Bucket="kms", Key="c", CopySource="kms/plain", **headers)
        created = s3.create_multipart_upload(**upload, **headers)
        put = s3.put_object(Bucket="kms", Key="p", Body=b"", **headers)
        part = s3.upload_part_copy(**upload, UploadId=created["UploadId"], PartNumber=1, CopySource="kms/plain")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}
        done = s3.complete_multipart_upload(**upload, UploadId=created["UploadId"], MultipartUpload=parts)
        answers = [copied, created, put, part, done, s3.head_object(Bucket="kms", Key="c"), s3.head_object(**upload)]
        shown = [
            tuple(answer.get(name) for name in ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled"))
            for answer in answers
        ]
        equal(len(set(shown)), 1)
        return shown[0]

    equal(written(), ("AES256", None, None))
    equal(written(ServerSideEncryption="AES256"), ("AES256", None, None))
    equal(written(**with_kms, SSEKMSEncryptionContext=context), ("aws:kms", arn, None))
    equal(written(**with_kms, BucketKeyEnabled=True), ("aws:kms", arn, True))
    dsse = {**with_kms, "ServerSideEncryption": "aws:kms:dsse"}
    equal(written(**dsse), ("aws:kms:dsse", arn, None))
    for wrong in (
        {"SSEKMSKeyId": arn}, {"SSEKMSEncryptionContext": context}, {"BucketKeyEnabled": True},
        {**with_kms, "ServerSideEncryption": "AES256"}, {**dsse, "BucketKeyEnabled": True},
        {**with_kms, "SSEKMSEncryptionContext": "no base64"}, {"ServerSideEncryption": "aws:other"},
    ):
        for call in (
            lambda: s3.copy_object(Bucket="kms", Key="c", CopySource="kms/plain", **wrong),
            lambda: s3.create_multipart_upload(**upload, **wrong),
        ):
            with refused("InvalidArgument", 400):
                call()
    by_default = [
        {"name": f"by-default-{key}", "account": DESTINATION, "settings": {"kms_key_id": arn, "bucket_key": key == "key"}}
        for key in ("key", "bare")
    ]
    with filled(*by_default) as server:
        s3 = server.client("destination-admin")

        def put(bucket, **headers):
            answer = s3.put_object(Bucket=f"by-default-{bucket}", Key="k", Body=b"", **headers)
            return answer["ServerSideEncryption"], answer.get("SSEKMSKeyId"), answer.get("BucketKeyEnabled")

        other = {**with_kms, "SSEKMSKeyId": f"{arn}b"}
        for bucket, headers, expected in (
            ("bare", {}, ("aws:kms", arn, None)), ("bare", {"BucketKeyEnabled": True}, ("aws:kms", arn, True)),
            ("key", {}, ("aws:kms", arn, True)), ("key", other, ("aws:kms", f"{arn}b", True)),
            ("key", {**other, "BucketKeyEnabled": False}, ("aws:kms", f"{arn}b", None)),
            ("key", {"ServerSideEncryption": "AES256"}, ("AES256", None, None)),
            ("key", dsse, ("aws:kms:dsse", arn, None)),
        ):
            equal(put(bucket, **headers), expected)
        rules = s3.get_bucket_encryption(Bucket="by-default-key")["ServerSideEncryptionConfiguration"]["Rules"]
        equal(rules[0]["BucketKeyEnabled"], True)


@check
def kms_keys(_server):
    """Of keys that the accounts file declares, KMS is asked: for the source's Decrypt, for what is written both."""
    source_key, own_key = (f"arn:aws:kms:us-east-1:{account}:key/k" for account in (SOURCE, DESTINATION))

    def policy(*statements):
        return {"Version": "2012-10-17", "Statement": list(statements)}

    def allow(action, resource="*", **more):
        return {"Effect": "Allow", "Action": action, "Resource": resource, **more}

    def user(name, *statements):
        keys = {"access_key_id": f"AKIA{name.upper():X<16}", "secret_access_key": "secret"}
        return {"name": name, **keys, "policies": [policy(*statements)]}

    everything = [allow("s3:*")]
    # The source's account shares its key with the destination's; the destination's leaves it to its own policies.
    via = {"Condition": {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}}
    shared = policy(allow("kms:*", Principal={"AWS": SOURCE}), allow("kms:Decrypt", Principal={"AWS": DESTINATION}, **via))
    accounts = [
        {"id": SOURCE, "users": [user("owner", *everything, allow("kms:*"))],
         "keys": [{"arn": source_key, "policy": shared}]},
        {"id": DESTINATION, "keys": [{"arn": own_key, "policy": policy(allow("kms:*", Principal={"AWS": DESTINATION}))}],
         "users": [
             user("copier", *everything, allow("kms:Decrypt", source_key), allow(["kms:GenerateDataKey", "kms:Decrypt"], own_key)),
             user("blind", *everything, allow("kms:*", own_key)),
             user("mute", *everything, allow("kms:Decrypt", source_key)),
             user("halfway", *everything, allow("kms:Decrypt", source_key), allow("kms:GenerateDataKey", own_key)),
             user("greedy", *everything, allow("kms:*")),
         ]},
    ]
    open_to_all = json.dumps(policy(allow("s3:*", [f"arn:aws:s3:::theirs{rest}" for rest in ("", "/*")], Principal="*")))
    buckets = [
        {"name": "theirs", "account": SOURCE, "settings": {"kms_key_id": source_key, "policy": open_to_all}},
        {"name": "ours", "account": DESTINATION, "settings": {"kms_key_id": own_key}},
    ]
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, content in (("accounts", {"accounts": accounts}), ("fill", {"buckets": buckets})):
            paths += [f"--{name}", os.path.join(folder, name)]
            with open(paths[-1], "w") as file:
                json.dump(content, file)
        server = Server(*paths)
    client = {each["name"]: server.client(each) for account in accounts for each in account["users"]}
    source = {"CopySource": "theirs/k"}

    def lacks(call, who, action, why, **arguments):
        with refused("AccessDenied", 403) as answer:
            call(**arguments)
        equal(
            answer["Error"]["Message"],
            f"User: arn:aws:iam::{DESTINATION}:user/{who} is not authorized to perform: kms:{action} on {why}",
        )

    def no_identity(action, key):
        return f"resource: {key} because no identity-based policy allows the kms:{action} action"

    try:
        owner = client["owner"]
        owner.put_object(Bucket="theirs", Key="k", Body=b"x" * 6 * MIB)
        client["copier"].copy_object(Bucket="ours", Key="k", **source)
        client["copier"].get_object(Bucket="theirs", Key="k")
        blind, mute, halfway, greedy = (client[name] for name in ("blind", "mute", "halfway", "greedy"))
        for call in (blind.get_object, blind.copy_object):
            more = {"Bucket": "theirs"} if call == blind.get_object else {"Bucket": "ours", **source}
            lacks(call, "blind", "Decrypt", no_identity("Decrypt", source_key), Key="k", **more)
        # HEAD asks for the key only where it shows a checksum; and has no body to say what is lacking.
        blind.head_object(Bucket="theirs", Key="k")
        with refused("403", 403):
            blind.head_object(Bucket="theirs", Key="k", ChecksumMode="ENABLED")
        lacks(
            blind.get_object_attributes, "blind", "Decrypt", no_identity("Decrypt", source_key),
            Bucket="theirs", Key="k", ObjectAttributes=["ETag"],
        )
        why = no_identity("GenerateDataKey", own_key)
        lacks(mute.copy_object, "mute", "GenerateDataKey", why, Bucket="ours", Key="k", **source)
        lacks(mute.put_object, "mute", "GenerateDataKey", why, Bucket="ours", Key="k", Body=b"")
        lacks(mute.create_multipart_upload, "mute", "GenerateDataKey", why, Bucket="ours", Key="k")
        mute.copy_object(Bucket="ours", Key="k", ServerSideEncryption="AES256", **source)
        # An upload begins without Decrypt, and fails at its first part.
        halfway.copy_object(Bucket="ours", Key="k", **source)
        upload = {"Bucket": "ours", "Key": "m"}
        upload["UploadId"] = halfway.create_multipart_upload(**upload)["UploadId"]
        why = no_identity("Decrypt", own_key)
        lacks(halfway.upload_part_copy, "halfway", "Decrypt", why, PartNumber=1, **upload, **source)
        lacks(halfway.upload_part, "halfway", "Decrypt", why, PartNumber=1, Body=b"", **upload)
        lacks(halfway.list_parts, "halfway", "Decrypt", why, **upload)
        part = client["copier"].upload_part_copy(PartNumber=1, **upload, **source)
        parts = {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}}
        lacks(halfway.complete_multipart_upload, "halfway", "Decrypt", why, **upload, **parts)
        client["copier"].complete_multipart_upload(**upload, **parts)
        # A key of another account that does not let its writer in is as one that is not there.
        why = (
            "this resource because the resource does not exist in this Region, no resource-based policies allow access, "
            "or a resource-based policy explicitly denies access"
        )
        with_theirs = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": source_key}
        lacks(greedy.put_object, "greedy", "GenerateDataKey", why, Bucket="ours", Key="k", Body=b"", **with_theirs)
        # Nobody is asked for a key that the file does not declare.
        mute.put_object(Bucket="ours", Key="k", Body=b"", **{**with_theirs, "SSEKMSKeyId": f"{own_key}2"})
    finally:
        equal(server.stop(), 0)


@check
def evidence(_server):
    """What proves a copy: checksums with their types in answers, parts by HEAD and by GetObjectAttributes."""
    sizes = [5 * MIB, 6 * MIB, 5 * MIB, 3]

    def entry(key, **properties):
        return {"key": key, "size": sum(sizes), "seed": 1, "properties": {"part_sizes": sizes, **properties}}

    bucket = {"name": "evidence", "account": DESTINATION, "objects": [
        entry("composite", checksum_algorithm="SHA256"), entry("crc64"),
        entry("full", checksum_algorithm="CRC32", checksum_type="FULL_OBJECT"), entry("old", without_checksum=True),
        {"key": "whole", "size": sum(sizes), "seed": 1, "properties": {"checksum_algorithm": "CRC32"}},
    ]}
    with filled(bucket) as server:
        s3 = server.client("destination-admin")

        def head(key, **arguments):
            return s3.head_object(Bucket="evidence", Key=key, **arguments)

        def attributes(key, **arguments):
            wanted = ["ETag", "Checksum", "ObjectParts", "ObjectSize"]
            return s3.get_object_attributes(Bucket="evidence", Key=key, ObjectAttributes=wanted, **arguments)

        start = 0
        for number, size in enumerate(sizes, 1):
            part = head("composite", PartNumber=number)
            equal(part["ResponseMetadata"]["HTTPStatusCode"], 206)
            equal((part["ContentLength"], part["PartsCount"]), (size, len(sizes)))
            equal(part["ContentRange"], f"bytes {start}-{start + size - 1}/{sum(sizes)}")
            start += size
        whole = head("whole", PartNumber=1)
        equal((whole["ContentLength"], whole.get("PartsCount")), (sum(sizes), None))
        equal(whole["ContentRange"], f"bytes 0-{sum(sizes) - 1}/{sum(sizes)}")
        with refused("416", 416):
            head("whole", PartNumber=2)
        # ObjectParts in pages; of parts without checksums the number alone.
        seen, marker = [], 0
        for truncated in (True, False):
            page = attributes("composite", MaxParts=3, PartNumberMarker=marker)["ObjectParts"]
            equal((page["IsTruncated"], page["TotalPartsCount"], page["MaxParts"]), (truncated, len(sizes), 3))
            seen += [(part["PartNumber"], part["Size"], len(part["ChecksumSHA256"])) for part in page["Parts"]]
            marker = page["NextPartNumberMarker"]
        equal(seen, [(number, size, 44) for number, size in enumerate(sizes, 1)])
        equal([part["Size"] for part in attributes("full")["ObjectParts"]["Parts"]], sizes)
        bare = attributes("crc64")["ObjectParts"]
        equal((bare["TotalPartsCount"], bare.get("Parts")), (len(sizes), None))
        # The type is the source's in attributes, that of a whole object in the copy.
        for key, algorithm, kind in (
            ("composite", "SHA256", "COMPOSITE"), ("crc64", "CRC64NVME", "FULL_OBJECT"), ("full", "CRC32", "FULL_OBJECT"),
        ):
            shown = attributes(key)["Checksum"]
            equal(shown["ChecksumType"], kind)
            equal(head(key, ChecksumMode="ENABLED")[f"Checksum{algorithm}"], shown[f"Checksum{algorithm}"])
            copied = s3.copy_object(Bucket="evidence", Key="c", CopySource=f"evidence/{key}")["CopyObjectResult"]
            equal(copied["ChecksumType"], "FULL_OBJECT")
            equal(copied[f"Checksum{algorithm}"] == shown[f"Checksum{algorithm}"], kind == "FULL_OBJECT")
            equal(copied["ETag"], head("whole")["ETag"])
        equal(attributes("full")["Checksum"]["ChecksumCRC32"], attributes("whole")["Checksum"]["ChecksumCRC32"])
        # Objects from before checksums show none, and their copies get CRC64NVME.
        assert "Checksum" not in attributes("old"), attributes("old")
        assert not any(name.startswith("Checksum") for name in head("old", ChecksumMode="ENABLED"))
        listed = {entry["Key"]: entry.get("ChecksumAlgorithm") for entry in s3.list_objects_v2(Bucket="evidence")["Contents"]}
        equal((listed["old"], listed["full"]), (None, ["CRC32"]))
        copied = s3.copy_object(Bucket="evidence", Key="c", CopySource="evidence/old")["CopyObjectResult"]
        equal(copied["ChecksumCRC64NVME"], attributes("crc64")["Checksum"]["ChecksumCRC64NVME"])
        # An algorithm that is asked for is that of the copy.
        for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
            copied = s3.copy_object(
                Bucket="evidence", Key="c", CopySource="evidence/composite", ChecksumAlgorithm=algorithm
            )["CopyObjectResult"]
            equal(attributes("c")["Checksum"], {name: copied[name] for name in (f"Checksum{algorithm}", "ChecksumType")})
        for algorithm in ("SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128"):
            with refused("NotImplemented", 501):
                s3.copy_object(
                    Bucket="evidence", Key="c", CopySource="evidence/composite", ChecksumAlgorithm=algorithm)
        # Complete says what it made.
        upload = s3.create_multipart_upload(
            Bucket="evidence", Key="m", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
        at = {"Bucket": "evidence", "Key": "m", "UploadId": upload}
        part = s3.upload_part_copy(PartNumber=1, CopySource="evidence/old", **at)["CopyPartResult"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}]}
        done = s3.complete_multipart_upload(MultipartUpload=parts, **at)
        equal((done["ChecksumType"], done["ChecksumCRC32"]), ("FULL_OBJECT", part["ChecksumCRC32"]))


@check
def customer_keys(server):
    source, destination = buckets(server, "customer-keys")
    allow_role(server, source)
    s3, role = server.client(), server.role()

    def fingerprint(letter):
        return base64.b64encode(hashlib.md5(letter.encode() * 32).digest()).decode()

    def key(letter, source=False):
        # Spelled out: botocore encodes keys for some operations only.
        name = "CopySourceSSECustomer" if source else "SSECustomer"
        encoded = base64.b64encode(letter.encode() * 32).decode()
        return {f"{name}Algorithm": "AES256", f"{name}Key": encoded, f"{name}KeyMD5": fingerprint(letter)}

    data = os.urandom(6 * MIB)
    put = s3.put_object(Bucket=source, Key="k", Body=data, **key("a"))
    equal((put["SSECustomerAlgorithm"], put["SSECustomerKeyMD5"]), ("AES256", fingerprint("a")))
    assert "ServerSideEncryption" not in put and put["ETag"] != f'"{md5(data)}"', put
    attributes = {"ObjectAttributes": ["ETag"]}
    for read, arguments, code in (
        (s3.head_object, {}, None), (s3.get_object, {}, "InvalidRequest"),
        (s3.get_object_attributes, attributes, "InvalidRequest"),
    ):
        with refused(code or "400", 400):
            read(Bucket=source, Key="k", **arguments)
        with refused("AccessDenied" if code else "403", 403):
            read(Bucket=source, Key="k", **key("b"), **arguments)
        read(Bucket=source, Key="k", **key("a"), **arguments)
    equal(s3.get_object(Bucket=source, Key="k", **key("a"))["Body"].read(), data)
    equal(s3.head_object(Bucket=source, Key="k", **key("a"))["SSECustomerKeyMD5"], fingerprint("a"))
    s3.get_object_tagging(Bucket=source, Key="k")
    for wrong, code in (
        ({"SSECustomerKey": "a" * 31}, "InvalidArgument"), ({"SSECustomerKeyMD5": fingerprint("b")}, "InvalidArgument"),
        ({"SSECustomerAlgorithm": "AES128"}, "InvalidEncryptionAlgorithmError"),
        ({"ServerSideEncryption": "AES256"}, "InvalidArgument"),
    ):
        with refused(code, 400):
            s3.put_object(Bucket=source, Key="w", Body=b"", **{**key("a"), **wrong})
    with refused("InvalidRequest", 400):
        s3.put_object_annotation(Bucket=source, Key="k", AnnotationName="n", AnnotationPayload=b"1")

    # By CopyObject: both keys, either alone, none.
    from_k = {"Bucket": source, "Key": "k"}
    with refused("InvalidRequest", 400):
        role.copy_object(Bucket=destination, Key="c", CopySource=from_k)
    with refused("AccessDenied", 403):
        role.copy_object(Bucket=destination, Key="c", CopySource=from_k, **key("b", source=True))
    copied = role.copy_object(Bucket=destination, Key="c", CopySource=from_k, **key("a", source=True), **key("b"))
    equal(copied["SSECustomerKeyMD5"], fingerprint("b"))
    equal(role.get_object(Bucket=destination, Key="c", **key("b"))["Body"].read(), data)
    copied = role.copy_object(Bucket=destination, Key="p", CopySource=from_k, **key("a", source=True))
    equal((copied["ServerSideEncryption"], copied["CopyObjectResult"]["ETag"]), ("AES256", f'"{md5(data)}"'))
    with refused("InvalidRequest", 400):
        role.get_object(Bucket=destination, Key="p", **key("b"))
    from_p = {"Bucket": destination, "Key": "p"}
    with refused("InvalidRequest", 400):
        role.copy_object(Bucket=destination, Key="q", CopySource=from_p, **key("a", source=True))
    role.copy_object(Bucket=destination, Key="p", CopySource=from_p, **key("b"))
    role.put_object(Bucket=destination, Key="annotated", Body=b"")
    role.put_object_annotation(Bucket=destination, Key="annotated", AnnotationName="n", AnnotationPayload=b"1")
    from_annotated = {"Bucket": destination, "Key": "annotated"}
    with refused("InvalidRequest", 400):
        role.copy_object(Bucket=destination, Key="q", CopySource=from_annotated, **key("b"))
    role.copy_object(
        Bucket=destination, Key="q", CopySource=from_annotated, AnnotationDirective="EXCLUDE", **key("b"))

    # By multipart: each part brings the upload's key.
    for checksum in ({}, {"ChecksumAlgorithm": "CRC64NVME"}):
        upload = role.create_multipart_upload(Bucket=destination, Key="m", **key("b"), **checksum)
        equal(upload["SSECustomerKeyMD5"], fingerprint("b"))
        at = {"Bucket": destination, "Key": "m", "UploadId": upload["UploadId"]}
        part = {**at, "PartNumber": 1, "CopySource": from_k, **key("a", source=True)}
        with refused("InvalidRequest", 400):
            role.upload_part_copy(**part)
        with refused("InvalidRequest", 400):
            role.upload_part_copy(**part, **key("c"))
        with refused("InvalidRequest", 400):
            role.upload_part(**at, PartNumber=1, Body=b"")
        done = role.upload_part_copy(**part, **key("b"))
        equal(done["SSECustomerKeyMD5"], fingerprint("b"))
        parts = {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": done["CopyPartResult"]["ETag"]}]}}
        # With checksums S3 needs the key here too.
        for call, arguments in ((role.list_parts, {}), (role.complete_multipart_upload, parts)):
            with refused("InvalidRequest", 400):
                call(**at, **key("c"), **arguments)
            if checksum:
                with refused("InvalidRequest", 400):
                    call(**at, **arguments)
            call(**at, **(key("b") if checksum else {}), **arguments)
        with refused("400", 400):
            role.head_object(Bucket=destination, Key="m")
        equal(role.get_object(Bucket=destination, Key="m", **key("b"))["Body"].read(), data)
    upload = role.create_multipart_upload(Bucket=destination, Key="m")["UploadId"]
    with refused("InvalidRequest", 400):
        role.upload_part(Bucket=destination, Key="m", UploadId=upload, PartNumber=1, Body=b"", **key("b"))
    seen = json.dumps(server.log())
    for letter in "abc":
        assert key(letter)["SSECustomerKey"] not in seen, "a key stands in the log"


@check
def annotations(_server):
    properties = {
        "annotations": {"a": "<x>\r</x>", "b": "2"}, "missing_metadata": 2, "tags": [["t", "1"]],
    }
    bucket = {"name": "annotated", "account": DESTINATION, "objects": [
        {"key": "k", "size": 5, "properties": properties},
    ]}
    with filled(bucket) as annotated:
        s3 = annotated.client("destination-admin")

        def names(key):
            found = s3.list_object_annotations(Bucket="annotated", Key=key).get("Annotations", [])
            return [entry["AnnotationName"] for entry in found]

        equal(names("k"), ["a", "b"])
        first = s3.list_object_annotations(Bucket="annotated", Key="k", MaxAnnotationResults=1)
        rest = s3.list_object_annotations(Bucket="annotated", Key="k", ContinuationToken=first["NextContinuationToken"])
        equal([entry["AnnotationName"] for entry in rest["Annotations"]], ["b"])
        got = s3.get_object_annotation(Bucket="annotated", Key="k", AnnotationName="a")
        equal(got["AnnotationPayload"].read(), b"<x>\r</x>")
        s3.put_object_annotation(Bucket="annotated", Key="k", AnnotationName="c", AnnotationPayload=b"3")
        s3.copy_object(Bucket="annotated", Key="copied", CopySource="annotated/k")
        s3.copy_object(Bucket="annotated", Key="bare", CopySource="annotated/k", AnnotationDirective="EXCLUDE")
        equal((names("copied"), names("bare")), (["a", "b", "c"], []))
        with refused("NoSuchAnnotation", 404):
            s3.get_object_annotation(Bucket="annotated", Key="bare", AnnotationName="a")
        with refused("AccessDenied", 403):
            annotated.client("stranger").list_object_annotations(Bucket="annotated", Key="k")
        with refused("NotImplemented", 501):
            s3.delete_object_annotation(Bucket="annotated", Key="k", AnnotationName="c")
        equal(s3.head_object(Bucket="annotated", Key="copied")["MissingMeta"], 2)


@check
def policies(server):
    s3 = server.client()
    s3.create_bucket(Bucket="policies")
    with refused("NoSuchBucketPolicy", 404):
        s3.get_bucket_policy(Bucket="policies")
    with refused("MalformedPolicy", 400):
        s3.put_bucket_policy(Bucket="policies", Policy='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}')
    # A bucket policy alone is not enough for another account: the operator's own policies allow no s3 at all.
    statement = {
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{DESTINATION}:root"}, "Action": "s3:ListBucket",
        "Resource": "arn:aws:s3:::policies",
    }
    s3.put_bucket_policy(Bucket="policies", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    with refused("AccessDenied", 403):
        server.client("operator").list_objects_v2(Bucket="policies")
    server.role().list_objects_v2(Bucket="policies")
    with refused("AccessDenied", 403):
        server.client("stranger").list_objects_v2(Bucket="policies")
    # A condition on the ACL, as real ones have.
    statement = {
        "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{DESTINATION}:root"}, "Action": ["s3:PutObject", "s3:PutObjectAcl"],
        "Resource": "arn:aws:s3:::policies/*",
        "Condition": {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
    }
    s3.put_bucket_policy(Bucket="policies", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    role = server.role()
    with refused("AccessDenied", 403):
        role.put_object(Bucket="policies", Key="k", Body=b"")
    role.put_object(Bucket="policies", Key="k", Body=b"", ACL="bucket-owner-full-control")
    s3.delete_bucket_policy(Bucket="policies")
    with refused("AccessDenied", 403):
        role.put_object(Bucket="policies", Key="k", Body=b"", ACL="bucket-owner-full-control")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket="policies")
    with refused("BucketAlreadyOwnedByYou", 409):
        s3.create_bucket(Bucket="policies")
    with refused("BucketAlreadyExists", 409):
        server.client("stranger").create_bucket(Bucket="policies")


@check
def bucket_settings(_server):
    """What a preflight reads of a bucket: as it is made, from before April 2023, and with all of it set."""
    arn = "arn:aws:kms:us-east-1:222222222222:key/a"
    everything = {
        "versioning": "enabled", "ownership": "ObjectWriter", "requester_pays": True, "object_lock": True, "kms_key_id": arn,
        "lifecycle": [{"id": "uploads", "prefix": "a/", "abort_incomplete_multipart_upload_days": 7}],
    }
    with filled(
        {"name": "new", "account": SOURCE},
        {"name": "old", "account": SOURCE, "settings": {"ownership": None}},
        {"name": "full", "account": SOURCE, "settings": everything},
    ) as server:
        s3 = server.client()
        for bucket in ("new", "old"):
            equal(s3.get_bucket_location(Bucket=bucket)["LocationConstraint"], None)
            equal(s3.get_bucket_versioning(Bucket=bucket).get("Status"), None)
            equal(s3.get_bucket_request_payment(Bucket=bucket)["Payer"], "BucketOwner")
            rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
            equal(rule["ApplyServerSideEncryptionByDefault"], {"SSEAlgorithm": "AES256"})
            with refused("ObjectLockConfigurationNotFoundError", 404):
                s3.get_object_lock_configuration(Bucket=bucket)
            with refused("NoSuchLifecycleConfiguration", 404):
                s3.get_bucket_lifecycle_configuration(Bucket=bucket)
        owns = lambda bucket: s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"][0]["ObjectOwnership"]
        equal(owns("new"), "BucketOwnerEnforced")
        with refused("OwnershipControlsNotFoundError", 404):
            owns("old")
        equal(owns("full"), "ObjectWriter")
        equal(s3.get_bucket_versioning(Bucket="full")["Status"], "Enabled")
        equal(s3.get_bucket_request_payment(Bucket="full")["Payer"], "Requester")
        rule = s3.get_bucket_encryption(Bucket="full")["ServerSideEncryptionConfiguration"]["Rules"][0]
        equal(rule["ApplyServerSideEncryptionByDefault"], {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn})
        lock = s3.get_object_lock_configuration(Bucket="full")["ObjectLockConfiguration"]
        equal(lock["ObjectLockEnabled"], "Enabled")
        rules = s3.get_bucket_lifecycle_configuration(Bucket="full")["Rules"]
        equal(rules, [{
            "ID": "uploads", "Status": "Enabled", "Filter": {"Prefix": "a/"},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        }])
        s3.put_bucket_lifecycle_configuration(Bucket="new", LifecycleConfiguration={"Rules": rules})
        equal(s3.get_bucket_lifecycle_configuration(Bucket="new")["Rules"], rules)
        with refused("NotImplemented", 501):
            moved = {**rules[0], "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}
            s3.put_bucket_lifecycle_configuration(Bucket="new", LifecycleConfiguration={"Rules": [moved]})
        s3.delete_bucket_lifecycle(Bucket="new")
        with refused("NoSuchLifecycleConfiguration", 404):
            s3.get_bucket_lifecycle_configuration(Bucket="new")


@check
def denials(server):
    """Within an account S3 says what is lacking; to others no more than that access is denied."""
    s3, role = server.client(), server.role()
    admin = server.client("destination-admin")
    admin.create_bucket(Bucket="explains")
    arn = f"arn:aws:sts::{DESTINATION}:assumed-role/{server.about['role_arn'].split('/')[-1]}/check"

    def message(call, **arguments):
        with refused("AccessDenied", 403) as answer:
            call(Bucket="explains", **arguments)
        return answer["Error"]["Message"]

    lacking = f"User: {arn} is not authorized to perform: s3:DeleteObjectVersion on resource: "
    equal(
        message(role.delete_object, Key="k", VersionId="null"),
        lacking + '"arn:aws:s3:::explains/k" because no identity-based policy allows the s3:DeleteObjectVersion action',
    )
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::explains/*"}
    admin.put_bucket_policy(Bucket="explains", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    lacking = f"User: {arn} is not authorized to perform: s3:PutObject on resource: "
    equal(
        message(role.put_object, Key="k", Body=b""),
        lacking + '"arn:aws:s3:::explains/k" with an explicit deny in a resource-based policy',
    )
    equal(message(s3.put_object, Key="k", Body=b""), "Access Denied")
    # A HEAD has no body to say it in.
    with refused("403", 403) as answer:
        s3.head_bucket(Bucket="explains")
    equal(answer["Error"]["Message"], "Forbidden")


@check
def faults(server):
    def fault(key, kind, when="every", operation="PutObject"):
        return {"operation": operation, "key": {"exact": key}, "kind": kind, "when": when}

    faulty = Server(faults=[
        fault("reset", "reset", {"first": 1}),
        fault("refuse", "refuse", {"nth": 1}),
        fault("lost", "answer_lost", {"first": 1}),
        fault("busy", {"error": {"status": 503, "code": "SlowDown", "retry_after": 7}}, {"from_to": [1, 2]}),
        fault("expired", "expire_token"),
        fault("cut", "cut_body", operation="GetObject"),
        fault("hang", "hang", operation="GetObject"),
        fault("slow", {"latency": 300}, operation="HeadObject"),
        fault("no-tag", "empty_e_tag", operation="CopyObject"),
        fault("ok-error", {"error_in_ok": "InternalError"}, {"first": 1}, operation="CopyObject"),
        fault("ok-error-after", {"error_in_ok_after_work": "SlowDown"}, operation="CopyObject"),
        fault("trickle", {"trickle": {"every_ms": 50, "spaces": 4}}, operation="CopyObject"),
        {"operation": "GetBucketVersioning", "kind": {"slow_down_above": {"requests_per_second": 10}}},
        {"operation": "AssumeRole", "kind": {"error": {"status": 400, "code": "Throttling"}}, "when": {"nth": 2}},
    ])
    try:
        s3 = faulty.client(read_timeout=1)
        s3.create_bucket(Bucket="faults")
        s3.put_object(Bucket="faults", Key="k", Body=b"0123456789")

        def keys():
            return {entry["Key"] for entry in s3.list_objects_v2(Bucket="faults").get("Contents", [])}

        for key in ("reset", "refuse"):
            try:
                s3.put_object(Bucket="faults", Key=key, Body=b"x")
                raise AssertionError(f"{key}: answered")
            except botocore.exceptions.HTTPClientError:
                pass
            assert key not in keys(), key
            s3.put_object(Bucket="faults", Key=key, Body=b"x")
        try:
            s3.put_object(Bucket="faults", Key="lost", Body=b"x")
            raise AssertionError("lost: answered")
        except botocore.exceptions.HTTPClientError:
            pass
        assert "lost" in keys()
        for _ in range(2):
            with refused("SlowDown", 503) as caught:
                s3.put_object(Bucket="faults", Key="busy", Body=b"x")
            equal(caught["ResponseMetadata"]["HTTPHeaders"]["retry-after"], "7")
        s3.put_object(Bucket="faults", Key="busy", Body=b"x")
        with refused("ExpiredToken", 400):
            s3.put_object(Bucket="faults", Key="expired", Body=b"x")
        s3.copy_object(Bucket="faults", Key="cut", CopySource="faults/k")
        got = b""
        try:
            for chunk in s3.get_object(Bucket="faults", Key="cut")["Body"].iter_chunks(1):
                got += chunk
            raise AssertionError("cut: whole")
        except (botocore.exceptions.HTTPClientError, botocore.exceptions.IncompleteReadError, Exception) as error:
            assert not isinstance(error, AssertionError), error
        assert len(got) <= 5, got
        try:
            s3.get_object(Bucket="faults", Key="hang")
            raise AssertionError("hang: answered")
        except botocore.exceptions.ReadTimeoutError:
            pass
        start = time.monotonic()
        with contextlib.suppress(botocore.exceptions.ClientError):
            s3.head_object(Bucket="faults", Key="slow")
        assert time.monotonic() - start >= 0.3
        equal(s3.copy_object(Bucket="faults", Key="no-tag", CopySource="faults/k")["CopyObjectResult"]["ETag"], "")
        with refused("InternalError"):
            s3.copy_object(Bucket="faults", Key="ok-error", CopySource="faults/k")
        assert "ok-error" not in keys()
        with refused("SlowDown"):
            s3.copy_object(Bucket="faults", Key="ok-error-after", CopySource="faults/k")
        assert "ok-error-after" in keys()
        start = time.monotonic()
        assert s3.copy_object(Bucket="faults", Key="trickle", CopySource="faults/k")["CopyObjectResult"]["ETag"]
        assert time.monotonic() - start >= 0.2
        codes = []
        for _ in range(5):
            try:
                s3.get_bucket_versioning(Bucket="faults")
                codes.append("ok")
            except botocore.exceptions.ClientError as error:
                codes.append(error.response["Error"]["Code"])
        assert codes[0] == "ok" and "SlowDown" in codes, codes
        faulty.assume()
        with refused("Throttling", 400):
            faulty.assume()
        log = {entry["key"]: entry for entry in faulty.log() if entry.get("fault")}
        equal((log["lost"]["fault"], log["lost"]["status"]), ("answer_lost", None))
        equal((log["ok-error"]["status"], log["ok-error"]["error_code"]), (200, "InternalError"))
        equal(log["hang"]["status"], None)
        text = json.dumps(faulty.log())
        assert "AWS4-HMAC" not in text and "security-token" not in text
    finally:
        equal(faulty.stop(), 0)

    refusing = Server(faults=[{"kind": "refuse", "when": {"first": 1}}])
    try:
        try:
            refusing.client().list_buckets()
            raise AssertionError("refused nothing")
        except botocore.exceptions.HTTPClientError:
            pass
        refusing.client().list_buckets()
    finally:
        equal(refusing.stop(), 0)


@check
def presigned(server):
    s3 = server.client()
    s3.create_bucket(Bucket="presigned")
    s3.put_object(Bucket="presigned", Key="a b+c", Body=b"x")
    url = server.client(signature_version="s3v4").generate_presigned_url(
        "get_object", Params={"Bucket": "presigned", "Key": "a b+c"}
    )
    parsed = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parsed.netloc)
    connection.request("GET", f"{parsed.path}?{parsed.query}")
    answer = connection.getresponse()
    equal((answer.status, answer.read()), (200, b"x"))
    # An x-amz-* header outside the signature is refused.
    connection.request("GET", f"{parsed.path}?{parsed.query}", headers={"x-amz-request-payer": "requester"})
    answer = connection.getresponse()
    equal(answer.status, 403)
    assert b"HeadersNotSigned" in answer.read()


@check
def requester_pays(server):
    fill = {"buckets": [{
        "name": "payer", "account": SOURCE, "settings": {"requester_pays": True},
        "objects": [{"key": "k", "size": 5}],
        "policy": {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::payer/*", "arn:aws:s3:::payer"],
        }]},
    }]}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(fill, file)
        file.flush()
        paying = Server("--fill", file.name)
    try:
        stranger = paying.client("stranger")
        with refused("AccessDenied", 403):
            stranger.get_object(Bucket="payer", Key="k")
        equal(stranger.get_object(Bucket="payer", Key="k", RequestPayer="requester")["RequestCharged"], "requester")
        equal(paying.client().get_bucket_request_payment(Bucket="payer")["Payer"], "Requester")
        paying.client().get_object(Bucket="payer", Key="k")
    finally:
        equal(paying.stop(), 0)


@check
def aws_cli(server):
    source, destination = buckets(server, "cli")
    allow_role(server, source)

    def aws(*arguments, user="source-admin", fails=False):
        keys = server.users[user] if isinstance(user, str) else user
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": keys.get("access_key_id") or keys.get("AccessKeyId"),
            "AWS_SECRET_ACCESS_KEY": keys.get("secret_access_key") or keys.get("SecretAccessKey"),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        if keys.get("SessionToken"):
            environment["AWS_SESSION_TOKEN"] = keys["SessionToken"]
        done = subprocess.run([AWS, *arguments], env=environment, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done
        return done.stderr if fails else done.stdout

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file with space+plus")
        with open(path, "wb") as file:
            file.write(os.urandom(9 * MIB))
        aws("s3", "cp", path, f"s3://{source}/dir/file with space+plus")
        session = server.assume()
        aws("s3", "cp", f"s3://{source}/dir/file with space+plus", f"s3://{destination}/copied", user=session)
        aws("s3", "cp", f"s3://{destination}/copied", os.path.join(folder, "back"), user=session)
        with open(path, "rb") as file, open(os.path.join(folder, "back"), "rb") as back:
            equal(file.read(), back.read())
    listed = aws("s3", "ls", "--recursive", f"s3://{source}/")
    assert "dir/file with space+plus" in listed, listed
    arguments = ["--role-arn", server.about["role_arn"], "--role-session-name", "cli"]
    answer = aws("sts", "assume-role", *arguments, "--external-id", server.about["external_id"], user="operator")
    assert json.loads(answer)["Credentials"]["AccessKeyId"].startswith("ASIA")
    assert "AccessDenied" in aws("sts", "assume-role", *arguments, user="operator", fails=True)
    aws("s3api", "head-bucket", "--bucket", source)
    aws("s3", "rm", "--recursive", f"s3://{source}/")
    aws("s3", "rb", f"s3://{source}")


@check
def refuses_other_addresses(_server):
    done = subprocess.run([SANDBOX, "--listen", "0.0.0.0:0"], capture_output=True, text=True)
    equal(done.returncode, 1)
    assert "loopback" in done.stderr, done


def main():
    wanted = sys.argv[3:]
    server, failed = Server(), []
    try:
        for function in CHECKS:
            if wanted and function.__name__ not in wanted:
                continue
            start = time.monotonic()
            try:
                function(server)
                print(f"ok      {function.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
            except Exception:
                import traceback

                traceback.print_exc()
                print(f"FAILED  {function.__name__}", flush=True)
                failed.append(function.__name__)
    finally:
        equal(server.stop(), 0)
    sys.exit(1 if failed else 0)


main()
