"""nginx, as the cookbook has it: validated by itself, reloaded by HUP, never without an answer."""

from __future__ import annotations

import http.client
import os
import subprocess
import threading
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import eventually
from tests.daemons import Daemon
from tests.programs.conftest import Started, program
from tests.programs.recipes import moved

RELOADS = 50
MAIN = """
daemon off;
pid DIR/nginx.pid;
error_log DIR/error.log notice;
events { worker_connections 512; }
http {
    access_log off;
    client_body_temp_path DIR/tmp; proxy_temp_path DIR/tmp; fastcgi_temp_path DIR/tmp;
    uwsgi_temp_path DIR/tmp; scgi_temp_path DIR/tmp;
    include DIR/sites/*.conf;
}
"""


class Nginx:
    """One, wrapped by kmetad, whose site is a ConfigMap."""

    def __init__(self, directory: Path, port: int, started: Started) -> None:
        nginx = program("nginx")
        self.port = port
        self.directory = directory
        self.sites = Volume(directory / "sites")
        self.serve("first")
        user = "user root;\n" if os.geteuid() == 0 else ""
        main = directory / "nginx.conf"
        main.write_text(user + MAIN.replace("DIR", str(directory)))
        toml = moved(
            "nginx",
            {
                "/etc/nginx/conf.d": "DIR/sites",
                '"nginx", "-t", "-q"': f'"{nginx}", "-t", "-q", "-c", "{main}"',
                "127.0.0.1:8080": f"127.0.0.1:{port}",
                '"200ms"': '"10ms"',
            },
        )
        self.kmetad: Daemon = started(toml, "--", nginx, "-c", str(main))
        eventually(self.answers)

    def serve(self, text: str) -> None:
        """The ConfigMap is edited: nginx answers this."""
        site = f'server {{ listen 127.0.0.1:{self.port}; location / {{ return 200 "{text}"; }} }}\n'
        self.sites.write(files={"site.conf": site})

    def get(self) -> str:
        """Its answer, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read().decode()
        finally:
            connection.close()

    def answers(self) -> bool:
        """Whether it does."""
        try:
            return bool(self.get())
        except OSError:
            return False

    def reloads(self) -> int:
        """How often it was told to."""
        return (self.directory / "error.log").read_text().count("signal 1 (SIGHUP) received")


@pytest.fixture
def nginx(tmp_path: Path, port: int, started: Started) -> Nginx:
    """One that answers "first"."""
    return Nginx(tmp_path, port, started)


def test_requests_during_fifty_reloads_all_succeed(nginx: Nginx) -> None:
    """On connections of their own, from several clients; each reload's configuration is served in the end."""
    stop = threading.Event()
    answers: list[int] = []
    faults: list[str] = []

    def ask() -> None:
        count = 0
        while not stop.is_set():
            try:
                nginx.get()
                count += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                faults.append(repr(error))
        answers.append(count)

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        for number in range(RELOADS):
            nginx.serve(f"generation {number}")
            nginx.kmetad.line("reload.applied")
            eventually(lambda number=number: nginx.get() == f"generation {number}")
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert faults == []
    assert sum(answers) >= RELOADS
    assert nginx.reloads() == RELOADS


def test_a_broken_configuration_never_reaches_it(nginx: Nginx) -> None:
    """What nginx says of it is in the log; the good old one reloads, and so does the next."""
    nginx.serve('broken"; nonsense "')
    failed = nginx.kmetad.line("plugin.failed")
    assert failed["error"].startswith("validate: ")
    assert "exited with 1; it said: " in failed["error"]
    assert (
        'unknown directive "nonsense"' in failed["error"] or "invalid number of arguments" in failed["error"]
    )
    nginx.kmetad.line("lane.parked")
    assert (nginx.get(), nginx.reloads()) == ("first", 0)
    nginx.serve("first")
    assert nginx.kmetad.line("reload.applied")["changes"] == ["file:sites/site.conf"]
    nginx.serve("second")
    nginx.kmetad.line("reload.applied")
    eventually(lambda: nginx.get() == "second")
    assert nginx.reloads() == 2


def test_the_certificate_recipe_follows_a_renewal(tmp_path: Path, port: int, started: Started) -> None:
    """The new certificate is served after it, and verified against the new authority."""
    import ssl

    nginx, openssl = program("nginx"), program("openssl")

    def certificate(name: str) -> dict[str, str]:
        key, cert = tmp_path / f"{name}.key", tmp_path / f"{name}.crt"
        subprocess.run(
            [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
            + ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
            + ["-keyout", str(key), "-out", str(cert)],
            check=True,
            capture_output=True,
        )
        text = cert.read_text()
        return {"tls.crt": text, "tls.key": key.read_text(), "ca.crt": text}

    secret = Volume(tmp_path / "tls")
    secret.write(files=certificate("old"))
    main = tmp_path / "nginx.conf"
    site = (
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate DIR/tls/tls.crt; "
        'ssl_certificate_key DIR/tls/tls.key; location / { return 200 "ok"; } }'
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    main.write_text((user + MAIN.replace("include DIR/sites/*.conf;", site)).replace("DIR", str(tmp_path)))
    toml = moved(
        "TLS certificates",
        {
            "/etc/nginx/tls/ca.crt": "DIR/tls/ca.crt",
            "/etc/nginx/tls": "DIR/tls",
            '"nginx", "-t", "-q"': f'"{nginx}", "-t", "-q", "-c", "{main}"',
            "localhost:8443": f"localhost:{port}",
            '"5s"': '"0s"',
        },
    )
    kmetad = started(toml, "--", nginx, "-c", str(main))

    def served() -> str | None:
        try:
            return ssl.get_server_certificate(("127.0.0.1", port))
        except OSError:
            return None

    eventually(lambda: served() == secret_text(tmp_path, "old"))
    secret.write(files=certificate("new"))
    applied = kmetad.line("reload.applied")
    assert applied["verified"].endswith("200 OK")
    eventually(lambda: served() == secret_text(tmp_path, "new"))


def secret_text(directory: Path, name: str) -> str:
    """A certificate as it was made."""
    return (directory / f"{name}.crt").read_text()
