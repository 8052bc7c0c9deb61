"""Makes sure that there is a Chromium for the browser tests, where this may be done; otherwise says how to get one.

Debian's package is tried first (as root or with password-less sudo), then Playwright's own download. In CI a missing
browser is an error; elsewhere the browser tests are skipped and this says so in one line.
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
    try:
        return subprocess.run(command, capture_output=True, timeout=600, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def main() -> None:
    """Find or install a browser, or say in one line what is skipped."""
    if find_browser():
        return
    for way in attempts():
        if all(succeeded(command) for command in way):
            return
    message = "browser tests are skipped: no Chromium found; `apt-get install chromium`, or set CHROMIUM=/path"
    print(message, file=sys.stderr)
    if os.environ.get("CI"):
        sys.exit(1)


if __name__ == "__main__":
    main()
