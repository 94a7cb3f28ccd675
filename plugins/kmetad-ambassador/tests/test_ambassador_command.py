"""``kmetad proxy``, as a process."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador import Options, command
from kmetad_ambassador.command import ProxyError

from tests.apiserver import ApiServer, behaviour
from tests.apiserver.kubeconfig import kubeconfig
from tests.cli import DEADLINE, Running, environment, inside, kmetad
from tests.proxying import USER, Lab

WEB = "/api/v1/namespaces/lab/pods/web"
NOT_OURS = {"--www", "--www-prefix"}
"""Options of kubectl proxy that kmetad's doesn't have."""


class Serving(Running):
    """A proxy; ``where`` is what it says of itself."""

    def __init__(self, *args: str, env: dict[str, str]) -> None:
        super().__init__("proxy", *args, env=env)
        line = self.out.line()
        assert line.startswith("Starting to serve on "), line
        self.where = line.removeprefix("Starting to serve on ")

    def __enter__(self) -> Serving:
        return self

    def connect(self, headers: dict[str, str] | None = None, path: str = WEB) -> HTTPConnection:
        """A request, whose answer may come."""
        connection = HTTPConnection(self.where, timeout=DEADLINE)
        if self.where.startswith("/"):
            connection = HTTPConnection("localhost", timeout=DEADLINE)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(DEADLINE)
            connection.sock.connect(self.where)
        connection.request("GET", path, headers=headers or {})
        return connection

    def get(self, path: str = WEB, **headers: str) -> tuple[int, Any]:
        """A request and its answer: the status and the object."""
        connection = self.connect(headers, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, json.loads(body)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code, after a signal."""
        self.send(number)
        return self.wait()


@pytest.fixture
def serve(lab: Lab) -> Iterator[Callable[..., Serving]]:
    """Starts proxies to the lab's API server, as its Pod's, and ends them."""
    (lab.directory / "config").write_text(kubeconfig(lab.api, lab.api.token(USER), "lab"))
    started: list[Serving] = []

    def begin(*args: str, **env: str) -> Serving:
        at = {"HOME": str(lab.directory), "KUBECONFIG": str(lab.directory / "config"), **env}
        started.append(Serving(*args, env=at))
        return started[-1]

    yield begin
    for one in started:
        one.__exit__(None, None, None)


def refused(*args: str, **env: str) -> str:
    """What it says and ends with 125."""
    done = kmetad("proxy", *args, env={"HOME": "/nowhere", **env})
    assert (done.stdout, done.returncode) == ("", 125), done
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(serve: Callable[..., Serving], number: signal.Signals) -> None:
    """Says where, passes on with credentials, and ends with 0."""
    proxy = serve("--port", "0", "--log-format", "json")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", proxy.where)
    status, found = proxy.get()
    assert (status, found["metadata"]["name"]) == (200, "web")
    assert proxy.get("/api/v1/namespaces/lab/secrets")[0] == 403
    assert proxy.end(number) == 0
    assert proxy.out.rest() == []
    lines = [json.loads(line) for line in proxy.err.rest()]
    assert [line["event"] for line in lines][:2] == ["ambassador.request", "ambassador.refused"]
    assert {"event": "ambassador.stopping", "signal": number.name}.items() <= lines[2].items()


def test_in_a_pod(lab: Lab, serve: Callable[..., Serving], tmp_path: Path) -> None:
    """The account that [token] names, at the server that the Pod is told of."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text(f'[token]\npath = "{lab.mount.path}"\n')
    proxy = serve("-p0", "-c", str(toml), **lab.environ)
    assert proxy.get()[0] == 200
    assert lab.api.requests[-1].user == USER


def test_a_unix_socket(serve: Callable[..., Serving], tmp_path: Path) -> None:
    """For its user alone; it is gone when the proxy is."""
    path = tmp_path / "api.sock"
    proxy = serve("-u", str(path))
    assert proxy.where == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert proxy.get()[0] == 200
    assert "proxy --unix-socket" not in refused("-u", str(path), KUBECONFIG=str(tmp_path / "config"))
    assert proxy.end() == 0
    assert not path.exists()


def test_what_is_under_way_comes_to_its_end(lab: Lab, serve: Callable[..., Serving]) -> None:
    """And nothing new begins."""
    hold = Held()
    lab.api.script(f"GET {WEB}", hold)
    proxy = serve("--port", "0", "--drain-timeout", "1h")
    connection = proxy.connect()
    hold.wait()
    proxy.send(signal.SIGTERM)
    proxy.err.until("ambassador.stopping")
    hold.let_go()
    assert json.loads(connection.getresponse().read())["metadata"]["name"] == "web"
    connection.close()
    assert proxy.wait() == 0


def test_a_second_signal_ends_it_at_once(lab: Lab, serve: Callable[..., Serving]) -> None:
    """Whatever is under way."""
    lab.api.script(f"GET {WEB}", behaviour.hang)
    proxy = serve("--port", "0", "--drain-timeout", "1h")
    connection = proxy.connect()
    lab.api.wait_for(f"GET {WEB}")
    proxy.send(signal.SIGTERM)
    proxy.err.until("ambassador.stopping")
    assert proxy.end(signal.SIGINT) == 0
    connection.close()


def test_a_second_signal_ends_whatever_is_waited_for(
    lab: Lab, serve: Callable[..., Serving], tmp_path: Path
) -> None:
    """A kubeconfig's command, too, that never ends."""
    for name in ("begun", "ended"):
        os.mkfifo(tmp_path / name)
    config = json.loads(kubeconfig(lab.api))
    argv = {"command": "sh", "args": ["-c", f"cd {tmp_path}; echo > begun; cat ended"]}
    config["users"][0]["user"] = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", **argv}}
    config["users"][0]["user"]["exec"]["interactiveMode"] = "Never"
    (tmp_path / "exec").write_text(json.dumps(config))
    proxy = serve("--port", "0", "--drain-timeout", "10ms", "--kubeconfig", str(tmp_path / "exec"))
    connection = proxy.connect()
    with open(tmp_path / "begun") as begun:
        assert begun.read() == "\n"
    proxy.send(signal.SIGTERM)
    proxy.err.until("ambassador.stopping")
    assert proxy.end() == 0
    (tmp_path / "ended").write_text("")
    connection.close()


def test_after_the_drain_timeout_it_ends(lab: Lab, serve: Callable[..., Serving]) -> None:
    """Whatever is under way."""
    lab.api.script(f"GET {WEB}", behaviour.hang)
    proxy = serve("--port", "0", "--drain-timeout", "10ms")
    connection = proxy.connect()
    lab.api.wait_for(f"GET {WEB}")
    assert proxy.end() == 0
    connection.close()


def test_rules(serve: Callable[..., Serving]) -> None:
    """Those on the command line."""
    proxy = serve("--port=0", "--allow", "get:pods:lab", "--allow", "get:secrets:lab:own")
    assert proxy.get()[0] == 200
    assert proxy.get("/api/v1/namespaces/lab/secrets/own")[0] == 404
    assert proxy.get("/api/v1/namespaces/lab/secrets/other")[0] == 403
    assert proxy.get("/api/v1/namespaces/default/pods/web")[0] == 403


def test_a_token_for_clients(serve: Callable[..., Serving], tmp_path: Path) -> None:
    """They have to send it."""
    (tmp_path / "token").write_text("open sesame\n")
    proxy = serve(
        "--port=0", "--address", "0.0.0.0", "--accept-hosts", ".*", "--token-file", str(tmp_path / "token")
    )
    assert proxy.get()[0] == 401
    assert proxy.get(Authorization="Bearer open sesame")[0] == 200
    proxy.end()
    assert "warning" not in "\n".join(proxy.err.rest()).replace('"level": "warning"', "")


# -- what it says, and doesn't do ------------------------------------------------------


def test_nothing_to_ask() -> None:
    """No server is found."""
    assert refused("--port", "0").startswith("kmetad: no API server is known: this is no Pod")


def test_where_it_cant_listen(tmp_path: Path) -> None:
    """One line, which says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused("--server", "https://a", "-p", str(port))
    assert told == (
        f"kmetad: 127.0.0.1:{port} can't be listened at: another process has that port: choose another by --port; "
        "0 takes any that is free\n"
    )
    (tmp_path / "file").write_text("")
    told = refused("--server", "https://a", "-u", str(tmp_path / "file"))
    assert told.endswith(
        "file can't be listened at: something is there already: remove it, or choose another path\n"
    )
    told = refused("--server", "https://a", "-u", str(tmp_path / "no" / "file"))
    assert told.endswith("its directory isn't there: make it\n")
    told = refused("--server", "https://a", "--address", "192.0.2.1", "--token-file", os.devnull)
    assert told.splitlines()[-1].endswith("this machine has no such address: set --address to one of its own")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["-u", "/s", "-p", "1"], "--unix-socket is listened at instead of --address and --port"),
        (
            ["--disable-filter", "--allow-write"],
            "--disable-filter lets everything pass, so --allow-write would",
        ),
        (["--allow", "pods"], "--allow: 'pods' is no rule"),
        (["--accept-paths", "^/(a,b)"], "--accept-paths: '^/(a' is no regular expression"),
        (["--accept-paths", "^/a{1,2}"], "a comma ends an expression here, so {1,2} can't be in one"),
        (["--reject-paths", ""], "--reject-paths: an empty expression matches everything"),
        (["--address", "localhost"], "--address: 'localhost' is no IP address; did you mean 127.0.0.1?"),
        (["--max-body", "8MB"], "--max-body: '8MB' is no size from 0 to 1Ti"),
        (["--port", "http"], "argument -p/--port: invalid int value: 'http' (see kmetad proxy --help)"),
        (["--idle-timeout", "5"], "'5' is no duration such as 30s or 1m30s; did you mean 5s or 5ms?"),
        (["--disable-filter=maybe"], "'maybe' is neither true nor false"),
        (["--www", "/srv"], "--www: this proxy serves no files"),
        (["--www=/srv"], "--www: this proxy serves no files"),
        (["-w", "/srv", "-P", "/x/"], "-w: this proxy serves no files"),
        (["--www-prefix=/x/"], "--www-prefix: this proxy serves no files"),
        (["here"], "unrecognized arguments: here"),
    ],
)
def test_wrong_usage(args: list[str], told: str) -> None:
    """In the words of the command line, and 125."""
    done = inside("proxy", "--server", "https://a", *args)
    assert (done.stdout, done.returncode) == ("", 125)
    assert done.stderr.startswith("kmetad: ")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_warnings(tmp_path: Path) -> None:
    """What isn't safe is said before it serves; that it serves is said all the same."""
    with (
        ApiServer(tls=False) as server,
        Serving(
            *("--port=0", "--address=0.0.0.0", "--disable-filter=true", f"--server={server.url}/some/path"),
            env={"HOME": str(tmp_path)},
        ) as proxy,
    ):
        assert proxy.where.startswith("0.0.0.0:")
        assert proxy.end() == 0
        told = [line for line in proxy.err.rest() if line.startswith("kmetad: warning: ")]
    assert [line.removeprefix("kmetad: warning: ").partition(" ")[0] for line in told] == [
        "--disable-filter:",
        "--address",
        f"{server.url}/some/path",
        "the",
    ]
    assert "can do whatever its token can" in told[0]
    assert "set --token-file" in told[1]
    assert "plain http, so no credentials are sent" in told[2]
    assert "set --append-server-path" in told[3]


def test_no_warnings(serve: Callable[..., Serving]) -> None:
    """Where all is as it is by default."""
    proxy = serve("--port=0", "-q")
    assert proxy.end() == 0
    assert proxy.err.rest() == []


def test_where_nobody_can_be_told(lab: Lab, tmp_path: Path) -> None:
    """It doesn't serve in secret."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    path = tmp_path / "api.sock"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kmetad", "proxy", "--server", lab.api.url, "-u", str(path)],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE,
        )
    assert (done.stderr, done.returncode) == ("kmetad: standard output: No space left on device\n", 125)
    assert not path.exists()


# -- the command line, the TOML, and kubectl -------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command's."""
    made = argparse.ArgumentParser(prog="kmetad proxy")
    command.arguments(made)
    return made


def options(*args: str) -> Options:
    """What a command line says."""
    return command.options_of(parser().parse_args(args))


def test_each_option_of_the_toml_is_one_here() -> None:
    """By its name with dashes; what isn't given is as it is there."""
    flags = {action.dest: action.option_strings for action in parser()._actions}
    for name in Options.__struct_fields__:
        assert command.flag(name) in flags[name]
    assert options() == Options()


def test_all_options() -> None:
    """Each becomes what the TOML would have made of it."""
    made = options(
        *("--address=::1", "-p=0", "--api-prefix=/x", "--append-server-path=true", "--accept-hosts=^a$,^b$"),
        *(
            "--accept-paths=^/api",
            "--reject-paths=/a,/b",
            "--reject-methods=^POST$",
            "--allow-write",
            "--allow=get:a",
        ),
        *("--allow", "get:b", "--token-file=/t", "--max-requests=9", "--max-head=1Ki", "--max-body=0"),
        *("--idle-timeout=1m", "--keepalive=0", "--drain-timeout=1s", "--log-requests=none"),
    )
    assert made == Options(
        address="::1",
        port=0,
        api_prefix="/x/",
        append_server_path=True,
        accept_hosts=("^a$", "^b$"),
        accept_paths=("^/api",),
        reject_paths=("/a", "/b"),
        reject_methods=("^POST$",),
        allow_write=True,
        allow=("get:a", "get:b"),
        token_file="/t",
        max_requests=9,
        max_head="1Ki",
        max_body="0",
        idle_timeout=timedelta(minutes=1),
        keepalive=timedelta(),
        drain_timeout=timedelta(seconds=1),
        log_requests="none",
    )
    assert options("-u", "/s").unix_socket == "/s"
    for text, value in (("", True), ("=true", True), ("=T", True), ("=0", False), ("=false", False)):
        assert options(f"--disable-filter{text}").disable_filter is value
    with pytest.raises(ProxyError, match=r"^--max-requests: 0 lets nobody in"):
        options("--max-requests", "0")


def test_kubectl_proxys_own_options_are_all_here() -> None:
    """With the same short forms, the same defaults where they are safe, and its own examples."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl (Debian's kubernetes-client)")
    shown = subprocess.run([kubectl, "proxy", "--help"], capture_output=True, text=True, timeout=60).stdout
    theirs = re.findall(r"^ +(?:(-\w), |)(--[\w-]+)=(.*?):(?: |$)", shown, re.MULTILINE)
    assert {"--port", "--unix-socket", "--reject-methods"} <= {name for _, name, _ in theirs}
    ours = {flag: action for action in parser()._actions for flag in action.option_strings}
    different = set()
    for short, name, quoted in theirs:
        default = quoted.strip("'")
        assert name in ours
        assert not short or ours[short] is ours[name]
        if default and name not in NOT_OURS and options(f"{name}={default}") != options():
            different.add(name)
    # "^$" rejects no method; the rules refuse exec and attach; and what is silent for long is probed.
    assert different == {"--reject-methods", "--reject-paths", "--keepalive"}
    for example in re.findall(r"^ +kubectl proxy (--.*)$", shown, re.MULTILINE):
        if "--www" not in example:
            options(*example.split())


class Held:
    """A behaviour: the usual answer, when it is let go."""

    def __init__(self) -> None:
        self._came, self._free = threading.Event(), threading.Event()

    def __call__(self, exchange: Any) -> None:
        self._came.set()
        assert self._free.wait(DEADLINE)
        exchange.serve()

    def wait(self) -> None:
        """Until a request has come."""
        assert self._came.wait(DEADLINE)

    def let_go(self) -> None:
        """Answer it."""
        self._free.set()


def test_a_log_that_nobody_takes(lab: Lab) -> None:
    """Its lines are dropped and counted: clients are answered all the same, and TERM ends it."""
    read, write = os.pipe()
    config = lab.directory / "kmetad.toml"
    config.write_text(f'[token]\npath = "{lab.mount.path}"\n')
    command = [sys.executable, "-m", "kmetad", "proxy", "--port", "0", "-c", str(config)]
    environ = {**os.environ, **lab.environ}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=write, text=True) as process:
        os.close(write)
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        connection = HTTPConnection(address, timeout=DEADLINE)
        longest = "&".join(f"a{number}" for number in range(3000))
        for number in range(1000):
            connection.request("GET", WEB if number % 2 else f"{WEB}?{longest}")
            answer = connection.getresponse()
            assert (answer.read() != b"", answer.status) == (True, 200)
        connection.request("GET", "/healthz?verbose")
        counters = connection.getresponse().read().decode()
        connection.close()
        dropped = re.search(r"^log_lines_dropped (\d+)$", counters, re.MULTILINE)
        assert dropped is not None and int(dropped[1]) > 0
        process.terminate()
        assert process.wait(DEADLINE) == 0
        os.close(read)
