"""From what an HTTP library raises to what went wrong, and what to do about it."""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from kmetad.api.call import Call
from kmetad.api.credentials import NOBODY
from kmetad.api.errors import BadAnswer, TimedOut, Unreachable, Untrusted
from kmetad.api.exchange import Request
from kmetad.api.server import Server

if TYPE_CHECKING:
    from ssl import SSLCertVerificationError

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3}[ -~]{0,60}?)['\"]")
_OTHER_NAMES, _NOT_NOW = (62, 64), (9, 10)
"""
X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH; _CERT_NOT_YET_VALID and _CERT_HAS_EXPIRED (openssl's
x509_vfy.h).
"""


def explain(error: Exception, request: Request, call: Call, server: Server) -> NoReturn:
    """Raises Unreachable, or what is below it, or BadAnswer, for what urllib3 raised.

    None of its own texts is passed on but those of the system and of OpenSSL: they may show headers.
    """
    import ssl

    from urllib3 import exceptions

    at = (
        f" at {server.url}"
        if server.proxy is None
        else f" at {server.url}, through the proxy {server.proxy},"
    )
    if call.late:
        raise TimedOut(f"{request}: no whole answer in time{at}") from None
    if call.ended:
        raise Unreachable(f"{request}: stopped") from None
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = f"the certificate{at} can't be verified ({cause.verify_message}); {untrusted(cause, server)}"
        raise Untrusted(f"{request}: {why}") from None
    if isinstance(error, exceptions.ProxyError) and (refused := _TUNNEL.search(repr(error))):
        raise Unreachable(
            f"{request}: the proxy {server.proxy} doesn't let it through: {refused[1]}"
        ) from None
    if isinstance(error, exceptions.DecodeError):
        raise BadAnswer(f"{request}: an answer that says it is compressed, and isn't as it says") from None
    if isinstance(cause, ssl.SSLError):
        why = f"no TLS{at} ({cause.reason or type(cause).__name__}); is it plain http, or another port?"
    elif isinstance(error, exceptions.NameResolutionError) or isinstance(cause, socket.gaierror):
        asked = urlsplit(server.proxy or server.url).hostname
        why = f"the name {asked} can't be resolved; is it right, and does DNS work here?"
    elif isinstance(cause, ConnectionRefusedError):
        asked = f" at {server.proxy}, the proxy" if server.proxy else at
        why = f"nobody listens{asked} (connection refused); is the server up, and is this its port?"
    elif isinstance(error, exceptions.TimeoutError) or isinstance(cause, TimeoutError):
        what = "no connection" if isinstance(error, exceptions.ConnectTimeoutError) else "no answer"
        why = f"{what} in time{at}; is it up, and may this Pod reach it (NetworkPolicy)?"
        raise TimedOut(f"{request}: {why}") from None
    elif isinstance(cause, OSError) and cause.errno is not None:
        why = f"{os.strerror(cause.errno)}{at}{_https(server)}"
    elif isinstance(error, exceptions.ProtocolError):
        why = _protocol(error, at) + _https(server)
    else:
        why = f"the request couldn't be sent{at} ({type(error).__name__})"
    raise Unreachable(f"{request}: {why}") from None


def _protocol(error: Exception, at: str) -> str:
    said = repr(error)
    if "IncompleteRead" in said or "InvalidChunkLength" in said:
        return f"the connection{at} broke in the middle of the answer"
    if "BadStatusLine" in said:
        return f"what answers{at} isn't HTTP; is this the right port?"
    return f"the connection{at} broke before an answer came"


def _https(server: Server) -> str:
    return "" if server.url.startswith("https:") else "; does it want https?"


def untrusted(error: SSLCertVerificationError, server: Server) -> str:
    """Why a certificate may not be verified, and what to do."""
    if error.verify_code in _OTHER_NAMES:
        return "it is for another name; in a Pod it is promised for $KUBERNETES_SERVICE_HOST alone"
    if error.verify_code in _NOT_NOW:
        return "it has to be renewed, or the clock of this machine is wrong"
    if server.credentials is NOBODY:
        return "the system's CAs don't vouch for a cluster's: a kubeconfig can name the cluster's"
    return "its CA is another one than is known here: is this the right cluster, and the CA file whole?"


def _cause(error: BaseException) -> BaseException:
    """What is at the bottom of it: urllib3 wraps what the socket said."""
    for _ in range(10):
        inner: Any = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((a for a in error.args if isinstance(a, BaseException)), None)
        if inner is None:
            inner = error.__cause__ or error.__context__
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error
