"""Programs that Debian has."""
import os, shutil, subprocess, sys


def installed(program, *packages):
    """Where the program is, installed if need be and if that is ours to do."""
    def path():
        return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path():
        return path()
    command = ["apt-get", "install", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError(f"{program} is not installed: {' '.join(command)}")
    print(f"installing {' '.join(packages)}", file=sys.stderr)
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "check": True}
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    subprocess.run([*command, "-y", "-qq"], **quiet)
    if not path():
        raise RuntimeError(f"{' '.join(packages)}: installed, but there is no {program}")
    return path()
