"""What pluggy would pass over in silence, and what could only fail at the first change."""

from __future__ import annotations

from typing import Any

import pytest

from kmetad import hookimpl
from kmetad._plugins import Loaded, make
from kmetad._plugins.hooks import SPECS, hooks_of
from kmetad.errors import PluginError
from kmetad.events import Batch
from kmetad.hookspecs import Context
from kmetad.metadata import Snapshot


class Async:
    """Nobody would await it."""

    @hookimpl
    async def kmetad_on_change(self, batch: Any) -> None: ...


class Generator:
    """Its body would never run."""

    @hookimpl
    def kmetad_on_change(self, batch: Any) -> Any:
        yield


class Wrapper:
    """There is nothing to wrap."""

    @hookimpl(wrapper=True)
    def kmetad_on_change(self, batch: Any) -> Any:
        return (yield)


class KeywordOnly:
    """pluggy passes none such."""

    @hookimpl
    def kmetad_on_change(self, *, batch: Any) -> None: ...


class Defaulted:
    """pluggy keeps the default."""

    @hookimpl
    def kmetad_on_change(self, batch: Any = None) -> None: ...


class NoSelf:
    """Takes the batch for itself."""

    @hookimpl
    def kmetad_on_change(batch: Any) -> None: ...  # noqa: N805


class WrongSpecname:
    """Marked for a hook that there isn't."""

    @hookimpl(specname="kmetad_on_chnage")
    def changed(self, batch: Any) -> None: ...


class Unprefixed:
    """Forgot the prefix."""

    @hookimpl
    def on_change(self, batch: Any) -> None: ...


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        (Async, "is async"),
        (Generator, "is a generator"),
        (Wrapper, "is a wrapper"),
        (KeywordOnly, "would not be given batch"),
        (Defaulted, "would not be given batch"),
        (NoSelf, "lacks `self`"),
        (WrongSpecname, "marked for kmetad_on_chnage.*did you mean kmetad_on_change"),
        (Unprefixed, "is no hook.*did you mean kmetad_on_change"),
    ],
)
def test_methods_that_would_not_do(plugin: type, told: str) -> None:
    """Each is refused before the plugin is made."""
    with pytest.raises(PluginError, match=told):
        make(Loaded(plugin, None, "here"), "x", None, Context("x", None))


def test_every_fault_is_listed() -> None:
    """One line for each."""

    class Plugin:
        @hookimpl
        async def kmetad_on_change(self, batch: Any) -> None: ...

        def kmetad_on_label(self, change: Any) -> None: ...

    with pytest.raises(PluginError) as caught:
        make(Loaded(Plugin, None, "here"), "x", None, Context("x", None))
    assert len(str(caught.value).splitlines()) == 2


def test_every_form_of_a_method_is_called() -> None:
    """Static, of the class, inherited, or under another name."""
    calls: list[Any] = []

    class Base:
        @hookimpl
        def kmetad_on_stop(self) -> None:
            calls.append("inherited")

    class Plugin(Base):
        @staticmethod
        @hookimpl
        def kmetad_on_start(snapshot: Any) -> None:
            calls.append("static")

        @classmethod
        @hookimpl
        def kmetad_on_change(cls, batch: Any) -> None:
            calls.append("class")

    instance = make(Loaded(Plugin, None, "here"), "x", None, Context("x", None))
    instance.start(Snapshot())
    instance.deliver(Batch((), Snapshot(), Snapshot(), 0))
    instance.stop()
    assert calls == ["static", "class", "inherited"]


def test_a_hook_by_another_name() -> None:
    """``specname`` names the hook, so the method may have any name."""

    class Plugin:
        @hookimpl(specname="kmetad_on_change")
        def changed(self, batch: Any) -> None: ...

    assert hooks_of(Plugin, "here") == (("kmetad_on_change",), [])


def test_an_optional_hook_may_be_unknown() -> None:
    """So a plugin can offer a hook that only a newer kmetad has."""

    class Plugin:
        @hookimpl(optionalhook=True)
        def kmetad_on_the_moon(self) -> None: ...

        @hookimpl
        def kmetad_on_stop(self) -> None: ...

    assert hooks_of(Plugin, "here") == (("kmetad_on_stop",), [])
    make(Loaded(Plugin, None, "here"), "x", None, Context("x", None)).stop()


def test_the_contract_is_read() -> None:
    """Every hook with its arguments, from hookspecs.py alone."""
    assert SPECS["kmetad_on_change"] == ("batch",)
    assert SPECS["kmetad_on_stop"] == ()
