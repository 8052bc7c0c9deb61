"""`make browser`: a Chromium for the tests of the page, where there is none.

Debian's package is tried first (as root or with password-less sudo), then Playwright's own download. `make test` does
not do this: nothing is installed on a machine without being asked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    if path := os.environ.get("CHROMIUM"):
        return path
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def attempts() -> list[list[list[str]]]:
    """Ways to get a browser, each a list of commands, in the order in which they are tried."""
    ways = []
    if shutil.which("apt-get"):
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        ways.append([[*prefix, "apt-get", "update", "-qq"], [*prefix, "apt-get", "install", "-y", "-qq", "chromium"]])
    ways.append([[sys.executable, "-m", "playwright", "install", "chromium"]])
    return ways


def succeeded(command: list[str]) -> bool:
    """Whether a command ran and returned 0; what it prints is kept from the screen."""
    print(f"installing a browser: {' '.join(command)}", file=sys.stderr)
    try:
        return subprocess.run(command, capture_output=True, timeout=600, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def main() -> None:
    """Find or install a browser, or say how to get one."""
    if find_browser():
        return
    if not any(all(succeeded(command) for command in way) for way in attempts()):
        sys.exit("no Chromium could be installed: `apt-get install chromium`, or set CHROMIUM=/path/to/one")


if __name__ == "__main__":
    main()
