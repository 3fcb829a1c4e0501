"""The command: copies between two accounts of AWS, settles the open points, and leaves nothing behind."""
import argparse, datetime, functools, operator, os, pathlib, shutil, signal, sys, tempfile, traceback

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))

import prices, settings, table
from leftovers import clean_up
from prices import Cost
from program import binary
from questions import QUESTIONS, answered
from registry import Checks, Result
from settings import Refused
from stage import Stage
from transfers import TRANSFERS

# Looking at the buckets before, and emptying them.
AROUND = Cost(writes=200, reads=100)


def arguments():
    parser = argparse.ArgumentParser(
        prog="tests/servers/run aws", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Copies between buckets of two AWS accounts, and asks S3 what its documentation leaves open.",
        epilog=f"variables ({settings.PAGE}):\n{settings.usage()}")
    parser.add_argument("--yes", action="store_true", help="send the requests; without it, their cost is told")
    parser.add_argument("--rehearse", action="store_true", help="run it, and interrupt it, on the sandbox")
    return parser.parse_args()


def main():
    flags = arguments()
    if flags.rehearse:
        import rehearsal
        return rehearsal.run()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup has said that it is no reason to end.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupted)
    try:
        given = settings.read(os.environ)
        cost = planned(given)
        print(prices.told(cost))
        if prices.dollars(cost) > prices.LIMIT:
            raise Refused(f"that is more than {prices.LIMIT} USD")
        if not flags.yes:
            print("Nothing was sent. With --yes, it is.")
            return 0
        return run(given)
    except KeyboardInterrupt:
        return 130
    except Refused as reason:
        print(f"tests/servers/run aws: {reason}", file=sys.stderr)
        return 2


def interrupted(*_):
    ignore_signals()
    say("interrupted")
    raise KeyboardInterrupt


def ignore_signals():
    """A second Ctrl-C must not leave anything behind."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: say("cleaning up: please wait"))


def say(text):
    """Prints what may as well be lost, if the terminal is."""
    try:
        print(text, flush=True)
    except OSError:
        pass


def planned(given):
    questions = (cost for _, _, cost, when in QUESTIONS if when(given))
    return functools.reduce(operator.add, [AROUND, *(cost for _, cost in TRANSFERS), *questions])


def run(given):
    program = binary()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="s3haul-aws-"))
    stage = Stage(given, folder, program)
    try:
        stage.connect()
    except BaseException:
        shutil.rmtree(folder)
        raise
    print(f"everything lies below {stage.prefix}; reports, and settings as they were: {folder}", flush=True)
    try:
        failed = jobs(stage) + questions(stage)
    finally:
        problems = left_as_it_was(stage)
    if not failed and not problems:
        shutil.rmtree(folder)
    return 1 if failed or problems else 0


def left_as_it_was(stage):
    """Cleans up, and tells what could not be."""
    ignore_signals()
    done, problems = clean_up(stage)
    for problem in problems:
        say(f"NOT CLEAN: {problem}; {settings.PAGE} tells what to do")
    plan = planned(stage.given)
    for line in done:
        say(line)
    if not problems:
        say("nothing is left, and the buckets' settings are as they were")
    say(f"requests: {stage.counts['writes']} that write or list, s3haul's among them, of {plan.writes} at most; "
        f"{stage.counts['reads']} others of {plan.reads}")
    return problems


def jobs(stage):
    failed = 0
    for function, _ in TRANSFERS:
        for result in checked(function, stage):
            failed += result.failure is not None
            print(f"{'FAIL' if result.failure else 'PASS'}  {result.check}"
                  f"{f' — {result.failure}' if result.failure else ''}", flush=True)
            if result.details:
                print(result.details, file=sys.stderr)
    return failed


def checked(function, stage):
    checks = Checks(function.__name__.replace("_", "-"))
    try:
        function(stage, checks)
    except Exception as error:
        checks.results.append(Result(f"{checks.job_name}: runs to its end", f"{type(error).__name__}: {error}",
                                     traceback.format_exc()))
    return checks.results


def questions(stage):
    """Asks all, and prints the table; gives how many assumptions do not hold."""
    rows = []
    for point, function, _, _ in QUESTIONS:
        verdict, answer = answered(function, stage)
        print(f"{verdict:13}  {function.__name__.replace('_', '-')}", flush=True)
        rows.append((point, function.__doc__, answer.sent, answer.came, answer.means, verdict))
    print(f"\n{table.printed(rows, stage, datetime.datetime.now(datetime.timezone.utc))}\n", flush=True)
    return sum(row[-1] == "DOES NOT HOLD" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
