"""What the table may hold."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador import Options, Plugin
from kmetad_ambassador.asked import Asked
from kmetad_ambassador.options import OptionsError
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.rules import Rule

from kmetad._config import options as of_table
from kmetad.errors import ConfigError
from kmetad.testing import Host

ALL: dict[str, Any] = {
    "address": "::1",
    "port": 0,
    "api_prefix": "/k8s-api",
    "append_server_path": True,
    "accept_hosts": ["^web$"],
    "accept_paths": ["^/api"],
    "reject_paths": ["/secrets"],
    "reject_methods": ["DELETE"],
    "allow_write": True,
    "allow": ["get:pods/exec", {"verbs": ["get"], "resources": ["secrets"], "namespaces": ["lab"]}],
    "token_file": "/run/token",
    "max_requests": 1,
    "max_head": "64Ki",
    "max_body": "1",
    "idle_timeout": "5m",
    "keepalive": "0s",
    "drain_timeout": "0s",
    "log_requests": "refused",
}


def test_what_it_holds() -> None:
    """All of it, as a TOML has it."""
    Host(Plugin, **ALL)
    made = of_table(Options, ALL, "ambassador")
    assert made.api_prefix == "/k8s-api/"
    assert (made.head_bytes, made.body_bytes) == (65536, 1)
    assert (made.idle_timeout, made.keepalive) == (timedelta(minutes=5), timedelta())
    assert made.rules()[1] == Rule(("get",), resources=("secrets",), namespaces=("lab",))
    assert set(ALL) | {"unix_socket", "disable_filter"} == set(Options.__struct_fields__)
    Host(Plugin, unix_socket="/run/api.sock", disable_filter=True)


def test_what_is_there_by_default() -> None:
    """As kubectl proxy has it, where that is safe; and reading alone."""
    made = Options()
    assert (made.address, made.port, made.api_prefix) == ("127.0.0.1", 8001, "/")
    made.policy().check(Asked("get", "/api/v1/namespaces/lab/pods/web", "", "pods", "", "lab", "web"))
    with pytest.raises(Refusal):
        made.policy().check(Asked("create", "/api/v1/namespaces/lab/pods", "", "pods", "", "lab"))
    with pytest.raises(Refusal):
        made.policy().check(Asked("get", "/api/v1/namespaces/lab/secrets/x", "", "secrets", "", "lab", "x"))
    for host in ("localhost", "127.0.0.1:8001", "[::1]:8001"):
        made.filter().check_host(host, None, None)
    with pytest.raises(Refusal):
        made.filter().check_host("example.com", None, None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"address": "localhost"}, r"address: 'localhost' is no IP address; did you mean 127.0.0.1\?"),
        ({"address": "[::1]"}, r"address: '\[::1\]' is no IP address; did you mean ::1\?"),
        ({"address": ""}, r"address: '' is no IP address; did you mean 0.0.0.0\?"),
        ({"address": "example.com"}, r"'example.com' is no IP address$"),
        ({"port": 65536}, "port: 65536 is no port"),
        ({"port": -1}, "0 takes any that is free"),
        ({"unix_socket": ""}, "unix_socket: '' is no path"),
        ({"unix_socket": "/a\0b"}, "is no path"),
        ({"unix_socket": "/" + "ä" * 54}, "longer than the 107 bytes"),
        ({"unix_socket": "/s", "port": 8002}, "unix_socket is listened at instead of address and port"),
        ({"unix_socket": "/s", "address": "::1"}, "leave out that, or these"),
        ({"api_prefix": "api"}, "api_prefix: 'api' is no plain path: it begins with a slash"),
        ({"api_prefix": "//"}, "is no plain path"),
        ({"api_prefix": "/a/../b/"}, "is no plain path"),
        ({"api_prefix": "/a%2f/"}, "is no plain path"),
        ({"api_prefix": "/a?b"}, "is no plain path"),
        ({"api_prefix": "/ä/"}, "is no plain path"),
        ({"api_prefix": "/\ud800"}, "is no plain path"),
        ({"accept_hosts": []}, "accept_hosts is empty, so nothing would be accepted; leave it out"),
        ({"accept_paths": []}, "accept_paths is empty"),
        ({"reject_paths": [""]}, "reject_paths: an empty expression matches everything"),
        ({"reject_methods": ["POST", ""]}, "leave it out to reject nothing"),
        ({"accept_hosts": ["("]}, r"accept_hosts: "),
        ({"reject_paths": ["a", "[a-"]}, r"reject_paths: "),
        (
            {"disable_filter": True, "allow_write": True},
            "disable_filter lets everything pass, so allow_write would",
        ),
        ({"disable_filter": True, "allow": ["get:pods"]}, "so allow would mean nothing"),
        ({"allow": ["pods"]}, "allow: 'pods' is no rule"),
        ({"allow": [{"verbs": ["get"]}]}, "a rule has resources"),
        ({"allow": [{"verbs": ["get"], "resource": ["pods"]}]}, "resource"),
        ({"token_file": ""}, "token_file is empty"),
        ({"max_requests": 0}, "max_requests: 0 lets nobody in"),
        ({"max_head": "32KB"}, "max_head: '32KB' is no size from 1Ki to 1Mi"),
        ({"max_head": "1"}, "max_head"),
        ({"max_head": "2Mi"}, "max_head"),
        ({"max_body": "-1"}, "max_body: '-1' is no size"),
        ({"max_body": 5}, "max_body"),
        ({"idle_timeout": "0s"}, "idle_timeout has to be more than nothing"),
        ({"keepalive": "1ms"}, "keepalive is 0, for none, or from 1s to 32767s"),
        ({"keepalive": "10h"}, "keepalive is 0"),
        ({"log_requests": "some"}, "refused"),
        ({"www": "/srv"}, "www"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], told: str) -> None:
    """Each error says what would."""
    with pytest.raises(ConfigError, match=told):
        Host(Plugin, **options)


def test_an_error_names_options_as_they_are_written() -> None:
    """In the TOML, or wherever."""
    with pytest.raises(OptionsError) as raised:
        Options(unix_socket="/s", port=1)
    assert raised.value.told(str.upper).startswith("UNIX_SOCKET is listened at instead of ADDRESS and PORT")
    with pytest.raises(OptionsError, match="less than nothing"):
        Options(drain_timeout=timedelta(seconds=-1))
    with pytest.raises(OptionsError, match="'{port}' is no IP address"):
        Options(address="{port}")


@pytest.mark.parametrize(
    ("options", "loopback"),
    [
        ({}, True),
        ({"address": "127.8.8.8"}, True),
        ({"address": "::1"}, True),
        ({"address": "::ffff:127.0.0.1"}, True),
        ({"address": "0.0.0.0"}, False),
        ({"address": "::"}, False),
        ({"address": "10.1.2.3"}, False),
        ({"unix_socket": "/s"}, True),
    ],
)
def test_who_comes_there(options: dict[str, Any], loopback: bool) -> None:
    """Whether only this machine does."""
    assert Options(**options).loopback is loopback


def test_the_longest_socket(tmp_path: Path) -> None:
    """107 bytes, which a socket can really have."""
    name = "s" * (107 - len(str(tmp_path)) - 1)
    assert Options(unix_socket=f"{tmp_path}/{name}").unix_socket == f"{tmp_path}/{name}"


def test_a_plugin_that_is_only_named_is_light() -> None:
    """An event loop, TLS and a parser of HTTP come with its start."""
    code = (
        "import sys; from kmetad_ambassador import Options, Plugin; Options(allow=('get:pods',)); "
        "print([m for m in ('asyncio', 'httptools', 'ssl', 'socket', 'kmetad.api') if m in sys.modules])"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
