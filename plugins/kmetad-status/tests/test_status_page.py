"""The page in a browser: what it shows of a daemon, whatever the values are."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kmetad_status
import pytest
from selenium.webdriver import ActionChains, Keys

from kmetad.testing.kubelet import ServiceAccountVolume, Volume, token
from tests.chromium import PALE, Page, browser
from tests.cli import Running, eventually

PLUGIN = """
from kmetad import Retry, Skip, hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_change(self, batch):
        (change,) = batch.changes
        if change.new == "fails" and batch.attempt == 1:
            raise RuntimeError("<i>the app</i> isn't there")
        if change.new == "waits" and batch.attempt == 1:
            raise Retry("not now", after=0.01)
        if change.new == "skips":
            raise Skip("nothing to do")
"""
TOML = """
[volumes.podinfo]
path = "DIR/podinfo"
items.cpu_limit = { resource = "limits.cpu", container = "web", divisor = "1m" }
[token]
path = "DIR/account"
[plugins.status]
port = 0
[plugins.act]
path = "DIR/act.py"
match = ["label:act"]
lane.retry = { initial = "10ms" }
"""
NAMELESS = """
const named = (one) => document.getElementById(one.getAttribute("aria-labelledby"))?.textContent
  ?? one.labels?.[0]?.textContent ?? one.textContent;
return Array.from(document.querySelectorAll("section, input, button")).filter((one) => !named(one))
  .map((one) => one.outerHTML);
"""
OUTSIDE = """
return Array.from(document.querySelectorAll("main *:not(svg *)"))
  .filter((one) => one.getBoundingClientRect().right > innerWidth).map((one) => one.outerHTML);
"""
POINTED = """
const box = document.querySelector(arguments[0]).getBoundingClientRect();
document.querySelector("#plot").dispatchEvent(new PointerEvent("pointermove", {
  clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 }));
"""
FORBIDDEN = (
    r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|DOMParser|createContextualFragment"
    r"|\beval\b|new Function|\bstyle=|<style|\son\w+=|https?://(?!www\.w3\.org/2000/svg\")"
)
MARKUP = '"><img src=x onerror="window.caught=1"></script><script>window.caught=1</script>'


class Shown(SimpleNamespace):
    """A daemon, its volumes, and its page."""

    page: Page
    podinfo: Volume
    account: ServiceAccountVolume


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """One for all tests here."""
    here = tmp_path_factory.mktemp("page")
    (here / "act.py").write_text(PLUGIN)
    (here / "kmetad.toml").write_text(TOML.replace("DIR", str(here)))
    podinfo = Volume(here / "podinfo")
    podinfo.write(
        labels={"app": "web", "tier": "front"},
        annotations={"note": "hello"},
        files={"name": "web-1", "namespace": "shop", "cpu_limit": "500"},
    )
    account = ServiceAccountVolume(here / "account", namespace="shop")
    account.rotate()
    with Running("run", "-c", str(here / "kmetad.toml"), env={"RUNTIME_DIRECTORY": str(here)}) as daemon:
        where = json.loads(daemon.err.until("status.listens"))["at"]
        with browser(here / "chromium") as page:
            page.open(f"{where}/")
            yield Shown(page=page, podinfo=podinfo, account=account)


@pytest.fixture(autouse=True)
def nothing_to_complain_of(shown: Shown) -> Iterator[None]:
    """No test leaves an error in the console, a violation of the policy, or a request to anybody else."""
    yield
    shown.page.gather()
    assert shown.page.complaints == []
    assert [url for url in shown.page.requested if not url.startswith(shown.page.origin)] == []


def latest(page: Page) -> str:
    """The newest event that the list has."""
    return page.text("#events li")


def test_what_is_there_at_first(shown: Shown) -> None:
    """The Pod, who reads it, who is told of it, and sentences where there is nothing yet."""
    page = shown.page
    eventually(lambda: page.text("#pod") == "web-1")
    assert page.text("#where") == "shop"
    assert page.row("labels", "app") == "web"
    assert page.row("resources", "web.limits.cpu") == "500m"
    assert re.fullmatch(r"(1h 0m|59m \d+s) left for https://.*", page.row("tokens", "token"))
    assert page.text("#ready") == "Ready"
    assert page.texts("#lanes h3") == ["status", "act"]
    assert {"podinfo", "token"} <= set(page.texts("#sources h3"))
    assert "kmetad wraps no app here" in page.text("#app")
    assert "kubectl label pod" in page.text("#events-note")
    assert page.driver.title == "web-1 · ready"


def test_a_label_changes(shown: Shown) -> None:
    """It flashes, shows what it was and what it is, and for how long; the timeline has it."""
    page = shown.page
    shown.podinfo.label("app", "api")
    eventually(lambda: page.row("labels", "app").startswith("web → api"))
    eventually(lambda: re.fullmatch(r"web → api changed \d+s ago", page.row("labels", "app")))
    assert page.texts("#labels .row.recent.flash dt") == ["app"]
    eventually(lambda: latest(page).endswith("label app web → apipodinfo, generation 2"))
    assert page.count("#plot rect.change") == 1
    eventually(lambda: page.text("#summary dd") == "2")


def test_the_old_value_goes_the_hint_stays(shown: Shown) -> None:
    """A while later there is the new value, and since when it is that."""
    page = shown.page
    shown.podinfo.label("tier", "back")
    eventually(lambda: page.row("labels", "tier").startswith("front → back"))
    page.run("const now = Date.now; Date.now = () => now() + 31_000; window.undo = () => (Date.now = now)")
    eventually(lambda: re.fullmatch(r"back changed \d+s ago", page.row("labels", "tier")))
    assert page.count("#labels .recent") == 0
    page.run("undo()")


def test_annotations_come_and_go(shown: Shown) -> None:
    """What is new says so; what is gone is struck out for a while."""
    page = shown.page
    shown.podinfo.annotate("example.com/new", "1")
    eventually(lambda: page.row("annotations", "example.com/new").startswith("1 added"))
    shown.podinfo.annotate("note", None)
    eventually(lambda: page.row("annotations", "note").startswith("hello removed"))
    assert page.texts("#annotations .removed dt") == ["note"]


def test_resources_and_tokens(shown: Shown) -> None:
    """A resize is a change like any other; a token that is renewed counts down from anew."""
    page = shown.page
    shown.podinfo.file("cpu_limit", "750")
    eventually(lambda: page.row("resources", "web.limits.cpu").startswith("500m → 750m"))
    shown.account.rotate(token(expires=time.time() + 100, namespace="shop"))
    eventually(lambda: re.match(r"(1m \d+|\d+)s left for .* renewed", page.row("tokens", "token")))
    assert page.count("#tokens .soon") == 1


@pytest.mark.parametrize(
    ("value", "outcomes"),
    [("fails", ["failed", "applied"]), ("waits", ["postponed", "applied"]), ("skips", ["skipped"])],
)
def test_outcomes(shown: Shown, value: str, outcomes: list[str]) -> None:
    """What a plugin did is a mark of its own shape, a row in words, and a count."""
    page = shown.page
    before = page.count("#events .outcome")
    shown.podinfo.label("act", value)
    eventually(lambda: page.count("#events .outcome") == before + len(outcomes))
    assert page.texts("#events .outcome .result")[: len(outcomes)] == outcomes[::-1]
    for outcome in outcomes:
        assert page.count(f"#plot path.mark.{outcome}") >= 1

    def counted() -> bool:
        return all(re.search(rf"\d {outcome}", page.texts("#lanes .counts")[1]) for outcome in outcomes)

    eventually(counted, "the counts have them")
    if value == "fails":
        assert "RuntimeError: <i>the app</i> isn't there" in page.text("#events .outcome.failed")
        assert "on_change failed" in page.texts("#lanes > li")[1]
        assert "try 2" in page.text("#events .outcome.applied")


@pytest.mark.parametrize(
    ("key", "value", "seen"),
    [
        ("markup", MARKUP, MARKUP),
        ("__proto__", "quotes \"'`${}&lt;", "quotes \"'`${}&lt;"),
        ("constructor", "javascript:alert(1)", "javascript:alert(1)"),
        ("<b>key</b>", "x", "x"),
        ("direction", "abc\u202edef\u2066", "abc\\u202edef\\u2066"),
        ("nowhere", "a\u200bb\ufeffc\u00add\U000e0041", "a\\u200bb\\ufeffc\\u00add\\U000e0041"),
        ("terminal", "\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("bytes", "\udcff\udcc3 é", "\\xff\\xc3 é"),
        ("lines", "a\n\tb", "a\n\tb"),
        ("empty", "", "(empty)"),
    ],
    ids=[
        "markup",
        "proto",
        "constructor",
        "key",
        "direction",
        "nowhere",
        "terminal",
        "bytes",
        "lines",
        "empty",
    ],
)
def test_a_value_is_text(shown: Shown, key: str, value: str, seen: str) -> None:
    """Whatever it holds is shown, nothing of it is done, and what can't be seen is written out."""
    page = shown.page
    shown.podinfo.annotate(key, value)
    eventually(lambda: page.row("annotations", key).startswith(f"{seen} added"))
    eventually(lambda: f"annotation {key} {seen}" in latest(page))
    assert page.run("return window.caught ?? null") is None
    assert page.count("main img, main script, main b b, main i") == 0


def test_the_browser_would_have_told(shown: Shown) -> None:
    """A script that did get into the page isn't run, and the console says so: what the other tests look for."""
    page = shown.page
    page.run(
        "const made = document.createElement('script'); made.textContent = 'caught = 1'; document.body.append(made)"
    )
    page.run("document.body.lastChild.remove()")
    page.gather()
    assert "Content Security Policy" in page.complaints.pop()
    assert page.run("return window.caught ?? null") is None


def test_a_long_value(shown: Shown) -> None:
    """256 KiB are cut to what can be read, and shown whole to who asks."""
    page = shown.page
    shown.podinfo.update(annotations={"long": "0123456789abcdef" * (1 << 14), "json": None})
    eventually(lambda: "Show all 262,144 characters" in page.row("annotations", "long"))
    assert len(page.row("annotations", "long")) < 300
    assert "long 0123" in latest(page) and len(latest(page)) < 400
    page.run("document.querySelector('#events summary').click()")
    eventually(lambda: len(latest(page)) > 2000, "the list has more of it")
    assert len(latest(page)) < 2500
    button = "#annotations .row button"
    page.run("document.querySelector(arguments[0]).click()", button)
    eventually(lambda: len(page.row("annotations", "long")) > 262_144)
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.run("return document.querySelector(arguments[0]).ariaExpanded", button) == "true"
    page.run("document.querySelector(arguments[0]).click()", button)
    eventually(lambda: len(page.row("annotations", "long")) < 300)


def test_a_volume_is_lost(shown: Shown) -> None:
    """Then it isn't ready, and says why; and is again when that is back."""
    page = shown.page
    shown.podinfo.remove()
    eventually(lambda: page.text("#ready") == "Not ready", "it is not ready")
    assert "volume podinfo is lost" in page.text("#unready")
    assert page.driver.title == "web-1 · not ready"
    eventually(lambda: "1 fault so farlost" in page.texts("#sources li")[0])
    shown.podinfo.sync()
    eventually(lambda: page.text("#ready") == "Ready", "it is ready")
    eventually(lambda: not page.run("return document.querySelector('#unready').checkVisibility()"))


def test_what_is_shown_can_be_chosen(shown: Shown) -> None:
    """The list by kind, the drawing by time; by the keyboard, too."""
    page = shown.page

    def visible() -> set[str]:
        found: list[str] = page.run(
            "return Array.from(document.querySelectorAll('#events li')).filter((one) => one.checkVisibility())"
            ".map((one) => one.className)"
        )
        return set(found)

    assert {"change", "outcome failed", "outcome applied"} <= visible()
    page.run("document.querySelector('#filter input').focus()")
    for only in (
        {"change"},
        {"outcome applied", "outcome failed", "outcome postponed", "outcome skipped"},
        {"outcome failed"},
    ):
        ActionChains(page.driver).send_keys(Keys.ARROW_RIGHT).perform()
        assert visible() == only
    ActionChains(page.driver).send_keys(Keys.ARROW_RIGHT).perform()
    assert "change" in visible()
    page.run("document.querySelector('#range input[value=\"300\"]').click()")
    assert page.count("#plot rect.change") >= 1


def test_the_drawing_by_keyboard(shown: Shown) -> None:
    """Arrow keys step through the marks, and say each in words; Enter goes to it in the list."""
    page = shown.page
    page.run("document.querySelector('#plot').focus()")

    def press(key: str) -> str:
        ActionChains(page.driver).send_keys(key).perform()
        return page.text("#readout")

    first = press(Keys.ARROW_LEFT)
    assert page.count("#plot .ring") == 1
    eventually(lambda: "act " in press(Keys.ARROW_LEFT))
    assert page.text("#readout") != first
    press(Keys.ENTER)
    assert page.run("return document.activeElement.matches('#events li.outcome')")
    page.run("document.querySelector('#plot').focus()")
    press(Keys.ESCAPE)
    assert page.count("#plot .ring") == 0


def test_the_drawing_by_pointer(shown: Shown) -> None:
    """The mark that is pointed at is told in words."""
    page = shown.page
    page.run(POINTED, "#plot path.mark.failed")
    assert re.search(r"act failed after .*, try 1: RuntimeError: <i>the app</i>", page.text("#readout"))
    page.run(POINTED, "#legend")
    assert page.text("#readout").startswith("Point at a mark")


def test_it_parses_no_markup() -> None:
    """Nothing in the page's files could make markup, a script or a style of a value."""
    for path in Path(kmetad_status.__file__).parent.joinpath("page").iterdir():
        assert re.findall(FORBIDDEN, path.read_text()) == [], path.name


def test_for_who_cannot_see_it(shown: Shown) -> None:
    """Landmarks, a name for each part, one level-one heading, and live regions that are polite."""
    page = shown.page
    assert page.run("return document.documentElement.lang") == "en"
    assert [page.count(name) for name in ("header", "main", "h1")] == [1, 1, 1]
    assert page.run(NAMELESS) == []
    assert page.count("#banner[aria-live=polite], #readout[aria-live=polite]") == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_it_can_be_read(shown: Shown, scheme: str, width: int) -> None:
    """On a phone and on a desk, by day and by night: nothing sticks out at the side, nothing is too pale."""
    page = shown.page
    page.look(width, 800, scheme)
    page.settle()
    ground: list[Any] = page.run(
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (sum(ground) < 128 * 3) == (scheme == "dark")
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run(OUTSIDE) == []
    page.run("for (const one of document.getAnimations()) one.finish()")
    assert page.run(PALE) == []


def test_nothing_moves_for_who_wants_none(shown: Shown) -> None:
    """With prefers-reduced-motion, a change is told by its colour alone."""
    page = shown.page
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    )
    shown.podinfo.label("still", "1")
    eventually(lambda: page.count("#labels .flash"))
    assert page.run("return document.getAnimations().length") == 0


def test_one_stream_and_one_look(shown: Shown) -> None:
    """All of the above took one request for what has been, and one for what comes."""
    asked = [url.removeprefix(shown.page.origin).partition("?")[0] for url in shown.page.requested]
    assert sorted(path for path in asked if path.startswith("api/")) == ["api/events", "api/timeline"]
