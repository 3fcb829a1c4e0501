"""boto3 clients that keep what really came back: status, headers and body."""
import collections, re

from botocore.exceptions import ClientError

FREE = ("Delete", "Abort")
WRITES = ("Put", "Copy", "Create", "Upload", "Complete", "List")


class Said(collections.namedtuple("Said", "status headers body parsed")):
    """What came back to one request."""

    def element(self, name):
        """The first element of this name, as it is spelt in the body."""
        found = re.search(rf"<{name}>(.*?)</{name}>".encode(), self.body, re.DOTALL)
        return found and found[1].decode()

    @property
    def code(self):
        return self.element("Code") if self.status >= 300 or b"<Error>" in self.body else None

    def __str__(self):
        return f"{self.status} {self.code}" if self.code else str(self.status)


class Client:
    """A client of boto3 for S3: its methods, and `ask`, which raises nothing for a refusal."""

    def __init__(self, boto, counts):
        self.boto, self.counts = boto, counts
        self.heard, self.headers = [], {}
        boto.meta.events.register_first("before-call.s3", self.add_headers)
        boto.meta.events.register_first("before-send.s3", self.count)
        boto.meta.events.register_first("before-parse.s3", self.hear)

    def __getattr__(self, name):
        return getattr(self.boto, name)

    def add_headers(self, params, **_):
        params["headers"].update(self.headers)

    def count(self, event_name, **_):
        operation = event_name.split(".")[2]
        if not operation.startswith(FREE):
            self.counts["writes" if operation.startswith(WRITES) else "reads"] += 1

    def hear(self, response_dict, **_):
        body = response_dict["body"]
        self.heard.append(Said(response_dict["status_code"], dict(response_dict["headers"]),
                               body if isinstance(body, bytes) else b"", None))

    def ask(self, method, headers=None, **parameters):
        """Sends one request, with headers that boto3 may not know, and gives what came back at last."""
        self.heard.clear()
        self.headers = headers or {}
        try:
            parsed = getattr(self.boto, method)(**parameters)
        except ClientError as error:
            parsed = error.response
        finally:
            self.headers = {}
        said = self.heard[-1]
        return said._replace(headers={name.lower(): value for name, value in said.headers.items()}, parsed=parsed)


def refused_with(error, *codes):
    return error.response["Error"]["Code"] in codes
