"""Validate, act, verify, and what is done where that fails; with real commands, in a host."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from kmetad_reload import Plugin
from structlog.testing import capture_logs

from kmetad import Fail, Outcome
from kmetad.testing import Host

ANNOTATION = "example.com/log-level"


class Journal:
    """Commands that write into one file that they were run, in which order."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "journal"

    def notes(self, what: str, code: int = 0, says: str = "") -> list[str]:
        """A command that notes this, says something, and exits so."""
        program = (
            "import sys; file, what, code, says = sys.argv[1:]; open(file, 'a').write(what + '\\n')\n"
            "print(says); sys.exit(int(code))"
        )
        return [sys.executable, "-I", "-S", "-c", program, str(self.file), what, str(code), says]

    def read(self) -> list[str]:
        """What was noted."""
        return self.file.read_text().split() if self.file.exists() else []


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """An empty one."""
    return Journal(tmp_path)


def started(**options: Any) -> Host:
    """The plugin in a host, started."""
    host = Host(Plugin, **options)
    host.start(labels={"app": "a"})
    return host


def test_everything_in_order(journal: Journal) -> None:
    """Validation first, actions as they stand, verification last; the log and the outcome say what was done."""
    host = started(
        validate=journal.notes("validate"),
        actions=[{"exec": journal.notes("one")}, {"signal": "HUP"}, {"exec": journal.notes("two")}],
        verify=journal.notes("verify"),
        on_failure=journal.notes("on_failure"),
    )
    with capture_logs() as logs:
        host.set(labels={"app": "b"})
    assert journal.read() == ["validate", "one", "two", "verify"]
    assert host.app.signals == [1]
    python = Path(sys.executable).name
    did = {
        "validated": f"ran {python}",
        "did": f"ran {python}, SIGHUP to the app, ran {python}",
        "verified": f"ran {python}",
    }
    (applied,) = [log for log in logs if log["event"] == "reload.applied"]
    assert {key: applied[key] for key in did} == did
    assert applied["changes"] == ["label:app"]
    assert (host.outcomes[-1].result, host.outcomes[-1].detail) == ("applied", did)


def test_a_validation_that_fails_touches_nothing(journal: Journal) -> None:
    """It is said what the command said, and the good old state reloads as well."""
    broken = journal.file.parent / "broken"
    check = [
        sys.executable,
        "-c",
        "import os, sys; os.path.exists(sys.argv[1]) and sys.exit('line 7: no }')",
        str(broken),
    ]
    host = started(validate=check, exec=journal.notes("reload"))
    broken.touch()
    with pytest.raises(
        Fail, match=r"^validate: \S+: exited with 1; it said: line 7: no \}; nothing was done$"
    ):
        host.set(labels={"app": "b"})
    assert journal.read() == []
    assert host.outcomes[-1].result == "failed"
    broken.unlink()
    host.set(labels={"app": "a"})
    assert journal.read() == ["reload"]


def test_a_validation_that_never_ends(journal: Journal) -> None:
    """It is killed, and nothing is done."""
    wait = {"command": [sys.executable, "-c", "import signal; signal.pause()"], "timeout": "200ms"}
    host = started(validate=wait, exec=journal.notes("reload"))
    with pytest.raises(Fail, match=r"validate: .*not done after 0.2 s, so it was killed; nothing was done"):
        host.set(labels={"app": "b"})
    assert journal.read() == []


def test_a_second_action_that_fails_is_made_good(journal: Journal) -> None:
    """The next try begins with the first one again, so both are done in the end."""
    gate = journal.file.parent / "gate"
    host = started(
        actions=[
            {"exec": journal.notes("one")},
            {"exec": ["cat", str(gate)]},
            {"exec": journal.notes("three")},
        ]
    )
    with pytest.raises(Fail, match=r"action 2 of 3: cat: exited with 1; it said: .*; done before it: ran "):
        host.set(labels={"app": "b"})
    gate.touch()
    host.again()
    assert journal.read() == ["one", "one", "three"]


def test_a_verification_is_tried_until_it_succeeds(journal: Journal) -> None:
    """What a reload takes its time for isn't a failure."""
    script = "import sys; file = open(sys.argv[1], 'a+'); file.write('x'); file.seek(0); sys.exit(len(file.read()) < 3)"
    tries = journal.file.parent / "tries"
    host = started(none=True, verify={"exec": [sys.executable, "-c", script, str(tries)], "interval": "10ms"})
    host.set(labels={"app": "b"})
    assert tries.read_text() == "xxx"
    assert host.outcomes[-1].detail["did"] == "nothing"


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, "on_failure: ran "), (3, "on_failure failed as well: .*exited with 3; it said: too bad")],
)
def test_a_verification_that_fails(journal: Journal, code: int, said: str) -> None:
    """What is to be done then is done, and told together with why."""
    host = started(
        exec=journal.notes("act"),
        verify={"exec": journal.notes("verify", 1, "still old"), "within": "5s", "interval": "10s"},
        on_failure=journal.notes("rollback", code, "too bad"),
    )
    with pytest.raises(Fail, match=rf"^verify: not within 5 s: .*exited with 1; it said: still old; {said}"):
        host.set(labels={"app": "b"})
    assert journal.read()[0] == "act"
    assert journal.read()[-1] == "rollback"
    assert journal.read().count("rollback") == 1


def test_a_verification_that_fails_may_restart_the_app(journal: Journal) -> None:
    """Although the delivery fails, which else takes a restart back: this one is waited for."""
    host = started(signal="HUP", verify={"exec": ["false"], "within": "10ms"}, on_failure={"restart": True})
    host.app_started()
    with pytest.raises(Fail, match="on_failure: restarted the app"):
        host.set(labels={"app": "b"})
    assert host.app.restarts == ["label:app"]


def test_values_that_are_not_allowed(journal: Journal) -> None:
    """Nothing is done, it isn't tried again as it is, and other keys may be anything."""
    host = started(exec=journal.notes("act"), values={"log-level": ["debug", "info"]})
    host.set(annotations={ANNOTATION: "debug", "note": "anything\n"})
    with pytest.raises(
        Fail,
        match=r"annotation example.com/log-level is 'trace\\n', which is refused: allowed are debug, info",
    ) as caught:
        host.set(annotations={ANNOTATION: "trace\n"})
    assert not caught.value.retry
    assert journal.read() == ["act"]
    host.set(annotations={})  # without one, there is nothing to refuse
    assert journal.read() == ["act", "act"]


def test_at_start(journal: Journal) -> None:
    """Nothing is, unless it is asked for; then with all that there is as added."""
    assert started(exec=journal.notes("act")).outcomes[-1].detail == {}
    assert journal.read() == []
    read = "import sys; sys.stdout.write(open(0).read())"
    with capture_logs() as logs:
        started(exec=[sys.executable, "-c", read], at_start=True)
    (line,) = [log["line"] for log in logs if log["event"] == "reload.output"]
    assert '"op":"added","key":"app","old":null,"new":"a"' in line


def test_files_are_written_at_the_start(tmp_path: Path, journal: Journal) -> None:
    """They have to be there when the app looks; what follows them is for changes."""
    file = tmp_path / "app"
    write = {"file": str(file), "format": "template", "template": "{metadata.labels['app']}\n"}
    host = started(actions=[{"write": write}, {"exec": journal.notes("act")}])
    assert (file.read_text(), journal.read()) == ("a\n", [])
    host.set(labels={"app": "b"})
    assert (file.read_text(), journal.read()) == ("b\n", ["act"])


def test_a_value_is_refused_at_the_start_as_well(tmp_path: Path) -> None:
    """No file gets it."""
    file = tmp_path / "app"
    write = {"file": str(file), "format": "template", "template": "{metadata.labels['app']}\n"}
    with pytest.raises(Fail, match="refused"):
        started(write=write, values={"app": ["b"]})
    assert not file.exists()


def test_simulate(journal: Journal) -> None:
    """``kmetad check --simulate`` says exactly what would be done, and what wouldn't."""
    host = started(
        validate=["nginx", "-t"],
        actions=[{"exec": {"command": ["true"], "timeout": "5s"}}, {"signal": "HUP"}, {"restart": True}],
        verify={"exec": ["probe"], "within": "3s"},
        on_failure={"restart": True},
        values={"app": ["a", "b"]},
    )
    assert list(host.plugin.simulate(simulated(app="b"))) == [
        "validate: run ['nginx', '-t'] with the change on standard input; if that fails, nothing is done",
        "run ['true'] with the change on standard input, for 5 s at most",
        "send SIGHUP to the app",
        "restart the app, and wait until it runs again",
        "verify: run ['probe'] with the change on standard input, again every 0.5 s until it succeeds, 3 s at most",
        "if it can't be verified: restart the app, and wait until it runs again",
    ]
    assert list(host.plugin.simulate(simulated(app="c"))) == [
        "refuses it, and does nothing: label app is 'c', which is refused: allowed are a, b"
    ]
    assert host.app.restarts == []


def simulated(**labels: str) -> Any:
    """The batch that these labels would lead to."""
    probe = Host(Plugin, none=True)
    probe.start(labels={"app": "a"})
    return probe.set(labels=labels)


def test_advice(tmp_path: Path) -> None:
    """What can't work as things are now: programs and directories that aren't there, keys that nobody has."""
    file = tmp_path / "file"
    file.touch()
    host = Host(
        Plugin,
        validate=[str(file)],
        actions=[{"exec": ["no-such-program"]}, {"write": {"file": str(tmp_path / "no" / "x")}}],
        verify={"exec": ["/no/such"]},
        on_failure=["true"],
        values={"app": ["a"], "lvel": ["b"]},
    )
    probe = Host(Plugin, none=True)
    probe.start(labels={"app": "a"})
    advice = list(host.plugin.advice(probe.snapshot))
    assert advice[:2] == [f"validate: {file} is not executable by this user", "no-such-program is not there"]
    assert str(tmp_path / "no") in advice[2]
    assert advice[3:] == [
        "verify: /no/such is not there",
        "values: 'lvel' is the key of no label, annotation or field that is there now",
    ]


def test_outcomes_are_of_each_try(journal: Journal) -> None:
    """With what was changed, and the reason where it failed."""
    host = started(exec=["false"])
    with pytest.raises(Fail):
        host.set(labels={"app": "b"})
    outcome: Outcome = host.outcomes[-1]
    assert (outcome.result, outcome.error, [c.key for c in outcome.changes]) == (
        "failed",
        "false: exited with 1",
        ["app"],
    )
