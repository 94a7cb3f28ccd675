"""A schedule, made from a seed alone: what becomes of the Pod, who is told, what goes wrong, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

State = Mapping[str, Mapping[str, str]]
"""What a volume holds: ``label``, ``annotation`` or ``file``, then by key."""

SENTINEL = "end"
"""A label that every ``match`` covers, so that each plugin can be told something for certain."""

NOISE = "kmetad.dev/noise"
"""An annotation that ``watch.ignore`` hides from everybody."""

_LABELS = ("a", "b", "c", "d")
_ANNOTATIONS = ("x", "y", NOISE)
_FILES = ("f", "g/h")

_MATCHES: tuple[tuple[str, ...], ...] = (
    (),
    (),
    ("label:*",),
    ("label:a", "label:b", f"label:{SENTINEL}"),
    ("label:[c-e]*", "annotation:*"),
    ("file:settings/*", f"label:{SENTINEL}"),
    ("*:*[abd]", "*:*/*"),
)

_TEMPERS: Mapping[str, Mapping[str, float]] = {
    "good": {},
    "slow": {"slow": 0.6},
    "moody": {"raise": 0.5, "retry": 0.08, "skip": 0.05, "slow": 0.1},
    "hanging": {"hang": 0.1, "slow": 0.2, "raise": 0.1},
    "late": {"late": 0.25, "slow": 0.2, "raise": 0.1},
    "deadly": {"exit": 0.05, "kill": 0.05, "alarm": 0.25, "slow": 0.1},
    "fatal": {"kill": 0.5, "exit": 0.4},
    "mad": {"raise": 0.3, "slow": 0.2, "hang": 0.04, "exit": 0.03, "alarm": 0.1, "retry": 0.05, "skip": 0.03},
}
"""What a hook does instead of doing as it should, and how probably."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One instance, as it is in all its lives."""

    name: str
    module: Literal["whole", "single", "both"]
    """Of ``tests.soak.plugins``: told by ``on_change``, by the hooks for single subjects, or by both."""
    fates: Mapping[str, float]
    start_fates: Mapping[str, float]
    lane: Mapping[str, str | int]
    """Its ``lane`` in the TOML."""

    @property
    def attempts(self) -> int:
        """After so many faults in a row its lane is parked; 0: never."""
        return int(self.lane.get("retry.attempts", 0))

    @property
    def timeout(self) -> float:
        """Seconds."""
        return float(str(self.lane.get("timeout", "30s")).removesuffix("s"))


@dataclass(frozen=True, slots=True)
class Swap:
    """The kubelet makes a volume be this."""

    volume: str
    state: State


@dataclass(frozen=True, slots=True)
class Pause:
    """The random moments that all this is about: a delay, not a synchronisation."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Await:
    """Until a plugin's hook is entered, or has ended; if it isn't within so many seconds, go on."""

    plugin: str
    line: Literal["enter", "apply", "end"]
    within: float


Matches = Mapping[str, tuple[str, ...]]
"""The plugins that a life has, in the order of its TOML, and the ``match`` of each."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The daemon ends, and another takes over."""

    how: Literal["KILL", "TERM"]
    whole: bool
    """The container: of what the daemons remembered, only the state directory is left."""
    another_pod: bool
    """In a Pod with another UID, whose directory it should not have been."""
    matches: Matches | None
    """The next one's; None: as before."""


Act = Swap | Pause | Await | Restart


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule."""

    seed: int
    volumes: Mapping[str, State]
    """What each holds at first."""
    plugins: tuple[Plugin, ...]
    matches: Matches
    """Of the first life."""
    memory: bool
    """Whether there is a supervisor that keeps the memory file when the daemon dies."""
    directory: bool
    """Whether there is ``[state] dir``."""
    acts: tuple[Act, ...]
    wakes: bool
    """At the end: whether a parked lane is woken by a change, or by another daemon."""
    last: Restart
    """Before what nobody has to be told of: the epilogue."""
    places: Mapping[str, Plugin] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {plugin.name: plugin for plugin in self.plugins})


def plan(seed: int) -> Plan:
    """The schedule of this seed: the same one everywhere and always."""
    random = Random(seed)
    names = ["podinfo", *random.sample(["settings", "more"], random.randint(0, 2))]
    volumes = {name: _first(name, random) for name in names}
    plugins = tuple(_plugin(f"p{number}", random) for number in range(random.randint(1, 4)))
    matches = _matches(plugins, random, everybody=True)
    memory, directory = random.choices([(True, False), (False, True), (True, True)], [5, 3, 4])[0]
    return Plan(
        seed,
        volumes,
        plugins,
        matches,
        memory,
        directory,
        tuple(_acts(volumes, plugins, random)),
        wakes=random.random() < 0.5,
        last=Restart("TERM" if random.random() < 0.6 else "KILL", random.random() < 0.3, False, None),
    )


def _plugin(name: str, random: Random) -> Plugin:
    temper = random.choices(list(_TEMPERS), (1, 1, 3, 2, 1, 2, 1, 3))[0]
    initial = random.choice((1, 5, 20))
    lane: dict[str, str | int] = {"retry.initial": f"{initial}ms", "retry.max": f"{initial + 20}ms"}
    if random.random() < 0.35:
        debounce = random.randint(1, 15)
        lane["debounce"] = f"{debounce}ms"
        if random.random() < 0.5:
            lane["max_wait"] = f"{debounce * random.randint(1, 3)}ms"
    if random.random() < 0.15:
        lane["splay"] = "5ms"
    if temper == "late":
        lane["timeout"] = "0.25s"  # no attempts: on a busy machine a hook may be late that shouldn't be
    elif random.random() < 0.35:
        lane["retry.attempts"] = random.randint(1, 4)
    start = random.choice([{}, {}, {"raise": 0.4}, _TEMPERS[temper]])
    module = random.choice(("whole", "whole", "single", "both"))
    return Plugin(name, module, _TEMPERS[temper], start, lane)


def _matches(plugins: tuple[Plugin, ...], random: Random, *, everybody: bool = False) -> Matches:
    there = [plugin.name for plugin in plugins]
    random.shuffle(there)
    if len(there) > 1 and not everybody and random.random() < 0.2:
        there.pop()
    return {name: random.choice(_MATCHES) for name in there}


def _acts(volumes: Mapping[str, State], plugins: tuple[Plugin, ...], random: Random) -> list[Act]:
    acts: list[Act] = []
    history = {name: [state] for name, state in volumes.items()}
    restarts = random.choice((0, 1, 2, 3, 4, 6))
    for _ in range(random.randint(4, 24)):
        for _ in range(random.choice((1, 1, 1, 1, 2, 5))):
            name = random.choice(list(volumes))
            state = _next(name, history[name], random)
            history[name].append(state)
            acts.append(Swap(name, state))
        what = random.random()
        if what < 0.4:
            acts.append(Pause(random.choice((0.0005, 0.002, 0.01, 0.03)) * random.random()))
        elif what < 0.85:
            line = random.choice(("enter", "enter", "apply", "end", "end"))
            acts.append(Await(random.choice(plugins).name, line, 0.05))
        if restarts and random.random() < 0.25:
            restarts -= 1
            acts.append(_restart(plugins, random))
    return acts


def _restart(plugins: tuple[Plugin, ...], random: Random) -> Restart:
    how: Literal["KILL", "TERM"] = "KILL" if random.random() < 0.75 else "TERM"
    whole = random.random() < 0.25
    another_pod = whole and random.random() < 0.25
    matches = _matches(plugins, random) if random.random() < 0.3 else None
    return Restart(how, whole, another_pod, matches)


def _keys(volume: str) -> Mapping[str, tuple[str, ...]]:
    """What it may hold, by type. No key is in two volumes: who speaks then is another test's business."""
    if volume == "settings":
        return {"file": _FILES}
    if volume == "more":
        return {"label": tuple(f"more/{key}" for key in _LABELS)}
    return {"label": _LABELS, "annotation": _ANNOTATIONS}


def _first(volume: str, random: Random) -> State:
    return {
        type_: {key: _value(random) for key in keys if random.random() < 0.7}
        for type_, keys in _keys(volume).items()
    }


def _next(volume: str, history: list[State], random: Random) -> State:
    """What comes after all that: some keys differ, or it is as it was before."""
    if len(history) > 1 and random.random() < 0.35:
        return random.choice(history[-4:-1])
    state = {type_: dict(values) for type_, values in history[-1].items()}
    type_, keys = random.choice(list(_keys(volume).items()))
    for key in random.sample(keys, random.choice((1, 1, 1, len(keys)))):
        if random.random() < 0.2:
            state[type_].pop(key, None)
        else:
            state[type_][key] = _value(random)
    return state


def _value(random: Random) -> str:
    """One of a few, so that it is often what it was before; now and then a long one."""
    digit = random.choice("123")
    return digit * random.choices((1, 700, 40_000), (100, 4, 1))[0]
