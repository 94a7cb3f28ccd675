"""What the TOML may say, and what is said of it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kmetad_status import Options, Plugin
from kmetad_status.options import PORT

from kmetad import ConfigError, Fail
from kmetad.metadata import Snapshot
from kmetad.testing import Host
from tests.cli import inside
from tests.test_packaging import plain_environment

REFUSED = {
    "name": ({"address": "localhost"}, "did you mean 127.0.0.1?"),
    "brackets": ({"address": "[::1]"}, "did you mean ::1?"),
    "everywhere": ({"address": "*"}, "did you mean 0.0.0.0?"),
    "nowhere": ({"address": "web.lab"}, "'web.lab' is no IP address"),
    "port": ({"port": 65536}, "port: 65536 is no port"),
    "both": ({"unix_socket": "/run/s", "port": 1}, "unix_socket is listened at instead of address and port"),
    "no path": ({"unix_socket": ""}, "unix_socket: '' is no path"),
    "long path": ({"unix_socket": "/" + "x" * 107}, "put it into a directory with a shorter one"),
    "url": ({"hosts": ["http://web"]}, "hosts: 'http://web' is no host's name"),
    "with port": ({"hosts": ["web:80"]}, "hosts: 'web:80' is no host's name"),
    "empty": ({"hosts": [""]}, "hosts: '' is no host's name"),
    "lag": ({"lag_limit": "-1s"}, "lag_limit"),
    "history": ({"history": 1}, "history: 1 events can't be kept; expected 100 to 10000"),
    "unknown": ({"prot": 1}, "prot"),
}


@pytest.mark.parametrize(("options", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_can_not_be(options: dict[str, Any], why: str) -> None:
    """Each option that means nothing is refused, in a sentence that says what would."""
    with pytest.raises(ConfigError) as refused:
        Host(Plugin, **options)
    assert why in str(refused.value)


def test_the_defaults() -> None:
    """Whoever sets nothing is read by nobody else, and by names that no foreign page can have."""
    options = Options()
    assert (options.address, options.port, options.loopback, options.hosts) == ("127.0.0.1", 9478, True, ())
    assert not list(Host(Plugin).plugin.advice(Snapshot()))


def test_the_readme_has_all() -> None:
    """Each option, and none that isn't, with its default."""
    text = (Path(__file__).parents[1] / "README.md").read_text().partition("## Options")[2].partition("##")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*?) \|", text, re.MULTILINE)
    said: dict[str, str] = {}
    for names, defaults in rows:
        shown = re.findall(r"`([^`]+)`", defaults) or [""]
        said |= dict(zip(re.findall(r"`(\w+)`", names), shown, strict=True))
    assert said == {
        "address": '"127.0.0.1"',
        "port": str(PORT),
        "unix_socket": "",
        "hosts": "",
        "lag_limit": '"0s"',
        "history": str(Options().history),
    }
    assert said.keys() == set(Options.__struct_fields__)


def test_advice(tmp_path: Path) -> None:
    """`kmetad check` warns where others may read it."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text('[plugins.status]\naddress = "0.0.0.0"\nport = 1234\n')
    done = inside("check", "-c", str(toml))
    assert "whoever reaches port 1234 reads all labels and annotations" in done.stderr
    (said,) = Host(Plugin, unix_socket="/run/s", hosts=["web"]).plugin.advice(Snapshot())
    assert said.startswith("hosts means nothing with unix_socket")


def test_a_port_that_is_taken() -> None:
    """The sentence says what to do; once the port is free, the next try has it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        host = Host(Plugin, port=port)
        with pytest.raises(
            Fail, match=f"127.0.0.1:{port} can't be listened at: another process has that port"
        ):
            host.start()
    host.start()
    assert host.outcomes[-1].detail == {"listens": f"http://127.0.0.1:{port}"}
    host.stop()


NOWHERE = {
    "address": ({"address": "192.0.2.1", "port": 0}, "this machine has no such address"),
    "directory": ({"unix_socket": "/nowhere/s"}, "its directory isn't there: make it"),
    "file": ({"unix_socket": "DIR/file"}, "something is there already"),
}


@pytest.mark.parametrize(("options", "why"), NOWHERE.values(), ids=NOWHERE.keys())
def test_where_nobody_can_listen(options: dict[str, Any], why: str, tmp_path: Path) -> None:
    """Likewise."""
    (tmp_path / "file").write_text("")
    made = {
        name: value.replace("DIR", str(tmp_path)) if name == "unix_socket" else value
        for name, value in options.items()
    }
    with pytest.raises(Fail, match=why):
        Host(Plugin, **made).start()


def test_nothing_is_imported_before_its_start() -> None:
    """A configuration that is only checked needs no event loop, no HTTP and no metrics."""
    heavy = ("asyncio", "h11", "prometheus_client", "json", "urllib.parse", "email")
    code = f"import sys, kmetad_status; sys.exit(', '.join(n for n in {heavy!r} if n in sys.modules) or 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain_environment(), capture_output=True, text=True
    )  # coverage, where it measures, imports some of them itself
    assert done.returncode == 0, done.stderr
