"""Keys that are easily broken on the way: decoded once, encoded once, never made tidy."""
from urllib.parse import unquote_plus

from jobs.demo import demo_rows
from program import expect
from registry import job

KEYS = {
    "plus": "odd/a+b c+d.txt",
    "percent that looks encoded": "odd/%2B%20%41.txt",
    "space at both ends": "odd/ both ends ",
    "only dots": "odd/...",
    "up and out": "odd/../../up",
    "unicode in two forms": "odd/é-é",
    "question mark and query": "odd/a?versionId=null&x=y",
    "fragment": "odd/a#b",
    "backslash": "odd/a\\b",
    "brackets": "odd/{a}[b]<c>|^`",
    "only a slash": "/",
    "leading slashes": "//a",
    "carriage return": "odd/a\rb",
    "line feed": "odd/a\nb",
    "quote and comma": 'odd/",",',
    "control character": "odd/a\x01b",
    "1,024 bytes": "odd/" + "ü" * 510,
    "formula": "=1+1",
}


def odd_keys():
    """Our own by name, and those of the demo by themselves."""
    demo = [key for key, _ in demo_rows() if key.startswith(("odd/", "/"))]
    return KEYS | {f"demo's {key[:40]}": unquote_plus(key) for key in demo}


@job("seaweedfs", "moto", "ceph")
def keys(world, check):
    refused = {}
    for name, key in odd_keys().items():
        try:
            world.put(key)
        except Exception as error:
            refused[name] = error
    world.let_role_read()
    copy = world.copy("keys", list(world.content))
    run = copy.run()
    report = {}
    with check("the report has each row once"):
        expect(run.summary["state"], "complete", run.stderr)
        report = copy.rows_by_key()
        expect(report.keys(), world.content.keys())
    listed = set(world.listed())
    for name, key in odd_keys().items():
        with check(name):
            if name in refused:
                raise refused[name]
            row = report[key]
            expect(row.status, "succeeded", f"{row.http_status} {row.error_code} {row.message.get('message')}")
            assert key in listed, "the destination's listing has not this key"
            world.is_copied(key)
    with check("nothing else has arrived"):
        expect(listed - world.content.keys(), set())
