"""What calling the API server costs: memory beside the daemon, and time beside urllib3 alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.contenders import ROOT, Running
from bench.install import Installed
from bench.process import footprint, settle

PATH = "/api/v1/namespaces/lab/pods/web"
BARE, CLIENT, OFFICIAL = "urllib3 alone", "kmetad.api", "official client"
CALLS = 50
"""Of the daemon's plugin, before it is looked at."""
MEMORY = 9.0
"""Megabytes Private_Dirty that they may cost."""


@dataclass(slots=True)
class Calls:
    """What was measured."""

    idle: float | None = None
    """Megabytes Private_Dirty of a daemon whose plugin calls nobody."""
    calling: float | None = None
    """The same of one whose plugin has called the API server."""
    times: dict[str, list[float]] = field(default_factory=dict)
    """Microseconds of a GET on a connection that is kept, by who made it."""
    fault: str | None = None

    @property
    def cost(self) -> float | None:
        """Megabytes that calling adds."""
        return None if self.idle is None or self.calling is None else self.calling - self.idle


def measure(rounds: int, installed: Installed, directory: str) -> Calls:
    """Two daemons that differ in calling, then so many GETs of each client, in turn."""
    calls = Calls()
    try:
        with _server(directory) as (url, account):
            calls.idle = _daemon(installed, directory, url, account, 0)
            calls.calling = _daemon(installed, directory, url, account, CALLS)
            _race(rounds, url, account, calls.times)
    except (OSError, RuntimeError, ImportError) as error:
        calls.fault = f"{type(error).__name__}: {error}"
    return calls


@contextmanager
def _server(directory: str) -> Iterator[tuple[str, str]]:
    """The tests' API server as a process of its own: its URL, and a service account's mount."""
    command = [sys.executable, "-m", "tests.apiserver"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError("the tests' API server didn't start")
            with open(process.stdout.readline().strip().partition("=")[2]) as file:
                config = json.load(file)
            account = os.path.join(directory, "account")
            os.mkdir(account)
            ca = b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
            token = config["users"][0]["user"]["token"].encode()
            for name, content in (("ca.crt", ca), ("token", token), ("namespace", b"lab")):
                with open(os.path.join(account, name), "wb") as written:
                    written.write(content)
            yield url, account
        finally:
            process.terminate()


def _daemon(installed: Installed, directory: str, url: str, account: str, calls: int) -> float:
    """Megabytes of a daemon whose plugin has made so many calls."""
    home = os.path.join(directory, f"caller{calls}")
    os.mkdir(home)
    plugin = shutil.copy(os.path.join(ROOT, "bench", "watchers", "caller_plugin.py"), home)
    os.chmod(plugin, 0o644)  # kmetad refuses what others could replace
    done = os.path.join(home, "done")
    toml = os.path.join(home, "kmetad.toml")
    with open(toml, "w") as file:
        file.write(
            f'[token]\npath = "{account}"\n[api]\nurl = "{url}"\n'
            f'[plugins.caller]\npath = "{plugin}"\ncalls = {calls}\ndone = "{done}"\n'
        )
    process = Running([installed.script, "run", "-c", toml], home)
    try:
        end = time.monotonic() + 30
        while not os.path.exists(done):
            if process.fault() is not None or time.monotonic() > end:
                raise RuntimeError(f"the daemon made no calls: {process.last_words()}")
            time.sleep(0.05)
        settle([process.pid])
        return footprint(process.pid).private_dirty
    finally:
        process.stop()


def _race(rounds: int, url: str, account: str, times: dict[str, list[float]]) -> None:
    """Whoever comes first in a round changes from one to the next."""
    contenders = list(_contenders(url, account))
    for _, call in contenders:
        call()
    for number in range(rounds):
        for name, call in contenders[number % len(contenders) :] + contenders[: number % len(contenders)]:
            begun = time.perf_counter()
            call()
            times.setdefault(name, []).append((time.perf_counter() - begun) * 1e6)


def _contenders(url: str, account: str) -> Iterator[tuple[str, Callable[[], object]]]:
    import urllib3

    from kmetad.api import Client, find_server

    with open(os.path.join(account, "token")) as file:
        headers = {"Authorization": f"Bearer {file.read()}", "Accept": "application/json"}
    pool = urllib3.PoolManager(ca_certs=os.path.join(account, "ca.crt"))
    yield BARE, lambda: json.loads(pool.request("GET", url + PATH, headers=headers).data)
    client = Client(find_server(url=url, token_path=account))
    yield CLIENT, lambda: client.get(PATH)
    try:
        from kubernetes import client as official
    except ImportError:
        return
    configuration = official.Configuration()
    configuration.host, configuration.ssl_ca_cert = url, os.path.join(account, "ca.crt")
    configuration.api_key = {"authorization": headers["Authorization"]}
    core = official.CoreV1Api(official.ApiClient(configuration))
    yield OFFICIAL, lambda: core.read_namespaced_pod("web", "lab")
