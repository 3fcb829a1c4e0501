"""The table of known differences in README.md."""
import dataclasses, pathlib

README = pathlib.Path(__file__).with_name("README.md")
HEADER = ["server", "version", "check", "what S3 documents", "what came back"]


@dataclasses.dataclass(frozen=True)
class Difference:
    server: str
    version: str
    check: str


def table(text):
    """The rows below the line that names the columns."""
    lines = iter(text.splitlines())
    for line in lines:
        if cells(line) == HEADER:
            break
    else:
        raise SystemExit(f"{README.name} has no table with the columns {HEADER}")
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        row = cells(line)
        if len(row) != len(HEADER) or not all(row):
            raise SystemExit(f"{README.name}: each row of the table has {len(HEADER)} cells, none empty: {line}")
        rows.append(Difference(row[0], row[1], row[2]))
    return rows


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def of_servers(names):
    """Refuses rows of servers that there are not."""
    for row in table(README.read_text()):
        if row.server not in names:
            raise SystemExit(f"{README.name} lists {row.check!r} for {row.server}, which is no server here")


def known(server):
    """The checks that this server is known to fail."""
    rows = [row for row in table(README.read_text()) if row.server == server.name]
    for row in rows:
        if row.version != server.version:
            raise SystemExit(f"{README.name} lists {row.check!r} for {row.server} {row.version}; "
                             f"what runs is {server.version}: look again")
    return [row.check for row in rows]
