"""Bucket policies and Object Ownership of the destination."""
from kept import READS
from prices import MIB, Cost
from questions import Answer, NotSettled, asks
from questions.copying import copied
from questions.multipart import Upload
from stage import PROBES

CONTROL = "bucket-owner-full-control"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
ENFORCING = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
ACL = {"s3:x-amz-acl": CONTROL}
DENYING = {"StringNotEquals": {"StringNotEquals": ACL},
           "StringNotEqualsIfExists": {"StringNotEqualsIfExists": ACL},
           "StringNotEquals and Null false": {"StringNotEquals": ACL, "Null": {"s3:x-amz-acl": "false"}}}


def denial(stage, name, condition):
    """A statement that denies the role s3:PutObject below a prefix, and nothing else."""
    return {"Sid": f"S3haulTest{''.join(filter(str.isalnum, name))}", "Effect": "Deny",
            "Principal": {"AWS": stage.given.role_arn}, "Action": "s3:PutObject",
            "Resource": f"{stage.destination.arn}/{stage.prefix}{name}/*", "Condition": condition}


def put(stage, name, **more):
    return stage.copier.ask("put_object", Bucket=stage.destination.bucket, Key=stage.prefix + name, Body=b"", **more)


def shown(answers):
    return "; ".join(f"{what}: {said}" for what, said in answers.items())


@asks("§6.4", Cost(writes=PROBES + 15, reads=READS, copied=2 * MIB, stored=2 * MIB))
def conditional_copy_where_enforced(stage):
    """Does CopyObject with If-None-Match: * work where the bucket's policy enforces conditional writes?"""
    sent = "a policy that denies s3:PutObject where s3:if-none-match is absent and s3:ObjectCreationOperation is " \
           "true; CopyObject without the header, with it to a new key, and over an object; Create, UploadPartCopy, " \
           "Complete with it"
    with stage.destination_policy.plus([denial(stage, "q4", ENFORCING)]):
        if not stage.takes_effect(lambda: put(stage, "q4/probe"), 403):
            raise NotSettled(sent, "the policy takes no effect: PutObject without the header: "
                                   f"{put(stage, 'q4/probe')}")
        there = put(stage, "q4/there", IfNoneMatch="*")
        if there.status != 200:
            raise NotSettled(sent, f"the policy refuses PutObject with the header too: {there}")
        answers = {"PutObject with it": there,
                   "CopyObject without": copied(stage.copier, stage, stage.small, "q4/without"),
                   "new key": copied(stage.copier, stage, stage.small, "q4/new", IfNoneMatch="*"),
                   "over an object": copied(stage.copier, stage, stage.small, "q4/there", IfNoneMatch="*")}
        upload = Upload(stage, "q4/parts")
        answers["Create"] = upload.created
        if upload.id:
            answers["part"] = upload.copy_part(stage.mebibyte)
            answers["Complete"] = upload.complete(IfNoneMatch="*")
            upload.abort()
    if answers["new key"].status == 200:
        means = "--overwrite never works there; --overwrite always is refused with 403"
    elif answers["new key"].status == 501:
        means = "no CopyObject works there: rows fail with NotImplemented. In parts it " \
                f"{'works' if 'Complete' in answers and answers['Complete'].status == 200 else 'does not work either'}"
    else:
        means = f"no CopyObject works there, --overwrite never included: rows fail with {answers['new key'].code}"
    return Answer(sent, shown(answers), means)


@asks("§6.6", Cost(writes=2 * PROBES + 15, reads=READS, copied=MIB, stored=MIB))
def acl_on_an_enforced_bucket(stage):
    """Does bucket-owner-full-control on a BucketOwnerEnforced bucket require s3:PutObjectAcl?"""
    without = stage.copier_without("s3:PutObjectAcl")
    if stage.ownership.before == "BucketOwnerEnforced":
        enforced, control = ask_enforced(stage, without), ask_preferred(stage, without)
    else:
        with stage.ownership.changed_to("BucketOwnerEnforced"):
            # Such a bucket takes no other ACL.
            stage.takes_effect(lambda: put(stage, "q6/probe", ACL="private"), 400)
            enforced = ask_enforced(stage, without)
        control = ask_preferred(stage, without)
    sent = "by a session without s3:PutObjectAcl: CopyObject without and with x-amz-acl: bucket-owner-full-control, " \
           "CreateMultipartUpload with it; for comparison CopyObject with it on a BucketOwnerPreferred bucket"
    answers = enforced | control
    if answers["without"].status != 200 or control["Preferred"].status != 403:
        raise NotSettled(sent, f"{shown(answers)}: the session is not what it should be")
    required = answers["with"].status == 403
    return Answer(sent, shown(answers),
                  f"s3:PutObjectAcl is {'needed there too' if required else 'not needed there'} with the default --acl")


def ask_enforced(stage, client):
    upload = Upload(stage, "q6/parts", client, ACL=CONTROL)
    if upload.id:
        upload.abort()
    return {"without": copied(client, stage, stage.small, "q6/without"),
            "with": copied(client, stage, stage.small, "q6/with", ACL=CONTROL),
            "Create with": upload.created}


def ask_preferred(stage, client):
    def ask():
        return copied(client, stage, stage.small, "q6/preferred", ACL=CONTROL)

    with stage.ownership.changed_to("BucketOwnerPreferred"):
        stage.takes_effect(ask, 403)
        return {"Preferred": ask()}


@asks("§6.7", Cost(writes=PROBES + 25, reads=READS, copied=6 * MIB, stored=6 * MIB))
def denying_acl_policies(stage):
    """Do policies that deny s3:PutObject without bucket-owner-full-control refuse UploadPartCopy?"""
    statements = [denial(stage, f"q7-{number}", condition) for number, condition in enumerate(DENYING.values())]
    sent = "CreateMultipartUpload with the ACL, UploadPartCopy, CompleteMultipartUpload under a policy that denies " \
           f"s3:PutObject by {', by '.join(DENYING)}"
    came, refused = [], []
    with stage.destination_policy.plus(statements):
        # Another ACL is refused by all three forms.
        if not stage.takes_effect(lambda: put(stage, "q7-2/probe", ACL="private"), 403):
            raise NotSettled(sent, "the policy takes no effect: PutObject with another ACL: "
                                   f"{put(stage, 'q7-2/probe', ACL='private')}")
        for number, form in enumerate(DENYING):
            answers = in_parts_under(stage, f"q7-{number}")
            if answers["CopyObject"].status != 200:
                raise NotSettled(sent, f"{form} refuses the right ACL too: {shown(answers)}")
            came.append(f"{form}: {shown(answers)}")
            refused += [form] if 403 in (said.status for said in answers.values()) else []
    means = "copies in parts pass all three" if not refused else \
        f"copies in parts are refused by {' and by '.join(refused)}: such buckets take only what goes by CopyObject"
    return Answer(sent, " — ".join(came), means)


def in_parts_under(stage, name):
    upload = Upload(stage, f"{name}/parts", ACL=CONTROL)
    answers = {"CopyObject": copied(stage.copier, stage, stage.small, f"{name}/small", ACL=CONTROL),
               "Create": upload.created}
    if upload.id:
        answers["part"] = upload.copy_part(stage.mebibyte)
        if answers["part"].status == 200:
            answers["Complete"] = upload.complete()
        upload.abort()
    return answers
