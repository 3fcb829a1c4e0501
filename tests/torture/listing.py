#!/usr/bin/env python3
"""`manifest create` of a million objects with odd keys: each is listed exactly once.

`listing.py [OBJECTS]`. The keys are the sandbox's own: what it was filled with is what must come back.
"""
import csv, sys, tempfile, time
from urllib.parse import unquote_plus
from common import BIN, Job, ROLE, Sandbox, build

OBJECTS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
# Where `{}` stands goes a number of eight digits.
ODD = ["photos/2025/{}.jpg", "a b/{}", "a+b/{}", "100%/{}", "a%2Bb/{}", "a,\"b\"/{}", "ü/😀/{}", "nl\nx/{}", "cr\rx/{}",
       "/lead/{}", "a//b/{}", "../{}", "\x01{}", "&<>'/{}", "{}", "k" * 900 + "{}", "z/deep/" + "d/" * 60 + "{}"]


def main():
    build()
    with tempfile.TemporaryDirectory() as folder:
        shares = [OBJECTS // 2] + [OBJECTS // 2 // (len(ODD) - 1)] * (len(ODD) - 1)
        shares[0] += OBJECTS - sum(shares)
        fill = [{"key": key, "size": 1, "count": share} for key, share in zip(ODD, shares)]
        sandbox = Sandbox(folder, fill, log=False)
        job = Job(sandbox, folder, "listing", [])
        made = f"{folder}/made.csv"
        command = [str(BIN / "s3haul"), "manifest", "create", "s3://example-source", "--output-file", made,
                   "--role-arn", ROLE, "--external-id", "s3haul-demo", "--endpoint-url", sandbox.endpoint,
                   "--max-rps", "none", "--progress", "none", "--output", "json"]
        started = time.time()
        code, out, err = job.run(command, 1800)
        seconds = time.time() - started
        assert code == 0, err
        listed = {}
        csv.field_size_limit(1 << 20)
        with open(made, newline="") as file:
            for bucket, key in csv.reader(file):
                assert bucket == "example-source"
                key = unquote_plus(key)
                listed[key] = listed.get(key, 0) + 1
        expected = {key.replace("{}", f"{n:08}") for key, share in zip(ODD, shares) for n in range(share)}
        assert len(expected) == OBJECTS
        twice = [key for key, times in listed.items() if times > 1]
        assert not twice, twice[:3]
        assert listed.keys() == expected, (len(listed), list(expected - listed.keys())[:3])
        print(f"{OBJECTS} objects listed exactly once in {seconds:.1f} s: {out.strip()}")
        sandbox.stop()


main()
