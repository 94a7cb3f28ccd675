"""Judges a journal by the words of law 4, and knows nothing of how kmetad does it.

*Every lane remembers what its plugin acknowledged and what it was last shown. What it
gets next is every key in which the newest snapshot differs from either. What was
acknowledged is not told again.*

A kill leaves two questions open. Whether a hook that returned right before it was
acknowledged; and whether a hook was about to be entered, with what it was to be shown
remembered already. So the judge holds several beliefs for a while; what comes then has
to agree with one of them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any

from tests.soak.journal import Line, brief
from tests.soak.plan import State

Key = tuple[str, str]
Values = Mapping[Key, Any]
Told = Mapping[Key, tuple[Any, Any]]
"""By type and key, old and new."""

IGNORED = ("annotation:kubernetes.io/config.*", "annotation:kmetad.dev/*")
"""``watch.ignore``'s default."""

CRASHES = 3


class Broken(AssertionError):
    """A law doesn't hold; says which, and how."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What kmetad may remember of a plugin, and what the plugin holds if so."""

    known: Values | None = None
    """What it acknowledged; None: it never began."""
    shown: Mapping[Key, tuple[Any, ...]] = field(default_factory=dict)
    """Since then, by key, in order."""
    holds: Values = field(default_factory=dict)
    tries: int = 0
    """Of the delivery under way."""
    faults: int = 0
    """Among them."""
    parked_at: Values | None = None
    unwritten: Belief | None = None
    """What it would be if the last acknowledgement had not come to the disk."""

    def owed(self, now: Values) -> Told:
        """The law."""
        assert self.known is not None
        owed = {}
        for key in {*self.known, *self.shown, *now}:
            may_hold = (*reversed(self.shown.get(key, ())), self.known.get(key))
            wrong = [value for value in may_hold if value != now.get(key)]
            if wrong:
                owed[key] = wrong[0], now.get(key)
        return owed

    def began(self, now: Values) -> Belief:
        """``on_start`` returned."""
        if self.known is not None:
            return self
        return Belief(now, holds=now, unwritten=replace(self, unwritten=None))

    def applied(self, changes: Told) -> Belief:
        """The plugin acted on these."""
        holds = {**self.holds, **{key: new for key, (_, new) in changes.items()}}
        return replace(self, holds={key: value for key, value in holds.items() if value is not None})

    def newest(self, told: Told) -> Values:
        """What there is, if that is all that is owed."""
        now = {**(self.known or {}), **{key: new for key, (_, new) in told.items()}}
        return {key: value for key, value in now.items() if value is not None}

    def acknowledged(self, told: Told) -> Belief:
        """The delivery was."""
        return Belief(
            self.newest(told), holds=self.holds, unwritten=replace(self.showed(told), unwritten=None)
        )

    def showed(self, told: Told) -> Belief:
        """It was, and no more is known."""
        shown = dict(self.shown)
        for key, (_, new) in told.items():
            shown[key] = (*shown.get(key, ()), new)
        return replace(self, shown=shown)

    def ahead(self, told: Told) -> Belief:
        """If it was shown what this delivery says that it was."""
        owed = self.owed(self.newest(told))
        return self.showed(
            {key: (None, old) for key, (old, new) in told.items() if owed.get(key) != (old, new)}
        )

    def refused(self, told: Told, *, fault: bool, attempts: int) -> Belief:
        """The plugin didn't take the delivery."""
        faults = self.faults + fault
        if fault and faults == attempts:
            return replace(self.showed(told), tries=0, faults=0, parked_at=self.newest(told))
        return replace(self.showed(told), faults=faults)

    def of_another_life(self, covered: Callable[[Key], bool]) -> Belief:
        """What a life remembers of the one before: for a lane that is shown these keys by now."""

        def mine(values: Mapping[Key, Any]) -> dict[Key, Any]:
            return {key: value for key, value in values.items() if covered(key)}

        return Belief(
            None if self.known is None else mine(self.known),
            mine(self.shown),
            mine(self.holds),
            unwritten=None if self.unwritten is None else self.unwritten.of_another_life(covered),
        )


class _Lane:
    """A plugin, and what is believed of it."""

    def __init__(self, name: str, attempts: int, timeout: float) -> None:
        self.name = name
        self.attempts = attempts
        self.timeout = timeout
        self.match: tuple[str, ...] = ()
        self.counts: Counter[str] = Counter()
        self.there = False
        """In this life."""
        self.beliefs = [Belief()]
        self.unsure: list[Belief] = []
        """What is to be believed if the last hook that returned wasn't acknowledged."""
        self.far_fetched: list[Belief] = []
        """What is only believed where nothing else fits: that a hook was about to be entered when all ended."""
        self.of_before: list[Belief] = []
        """As it was when this life began; and before, as far as the disk may still say so."""
        self.far_fetched_before: list[Belief] = []
        self.started = False
        self.before_start: list[Belief] | None = None
        """What was believed before an ``on_start`` that may have been late; None if it was not."""
        self.hook = ""
        """``start``, ``enter`` or ``stop``, while it runs."""
        self.stopped = False
        self.now: Values | None = {}
        """What it was called with; None if that isn't known."""
        self.may_be_ahead = False
        """Whether it may have been about to be called when the daemon ended, with nobody knows what."""
        self.told: Told = {}
        self.applied: list[Key] = []
        self.delivered = False
        """Whether the last hook that returned was a delivery's, which is acknowledged if anything follows."""
        self.seen: dict[str, int] = {}
        """Of each volume's states, the one that it was shown last in this life."""
        self.seen_before: dict[str, int] = {}
        self.at_least = 0
        """The generation that it has to be shown next, at least."""
        self.surely, self.perhaps = 0, 0
        """How many times in a row the daemon died in its hooks."""

    def covers(self, key: Key) -> bool:
        """Whether it is to hear of this."""
        return (not self.match or _matches(self.match, key)) and not _matches(IGNORED, key)

    def mine(self, values: Values) -> Values:
        """What it is to hear of."""
        return {key: value for key, value in values.items() if self.covers(key)}

    def forget(self) -> None:
        """It never began."""
        self.beliefs, self.unsure, self.far_fetched, self.of_before = [Belief()], [], [], []

    def taken_over(self, beliefs: Iterable[Belief]) -> list[Belief]:
        """By another daemon, which shows it what ``match`` says by now."""
        return _different(belief.of_another_life(self.covers) for belief in beliefs)

    def is_sure(self) -> None:
        """Something followed upon the last hook that returned: so it was acknowledged."""
        if self.delivered:
            self.perhaps = 0
        self.unsure, self.delivered = [], False


class Judge:
    """``hear`` is given one line after the other. Raises Broken."""

    def __init__(self, lanes: Mapping[str, tuple[int, float]], volumes: Mapping[str, State]) -> None:
        """``lanes``: by name, ``retry.attempts`` and ``timeout``; ``volumes``: what each holds at first."""
        self.counts: Counter[str] = Counter()
        self.lanes = {name: _Lane(name, attempts, timeout) for name, (attempts, timeout) in lanes.items()}
        self._states = {name: [flat(name, state)] for name, state in volumes.items()}
        self._swapped = dict.fromkeys(volumes, 0)
        self._contents: set[str] = set()
        self._digests: dict[str, str] = {}
        self._digest_key = b""
        self._began = False
        """Whether this daemon came so far as to call a plugin: so it took over what the one before it left."""
        self._generation = 0
        for state in volumes.values():
            self._contents.update(state.get("file", {}).values())

    # -- what the player says -------------------------------------------------------

    def hear(self, line: Line) -> None:
        """What was written next."""
        lane = self.lanes[line["lane"]] if "lane" in line else None
        try:
            if lane is None:
                getattr(self, f"_hear_{line['what']}")(line)
            else:
                getattr(self, f"_hear_{line['what']}")(lane, line)
        except Broken as broken:
            who = f"{lane.name} (match {list(lane.match)})" if lane else "kmetad"
            raise Broken(f"{who}, at {line}:\n{broken}") from None

    def truth(self) -> Values:
        """What the volumes hold."""
        return {key: value for states in self._states.values() for key, value in states[-1].items()}

    def unsettled(self, truth: Values, set_aside: Iterable[str] = ()) -> list[str]:
        """Of each lane that has not come to where the volumes are (``truth``), what is missing."""
        found = []
        for lane in self.lanes.values():
            if not lane.there or lane.name in set_aside:
                continue
            wanted = lane.mine(truth)
            if not lane.started or lane.hook:
                found.append(f"{lane.name}: {'in ' + lane.hook if lane.hook else 'not started'}")
            elif not any(_is_settled(belief, wanted) for belief in lane.beliefs):
                found.append(f"{lane.name}: {_told_of(lane.beliefs)}; the volumes say {_text(wanted)}")
        return found

    def parked(self) -> bool:
        """Whether a lane waits for a change."""
        return any(b.parked_at is not None for lane in self.lanes.values() for b in lane.beliefs)

    def suspects(self) -> bool:
        """Whether any plugin may have to be set aside."""
        return any(lane.perhaps >= CRASHES for lane in self.lanes.values())

    # -- the Pod ----------------------------------------------------------------------

    def _hear_swap(self, line: Line) -> None:
        self.counts["swaps"] += 1
        volume, state = line["volume"], line["state"]
        self._contents.update(state.get("file", {}).values())
        self._digests.clear()
        self._states[volume].append(flat(volume, state))

    def _hear_swapped(self, line: Line) -> None:
        self._swapped[line["volume"]] = len(self._states[line["volume"]]) - 1

    # -- the daemon -------------------------------------------------------------------

    def _hear_life(self, line: Line) -> None:
        """``lanes``: their matches; ``fresh``: nothing is remembered. ``alone``: no memory file is left of the life
        before; ``lagging``: and it was killed, so that the disk may be behind.
        """
        self.counts["lives"] += 1
        self._generation = 0
        self._began = False
        for lane in self.lanes.values():
            lane.there = lane.name in line["lanes"]
            lane.match = tuple(line["lanes"].get(lane.name, ()))
            if line["fresh"]:
                lane.forget()
            if line["alone"] or line["fresh"] or not lane.there:
                lane.surely = lane.perhaps = 0
            beliefs = [*lane.beliefs, *lane.unsure]
            if line["lagging"]:
                beliefs += [belief.unwritten for belief in lane.beliefs if belief.unwritten is not None]
            lane.of_before = _different([*beliefs, *lane.of_before])
            lane.far_fetched_before = lane.far_fetched
            if line["lagging"]:
                beliefs = lane.of_before
            lane.beliefs = lane.taken_over(beliefs) if lane.there else [Belief()]
            lane.far_fetched = lane.taken_over(lane.far_fetched) if lane.there else []
            lane.unsure = []
            if len(lane.beliefs) > 1:
                self.counts["open questions"] += 1
            lane.started = lane.stopped = lane.delivered = False
            lane.hook = ""
            lane.seen = dict(self._swapped)
            lane.at_least = 0

    def _hear_digests(self, line: Line) -> None:
        self._digest_key = bytes.fromhex(line["key"])
        self._digests.clear()

    def _hear_died(self, line: Line) -> None:
        """``orderly``: it was asked to; ``set_aside``, ``given_up``: plugins, by its log."""
        for lane in self.lanes.values():
            if not self._began and not line["orderly"]:  # it may not have come to take anything over
                lane.beliefs = _different([*lane.beliefs, *lane.of_before])
                lane.far_fetched = _different([*lane.far_fetched, *lane.far_fetched_before])
            if line["orderly"]:
                lane.of_before = []
            aside = lane.name in line["set_aside"]
            if not lane.there:
                continue
            if aside and lane.perhaps < CRASHES:
                raise Broken(f"{lane.name} was set aside after {lane.perhaps} crashes")
            if not aside and (lane.started or lane.hook) and lane.surely >= CRASHES:
                raise Broken(f"{lane.name} brought the daemon down {lane.surely} times and was not set aside")
            self.counts["set aside"] += aside
            self.counts["had to be set aside"] += lane.surely >= CRASHES
            self.counts["ended within a hook"] += lane.hook in ("start", "enter")
            unheard = lane.started and not lane.hook and not lane.stopped
            lane.may_be_ahead = unheard and lane.now is None
            if unheard and lane.now is not None:
                lane.far_fetched += _different(
                    belief.showed(belief.owed(lane.mine(now)))
                    for belief in (*lane.beliefs, *lane.far_fetched)
                    if belief.known is not None
                    for now in self._possible(lane)
                )
            if lane.hook == "enter":
                lane.beliefs = [belief.showed(lane.told) for belief in lane.beliefs]
            if line["orderly"]:
                if lane.started and not lane.stopped and lane.name not in line["given_up"]:
                    raise Broken(f"{lane.name}: on_stop was not called")
                lane.surely = lane.perhaps = 0
            elif not aside:
                lane.surely += lane.hook in ("start", "enter")
                lane.perhaps += 1
                if lane.unsure:
                    self.counts["ended behind a hook"] += 1

    # -- the plugins ------------------------------------------------------------------

    def _hear_start(self, lane: _Lane, line: Line) -> None:
        self._enter(lane, line)
        if lane.started:
            if lane.before_start is None:
                raise Broken("on_start was called again after it had succeeded")
            lane.beliefs, lane.unsure, lane.started = lane.before_start, [], False
        lane.told = {}

    def _hear_enter(self, lane: _Lane, line: Line) -> None:
        lane.is_sure()
        self._enter(lane, line)
        if not lane.started:
            raise Broken("on_change came before on_start had succeeded")
        told = {(t, k): (self._plain(t, old), self._plain(t, new)) for t, k, old, new in line["told"]}
        order = [(type_ != "source", type_, key) for type_, key, _, _ in line["told"]]
        if len(told) != len(line["told"]) or order != sorted(order):
            raise Broken("sources first, then by type and key, each once: that isn't so")
        before = lane.mine(self._values(line["before"])) if "before" in line else None
        fitting, objections = self._fitting(lane, lane.beliefs, told, before, line["attempt"])
        if not fitting:
            far_fetched = lane.far_fetched
            if lane.may_be_ahead:
                far_fetched = [belief.ahead(told) for belief in lane.beliefs if belief.known is not None]
            fitting, _ = self._fitting(lane, far_fetched, told, before, line["attempt"])
            self.counts["ended before a hook"] += bool(fitting)
        lane.may_be_ahead = False
        if not fitting:
            raise Broken("\n".join(objections))
        lane.beliefs, lane.far_fetched = fitting, []
        for any_lane in self.lanes.values():
            any_lane.of_before = []  # all that was taken over is on disk by now
        lane.told = told
        for counts in (self.counts, lane.counts):
            counts["deliveries"] += 1
            counts["keys"] += len(told)
            counts["retries"] += line["attempt"] > 1

    def _fitting(
        self, lane: _Lane, beliefs: Iterable[Belief], told: Told, before: Values | None, attempt: int
    ) -> tuple[list[Belief], list[str]]:
        """Those beliefs that agree with a delivery, and why the others don't."""
        fitting, objections = [], []
        for belief in beliefs:
            if belief.known is None:
                objections.append("it never began, so there is nothing that it may be told")
                continue
            owed = belief.owed(belief.newest(told) if lane.now is None else lane.now)
            if owed != told:
                objections.append(
                    f"if {_text_of(belief)},\n  it is owed {_text(owed)},\n  and was told {_text(told)}"
                )
            elif before not in (None, belief.known):
                objections.append(f"if {_text_of(belief)}, `previous` isn't {_text(before)}")
            elif attempt != belief.tries + 1:
                objections.append(f"this is try {belief.tries + 1}, and it was told {attempt}")
            elif belief.parked_at is not None and belief.parked_at == lane.now and not self._changed(lane):
                objections.append("its lane is parked, and nothing has changed")
            else:
                fitting.append(replace(belief, tries=attempt, parked_at=None))
        return fitting, objections

    def _enter(self, lane: _Lane, line: Line) -> None:
        if not lane.there:
            raise Broken("it isn't in this configuration")
        if lane.hook:
            raise Broken(f"it is in {lane.hook} already")
        if lane.stopped:
            raise Broken("it was told to stop")
        self._began = True
        if line["generation"] < lane.at_least:
            raise Broken(
                f"generation {line['generation']} is old: {lane.at_least} was there before the last try ended"
            )
        self._generation = max(self._generation, line["generation"])
        lane.hook = line["what"]
        lane.now, lane.applied = None, []
        if "now" not in line:
            return
        now = self._values(line["now"])
        lane.seen_before = dict(lane.seen)
        self._find(lane, now)
        lane.now = lane.mine(now)

    def _hear_apply(self, lane: _Lane, line: Line) -> None:
        """``keys``: without them, all that it was told."""
        keys = [(type_, key) for type_, key in line["keys"]] if "keys" in line else [*lane.told]
        lane.applied += keys
        if lane.hook == "enter":
            self._apply(lane, {key: lane.told[key] for key in keys})

    def _apply(self, lane: _Lane, changes: Told) -> None:
        lane.beliefs = [belief.applied(changes) for belief in lane.beliefs]

    def _hear_end(self, lane: _Lane, line: Line) -> None:
        hook, lane.hook = lane.hook, ""
        lane.at_least = self._generation - 1  # the one before was offered to all when this one was made
        how = line["how"]
        self.counts[f"{hook}: {how}"] += 1
        taken = how in ("return", "skip")
        late, in_time = line["took"] > lane.timeout, line["took"] < lane.timeout / 2
        if taken and late:
            self.counts[f"{hook}: late"] += 1
        if hook == "start":
            self._end_start(lane, taken and not late, taken and in_time)
        elif hook == "enter":
            if how == "return" and set(lane.applied) != set(lane.told):
                raise Broken(f"it returned, but was told of {lane.applied} alone")
            if how == "skip":
                self._apply(lane, lane.told)
            self._end_delivery(lane, taken and not late, taken and in_time, how != "retry")

    def _end_start(self, lane: _Lane, perhaps: bool, surely: bool) -> None:
        if perhaps:
            lane.started = True
            lane.before_start = None if surely else lane.beliefs
            lane.unsure = [belief for belief in lane.beliefs if belief.known is None]
            lane.beliefs = [belief.began(lane.now) for belief in lane.beliefs]
            if not all(belief.shown for belief in lane.beliefs):
                lane.surely = 0

    def _end_delivery(self, lane: _Lane, perhaps: bool, surely: bool, fault: bool) -> None:
        taken = [belief.acknowledged(lane.told) for belief in lane.beliefs]
        refused = [belief.refused(lane.told, fault=fault, attempts=lane.attempts) for belief in lane.beliefs]
        if surely:
            lane.beliefs, lane.unsure, lane.surely = taken, refused, 0
            lane.delivered = True
        elif perhaps:
            lane.beliefs, lane.unsure, lane.surely = taken + refused, [], 0
        else:
            lane.beliefs = refused
        self.counts["parked"] += any(belief.parked_at is not None for belief in lane.beliefs)

    def _hear_stop(self, lane: _Lane, line: Line) -> None:
        lane.is_sure()
        if lane.hook:
            raise Broken(f"on_stop was called while it was in {lane.hook}")
        if not lane.started or lane.stopped:
            raise Broken("on_stop was called " + ("twice" if lane.stopped else "although it never started"))
        lane.hook, lane.stopped = "stop", True

    # -- what there is ----------------------------------------------------------------

    def _values(self, packed: Iterable[tuple[str, str, Any]]) -> Values:
        return {(type_, key): self._plain(type_, value) for type_, key, value in packed}

    def _plain(self, type_: str, value: Any) -> Any:
        """A digest as what it is one of."""
        if type_ != "file" or value is None:
            return tuple(value) if isinstance(value, list) else value
        if not self._digests:
            self._digests = {_digest(content, self._digest_key): brief(content) for content in self._contents}
        if value not in self._digests:
            raise Broken(f"{value} is of no content that there ever was, by this daemon's key")
        return self._digests[value]

    def _find(self, lane: _Lane, now: Values) -> None:
        """Law 2, and never back: it is the volumes as they were at some moment since what it saw last."""
        for volume, states in self._states.items():
            held = {key: value for key, value in now.items() if key[0] in _TYPES and volume_of(key) == volume}
            for number in range(lane.seen[volume], len(states)):
                if states[number] == held:
                    lane.seen[volume] = number
                    break
            else:
                raise Broken(f"{volume} was never so since it was last seen: {_text(held)}")

    def _changed(self, lane: _Lane) -> bool:
        """Whether there was anything else to see for it since what it saw before, be it for a moment."""
        return any(
            lane.mine(state) != lane.mine(states[lane.seen_before[volume]])
            for volume, states in self._states.items()
            for state in states[lane.seen_before[volume] :]
        )

    def _possible(self, lane: _Lane) -> Iterator[Values]:
        """All that there may have been to see when the daemon ended."""
        others = {key: value for key, value in lane.now.items() if key[0] not in _TYPES}
        ranges = [states[lane.seen[volume] :] for volume, states in self._states.items()]
        for states in itertools.islice(itertools.product(*ranges), 1000):
            yield {**others, **{key: value for state in states for key, value in state.items()}}


_TYPES = ("label", "annotation", "file")
"""Of what is in the volumes."""


def flat(volume: str, state: State) -> Values:
    """What a volume holds, as snapshots have it."""
    return {
        (type_, f"{volume}/{key}" if type_ == "file" else key): brief(value)
        for type_, values in state.items()
        for key, value in values.items()
    }


def volume_of(key: Key) -> str:
    """Where it is."""
    type_, name = key
    if type_ == "file":
        return name.partition("/")[0]
    return "more" if name.startswith("more/") else "podinfo"


def _matches(patterns: Iterable[str], key: Key) -> bool:
    parts = [pattern.partition(":") for pattern in patterns]
    return any(type_ in ("*", key[0]) and fnmatchcase(key[1], glob) for type_, _, glob in parts)


def _digest(content: str, key: bytes) -> str:
    return "digest " + blake2b(content.encode(), key=key, digest_size=16).hexdigest()


def _is_settled(belief: Belief, wanted: Values) -> bool:
    """Nothing is owed any more."""
    if belief.known is None or belief.shown:
        return False
    return all(
        {key: value for key, value in values.items() if key[0] in _TYPES} == wanted
        for values in (belief.known, belief.holds)
    )


def _different(beliefs: Iterable[Belief]) -> list[Belief]:
    found: list[Belief] = []
    for belief in beliefs:
        if belief not in found:
            found.append(belief)
    return found


def _text(values: Mapping[Key, Any]) -> str:
    return "{" + ", ".join(f"{type_}:{key} {value}" for (type_, key), value in sorted(values.items())) + "}"


def _text_of(belief: Belief) -> str:
    known = "nothing" if belief.known is None else _text(belief.known)
    return f"it acknowledged {known}, was shown {_text(belief.shown)} since, and holds {_text(belief.holds)}"


def _told_of(beliefs: Iterable[Belief]) -> str:
    return " or ".join(map(_text_of, beliefs))
