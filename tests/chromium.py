"""A real browser, Debian's Chromium without a window, and what tests ask of the page that it shows."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.cli import eventually

FLAGS = (
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",  # as on a phone; they take no part of the width
    "--force-color-profile=srgb",
    "--disable-lcd-text",  # letters have grey edges, as on a screen of any kind; and pictures are smaller
)
LOGS = {"browser": "ALL", "performance": "ALL"}


class Page:
    """The one tab of a browser."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self.origin = ""
        self.requested: list[str] = []
        """The address of every request that the page has made so far."""
        self.complaints: list[str] = []
        """What the browser's console has said: errors of scripts, violations of the policy, failed loads."""

    def open(self, url: str) -> None:
        """Go there, and wait until it is live."""
        self.origin = url
        self.driver.get(url)
        eventually(lambda: self.text("#connection") == "Live", "the page being live")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a piece of JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """All text of the first element."""
        found: str = self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)
        return found

    def texts(self, selector: str) -> list[str]:
        """The text of each element."""
        found: list[str] = self.run(
            "return Array.from(document.querySelectorAll(arguments[0]), (one) => one.textContent)", selector
        )
        return found

    def count(self, selector: str) -> int:
        """How many elements there are."""
        found: int = self.run("return document.querySelectorAll(arguments[0]).length", selector)
        return found

    def row(self, group: str, key: str) -> str:
        """What stands for a key among the Pod's values; empty where it isn't there."""
        found: str = self.run(
            "return Array.from(document.querySelectorAll(`#${arguments[0]} .row`)).find((row) => "
            "row.firstChild.textContent === arguments[1])?.lastChild.textContent ?? ''",
            group,
            key,
        )
        return found

    def look(self, width: int, height: int, scheme: str) -> None:
        """Be so large (CSS pixels), and light or dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.run("scrollTo(0, 0)")

    def settle(self) -> None:
        """Wait until what is due has been drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))"
        )

    def picture(self, path: Path) -> Path:
        """A PNG of what is seen."""
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(taken["data"]))
        return path

    def gather(self) -> None:
        """Take what the browser has noted since the last time."""
        for line in self.driver.get_log("browser"):
            self.complaints.append(f"{line['level']} {line['message']}")
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked = message["params"]
                if asked["documentURL"].startswith(self.origin):  # not the empty tab's own
                    self.requested.append(asked["request"]["url"])


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A browser with an empty profile; it ends with the block."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", LOGS)
    driver = Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        yield Page(driver)
    finally:
        driver.quit()


PALE = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => {
  const [r, g, b] = channels(colour).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if ((channels(colour)[3] ?? 1) === 1) return colour;
  }
  return "rgb(255, 255, 255)";
};
const pale = [];
for (const node of document.querySelectorAll("body *")) {
  const words = Array.from(node.childNodes).filter((one) => one.nodeType === 3 && one.data.trim());
  if (!words.length || !node.getClientRects().length || node.closest("noscript")) continue;
  const style = getComputedStyle(node);
  const ink = light(node instanceof SVGElement ? style.fill : style.color);
  const ground = light(behind(node));
  const contrast = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  if (contrast < 4.5) pale.push(`${contrast.toFixed(2)} ${node.className.baseVal ?? node.className} ${words[0].data}`);
}
return pale;
"""
"""The texts on a page whose contrast is less than 4.5 to 1 (WCAG 2.2, 1.4.3; relative luminance as it has it)."""
