"""Validate the configuration and every plugin that it names, and look at what is there.

Errors are what `kmetad run` would refuse or leave out; warnings are what will never
work, or not as it is now: a volume that isn't there, a `match` that matches nothing.

With --simulate, tell which instances would be told of a change and what they would
do; nothing is done. TYPE:KEY=VALUE, without =VALUE the key is removed; for a file
the key alone says that its content changed. Several are one batch.

With --schema, print what the TOML may hold as JSON Schema, with the options of all plugins
that are installed, or that the configuration names. A TOML that begins with the line
`#:schema ./kmetad.schema.json` is completed and checked by editors that know Taplo's directives.

examples:
  kmetad check -c kmetad.toml
  kmetad check --strict
  kmetad check --simulate annotation:example.com/log-level=debug
  kmetad check --simulate file:settings/app.conf --simulate label:tier=gold
  kmetad check --schema > kmetad.schema.json
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from kmetad._cli import choose

if TYPE_CHECKING:
    from kmetad._config import Config, Loaded
    from kmetad._plugins import Instance
    from kmetad.events import Batch
    from kmetad.metadata import Snapshot

_LONG_SECONDS = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there are warnings")
    parser.add_argument(
        "--schema", action="store_true", help="print the configuration's JSON Schema, and end"
    )
    parser.add_argument(
        "--simulate",
        action="append",
        default=[],
        metavar="TYPE:KEY=VALUE",
        help="tell what this change would lead to; repeatable",
    )
    choose.configuration(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, 1 warnings with ``--strict``, 2 errors."""
    if args.schema:
        from kmetad._cli.schema import print_schema

        return print_schema(args)
    from kmetad import _config, _log
    from kmetad._cli.simulate import simulated

    _log.configure(level="warning")
    loaded = choose.load(args)
    errors = [str(problem) for problem in loaded.problems]
    instances, faults, doubts = _make(loaded)
    errors += faults
    snapshot = choose.look(_config.build_sources(loaded.config, os.environ, os.urandom(32)))
    after = simulated(snapshot, args.simulate)
    warnings = [] if loaded.fatal else [*doubts, *_warnings(loaded.config, snapshot, instances)]
    for kind, sentences in (("error", errors), ("warning", warnings)):
        for sentence in sentences:
            _tell(kind, sentence)
    if args.simulate:
        _print_simulation(loaded.config, instances, snapshot, after)
    elif not errors:
        _print_summary(loaded, snapshot)
    if errors:
        return 2
    return 1 if warnings and args.strict else 0


def _make(loaded: Loaded) -> tuple[dict[str, Instance], list[str], list[str]]:
    """The instances, made as ``kmetad run`` makes them, never called; what is wrong with the others; what may be."""
    from dataclasses import replace

    from kmetad._daemon.api_client import shared_client
    from kmetad._daemon.instances import make_instance
    from kmetad.errors import AppError, ConfigError, PluginError
    from kmetad.hookspecs import App
    from kmetad.metadata import Snapshot
    from kmetad.status import NOT_RUNNING, LaneStatus

    promised = App(wrapped=True, why="`kmetad check` starts no app that could be signalled or restarted")
    # So that a plugin can say of others whether they are there at all.
    lanes = tuple(LaneStatus(name, "starting") for name in loaded.config.plugins)
    status = replace(NOT_RUNNING, lanes=lanes)
    api = shared_client(loaded.config)
    made: dict[str, Instance] = {}
    faults: list[str] = []
    doubts: list[str] = []
    for name, table in loaded.config.plugins.items():
        try:
            try:
                app = promised if loaded.config.run.command else App()
                made[name] = make_instance(table, Snapshot, app, lambda: status, api=api)
            except PluginError as error:
                if not isinstance(error.__cause__, AppError):
                    raise
                # The command may be on the command line, of which a TOML knows nothing.
                made[name] = make_instance(table, Snapshot, promised, lambda: status, api=api)
                doubts.append(f"plugins.{name}: without a command behind `kmetad run --`: {error.__cause__}")
        except (ConfigError, PluginError) as error:
            faults += str(error).splitlines()
    return made, faults, doubts


def _warnings(config: Config, snapshot: Snapshot, instances: dict[str, Instance]) -> list[str]:
    from kmetad._daemon import advice

    unwell = [f"{name}: {state.error}" for name, state in snapshot.sources.items() if state.error]
    if not config.volumes and not snapshot.swapped:
        unwell.append(
            "no volume is found by convention; mount a downwardAPI volume at /etc/podinfo, "
            "or name its directory in [volumes.NAME] path"
        )
    fillers = [name for name, instance in instances.items() if "kmetad_app_env" in instance.hooks]
    taggers = [name for name, instance in instances.items() if "kmetad_log_tags" in instance.hooks]
    return [
        *unwell,
        *advice.of_all(config, snapshot),
        *advice.of_app_env(config, fillers),
        *advice.of_log_tags(config, taggers),
        *_of_fillers(fillers),
        *_of_lanes(config),
        *_of_state(config),
        *_of_api(config),
        *(sentence for instance in instances.values() for sentence in advice.of_plugin(instance, snapshot)),
    ]


def _of_fillers(fillers: list[str]) -> list[str]:
    """Several instances may have the same variable for the app."""
    if len(fillers) < 2:
        return []
    names = ", ".join(f"plugins.{name}" for name in fillers)
    sentence = (
        f"{names} all have variables for the app (kmetad_app_env); where two have the same one, the last wins"
    )
    return [sentence]


def _of_lanes(config: Config) -> list[str]:
    """Settings of lanes that are allowed, and hardly meant."""
    from kmetad._config import format_duration as shown

    unusual = []
    for name, table in config.plugins.items():
        lane, place = table.lane, f"plugins.{name}.lane"
        if lane.max_wait < lane.debounce:
            unusual.append(
                f"{place}: max_wait ({shown(lane.max_wait)}) is shorter than "
                f"debounce ({shown(lane.debounce)}), so no burst is ever waited for to its end"
            )
        latest = max(lane.debounce, lane.max_wait) + lane.splay
        if latest > _LONG_SECONDS:
            unusual.append(f"{place}: with these settings a change can take {shown(latest)} to be delivered")
    return unusual


def _of_state(config: Config) -> list[str]:
    """A directory in which nothing can be remembered."""
    directory = config.state.dir
    if directory is None or (os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK)):
        return []
    what = "is no directory that can be written" if os.path.exists(directory) else "isn't there"
    sentence = (
        f"state.dir: {directory} {what}, so a restart of the container may tell plugins again what they know; "
        "mount a volume there that outlives the container, such as an emptyDir"
    )
    return [sentence]


def _of_api(config: Config) -> list[str]:
    """A kubeconfig that nobody will find."""
    file = config.api.kubeconfig
    if file is None or os.path.exists(file):
        return []
    return [f"api.kubeconfig: there is no {file}, so plugins that call the API server will fail"]


def _print_summary(loaded: Loaded, snapshot: Snapshot) -> None:
    """What there is, in a few aligned lines."""
    from kmetad._cli import text

    rows = [("config", loaded.file or "none: found by convention")]
    rows += [("source", f"{text.escape(name)} ({state.status})") for name, state in snapshot.sources.items()]
    for name, table in loaded.config.plugins.items():
        rows.append(("plugin", f"{name} ({', '.join(table.match) or 'every change'})"))
    print("\n".join(text.table(rows)))


def _print_simulation(
    config: Config, instances: dict[str, Instance], before: Snapshot, after: Snapshot
) -> None:
    """The changes, and below them each instance with what it would do."""
    from kmetad._cli import text
    from kmetad._delivery.match import Filter
    from kmetad._diff import diff
    from kmetad.events import Batch

    changes = diff(before, after)
    if not changes:
        print("nothing would change: that is what there is now")
        return
    colour = text.colours(sys.stdout)
    told = Filter(ignore=config.watch.ignore)(changes)
    for change, line in zip(changes, text.Lines(colour).changes(changes), strict=True):
        print(line + ("" if change in told else "  (noise, by watch.ignore: nobody is told)"))
    rows = []
    for name, instance in instances.items():
        shown = Filter(config.plugins[name].match, config.watch.ignore)(changes)
        batch = Batch(shown, before, after, time.time_ns())
        rows += [(name if not at else "", line) for at, line in enumerate(_deeds(instance, batch))]
    print("\n".join(text.table(rows)) if rows else "no plugin is configured")


def _deeds(instance: Instance, batch: Batch) -> list[str]:
    """What an instance would do with a batch: the hooks that would be called, and what it says itself."""
    if not batch.changes:
        return ["isn't told: its match is for others"]
    hooks = sorted({f"kmetad_on_{change.type}" for change in batch.changes})
    asked = ("kmetad_on_change", "kmetad_app_env", "kmetad_log_tags")
    called = [hook for hook in (*hooks, *asked) if hook in instance.hooks]
    if not called:
        return ["would be told, but has no hook for it"]
    lines = [f"calls {', '.join(called)}"]
    simulate = getattr(instance.plugin, "simulate", None)
    if simulate is not None:
        from kmetad._cli.text import escape

        try:
            lines += [escape(line) for line in simulate(batch)]
        except Exception as error:  # a plugin's: whatever it is, the others are told of too
            lines.append(f"its simulate raised {type(error).__name__}: {escape(str(error))}")
    return lines


def _tell(kind: str, sentence: str) -> None:
    from kmetad._cli import text

    code = text.RED if kind == "error" else text.YELLOW
    print(f"{text.paint(kind, code, text.colours(sys.stderr))}: {text.escape(sentence)}", file=sys.stderr)
