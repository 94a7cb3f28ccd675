"""The plugin: what its table says, and what it gives for it."""

from __future__ import annotations

from typing import Any

import pytest
from kmetad_logtag import Options, Plugin

from kmetad import ConfigError, Context, LogTags
from kmetad.testing import Host

VERSION = "metadata.labels['version']"


def test_what_is_known_now() -> None:
    """The others are absent, and come when they are there."""
    host = Host(Plugin, tags={"name": "metadata.name", "version": VERSION})
    host.start(fields={"metadata.name": "web-0"})
    assert host.log_tags == LogTags({"name": "web-0"})
    host.set(labels={"version": "v2"})
    assert host.log_tags == LogTags({"name": "web-0", "version": "v2"})


def test_preset() -> None:
    """OpenTelemetry's names by themselves, and more tags with them; a key where one is said."""
    pod = {"fields": {"metadata.name": "web-0", "spec.nodeName": "node-1"}, "labels": {"version": "v1"}}
    known = {"k8s.pod.name": "web-0", "k8s.node.name": "node-1"}
    host = Host(Plugin, preset="otel", tags={"v": VERSION})
    host.start(**pod)
    assert host.log_tags == LogTags({**known, "v": "v1"}, key="")
    host = Host(Plugin, preset="otel", key="resource", streams=["stderr"], text="json")
    host.start(**pod)
    assert host.log_tags == LogTags(known, key="resource", streams=("stderr",), text="json")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "no tags"),
        ({"tags": {"a": "metadata.labels"}}, "name one"),
        ({"tags": {"a": "metadata.nam"}}, "metadata.name"),
        ({"tags": {"a": "metadata.name"}, "streams": []}, "streams is empty"),
        ({"tags": {"a": "metadata.name"}, "text": "xml"}, "untouched"),
        ({"preset": "ecs"}, "otel"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], told: str) -> None:
    """Each error says what would."""
    with pytest.raises(ConfigError, match=told):
        Host(Plugin, **options)


def test_simulated() -> None:
    """``kmetad check --simulate`` tells what lines would carry."""
    host = Host(Plugin, tags={"version": VERSION})
    host.start(labels={"version": "v1"})
    host.set(labels={"version": "v2"})
    host.set(labels={"version": "v2", "app": "web"})
    changed, other = host.batches
    assert list(host.plugin.simulate(changed)) == ['lines get {"pod": {"version": "v2"}}']
    assert list(host.plugin.simulate(other)) == ["lines keep their tags"]


def test_advice() -> None:
    """A field that isn't there."""
    host = Host(Plugin, tags={"version": VERSION})
    host.start()
    assert list(host.plugin.advice(host.snapshot)) == [
        f"tags: there is no {VERSION} now, so lines go without version"
    ]
    host.set(labels={"version": "v1"})
    assert list(host.plugin.advice(host.snapshot)) == []


@pytest.mark.parametrize(
    ("path", "covered", "follows"),
    [
        (VERSION, "label:version", True),
        (VERSION, "label:app", False),
        ("metadata.name", "label:app", False),
        ("limits.cpu", "resource:web.limits.cpu", True),
        ("web.limits.cpu", "resource:web.limits.cpu", True),
        ("web.limits.cpu", "resource:myweb.limits.cpu", False),
        ("limits.cpu", "label:app", False),
    ],
)
def test_advice_about_what_will_not_follow(path: str, covered: str, follows: bool) -> None:
    """Its changes are for others, as ``match`` has it."""
    context = Context("logtag", None, covers=lambda type_, key: f"{type_}:{key}" == covered)
    host = Host(Plugin, tags={"tag": path})
    host.start(labels={"version": "1"}, fields={"metadata.name": "a"}, resources={"web.limits.cpu": "1"})
    told = list(Plugin(Options(tags={"tag": path}), context).advice(host.snapshot))
    sentence = f"tags: tag won't follow {path}, for match or watch.ignore leaves its changes out"
    assert told == ([] if follows else [sentence])
