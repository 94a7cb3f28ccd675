"""What stands in for the API server behind a proxy: nginx with TLS and HTTP/2, and watches of ``proxy_feed``."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from bench.contenders import ROOT, Running
from bench.proxy_feed import WATCHES
from bench.proxy_pod import HEADERS, PATH, pod

PATIENCE = 20.0
"""Seconds after which something is wrong."""
TOKEN = "bench"
# An API server neither ends a connection after so many requests, nor lets more than 100 streams share one.
_CONFIGURATION = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 4096;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_tokens off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    http2_max_concurrent_streams 100;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=1024;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location = {path} {{
            default_type application/json;
            {headers}
            return 200 '{pod}';
        }}
        location = {watches} {{
            proxy_pass http://127.0.0.1:{feed};
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where it is, who may come, and how its watches are told of events."""

    port: int
    kubeconfig: str
    trust: ssl.SSLContext
    """What a client needs that comes without a proxy."""
    orders: IO[str]
    server: Running

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def tell(self, first: int, count: int) -> None:
        """Have it write an event to each of so many watches."""
        self.orders.write(f"{first} {count}\n")
        self.orders.flush()


@contextmanager
def upstream(directory: str) -> Iterator[Upstream]:
    """Run it for as long as the block; RuntimeError where it can't be."""
    from tests.apiserver.tls import Authority

    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise RuntimeError("nginx isn't installed: apt-get install nginx-light")
    authority = Authority()
    certificate, key = authority.server().write(directory)
    with (
        subprocess.Popen(
            [sys.executable, "-m", "bench.proxy_feed"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as feed,
    ):
        assert feed.stdin is not None
        assert feed.stdout is not None
        try:
            port = _free_port()
            configuration = os.path.join(directory, "nginx.conf")
            with open(configuration, "w") as file:
                file.write(
                    _CONFIGURATION.format(
                        directory=directory,
                        port=port,
                        certificate=certificate,
                        key=key,
                        path=PATH,
                        headers=" ".join(
                            f'add_header {name} "{value}";'
                            for name, value in HEADERS
                            if name != "Content-Type"
                        ),
                        pod=pod(),
                        watches=WATCHES,
                        feed=int(feed.stdout.readline()),
                    )
                )
            server = Running([nginx, "-p", directory, "-e", "stderr", "-c", configuration], directory)
            try:
                _until_it_listens(port, server)
                trust = ssl.create_default_context(cadata=authority.pem.decode())
                config = _kubeconfig(directory, f"https://127.0.0.1:{port}", authority.pem)
                yield Upstream(port, config, trust, feed.stdin, server)
            finally:
                server.stop()
        finally:
            feed.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _until_it_listens(port: int, server: Running) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if server.fault() is not None or time.monotonic() > end:
                raise RuntimeError(f"nginx doesn't listen: {server.last_words()}") from None
            time.sleep(0.02)


def _kubeconfig(directory: str, url: str, authority: bytes) -> str:
    path = os.path.join(directory, "kubeconfig")
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(authority).decode()}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": cluster}],
        "users": [{"name": "bench", "user": {"token": TOKEN}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench", "namespace": "lab"}}],
        "current-context": "bench",
    }
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(content, file)
    return path
