"""The command: starts the servers that are named, runs their jobs, counts, stops."""
import argparse, pathlib, shutil, signal, sys, tempfile, traceback

import differences, jobs
from program import binary
from registry import JOBS, Checks, Result
from server import SERVERS
from world import World


def arguments():
    parser = argparse.ArgumentParser(
        prog="tests/servers/run", usage=f"tests/servers/run [--job JOB] [--keep] NAME… (of {', '.join(SERVERS)})",
        description="Runs the jobs against real S3 servers on this machine.",
        epilog="PROFILE=debug|release chooses the binary (debug), BUILT=1 does not build it, "
               "S3HAUL_BIN=PATH names another.")
    parser.add_argument("server", nargs="+", choices=list(SERVERS))
    parser.add_argument("--job", action="append", help="only this job (repeatable); the table is not checked then")
    parser.add_argument("--keep", action="store_true", help="keep servers and folders until Enter is pressed")
    return parser.parse_args()


def main():
    # So that servers are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given = arguments()
    differences.of_servers(SERVERS)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="s3haul-servers-"))
    program = binary()
    counts = {"PASS": 0, "FAIL": 0, "KNOWN DIFFERENCE": 0}
    for name in dict.fromkeys(given.server):
        for result, word in run_server(SERVERS[name](), folder / name, program, given):
            counts[word] += 1
            reason = f" — {result.failure}" if result.failure else ""
            print(f"{word:16}  {name:9}  {result.check}{reason}", flush=True)
            if word == "FAIL" and result.details:
                print(result.details, file=sys.stderr)
    if counts["FAIL"] or given.keep:
        print(f"logs, manifests and reports: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['KNOWN DIFFERENCE']} known differences")
    return 1 if counts["FAIL"] else 0


def run_server(server, folder, program, given):
    """The results of a server's jobs, each with its word."""
    known = differences.known(server)
    seen = set()
    try:
        server.start(folder)
        for job in JOBS:
            if server.name not in job.servers or given.job and job.name not in given.job:
                continue
            for result in run_job(job, server, folder, program):
                seen.add(result.check)
                yield judged(result, result.check in known)
        if given.keep:
            print(f"{server.name} serves at {server.endpoint}; Enter stops it", file=sys.stderr)
            sys.stdin.readline()
    except Exception as error:
        yield Result(f"{server.name} runs", str(error), traceback.format_exc()), "FAIL"
    finally:
        server.stop()
    for check in known:
        if check not in seen and not given.job:
            yield Result(check, "no job has this check: remove it from the table in README.md"), "FAIL"


def run_job(job, server, folder, program):
    checks = Checks(job.name)
    try:
        job.run(World(server, folder / job.name, job.name, program), checks)
    except Exception:
        kind, error = sys.exc_info()[:2]
        checks.results.append(Result(f"{job.name}: runs to its end", f"{kind.__name__}: {error}", traceback.format_exc()))
    return checks.results


def judged(result, is_known):
    if not is_known:
        return result, "FAIL" if result.failure else "PASS"
    if result.failure:
        return result, "KNOWN DIFFERENCE"
    return Result(result.check, "a known difference holds now: remove it from the table in README.md"), "FAIL"


if __name__ == "__main__":
    sys.exit(main())
