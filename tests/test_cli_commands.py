"""Commands that plugins bring, by real distributions on the path."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from kmetad._cli.main import COMMANDS
from tests.cli import Running, environment, kmetad

GREET = '''
"""Greet whoever asks.

example: kmetad greet --name world
"""

from kmetad import commands
from kmetad.errors import KmetadError


def arguments(parser):
    parser.add_argument("--name", default="you", help="100%% yours")
    parser.add_argument("--fail", choices=("foreseen", "fault", "exit", "code"))
    parser.add_argument("--for", dest="time", type=commands.duration)


def run(args):
    if args.fail == "foreseen":
        raise KmetadError("nobody is here; come again")
    if args.fail == "fault":
        return 1 // 0
    if args.fail == "exit":
        raise SystemExit("gone")
    if args.fail == "code":
        return 7
    print(f"hello, {args.name}", args.time)
    return 0
'''

ASKS = '''
"""Ask, as kmetad's own commands do."""

SUMMARY = "say which server is meant (50% done)"

from kmetad import commands


def arguments(parser):
    commands.server_arguments(parser).add_argument("--twice", action="store_true")
    commands.log_arguments(parser)


def run(args):
    server = commands.server(args)
    log = commands.log(args)
    log.debug("a detail")
    log.info("asked", url=server.url, found=server.found, secure=server.secure)
    log.warning("a warning")
    return 0
'''

WAITS = '''
"""Wait to be ended."""

import signal


def arguments(parser):
    pass


def run(args):
    print("ready", flush=True)
    signal.pause()
'''


class Site:
    """A directory of distributions, as ``pip install`` leaves them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = {"PYTHONPATH": str(directory), "HOME": str(directory)}

    def install(self, distribution: str, module: str, source: str | None, **commands: str) -> None:
        """A distribution with one module, and the commands that it brings."""
        directory = self.directory / f"{distribution.replace('-', '_')}-1.2.dist-info"
        directory.mkdir()
        (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        points = "".join(f"{name} = {value}\n" for name, value in commands.items())
        (directory / "entry_points.txt").write_text(f"[kmetad.commands]\n{points}")
        if source is not None:
            (self.directory / f"{module}.py").write_text(dedent(source))

    def kmetad(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command with them."""
        return kmetad(*args, env=self.env | env)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """With a command that greets, one that asks, and one that waits."""
    made = Site(tmp_path)
    made.install("kmetad-greeter", "greeter", GREET, greet="greeter")
    made.install("some-asker", "asker", ASKS, ask="asker")
    made.install("some-waiter", "waiter", WAITS, waits="waiter")
    return made


def test_it_runs(site: Site) -> None:
    """With its own options; what it answers is the exit code."""
    done = site.kmetad("greet", "--name", "world", "--for", "1m30s")
    assert (done.stdout, done.stderr, done.returncode) == ("hello, world 0:01:30\n", "", 0)
    assert site.kmetad("greet", "--fail", "code").returncode == 7


def test_help(site: Site) -> None:
    """kmetad's names it with what it does, and who brings it; its own is its docstring and its options."""
    done = site.kmetad("--help", COLUMNS="200")
    assert (done.stderr, done.returncode) == ("", 0)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "greet Greet whoever asks (kmetad-greeter 1.2)" in lines
    assert "ask say which server is meant (50% done) (some-asker 1.2)" in lines
    assert f"get {COMMANDS['get']}" in lines
    own = site.kmetad("greet", "--help")
    assert (own.stderr, own.returncode) == ("", 0)
    assert own.stdout.startswith("usage: kmetad greet [-h]")
    assert "Greet whoever asks.\n\nexample: kmetad greet --name world\n" in own.stdout


def test_nothing_at_all_is_help(site: Site) -> None:
    """On standard error, and an error."""
    done = site.kmetad()
    assert (done.stdout, done.returncode) == ("", 2)
    assert "Greet whoever asks" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--nonsense"], "kmetad: unrecognized arguments: --nonsense (see kmetad greet --help)\n"),
        (["--fail", "exit"], "kmetad: gone\n"),
        (["--fail", "foreseen"], "kmetad: nobody is here; come again\n"),
        (
            ["--for", "5"],
            "kmetad: argument --for: '5' is no duration such as 30s or 1m30s; did you mean 5s or 5ms?",
        ),
    ],
)
def test_failures_are_125(site: Site, arguments: list[str], told: str) -> None:
    """Wrong usage, too, and one line says why."""
    done = site.kmetad("greet", *arguments)
    assert (done.stdout, done.returncode) == ("", 125)
    assert done.stderr.startswith(told)
    assert len(done.stderr.splitlines()) == 1


def test_a_fault_is_whose_it_is(site: Site) -> None:
    """A traceback, and the distribution to blame."""
    done = site.kmetad("greet", "--fail", "fault")
    assert done.returncode == 125
    assert done.stderr.startswith(
        "kmetad: this is a fault of kmetad-greeter 1.2; please report it:\nTraceback"
    )
    assert "ZeroDivisionError" in done.stderr


def test_signals_end_it(site: Site) -> None:
    """As they end kmetad's own commands."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with Running("waits", env=site.env) as running:
            assert running.out.line() == "ready"
            running.send(number)
            assert running.wait() == 128 + number
            assert running.err.rest() == []


@pytest.mark.parametrize(
    ("module", "source", "value", "told"),
    [
        ("bad", "1 / 0", "bad", "importing bad raised ZeroDivisionError: division by zero (DIR/bad.py:1)"),
        ("bad", "import nothing_such", "bad", "importing bad raised ModuleNotFoundError: No module named"),
        ("bad", "raise SystemExit(3)", "bad", "importing bad raised SystemExit: 3"),
        (
            "bad",
            "def",
            "bad",
            "importing bad raised SyntaxError: invalid syntax (bad.py, line 1) (DIR/bad.py:1)",
        ),
        ("bad", None, "bad", "there is no module bad; install some-bad 1.2 again"),
        ("bad", "x = 1", "bad.worse", "there is no module bad.worse; install some-bad 1.2 again"),
        ("bad", "run = print", "bad", "bad has no function arguments; kmetad.commands says"),
        ("bad", "arguments = 1", "bad", "bad has no function arguments and no function run; kmetad.commands"),
    ],
)
def test_what_is_no_command(site: Site, module: str, source: str | None, value: str, told: str) -> None:
    """Why, and whose it is; others aren't concerned, and help tells, too."""
    site.install("some-bad", module, source, bad=value)
    done = site.kmetad("bad")
    assert (done.stdout, done.returncode) == ("", 125)
    told = f"the command bad of some-bad 1.2: {told}".replace("DIR", str(site.directory))
    assert done.stderr.startswith(f"kmetad: {told}")
    assert site.kmetad("greet").returncode == 0
    shown = site.kmetad("--help", COLUMNS="1000")
    assert (shown.stderr, shown.returncode) == ("", 0)
    assert told in shown.stdout


def test_two_of_one_name(site: Site) -> None:
    """Neither is run; the same one found twice is one."""
    site.install("other-greeter", "other", GREET, greet="other", again="other")
    done = site.kmetad("greet")
    assert (done.stdout, done.returncode) == ("", 125)
    told = "kmetad-greeter 1.2 and other-greeter 1.2 both bring a command greet; uninstall one of them"
    assert told in done.stderr
    assert site.kmetad("again").returncode == 0
    twice = f"{site.directory}{os.pathsep}{site.directory}"
    assert site.kmetad("ask", "--server", "http://here", "-q", PYTHONPATH=twice).returncode == 0


def test_own_commands_stay(site: Site) -> None:
    """No distribution takes their place."""
    site.install("some-thief", "thief", GREET, get="thief", run="thief")
    assert "hello" not in site.kmetad("get", "metadata.name").stdout
    shown = site.kmetad("--help", COLUMNS="200").stdout
    assert "some-thief" not in shown


@pytest.mark.parametrize(
    ("name", "told", "code"),
    [
        ("gret", "there is no command gret; did you mean greet?", 2),
        ("gett", "there is no command gett; did you mean get?", 2),
        ("prxoy", "there is no command prxoy; did you mean proxy?", 2),
        ("zzzzz", "there is no command zzzzz (see", 2),
        ("a\033[31mb", "there is no command a\\x1b[31mb (see", 2),
    ],
)
def test_what_nobody_brings(site: Site, name: str, told: str, code: int) -> None:
    """The nearest there is, of a plugin's, too."""
    done = site.kmetad(name)
    assert (done.stdout, done.returncode) == ("", code)
    assert done.stderr.startswith(f"kmetad: {told}")
    assert done.stderr.endswith("(see kmetad --help)\n")


def test_no_option_is_another_s_beginning() -> None:
    """A token behind one that there isn't is no file's name, and isn't shown."""
    done = kmetad("proxy", "--port", "0", "--token", "secret-value", env=environment())
    assert (done.stdout, done.returncode) == ("", 125)
    assert done.stderr == "kmetad: unrecognized arguments: --token (see kmetad proxy --help)\n"


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_closed_streams_are_no_fault(closed: str) -> None:
    """What can't be said isn't, and the command does its work."""
    done = subprocess.run(
        ["bash", "-c", f'exec "$0" -m kmetad plugins {closed}', sys.executable],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


ALONE = """
import sys
from importlib import metadata
found = metadata.entry_points
metadata.entry_points = lambda **of: [p for p in found(**of) if p.name != "proxy"]
sys.modules["kmetad_ambassador"] = None
from kmetad._cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_proxy_without_its_plugin() -> None:
    """It is known where it comes from."""
    run = [sys.executable, "-c", ALONE, "proxy", "--port", "0"]
    done = subprocess.run(run, env=environment(), capture_output=True, text=True, timeout=60)
    told = "there is no command proxy; it comes with kmetad-ambassador: pip install kmetad-ambassador"
    assert (done.stdout, done.stderr, done.returncode) == ("", f"kmetad: {told}\n", 125)


def test_own_commands_look_for_nobody() -> None:
    """To find distributions takes longer than most commands."""
    code = (
        "import sys; from kmetad._cli.main import main; main(sys.argv[1:]); "
        "print([m for m in ('importlib.metadata', 'kmetad.commands', 'kmetad._cli.brought') if m in sys.modules])"
    )
    for command in (["get"], ["--version"], ["get", "--help"]):
        run = [sys.executable, "-c", code, *command]
        env = {name: value for name, value in environment().items() if not name.startswith("COV")}
        done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-1] == "[]"


def test_it_asks_as_own_commands_do(site: Site, tmp_path: Path) -> None:
    """The server by options, and a log."""
    done = site.kmetad("ask", "--server", "http://127.0.0.1:1", "--log-format", "json", "--twice")
    assert done.returncode == 0
    asked, warned = done.stderr.splitlines()
    assert '"url": "http://127.0.0.1:1"' in asked
    assert '"a warning"' in warned
    assert len(site.kmetad("ask", "--server", "http://a", "-q").stderr.splitlines()) == 1
    assert len(site.kmetad("ask", "--server", "http://a", "-v").stderr.splitlines()) == 3
    toml = tmp_path / "kmetad.toml"
    toml.write_text('[api]\nurl = "http://of.toml"\n')
    assert "http://of.toml" in site.kmetad("ask", "-c", str(toml)).stderr


def test_it_fails_as_own_commands_do(site: Site) -> None:
    """But with 125."""
    done = site.kmetad("ask")
    assert done.returncode == 125
    assert done.stderr.startswith("kmetad: no API server is known: this is no Pod")
    loud = site.kmetad("ask", "--server", "https://a", "--insecure-skip-tls-verify")
    assert loud.stderr.startswith("kmetad: INSECURE: the certificate of https://a is not verified")
    wrong = site.kmetad("ask", "--server", "nothing")
    assert (wrong.returncode, "the URL of the API server" in wrong.stderr) == (125, True)
