"""Processes that the runner starts, and how it waits for what they do."""
import pathlib, socket, subprocess, time, urllib.request


def free_ports(count):
    """Ports of this machine that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def until(condition, what, seconds=60):
    """Waits until `condition()` is true, and gives what it returned."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.05)
    return value


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


class Process:
    """A program of ours, with its output in a file. Ended by its own process ID."""

    def __init__(self, command, log, env=None, cwd=None):
        self.log = pathlib.Path(log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as output:
            self.child = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                          stdout=output, stderr=output, env=env, cwd=cwd)

    def wait_for(self, ready):
        """Waits until `ready()` says that it serves."""
        def look():
            if self.child.poll() is not None:
                raise RuntimeError(f"ended with {self.child.returncode} before it served, see {self.log}")
            return ready()
        until(look, f"{self.child.args[0]} to serve, see {self.log}")

    def stop(self):
        # Nothing that a server holds is wanted any more, and some take long to put it away.
        self.child.kill()
        self.child.wait()
