"""Finds out where the API server is: as somebody says, as a Pod is told, or as a kubeconfig has it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from kmetad._sources.serviceaccount import DIRECTORY
from kmetad.api.credentials import NOBODY, Mounted
from kmetad.api.errors import NoServer
from kmetad.api.server import Server

HOST, PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
"""Variables that the kubelet gives every container."""


def find_server(
    *,
    url: str | None = None,
    kubeconfig: str | None = None,
    context: str | None = None,
    insecure: bool = False,
    proxy_from_env: bool = False,
    token_path: str = DIRECTORY,
    environ: Mapping[str, str] = os.environ,
) -> Server:
    """The server that ``url`` or ``kubeconfig`` name; else the cluster's own in a Pod, else the usual kubeconfig.

    ``url``: it gets the mounted service account's token, over https, if there is one, or with ``kubeconfig`` or
    ``context`` what that says. ``context``: of a kubeconfig. ``insecure``: no certificate is verified, and no
    credentials are sent.
    ``proxy_from_env``: ``https_proxy`` and ``no_proxy`` mean the API server, too.
    Raises NoServer and CredentialsError.
    """
    server = _find(url, kubeconfig, context, insecure, token_path, environ)
    if insecure and server.verify:
        server = replace(server, verify=False, credentials=NOBODY)
    if proxy_from_env and server.proxy is None:
        server = replace(server, proxy=_proxy(server.url, environ))
    return server


def _find(
    url: str | None,
    kubeconfig: str | None,
    context: str | None,
    insecure: bool,
    token_path: str,
    environ: Mapping[str, str],
) -> Server:
    mounted = os.path.exists(f"{token_path}/token")
    host, port = environ.get(HOST, ""), environ.get(PORT, "443")
    usual = environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    if kubeconfig is None and context is None and url is not None:
        given = Server(url, found="as given")
        if not (mounted and given.secure):
            return given
        account = Mounted(token_path)
        return replace(given, credentials=account, namespace=account.namespace)
    if kubeconfig is None and context is None and host and mounted:
        account = Mounted(token_path)
        at = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        return Server(at, account, namespace=account.namespace, found=f"${HOST}")
    if kubeconfig is None and not environ.get("KUBECONFIG") and not os.path.exists(usual):
        raise NoServer(
            f"no API server is known: {_missing(host, token_path)}, and there is no {usual}; "
            "name one by [api] in the configuration, by --server or by --kubeconfig"
        )
    from kmetad.api import kubeconfig as files

    return files.server(kubeconfig or usual, context=context, url=url, insecure=insecure)


def _missing(host: str, token_path: str) -> str:
    if host:
        return f"this Pod has no token in {token_path} (automountServiceAccountToken)"
    return f"this is no Pod (${HOST} isn't set)"


def _proxy(url: str, environ: Mapping[str, str]) -> str | None:
    """What the usual variables say for a URL, in lower case first, as curl has it."""

    def variable(name: str) -> str:
        return environ.get(name) or environ.get(name.upper()) or ""

    parts = urlsplit(url)
    # $HTTP_PROXY isn't asked for: in a CGI script it is a header of the request.
    proxy = variable("https_proxy") if parts.scheme == "https" else environ.get("http_proxy", "")
    if not proxy or _goes_past(parts.hostname or "", variable("no_proxy")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _goes_past(host: str, no_proxy: str) -> bool:
    """Whether ``$no_proxy`` names a host: itself, a domain above it, a network (10.96.0.0/12), or ``*``.

    As Go reads it, and so kubectl (golang.org/x/net/http/httpproxy), but for ports: nobody asks a proxy for
    this very machine.
    """
    from ipaddress import ip_address, ip_network

    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    for entry in filter(None, (part.strip().lower() for part in no_proxy.split(","))):
        domain = entry.removeprefix("*")  # .example.com is what is below it, example.com itself, too
        if entry in ("*", host) or (domain and host.endswith(domain if domain[0] == "." else f".{domain}")):
            return True
        try:
            if address is not None and address in ip_network(entry.strip("[]"), strict=False):
                return True
        except ValueError:
            continue  # it is a name
    return False
