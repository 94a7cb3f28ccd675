"""Which hooks a plugin's class has, and whether kmetad would ever call them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pluggy

from kmetad import hookspecs

PREFIX = "kmetad_"

SPECS: Mapping[str, tuple[str, ...]] = {
    name: spec.__code__.co_varnames[: spec.__code__.co_argcount]
    for name, spec in vars(hookspecs).items()
    if name.startswith(PREFIX)
}
"""Every hook, and the names of its arguments."""


def hooks_of(plugin_type: type[Any], origin: str) -> tuple[tuple[str, ...], list[str]]:
    """The hooks that a class has, in the contract's order, and what is wrong with its methods.

    Wrong is whatever pluggy would pass over in silence, and what could only fail later.
    """
    manager = pluggy.PluginManager("kmetad")
    found: set[str] = set()
    faults: list[str] = []
    for name in dir(plugin_type):
        marks = manager.parse_hookimpl_opts(plugin_type, name)
        if marks is None and not name.startswith(PREFIX):
            continue
        place = f"{plugin_type.__name__}.{name} of {origin}"
        hook = name if marks is None else marks["specname"] or name
        if hook not in SPECS:
            if marks is None or not marks["optionalhook"]:
                faults.append(f"{place} {_unknown(name, hook)}")
            continue
        found.add(hook)
        if marks is None:
            faults.append(f"{place} isn't marked: put @kmetad.hookimpl above it")
            continue
        method = inspect.getattr_static(plugin_type, name)
        wrapper = bool(marks["wrapper"] or marks["hookwrapper"])
        faults += (f"{place} {wrong}" for wrong in _wrong(method, SPECS[hook], wrapper=wrapper))
    if not found and not faults:
        hooks = ", ".join(sorted(SPECS))
        faults.append(
            f"{plugin_type.__name__} of {origin} has no hook; mark one with @kmetad.hookimpl: {hooks}"
        )
    return tuple(hook for hook in SPECS if hook in found), faults


def did_you_mean(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """``; did you mean this?``, or nothing where nothing is near."""
    from difflib import get_close_matches  # for a fault only

    near = get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown(name: str, hook: str) -> str:
    what = "is no hook of kmetad" if name == hook else f"is marked for {hook}, which is no hook of kmetad"
    return what + (did_you_mean(hook, SPECS) or f"; there are {', '.join(sorted(SPECS))}")


def _wrong(method: Any, known: tuple[str, ...], *, wrapper: bool) -> Iterator[str]:
    """What is wrong with a marked method; each completes a sentence that begins with its name."""
    function: Callable[..., Any] = getattr(method, "__func__", method)
    if wrapper:
        yield "is a wrapper, but there is nothing to wrap: each instance is called alone"
        return
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield "is async, and would never be awaited: make it a plain method (it has a thread of its own)"
        return
    if inspect.isgeneratorfunction(function):
        yield "is a generator, so its body would never run: take the `yield` out"
        return
    parameters = list(inspect.signature(function).parameters.values())
    if not isinstance(method, staticmethod):
        if not parameters or parameters[0].name in known:
            yield "lacks `self` as its first argument"
            return
        del parameters[0]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue  # pluggy leaves them empty
        required = parameter.default is parameter.empty
        if parameter.name not in known:
            if required:
                yield f"asks for {parameter.name}; this hook has {', '.join(known) or 'no argument'}"
        elif parameter.kind is parameter.KEYWORD_ONLY or not required:
            # pluggy 1.5 and 1.6 pass an argument only if it is positional and has no default.
            yield f"would not be given {parameter.name}: write it as a plain argument with no default"
