"""Jobs, and the checks that they make."""
import contextlib, dataclasses, traceback

JOBS = []


@dataclasses.dataclass(frozen=True)
class Job:
    name: str
    servers: tuple
    run: object


def job(*servers):
    """Registers a function as a job of these servers: `job(world, check)`."""
    def register(function):
        JOBS.append(Job(function.__name__.replace("_", "-"), servers, function))
        return function
    return register


@dataclasses.dataclass(frozen=True)
class Result:
    check: str
    # None if it held; else what came instead.
    failure: str | None = None
    details: str = ""


class Checks:
    """What one job has checked."""

    def __init__(self, job_name):
        self.job_name = job_name
        self.results = []

    @contextlib.contextmanager
    def __call__(self, what):
        """One check: whatever is raised inside is its failure, and the job goes on."""
        name = f"{self.job_name}: {what}"
        assert all(result.check != name for result in self.results), f"two checks are named {name!r}"
        try:
            yield
        except Exception as error:
            self.results.append(Result(name, one_line(error), traceback.format_exc()))
        else:
            self.results.append(Result(name))


def one_line(error):
    text = " ".join(str(error).split()) or "assertion failed"
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return kind + (text if len(text) <= 300 else text[:297] + "...")
