"""The page while kmetad goes, hangs, and comes back; and when very much happens."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from kmetad.testing.kubelet import Volume
from tests.chromium import PALE, Page, browser
from tests.cli import Running, eventually
from tests.screenshots import IMAGES, Scene, pictures, play
from tests.waking import Quiet, wake_ups

TOML = """
[volumes.podinfo]
path = "DIR/podinfo"
[plugins.status]
port = PORT
"""
MORE = """
[plugins.more]
use = "reload"
match = ["label:more"]
none = true
"""
LATER = "const now = Date.now; window.later = Number(sessionStorage.later ?? 0); Date.now = () => now() + window.later"

HIDDEN = """
const hidden = arguments[0];
Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
document.dispatchEvent(new Event("visibilitychange"));
"""
ONCE_LOST = """
const seen = new MutationObserver(() => (seen.disconnect(), hide()));
seen.observe(document.querySelector("#connection"), { childList: true });
"""
AT_ONCE = """
const later = setTimeout;
window.setTimeout = (call, time) => later(call, time >= 60_000 ? 0 : time);
"""
COUNTING = """
const real = requestAnimationFrame;
window.frames = 0;
window.requestAnimationFrame = (call) => real(call, window.frames++);
"""


class Stage:
    """A volume, a daemon that may be ended and started, and the page."""

    def __init__(self, directory: Path, page: Page) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[
                1
            ]  # the same for the next daemon: that the page comes back to it
        self.directory = directory
        self.toml = directory / "kmetad.toml"
        self.configure(TOML)
        self.podinfo = Volume(directory / "podinfo")
        self.podinfo.write(labels={"app": "web"}, annotations={}, files={"name": "web-1"})
        self.page = page

    def configure(self, toml: str) -> None:
        """Write the configuration."""
        self.toml.write_text(toml.replace("DIR", str(self.directory)).replace("PORT", str(self.port)))

    @contextmanager
    def daemon(self) -> Iterator[Running]:
        """It runs, and listens."""
        with Running("run", "-c", str(self.toml), env={"RUNTIME_DIRECTORY": str(self.directory)}) as daemon:
            daemon.err.until("status.listens")
            yield daemon

    def open(self) -> None:
        """The page, anew."""
        self.page.open(f"http://127.0.0.1:{self.port}/")
        eventually(lambda: self.page.row("labels", "app"), "the labels are there")

    def lost(self) -> bool:
        """Whether the page says that it has lost the connection."""
        return self.page.text("#connection") == "Connection lost"

    def live(self) -> bool:
        """Whether it says that it has it."""
        return self.page.text("#connection") == "Live"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for all, whose clock can be set forward."""
    with browser(tmp_path_factory.mktemp("browser") / "chromium") as made:
        made.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LATER})
        yield made


@pytest.fixture
def stage(page: Page, tmp_path: Path) -> Iterator[Stage]:
    """For one test; where no daemon is to be had, the console says that, and nothing else."""
    page.gather()
    page.complaints.clear()
    yield Stage(tmp_path, page)
    page.gather()
    assert [
        text for text in page.complaints if "Failed to load resource" not in text and "net::ERR_" not in text
    ] == []


def test_the_daemon_dies_and_another_comes(stage: Stage) -> None:
    """What is seen is grey, and says since when; then it is the new one's, and what was seen stays in the list."""
    page = stage.page
    with stage.daemon() as daemon:
        stage.open()
        stage.podinfo.label("app", "api")
        eventually(lambda: page.count("#events li") == 1)
        ink = page.run("return getComputedStyle(document.querySelector('#pod')).color")
        daemon.process.kill()
        eventually(stage.lost, "the connection is lost")
    assert re.match(r"Connection lost at \d\d:\d\d:\d\d", page.text("#banner.down"))
    assert (
        page.run("return getComputedStyle(document.querySelector('#labels .value, #labels ins')).color")
        != ink
    )
    assert page.row("labels", "app").startswith("web → api")
    page.run("for (const one of document.getAnimations()) one.finish()")
    assert page.run(PALE) == []
    stage.podinfo.label("app", "other")
    with stage.daemon():
        eventually(stage.live, "the connection is back")
        assert page.text("#banner") == "Connected again."
        assert page.count("#banner.down") == 0
        eventually(lambda: page.row("labels", "app") == "other")
        stage.podinfo.label("app", "last")
        eventually(lambda: page.row("labels", "app").startswith("other → last"))
        eventually(lambda: page.count("#events li") == 2)
        assert page.run("return performance.getEntriesByType('navigation').length") == 1


def test_the_daemon_hangs(stage: Stage) -> None:
    """A server that says nothing for 40 seconds is as good as gone, though its connection stands."""
    page = stage.page
    with stage.daemon() as daemon:
        stage.open()
        daemon.send(signal.SIGSTOP)
        try:
            page.run("window.later = 25_000")
            page.settle()
            assert stage.live()
            page.run("window.later = 41_000")
            eventually(stage.lost, "the connection is lost")
            assert "nothing came for 40s" in page.text("#banner")
        finally:
            daemon.send(signal.SIGCONT)
        eventually(stage.live, "the connection is back")
        page.run("window.later = 0")
        stage.podinfo.label("app", "api")
        eventually(lambda: page.row("labels", "app").startswith("web → api"))


def test_clocks_that_differ(stage: Stage) -> None:
    """What was when is told by the daemon's clock, though the browser's is an hour ahead."""
    page = stage.page
    with stage.daemon():
        page.driver.get(f"http://127.0.0.1:{stage.port}/")
        page.run("sessionStorage.later = 3_600_000")
        stage.open()
        stage.podinfo.label("app", "api")
        eventually(lambda: re.fullmatch(r"web → api changed \d+s ago", page.row("labels", "app")))
        page.run("sessionStorage.removeItem('later')")


def test_another_configuration(stage: Stage) -> None:
    """A daemon that starts anew with another plugin: the page shows that plugin."""
    page = stage.page
    with stage.daemon() as daemon:
        stage.open()
        eventually(lambda: page.texts("#lanes h3") == ["status"])
        stage.configure(TOML + MORE)
        daemon.send(signal.SIGHUP)
        eventually(lambda: page.texts("#lanes h3") == ["status", "more"], "the plugin is there")
        eventually(stage.live, "the connection is back")
        stage.podinfo.label("more", "1")
        eventually(lambda: "more applied label more" in page.text("#events .outcome"))


def test_nothing_is_done_while_nobody_looks(stage: Stage) -> None:
    """A page that isn't seen draws nothing, asks for nothing, and is right as soon as it is seen."""
    page = stage.page
    with stage.daemon() as daemon:
        stage.open()
        page.run(f"{COUNTING}; {HIDDEN}", True)
        stage.podinfo.label("app", "api")
        eventually(lambda: _generation(stage) == 2, "the daemon has seen it")
        daemon.process.kill()
        daemon.wait()
        assert page.run("return window.frames") == 0
        assert page.row("labels", "app") == "web"
    with stage.daemon():
        page.run(HIDDEN, False)
        eventually(stage.live, "it is live")
        eventually(lambda: page.row("labels", "app").startswith("web → api"))


def test_a_page_that_is_long_out_of_sight_hangs_up(stage: Stage) -> None:
    """So the daemon sleeps, although a tab is open somewhere; seen again, the page is live again, and up to date."""
    page = stage.page
    with stage.daemon():
        stage.open()
        with urlopen(f"http://127.0.0.1:{stage.port}/api/status") as answer:
            pid = json.load(answer)["pid"]
        woken = wake_ups(pid)
        eventually(lambda: wake_ups(pid) > woken + 2, "a page that is seen keeps it awake")
        page.run(f"{AT_ONCE}; {HIDDEN}", True)
        eventually(Quiet(pid), "the daemon sleeps")
        stage.podinfo.label("app", "api")
        eventually(lambda: _generation(stage) == 2, "the daemon has seen it")
        assert page.row("labels", "app") == "web"
        page.run(HIDDEN, False)
        eventually(stage.live, "it is live")
        eventually(lambda: page.row("labels", "app").startswith("web → api"))
        assert not stage.lost()  # nobody is told of a fault that there wasn't


def test_what_was_missed_is_read_again(stage: Stage) -> None:
    """Where the daemon hasn't kept all that the page has missed, the list is what it has kept."""
    page = stage.page
    stage.configure(f"{TOML}history = 100\n")
    with stage.daemon() as daemon:
        stage.open()
        stage.podinfo.label("app", "api")
        eventually(lambda: page.count("#events li") == 1)
        daemon.send(signal.SIGSTOP)
        try:
            page.run(
                f"const hide = () => {{ {HIDDEN} }}; {ONCE_LOST}", True
            )  # so that it doesn't come back too soon
            page.run("window.later = 41_000")
            eventually(stage.lost, "the connection is lost")
        finally:
            daemon.send(signal.SIGCONT)
        page.run("window.later = 0")
        stage.podinfo.update(labels={f"label-{one}": "x" for one in range(150)})
        eventually(lambda: _generation(stage) == 3, "the daemon has seen it")
        assert page.count("#events li") == 1
        page.run(HIDDEN, False)
        eventually(stage.live, "it is live")
        eventually(lambda: page.count("#events li") == 100, "the list is what was kept")
        assert "label app" not in "".join(page.texts("#events li"))
        assert page.row("labels", "label-149").startswith("x added")


def _generation(stage: Stage) -> int:
    with urlopen(f"http://127.0.0.1:{stage.port}/api/status") as answer:
        status = json.load(answer)
    return int(status["generation"]) if not status["lanes"][0]["behind_seconds"] else 0


def test_ten_thousand_events(stage: Stage) -> None:
    """The page is no larger after them than after a part of them, and answers as before."""
    page = stage.page
    labels = 400
    with stage.daemon():
        stage.open()

        def seen(generation: int) -> None:
            """The daemon has seen a swap, and told of it."""
            eventually(lambda: _generation(stage) == generation)

        def used() -> int:
            """Bytes of what scripts hold, and of what hasn't been collected yet all the same."""
            page.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
            return int(page.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"])

        def swaps(start: int, end: int) -> int:
            """So many nodes are there after them."""
            for number in range(start, end):
                stage.podinfo.update(labels={f"label-{one}": f"value {number}" for one in range(labels)})
                seen(number + 2)
            eventually(lambda: page.text("#summary dd") == f"{end + 1}")
            eventually(
                lambda: (
                    page.row("labels", "label-0")
                    .split(" added")[0]
                    .split(" changed")[0]
                    .endswith(f"value {end - 1}")
                )
            )
            page.settle()
            used()
            return int(page.driver.execute_cdp_cmd("Memory.getDOMCounters", {})["nodes"])

        nodes = swaps(0, 10)
        bytes_ = min(used() for _ in range(3))
        more_nodes = swaps(10, 26)
        assert page.count("#events li") == 500
        assert "kmetad events -o json" in page.text("#events-note")
        assert more_nodes < nodes * 1.1 and page.count("*") < 12_000
        eventually(lambda: used() < bytes_ + (1 << 20), "no more memory than that")
        assert page.count("#labels .row") == 200
        page.run("document.querySelector('#labels button').click()")
        eventually(lambda: page.count("#labels .row") == labels + 1)
        page.run("document.querySelector('#filter [value=outcomes]').click()")
        assert not page.run("return document.querySelector('#events li').checkVisibility()")
        page.run("document.querySelector('#filter [value=all]').click()")
        stage.podinfo.label("app", "at last")
        eventually(lambda: page.row("labels", "app").startswith("web → at last"))


def test_the_pictures_of_the_documentation(page: Page, tmp_path: Path) -> None:
    """They can be taken anew, by ``python -m tests.screenshots``; those that are there are small."""
    scene = Scene(tmp_path)
    with scene.running() as where:
        page.open(f"{where}/")
        play(scene, page, lambda: None)
        taken = pictures(page, tmp_path)
    for path in taken:
        assert path.read_bytes()[:8] == (IMAGES / path.name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (IMAGES / path.name).stat().st_size < 150_000
    assert len({path.read_bytes() for path in taken}) == 3
