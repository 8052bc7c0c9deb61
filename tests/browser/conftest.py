"""A real server and a real Chromium with a microphone that speaks `hello.wav` over and over.

MOSHI_BACKEND names the server's binary (default: target/release/moshi-backend, built if it is not there);
CHROMIUM names the browser (default: Debian's chromium, Chrome, or the one that Playwright installed).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from needs import missing

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ARTIFACTS = ROOT / "artifacts" / "browser"
CI = os.environ.get("CI") == "true"
HOW_TO_GET = "`make browser`, or CHROMIUM=/path/to/one"

try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import Browser, BrowserContext, Error, Page, Playwright, sync_playwright
except ImportError:
    if CI:
        raise
    collect_ignore_glob = ["test_*.py"]
    print(f"skipped: the browser tests (pip install -r requirements-dev.txt, then {HOW_TO_GET})")
    Browser = BrowserContext = Page = Playwright = object  # type: ignore[assignment,misc]

COMMON = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
          "--autoplay-policy=user-gesture-required", "--host-resolver-rules=MAP plain.test 127.0.0.1"]  # fmt: skip
FAKE_MICROPHONE = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={HERE / 'hello.wav'}"]


@pytest.fixture(scope="session")
def backend() -> Path:
    """The server's binary."""
    if named := os.environ.get("MOSHI_BACKEND"):
        return Path(named).resolve()
    built = ROOT / "target" / "release" / "moshi-backend"
    if not built.exists():
        subprocess.run(["cargo", "build", "--release", "-p", "moshi-backend"], cwd=ROOT, check=True)
    return built


class Server:
    """A server on its own port. With the loopback, callers hear themselves, and every ten frames it says " dot"."""

    #: What runs, unless options name a model.
    MODEL = ("--model", "loopback")

    def __init__(self, backend: Path, *options: str) -> None:
        self.backend, self.options = backend, options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://localhost:{self.port}/"
        self.log = ARTIFACTS / f"server-{self.port}.log"
        self.start()

    def start(self) -> None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        model = () if "--model" in self.options else self.MODEL
        options = [*model, "--no-tls", "--port", str(self.port), *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.backend, "standalone", *options], stdout=log, stderr=log)
        self.wait()

    def wait(self, seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}health", timeout=2):
                    return
            except OSError:
                time.sleep(0.05)
        pytest.fail(f"the server did not start: {self.log.read_text()[-2000:]}", pytrace=False)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def start_server(backend: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers with more options; they end with the test."""
    servers: list[Server] = []

    def start(*options: str) -> Server:
        servers.append(Server(backend, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def server(backend: Path) -> Iterator[Server]:
    """One server for all tests that leave it as they found it."""
    running = Server(backend)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


def launch(playwright: Playwright, *options: str) -> Browser:
    names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    try:
        return playwright.chromium.launch(executable_path=path, args=[*COMMON, *options])
    except Error as error:
        missing("browser to test with", f"{HOW_TO_GET} ({str(error).splitlines()[0]})")


@pytest.fixture
def browser_hearing(playwright: Playwright) -> Iterator[Callable[[Path], Browser]]:
    """Starts Chromium with a microphone that repeats a file."""
    started: list[Browser] = []

    def start(file: Path) -> Browser:
        started.append(launch(playwright, FAKE_MICROPHONE[0], f"--use-file-for-fake-audio-capture={file}"))
        return started[-1]

    yield start
    for running in started:
        running.close()


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium with a microphone that speaks."""
    running = launch(playwright, *FAKE_MICROPHONE)
    yield running
    running.close()


@pytest.fixture(scope="session")
def deaf_browser(playwright: Playwright) -> Iterator[Browser]:
    """Chromium on a machine without any microphone."""
    running = launch(playwright)
    yield running
    running.close()


class Visitor:
    """A person at the page: opens it, and notes whatever goes wrong there."""

    def __init__(self, browser: Browser, *, microphone: bool = True, **options: object) -> None:
        self.context: BrowserContext = browser.new_context(**options)  # type: ignore[arg-type]
        if microphone:
            self.context.grant_permissions(["microphone"])
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.sockets: list[str] = []
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda ws: self.sockets.append(ws.url))

    def open(self, url: str, settings: str = "") -> Page:
        if settings:
            self.page.add_init_script(f"localStorage['rustymoshi.settings'] ??= JSON.stringify({settings})")
        self.page.goto(url)
        self.page.wait_for_function("() => window.moshi && !document.querySelector('#talk').disabled")
        return self.page

    def stats(self) -> dict:
        return self.page.evaluate("window.moshi.stats()")

    def call(self) -> None:
        """Clicks the button and waits until the server has answered."""
        self.page.click("#talk")
        self.wait_for("s.state === 'live'")

    def wait_for(self, condition: str, timeout: float = 20) -> None:
        """Waits until `condition` on the page's own figures `s` holds; says what they were if it never does."""
        script = f"() => {{ const s = window.moshi.stats(); return {condition}; }}"
        try:
            self.page.wait_for_function(script, timeout=timeout * 1000)
        except Error:
            pytest.fail(f"never came true: {condition}; {self.stats()}; {self.complaints}", pytrace=False)

    def help(self) -> str:
        """The name of the help that is shown, once one is."""
        self.page.wait_for_selector("#help:not([hidden])")
        return self.page.get_attribute("#help", "data-name") or ""

    def screenshot(self, name: str) -> None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"{name}.png")

    def look(self, name: str) -> None:
        """Keeps pictures of the page, light and dark, and ends the test if a rule of accessibility is broken."""
        for theme in ("light", "dark"):
            self.page.emulate_media(color_scheme=theme)
            self.page.wait_for_timeout(250)  # colours may take a moment to change
            self.screenshot(f"{name}-{theme}")
            assert violations(self.page) == [], f"{name}, {theme}"


def violations(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA and its own best practices."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(page, options={"runOnly": tags}).response["violations"]
    return [f"{rule['id']}: {node['html']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


@pytest.fixture
def visitors() -> Iterator[Callable[..., Visitor]]:
    """Makes visitors; they leave with the test."""
    came: list[Visitor] = []

    def visit(browser: Browser, **options: object) -> Visitor:
        came.append(Visitor(browser, **options))  # type: ignore[arg-type]
        return came[-1]

    yield visit
    for visitor in came:
        visitor.context.close()


@pytest.fixture
def visitor(visitors: Callable[..., Visitor], browser: Browser) -> Visitor:
    """A person with a microphone at a desk."""
    return visitors(browser, viewport={"width": 1000, "height": 860})
