"""What the run is given: the variables S3HAUL_TEST_…, one a field."""
import dataclasses, re

PAGE = "docs/real-aws.md"


class Refused(Exception):
    """Why the run does not begin."""


def variable(says, required=False):
    return dataclasses.field(default=None, metadata={"says": says, "required": required})


@dataclasses.dataclass(frozen=True)
class Given:
    source_bucket: str = variable("a bucket of the source account, empty and made for this", required=True)
    destination_bucket: str = variable("a bucket of the destination account, empty and made for this", required=True)
    role_arn: str = variable("the role of the destination account that copies", required=True)
    source_profile: str = variable("AWS profile that administers the source bucket", required=True)
    destination_profile: str = variable(
        "AWS profile that administers the destination bucket and may assume the role", required=True)
    external_id: str = variable("what the role's trust policy asks for")
    endpoint_url: str = variable("another server than AWS, to rehearse")
    inventory: str = variable("s3:// address of an inventory's manifest.json, for points 2 and 3")
    batch_role_arn: str = variable("a role for S3 Batch Operations, for points 1, 9 and 10; 0.25 USD")

    @property
    def role_account(self):
        return self.role_arn.split(":")[4]


def name(field):
    return f"S3HAUL_TEST_{field.name.upper()}"


def read(environment):
    """The variables, or what is wrong with them."""
    fields = dataclasses.fields(Given)
    given = Given(**{field.name: environment.get(name(field)) or None for field in fields})
    missing = [field for field in fields if field.metadata["required"] and not getattr(given, field.name)]
    if missing:
        lines = "".join(f"\n  {name(field)}: {field.metadata['says']}" for field in missing)
        raise Refused(f"not set:{lines}\n{PAGE} tells how to make them")
    for field in ("role_arn", "batch_role_arn"):
        value = getattr(given, field)
        if value and not re.fullmatch(r"arn:[a-z-]+:iam::\d{12}:role/\S+", value):
            raise Refused(f"S3HAUL_TEST_{field.upper()} is no role's ARN: {value}")
    if given.source_bucket == given.destination_bucket:
        raise Refused("source and destination are the same bucket")
    if given.inventory and not re.fullmatch(r"s3://[^/]+/.+/manifest\.json", given.inventory):
        raise Refused(f"S3HAUL_TEST_INVENTORY is no s3://…/manifest.json: {given.inventory}")
    return given


def usage():
    """All variables, for --help."""
    return "\n".join(f"  {name(field):32} {field.metadata['says']}{'' if field.metadata['required'] else ' (optional)'}"
                     for field in dataclasses.fields(Given))
