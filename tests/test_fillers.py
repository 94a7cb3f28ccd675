"""kmetad._daemon.fillers: a restart of the app waits for what other plugins have for its environment."""

from __future__ import annotations

import threading

from kmetad._daemon.fillers import Fillers

DEADLINE = 10.0


def nobody() -> set[str]:
    """No instance."""
    return set()


def test_it_waits_until_each_has_come_so_far() -> None:
    """Also for those that come later than asked for; what they came to before stays."""
    fillers = Fillers()
    fillers.add("one")
    fillers.add("two")
    fillers.came_to("one", 7)
    fillers.came_to("one", 3)
    behind: list[list[str]] = []
    waiting = threading.Thread(target=lambda: behind.append(fillers.wait(5, DEADLINE, without=nobody)))
    waiting.start()
    fillers.came_to("two", 4)
    assert waiting.is_alive()
    fillers.came_to("two", 5)
    waiting.join(DEADLINE)
    assert behind == [[]]


def test_but_not_for_ever() -> None:
    """It answers who is behind."""
    fillers = Fillers()
    fillers.add("one")
    fillers.add("two")
    fillers.came_to("one", 1)
    assert fillers.wait(1, 0.01, without=nobody) == ["two"]


def test_nor_for_who_is_stuck() -> None:
    """Nothing is to be expected of that one."""
    fillers = Fillers()
    fillers.add("one")
    assert fillers.wait(1, DEADLINE, without=lambda: {"one", "two"}) == ["one"]


def test_nobody_fills_anything() -> None:
    """Then nobody is waited for."""
    assert Fillers().wait(1, DEADLINE, without=nobody) == []
