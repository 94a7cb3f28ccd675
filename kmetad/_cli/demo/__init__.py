"""See what kmetad does, in a minute and without a cluster.

Simulates a Pod with an app that `kmetad run` wraps, changes what the Pod is, and shows
each change with what a plugin did about it: kmetad-reload, kmetad-logtag for what the app
logs, and kmetad-status, which shows all of it in a browser. With --keep the Pod stays
until Ctrl-C, and `set` changes it from a second terminal.

examples:
  kmetad demo
  kmetad demo --keep
  kmetad demo set "metadata.labels['tier']=gold"
  kmetad demo set app.limits.cpu=2
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmetad._cli import text

if TYPE_CHECKING:
    from kmetad._cli.demo.stage import Deed, Stage
    from kmetad._watch import Watch
    from kmetad.events import AnyChange, Batch

_SIGHT_SECONDS = 15.0
"""How long a change may take to be seen before the demo gives up."""
_PAUSE_SECONDS = 1.5
"""Between scenes, for the eye; a pipe needs none."""
_LAST_LOOK_SECONDS = 20.0
"""At the end, for who looks at the status page."""
_WIDE = 110
"""Columns from which on what was done stands beside its change; on a narrower terminal, below."""
_BESIDE = 58
"""The column where it does."""


_COUNTERS = ("kmetad_swaps_total", "kmetad_changes_total")
"""Those of docs/metrics.md that tell the demo's story."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One change of the Pod."""

    title: str
    command: str
    """What one would do in a cluster."""
    act: Callable[[Stage], bool]
    tag: str = ""
    """What the app's lines have from then on."""


def _scenes() -> list[Scene]:
    from kmetad.testing.kubelet import token

    return [
        Scene(
            "A label is changed.",
            "$ kubectl label pod web-1 --overwrite version=v2",
            lambda stage: stage.podinfo.label("version", "v2"),
            tag='"version":"v2"',
        ),
        Scene(
            "An annotation is added.",
            "$ kubectl annotate pod web-1 log-level=debug",
            lambda stage: stage.podinfo.annotate("log-level", "debug"),
        ),
        Scene(
            "A limit is resized in place.",
            "$ kubectl patch pod web-1 --subresource resize --patch …",
            lambda stage: stage.podinfo.file("cpu_limit", "1500"),
        ),
        Scene(
            "The kubelet rotates the Pod's token.",
            "(nobody has to ask for it)",
            lambda stage: stage.account.rotate(token(expires=time.time() + 1200)),
        ),
        Scene(
            "A ConfigMap is edited.",
            "$ kubectl edit configmap web",
            lambda stage: stage.settings.file("greeting", "bonjour\n"),
        ),
        Scene(
            "A label is removed.",
            "$ kubectl label pod web-1 beta-",
            lambda stage: stage.podinfo.label("beta", None),
        ),
    ]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--keep", action="store_true", help="stay, to be changed with `kmetad demo set`")
    parser.add_argument("action", nargs="?", choices=("set",), help="change the demo that is kept")
    parser.add_argument(
        "assignment",
        nargs="?",
        metavar="FIELDPATH=VALUE",
        help="a label, an annotation, app.limits.cpu or app.limits.memory",
    )


def run(args: argparse.Namespace) -> int:
    """The exit code: 0; 2 if there can be no demo."""
    if args.action == "set":
        from kmetad._cli.demo.assign import assign

        if args.assignment is None or args.keep:
            print("kmetad: expected: kmetad demo set FIELDPATH=VALUE", file=sys.stderr)
            return 2
        print(assign(args.assignment))
        return 0
    from kmetad._cli.demo.stage import Stage, claim, kept_directory, temporary_directory
    from kmetad._plugins import installed

    there = {plugin.name for plugin in installed()}
    for name in ("reload", "logtag", "status"):
        if name not in there:
            print(
                f"kmetad: the demo shows the plugin kmetad-{name}, which isn't installed here; in a checkout of "
                f"kmetad: pip install ./plugins/kmetad-{name}, elsewhere: pip install kmetad-{name}",
                file=sys.stderr,
            )
            return 2
    if not args.keep:
        with Stage(temporary_directory()) as stage, _watch(stage) as watch:
            show = _Show(stage)
            show.scenes(watch)
            show.counters()
            show.what_next()
        return 0
    directory = kept_directory()
    claimed = claim(directory)
    try:
        with Stage(directory) as stage, _watch(stage) as watch:
            show = _Show(stage)
            show.scenes(watch)
            show.counters()
            show.keep(watch)
    finally:
        os.close(claimed)
    return 0


@contextmanager
def _watch(stage: Stage) -> Iterator[Watch]:
    """What the demo itself sees of the Pod, past the first state."""
    from kmetad import _config
    from kmetad._watch import Watch

    config = _config.load(stage.toml).config
    with Watch(_config.build_sources(config, {}, os.urandom(32))) as watch:
        next(watch)
        yield watch


class _Show:
    """What goes to the screen."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._colour = text.colours(sys.stdout)
        self._lines = text.Lines(self._colour, width=len("settings/greeting"))
        self._columns = shutil.get_terminal_size().columns
        self._pause = _PAUSE_SECONDS if sys.stdout.isatty() else 0.0

    def scenes(self, watch: Watch) -> None:
        """Change the Pod, step by step, and show what comes of it."""
        _say(
            "A simulated Pod web-1: its volumes as the kubelet writes them, and `kmetad run -- app`. Of its plugins",
            "kmetad-reload has a rule for each kind of change, and kmetad-logtag tags what the app logs:",
            f"   {self._stage.line('v1')}",
            f"kmetad-status shows what follows in a browser, too: {self._stage.page}/",
            "",
        )
        for number, scene in enumerate(_scenes(), 1):
            time.sleep(self._pause)
            _say(
                text.paint(f"{number}. {scene.title}", text.BOLD, self._colour),
                text.paint(f"   {scene.command}", text.DIM, self._colour),
            )
            scene.act(self._stage)
            self._show(self._see(watch), required=True)
            if scene.tag:
                _say(f"     the app's log goes on: {self._stage.line(scene.tag)}")
            _say("")

    def counters(self) -> None:
        """What came of it all, as Prometheus would get it."""
        from urllib.request import ProxyHandler, build_opener

        opener = build_opener(ProxyHandler({}))  # none that the environment names: it is this machine's own
        with opener.open(f"{self._stage.page}/metrics", timeout=_SIGHT_SECONDS) as answer:
            lines = answer.read().decode().splitlines()
        shown = [line for line in lines if line.startswith(_COUNTERS) and not line.endswith(" 0.0")]
        _say(
            text.paint("What a monitoring system sees of it:", text.BOLD, self._colour),
            text.paint(f"   $ curl {self._stage.page}/metrics", text.DIM, self._colour),
            *(f"   {line}" for line in shown),
            "",
        )

    def keep(self, watch: Watch) -> None:
        """Show what others do to the Pod, until Ctrl-C."""
        directory = self._stage.directory
        with open(f"{directory}/kept", "w"):
            pass  # from now on `kmetad demo set` is the volumes' one writer
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup(1)
                signal.signal(number, lambda *_: watch.stop())
        _say(
            f"The Pod stays until Ctrl-C, in {directory}, and {self._stage.page}/ shows it.",
            "Try in a second terminal:",
            "",
            "  kmetad demo set \"metadata.labels['tier']=gold\"",
            "  kmetad demo set \"metadata.annotations['log-level']=info\"",
            "  kmetad demo set app.limits.cpu=2",
            f"  kmetad get -c {self._stage.toml}",
            f"  kmetad events -c {self._stage.toml} -o json",
            f"  kmetad status -c {self._stage.toml}",
            f"  kmetad check -c {self._stage.toml} --simulate label:tier=gold",
            "",
        )
        for batch in watch:
            self._show(batch, required=False)

    def what_next(self) -> None:
        """Where to go from here."""
        _say(
            "That was all: kmetad slept in between, and ran only what a change asked for. Try next:",
            "",
            "  kmetad demo --keep        keep this Pod, and change it yourself from a second terminal",
            "  kmetad events --help      watch a real Pod's volumes",
            "  kmetad plugins list -v    what these plugins can do",
            "  kmetad check --help       before it goes into a Pod",
        )
        if sys.stdin.isatty() and self._colour:
            _say("", f"{self._stage.page}/ stays for {_LAST_LOOK_SECONDS:g} s; Enter ends it at once.")
            select.select([sys.stdin], [], [], _LAST_LOOK_SECONDS)

    def _see(self, watch: Watch) -> Batch:
        """The batch that a scene leads to; the health of volumes (the node lacks inotify) is another story."""
        timer = threading.Timer(_SIGHT_SECONDS, watch.stop)
        timer.daemon = True
        timer.start()
        try:
            return next(batch for batch in watch if any(c.type != "source" for c in batch.changes))
        except StopIteration:
            raise self._stage.failed(f"nothing was seen of the change in {_SIGHT_SECONDS:g} s") from None
        finally:
            timer.cancel()

    def _show(self, batch: Batch, *, required: bool) -> None:
        """Each change, and what a rule did about it."""
        changes = [change for change in batch.changes if change.type != "source"]
        for change, line in zip(changes, self._lines.changes(changes), strict=True):
            if required:
                deed = self._stage.deed(change)
                if deed is None:
                    raise self._stage.failed("no plugin did anything about it in time")
            else:
                deed = self._stage.deed(change, seconds=2.0)
            _say(self._row(change, line, deed, batch.swapped_ns))

    def _row(self, change: AnyChange, line: str, deed: Deed | None, swapped_ns: int | None) -> str:
        if deed is None:
            return f"   {line}"
        after = ""
        if swapped_ns is not None:
            # The swap's time is that of the kernel's last tick, some milliseconds coarse.
            after = text.paint(f" ({max(1, (deed.ns - swapped_ns) // 10**6)} ms)", text.DIM, self._colour)
        name = text.paint(deed.plugin, text.GREEN, self._colour)
        did = f"⇒ {name}: {text.escape(deed.did)}{after}"
        beside = f"{text.pad('   ' + line, _BESIDE)}  {did}"
        fits = text.columns(beside) <= self._columns >= _WIDE
        return beside if fits else f"   {line}\n     {did}"


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)
