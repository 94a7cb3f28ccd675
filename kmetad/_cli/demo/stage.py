"""The demo's Pod: simulated volumes, and ``kmetad run`` with an app, all in one directory."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from kmetad._daemon.places import reach
from kmetad.errors import KmetadError
from kmetad.events import AnyChange
from kmetad.testing.kubelet import ServiceAccountVolume, Volume, token

START_SECONDS = 30.0
DEED_SECONDS = 10.0

_TOML = """\
# The configuration of `kmetad demo`: a Pod's volumes, the status page, tags for the app's log, and one rule for each
# kind of change.
[log]
format = "json"

[state]
dir = "{directory}/state"

[volumes.podinfo]
path = "{directory}/podinfo"
items.cpu_limit = {{ resource = "limits.cpu", container = "app", divisor = "1m" }}
items.mem_limit = {{ resource = "limits.memory", container = "app", divisor = "1Mi" }}

[volumes.settings]                # the ConfigMap of the app
path = "{directory}/settings"
kind = "files"

[token]
path = "{directory}/serviceaccount"

[plugins.status]                  # the page; kmetad tells where it is
port = 0

[plugins.logtag]                  # the app's lines say which Pod, and which version, they are of
tags = {{ name = "metadata.name", version = "metadata.labels['version']" }}

[plugins.app]                     # the app reads its settings again on HUP
use = "reload"
match = ["file:settings/*"]
signal = "HUP"
pid_file = "{directory}/app.pid"

[plugins.log-level]               # an annotation is the app's switch; what isn't a level is refused
use = "reload"
match = ["annotation:log-level"]
values = {{ "log-level" = ["debug", "info", "warning"] }}
actions = [
  {{ write = {{ file = "{directory}/log-level", format = "template", template = "{level}\\n" }} }},
  {{ signal = "USR1", pid_file = "{directory}/app.pid" }},
]
"""
_LEVEL = "{metadata.annotations['log-level']:-info}"
_RULE = """
[plugins.{rule}]
use = "reload"
match = ["{pattern}"]
exec = {command}
"""
_RULES = {"labels": "label:*", "limits": "resource:*", "session": "token:*"}


class DemoError(KmetadError):
    """The demo can't go on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What a rule did about a change."""

    plugin: str
    did: str
    ns: int
    """When, in ns since the epoch."""


class Stage:
    """Built when the ``with`` block is entered, torn down when it is left."""

    def __init__(self, directory: str) -> None:
        """``directory`` is private to this user, and empty."""
        self.directory = directory
        self.toml = f"{directory}/kmetad.toml"
        self.log = f"{directory}/kmetad.log"
        self.output = f"{directory}/app.log"
        """What the app has written, as whoever collects logs gets it."""
        self.page = ""
        """Where the status page is, without a slash at its end."""
        self.podinfo = Volume(f"{directory}/podinfo")
        self.settings = Volume(f"{directory}/settings")
        self.account = ServiceAccountVolume(f"{directory}/serviceaccount", namespace="shop")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._deeds = -1
        self._unread = b""
        self._done: list[tuple[list[list[str]], Deed]] = []

    def __enter__(self) -> Stage:
        try:
            self._build()
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tear_down()

    def deed(self, change: AnyChange, seconds: float = DEED_SECONDS) -> Deed | None:
        """What a rule did about a change, when it is done; None if nothing is within so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            for changes, deed in self._done:
                if [change.type, change.key] in changes:
                    changes.remove([change.type, change.key])
                    return deed
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._deeds], [], [], left)[0]:
                return None
            self._receive()

    def line(self, holds: str) -> str:
        """The app's first line that holds that. Raises DemoError."""

        def found() -> str:
            with open(self.output, encoding="utf-8", errors="replace") as file:
                return next((line for line in file if holds in line and line.endswith("\n")), "")

        self._until(lambda: bool(found()), f"no line of the app's had {holds}")
        return found().rstrip()

    def failed(self, what: str) -> DemoError:
        """Something didn't happen in time: with the end of kmetad's log."""
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                end = "".join(file.readlines()[-5:]).rstrip()
        except OSError:
            end = ""
        return DemoError(f"{what}; kmetad's log ends with:\n{end}" if end else what)

    def _build(self) -> None:
        directory = self.directory
        self.podinfo.write(
            labels={"app": "web", "beta": "yes", "version": "v1"},
            annotations={"team": "shop"},
            files={"name": "web-1", "cpu_limit": "500", "mem_limit": "256"},
        )
        self.settings.write(files={"greeting": "hello\n"})
        self.account.rotate(token(expires=time.time() + 600))
        with open(self.toml, "w", encoding="utf-8") as file:
            file.write(_configuration(directory))
        os.mkdir(f"{directory}/state", 0o700)
        os.mkfifo(f"{directory}/deeds", 0o600)
        # For reading and writing: its end never comes, whoever opens and closes it.
        self._deeds = os.open(f"{directory}/deeds", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        app = f"{os.path.dirname(__file__)}/app.py"
        self._start(["-m", "kmetad", "run", "-c", self.toml, "--", sys.executable, "-I", app, directory])
        self._until(lambda: os.path.exists(f"{directory}/app.pid"), "the demo's app didn't start")
        self._until(self._delivers, "kmetad didn't start")
        self._until(self._listens, "there is no status page")

    def _start(self, argv: list[str]) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("KMETAD_")}
        with open(self.output, "ab") as output, open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=environ,
                start_new_session=True,  # Ctrl-C is for the demo, which ends them in order
                preexec_fn=_end_with_parent(),
            )
        self._processes.append(process)

    def _until(self, condition: Callable[[], bool], failure: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise self.failed(failure)
            time.sleep(0.01)

    def _delivers(self) -> bool:
        """Whether kmetad has read the first state, and told its plugins."""
        with open(self.log, encoding="utf-8") as file:
            return '"kmetad.started"' in file.read()

    def _listens(self) -> bool:
        """Whether the plugin kmetad-status says where it is: asked as `kmetad status` asks."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(START_SECONDS)
            reach(f"{self.directory}/state", asking.connect)
            with asking.makefile("rb") as answer:
                lanes = json.load(answer)["lanes"]
        last = next((lane["last"] for lane in lanes if lane["name"] == "status"), None)
        self.page = last["detail"].get("listens", "") if last else ""
        return bool(self.page)

    def _receive(self) -> None:
        """Take what the rules reported. Lines are shorter than PIPE_BUF, so they come whole."""
        try:
            self._unread += os.read(self._deeds, 65536)
        except BlockingIOError:
            return
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            told = json.loads(line)
            self._done.append((told["changes"], Deed(told["plugin"], told["did"], told["ns"])))
        self._done = [(changes, deed) for changes, deed in self._done if changes][-100:]

    def _tear_down(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._deeds >= 0:
            os.close(self._deeds)
        shutil.rmtree(self.directory, ignore_errors=True)


def _end_with_parent() -> Callable[[], object] | None:
    """Has the kernel end the child if the demo is killed and can't (prctl(2); Linux alone has that)."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def temporary_directory() -> str:
    """A new one, private to this user. Raises DemoError."""
    try:
        return tempfile.mkdtemp(prefix="kmetad-demo-")
    except OSError as error:
        raise DemoError(
            f"the demo needs a directory to write to: {error.strerror}; set TMPDIR to one"
        ) from None


def kept_directory(environ: Mapping[str, str] | None = None) -> str:
    """Where a demo that is kept lives, for this user: known to the other terminal as well."""
    environ = os.environ if environ is None else environ
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    base = runtime if os.path.isdir(runtime) else tempfile.gettempdir()
    return f"{base}/kmetad-demo-{os.geteuid()}"


def claim(directory: str) -> int:
    """Make a directory ours alone, empty; the answer is a descriptor that says so while it is open.

    Raises DemoError if another demo has it, or somebody else.
    """
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    descriptor = open_private(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DemoError(
            f"a demo is kept already, in {directory}; end it with Ctrl-C in its terminal"
        ) from None
    for name in os.listdir(descriptor):  # of one that was killed
        path = f"{directory}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    return descriptor


def open_private(directory: str) -> int:
    """Open a directory that only this user can have made and changed. Raises DemoError."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise DemoError("no demo is kept; start one in another terminal: kmetad demo --keep") from None
        raise DemoError(f"{directory}: {error.strerror}; somebody else may have put it there") from None
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        os.close(descriptor)
        raise DemoError(f"{directory} isn't private to this user (mode 0700); remove it, or have it removed")
    return descriptor


def _configuration(directory: str) -> str:
    """The TOML. Strings of JSON are strings of TOML, too."""
    act = f"{os.path.dirname(__file__)}/act.py"
    rules = ""
    for rule, pattern in _RULES.items():
        command = json.dumps([sys.executable, "-I", act, directory, rule])
        rules += _RULE.format(rule=rule, pattern=pattern, command=command)
    return _TOML.format(directory=directory, level=_LEVEL) + rules
