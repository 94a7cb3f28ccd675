"""``python -m tests.screenshots``: the pictures of kmetad-status' page in docs/images, taken anew.

A Pod's life of a minute and a half, played on simulated volumes by a real ``kmetad run`` around an app, seen by
Chromium. With Debian's fonts-inter the page looks as it does where people have that font.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kmetad.testing.kubelet import ServiceAccountVolume, Volume, token
from tests.chromium import Page, browser
from tests.cli import Running, eventually

IMAGES = Path(__file__).parent.parent / "docs" / "images"

_APP = """
import json, signal, sys, threading

def reread(number, frame):
    print(json.dumps({"msg": "configuration read"}), flush=True)

signal.signal(signal.SIGHUP, reread)
print(json.dumps({"msg": "listening", "port": 8000}), flush=True)
while True:
    threading.Event().wait(3600)
"""
_LEVEL = """
if [ -e "{directory}/admin" ]; then exit 0; fi
touch "{directory}/admin"
echo "curl: (7) Failed to connect to 127.0.0.1 port 8000: Connection refused" >&2
exit 7
"""
_TOML = """
[run]
command = ["{python}", "-I", "{directory}/app.py"]
output = "tag"

[volumes.podinfo]
path = "{directory}/podinfo"
items.cpu_limit = {{ resource = "limits.cpu", container = "web", divisor = "1m" }}
items.cpu_request = {{ resource = "requests.cpu", container = "web", divisor = "1m" }}
items.memory_limit = {{ resource = "limits.memory", container = "web", divisor = "1Mi" }}

[volumes.settings]
path = "{directory}/settings"
kind = "files"

[token]
path = "{directory}/serviceaccount"

[plugins.status]
port = 0

[plugins.gunicorn]
use = "reload"
match = ["file:settings/*", "resource:*"]
signal = "HUP"

[plugins.log-level]
use = "reload"
match = ["label:log-level"]
values = {{ "log-level" = ["debug", "info", "warning"] }}
exec = ["sh", "{directory}/level.sh"]

[plugins.logtag]
tags = {{ name = "metadata.name", version = "metadata.labels['app.kubernetes.io/version']" }}
"""


class Scene:
    """The Pod web-1, and kmetad in it."""

    def __init__(self, directory: Path) -> None:
        names = {"directory": directory, "python": sys.executable}
        (directory / "app.py").write_text(_APP)
        (directory / "level.sh").write_text(_LEVEL.format(**names))
        self.toml = directory / "kmetad.toml"
        self.toml.write_text(_TOML.format(**names))
        self.podinfo = Volume(directory / "podinfo")
        self.podinfo.write(
            labels={
                "app.kubernetes.io/name": "web",
                "app.kubernetes.io/version": "1.8.2",
                "log-level": "info",
                "tier": "frontend",
            },
            annotations={
                "example.com/owner": "team-checkout",
                "kubectl.kubernetes.io/restartedAt": "2026-03-02T08:15:04Z",
                "prometheus.io/scrape": "true",
            },
            files={
                "name": "web-1",
                "namespace": "shop",
                "uid": "7c5f1a90-3d0e-4c57-9a53-0d6a5a1d2f11",
                "cpu_limit": "500",
                "cpu_request": "250",
                "memory_limit": "256",
            },
        )
        self.settings = Volume(directory / "settings")
        self.settings.write(files={"gunicorn.conf.py": "workers = 2\n"})
        self.account = ServiceAccountVolume(directory / "serviceaccount", namespace="shop")
        self.account.rotate(token(namespace="shop", pod="web-1"))

    @contextmanager
    def running(self) -> Iterator[str]:
        """kmetad, around its app; where the page is."""
        environ = {"NODE_NAME": "node-4", "POD_IP": "10.42.3.17", "HOST_IP": "192.168.7.24"}
        runtime = str(self.toml.parent)
        with Running("run", "-c", str(self.toml), env={**environ, "RUNTIME_DIRECTORY": runtime}) as daemon:
            yield json.loads(daemon.err.until("status.listens"))["at"]

    def deeds(self) -> Iterator[Callable[[], object]]:
        """What happens to the Pod, one after the other."""
        label, podinfo = self.podinfo.label, self.podinfo
        yield lambda: self.settings.file("gunicorn.conf.py", "workers = 4\n")
        yield lambda: podinfo.annotate("example.com/deploy", "3171")
        yield lambda: label("log-level", "debug")
        yield lambda: podinfo.update(files={"cpu_limit": "750", "memory_limit": "384"})
        yield lambda: label("log-level", "verbose")
        yield lambda: self.account.rotate(token(namespace="shop", pod="web-1"))
        yield lambda: label("log-level", "warning")
        yield lambda: self.settings.file("gunicorn.conf.py", "workers = 6\n")
        yield lambda: podinfo.update(
            labels={"app.kubernetes.io/version": "1.9.0"},
            annotations={
                "example.com/deploy": None,
                "kubectl.kubernetes.io/restartedAt": "2026-03-02T11:42:31Z",
            },
        )


def play(scene: Scene, page: Page, pause: Callable[[], object]) -> None:
    """All that happens, seen by the page. ``pause`` is called behind each deed."""
    for number, deed in enumerate(scene.deeds()):
        before = page.count("#events li.change")
        deed()
        eventually(lambda seen=before: page.count("#events li.change") > seen, f"deed {number}")
        pause()
    eventually(lambda: page.count("#events .outcome.failed") and page.count("#events .outcome.applied") >= 6)


def pictures(page: Page, into: Path) -> list[Path]:
    """A light, a dark and a phone's picture of what the page shows."""
    taken = []
    for name, width, height, scheme in (
        ("status-light", 1180, 960, "light"),
        ("status-dark", 1180, 960, "dark"),
        ("status-phone", 390, 1400, "light"),
    ):
        page.look(width, height, scheme)
        page.settle()
        taken.append(page.picture(into / f"{name}.png"))
    return taken


def main() -> None:
    """Play it, and put the pictures where the documentation has them."""
    pace = float(sys.argv[1]) if len(sys.argv) > 1 else 9.0
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, browser(Path(directory) / "chromium") as page:
        scene = Scene(Path(directory))
        with scene.running() as where:
            page.open(f"{where}/")
            play(scene, page, lambda: time.sleep(pace))
            for path in pictures(page, IMAGES):
                print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
