"""Say where the API server is, how that was found, as whom it is asked, and how it is.

It is asked for its version and whether it is ready, and shows its certificate. What can
be known without it is printed also where it doesn't answer; the exit code is 1 then.

examples:
  kmetad api cluster-info
  kmetad api cluster-info -o json
  kmetad api cluster-info --server https://10.96.0.1 --timeout 2s
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kmetad._cli.api import asking, printing

if TYPE_CHECKING:
    from kmetad.api import Client, Server


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    printing.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 it answers, 1 it doesn't. Raises ApiError."""
    from kmetad.api import ApiError

    with asking.client(args) as client:
        server = client.server
        found: dict[str, Any] = {
            "server": server.url,
            "found": server.found,
            "credentials": server.credentials.about(),
            "namespace": client.namespace,
        }
        failed: ApiError | None = None
        try:
            version = client.get("/version")
            found["version"] = str(version.get("gitVersion", "unknown"))
            found["platform"] = str(version.get("platform", ""))
            found["ready"] = _ready(client)
            found["certificate"] = _certificate(server, args.timeout)
        except ApiError as error:
            failed = error
    if args.output == "table":
        certificate = found.pop("certificate", None)
        rows = [(name, str(value)) for name, value in found.items()]
        printing.facts([*rows, ("certificate", _shown(certificate) if certificate else "")])
    else:
        printing.document(found, args.output)
    if failed is not None:
        raise failed
    return 0


def _ready(client: Client) -> str:
    """``yes``, or what of it isn't; older servers have /healthz alone (before Kubernetes 1.16)."""
    from kmetad.api import Forbidden, NotFound, ServerError

    for path in ("/readyz", "/healthz"):
        try:
            client.raw("GET", path)
        except NotFound:
            continue
        except Forbidden:
            return f"unknown: {path} is forbidden"
        except ServerError as error:
            failing = re.findall(r"\[-\](\S+)", error.said)
            return f"no: {', '.join(failing) or error.said or error.code}"
        return "yes"
    return "unknown: it has neither /readyz nor /healthz"


def _certificate(server: Server, timeout: float) -> dict[str, Any] | None:
    """What the verified certificate says; None where there is none, or a proxy is on the way."""
    parts = urlsplit(server.url)
    if not server.secure or server.proxy is not None or not parts.hostname:
        return None
    import socket
    import ssl

    from kmetad.api import tls

    context = tls.context(server.credentials.trust(), verify=True)
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 443), timeout) as line,
            context.wrap_socket(line, server_hostname=server.tls_name or parts.hostname) as secured,
        ):
            shown: dict[str, Any] = secured.getpeercert() or {}
    except OSError:  # it has just answered, so this is no more than a whim of the network
        return None
    names = [name for _, name in shown.get("subjectAltName", ())]
    issuer = [value for part in shown.get("issuer", ()) for key, value in part if key == "commonName"]
    expires = shown.get("notAfter")
    if not isinstance(expires, str):
        return None
    return {"expires": int(ssl.cert_time_to_seconds(expires)), "names": names, "issuer": ", ".join(issuer)}


def _shown(certificate: dict[str, Any]) -> str:
    by = f", by {certificate['issuer']}" if certificate["issuer"] else ""
    return f"until {printing.until(certificate['expires'])}, for {', '.join(certificate['names'])}{by}"
