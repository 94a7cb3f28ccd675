"""The credentials that a context of a kubeconfig comes to (``kubectl config`` writes them).

Read here, and not by the official client's loader: that takes the last file's current context instead of
the first's, its messages may quote a whole entry, it writes keys to temporary files, and goes on as nobody
where an exec plugin fails. What only it knows, auth-providers, is asked of it (``auth_provider``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kmetad._sources.serviceaccount import Secret, claims_of
from kmetad.api.credentials import NO_HEADERS, Credentials, Trust, bearer
from kmetad.api.errors import CredentialsError, NoServer
from kmetad.api.kubeconfig.exec_plugin import ExecPlugin, Granted
from kmetad.api.kubeconfig.files import Chosen, Entry, choose, fingerprint, read
from kmetad.api.server import Server
from kmetad.metadata import Digest, Token

EARLY = 60.0
"""Seconds before its end that an exec plugin's credential is renewed, or a fifth of its life if that is less."""


def server(
    files: str, *, context: str | None = None, url: str | None = None, insecure: bool = False
) -> Server:
    """The server of a context, by default the current one, with its credentials and namespace.

    ``files`` are paths joined as in ``$KUBECONFIG``. ``url`` is another server for the same user;
    ``insecure`` verifies no certificate. No exec plugin is run before a request needs it. A server that
    isn't verified, or is asked over plain http, gets no credentials. Raises CredentialsError.
    """
    at = choose(files, context)
    cluster_url = at.cluster.text("server")
    if not (url or cluster_url):
        raise at.cluster.fault("has no server; `kubectl config set-cluster NAME --server=URL` sets it")
    verify = not (insecure or at.cluster.flag("insecure-skip-tls-verify"))
    found = f"kubeconfig {at.context.file}, context {at.context.name}"
    if verify and (url or cluster_url).lower().startswith("https:"):
        credentials: Credentials = Kubeconfig(files, at.context.name)
    else:
        why = "plain http" if verify else "a connection that isn't verified"
        credentials = _Withheld(f"no credentials: those of {at.user} never go over {why}" if at.user else "")
    proxy = at.cluster.text("proxy-url")
    try:
        return Server(
            url or cluster_url,
            credentials,
            verify=verify,
            tls_name=at.cluster.text("tls-server-name") or None,
            proxy=proxy or None,
            namespace=at.context.text("namespace"),
            found=found,
        )
    except NoServer as error:
        raise CredentialsError(f"{at.cluster}: {error}") from None


class _Withheld(Credentials):
    """Nobody's, because what is known must not be sent."""

    def __init__(self, about: str) -> None:
        self._about = about

    def about(self) -> str:
        """Why."""
        return self._about or super().about()


class Kubeconfig(Credentials):
    """A context's credentials. What its files say is read anew when one of them changes, and after a refusal.

    A change that can't be read leaves in force what there was; one that names another server is a fault,
    so that nobody's credentials go to somebody else's server.
    """

    def __init__(self, files: str, context: str, *, clock: Callable[[], float] = time.time) -> None:
        """Raises CredentialsError. ``clock``: seconds since the epoch."""
        self._files = files
        self._context = context
        self._clock = clock
        self._lock = threading.Lock()
        self._loaded = _load(files, context)
        self._server = self._loaded.url
        self._seen = fingerprint(self._loaded.files)
        self._granted: Granted | None = None
        self._renew_at = float("inf")

    def __repr__(self) -> str:
        return f"Kubeconfig({self._files!r}, {self._context!r})"

    def trust(self) -> Trust:
        """The cluster's CA, and the user's certificate, also where an exec plugin brings it."""
        with self._lock:
            self._look()
            certificate = self._granted.certificate if self._granted is not None else b""
            return Trust(self._loaded.ca, certificate or self._loaded.certificate)

    def headers(self) -> Mapping[str, str]:
        """The user's token or password, and as whom else to act."""
        with self._lock:
            self._look()
            return self._headers()

    def reread(self) -> None:
        """Read the files anew; no exec plugin knows of another CA."""
        with self._lock:
            self._read()

    def renew(self, sent: Mapping[str, str]) -> bool:
        """Read the files anew, and run the exec plugin again; unless another thread just did."""
        with self._lock:
            if self._headers() != sent:
                return True
            before = self._loaded.certificate, self._granted and self._granted.certificate
            self._read()
            if self._loaded.exec is not None:
                self._run(self._loaded.exec)
            after = self._loaded.certificate, self._granted and self._granted.certificate
            return self._headers() != sent or after != before

    def forked(self) -> None:
        """Locks are new."""
        self._lock = threading.Lock()

    def token(self) -> Token | None:
        """Expiry and audiences, unverified; of an exec plugin's opaque token the expiry that it told."""
        header = self.headers().get("Authorization", "")
        kind, _, token = header.partition(" ")
        if kind != "Bearer":
            return None
        claims = claims_of(token.encode())
        if claims is not None:
            return claims
        granted = self._granted
        return Token(int(granted.expires), (), Digest(b"")) if granted and granted.expires else None

    def about(self) -> str:
        """The kind, the user's name and the file."""
        return self._loaded.about

    def _look(self) -> None:
        """Take changes of the files, and see that an exec plugin's credential is a current one."""
        now = fingerprint(self._loaded.files)
        if now != self._seen:
            try:
                self._read(whole=False)
            except _OtherServer:
                raise
            except CredentialsError:
                self._seen = now  # a file that is just being written: what there was goes on
        plugin = self._loaded.exec
        if plugin is not None and (self._granted is None or self._clock() >= self._renew_at):
            self._run(plugin)

    def _read(self, *, whole: bool = True) -> None:
        """Raises CredentialsError; without ``whole`` also where there are no credentials any more."""
        loaded = _load(self._files, self._context)
        if not whole and self._loaded.speaks and not loaded.speaks:
            raise CredentialsError(f"{self._files}: context {self._context} has no credentials now")
        if loaded.url != self._server:
            raise _OtherServer(
                f"{self._files}: context {self._context} has another server now than when this started, and these "
                "credentials may not be for the first: start it again"
            )
        if loaded.exec != self._loaded.exec:
            self._granted = None
        self._loaded = loaded
        self._seen = fingerprint(loaded.files)

    def _run(self, plugin: ExecPlugin) -> None:
        granted = plugin.run()
        if granted.certificate:
            _check_certificate(granted.certificate, plugin.place)
        now = self._clock()
        self._granted = granted
        self._renew_at = float("inf")
        if granted.expires is not None:
            self._renew_at = granted.expires - max(0.0, min(EARLY, (granted.expires - now) / 5))

    def _headers(self) -> Mapping[str, str]:
        headers = self._loaded.headers
        if self._granted is not None and self._granted.token and "Authorization" not in headers:
            assert self._loaded.exec is not None
            return MappingProxyType(
                {**headers, **bearer(self._granted.token, f"what {self._loaded.exec.place} printed")}
            )
        return headers


class _OtherServer(CredentialsError):
    """The context names another server than it did."""


@dataclass(frozen=True, slots=True, repr=False)
class _Loaded:
    """What a context comes to. It has no ``repr``: this is a secret."""

    url: str
    ca: bytes | None
    certificate: bytes
    """With its key; empty for none."""
    headers: Mapping[str, str]
    exec: ExecPlugin | None
    about: str
    files: tuple[str, ...]
    """All that was read."""

    @property
    def speaks(self) -> bool:
        """Whether there are any credentials."""
        return bool(self.headers or self.certificate or self.exec)


def _load(files: str, context: str) -> _Loaded:
    """Everything that the files say of a context, but for what only an exec plugin can. Raises CredentialsError."""
    at = choose(files, context)
    cluster, user = at.cluster, at.user
    ca = cluster.content("certificate-authority", "the cluster's CA")
    if ca and b"-BEGIN " not in ca:
        raise cluster.fault("has a certificate-authority that isn't in PEM")
    certificate = _certificate(user)
    headers = dict(_identity(user))
    told = _authorization(at)
    plugin = (
        None if told else _plugin(user, cluster)
    )  # as client-go: who has a token runs nothing for another
    if told:
        headers["Authorization"] = told
    referred = [
        cluster.path("certificate-authority"),
        user.path("client-certificate"),
        user.path("client-key"),
    ]
    files_read = (*at.files, *filter(None, [*referred, user.path("tokenFile")]))
    return _Loaded(
        url=cluster.text("server"),
        ca=ca or None,
        certificate=certificate,
        headers=MappingProxyType(headers),
        exec=plugin,
        about=_about(user, plugin, bool(certificate), told),
        files=files_read,
    )


def _about(user: Entry, plugin: ExecPlugin | None, certificate: bool, told: str) -> str:
    if told.startswith("Bearer "):
        what = "the token"
    elif told:
        what = "the password"
    elif plugin is not None:
        what = f"the exec plugin {plugin.command}"
    elif certificate:
        what = "the client certificate"
    else:
        return "no credentials" if not user.name else f"no credentials: {user} has none"
    return f"{what} of {user.name} in {user.file}"


def _certificate(user: Entry) -> bytes:
    """The user's certificate and its key, in one PEM; empty for none."""
    certificate = user.content("client-certificate", "its certificate")
    key = user.content("client-key", "its certificate's key")
    if not certificate and not key:
        return b""
    if not certificate or not key:
        lacks = "client-key" if certificate else "client-certificate"
        raise user.fault(f"has no {lacks} (nor {lacks}-data), and one half alone is no use")
    both = certificate.rstrip() + b"\n" + key.rstrip() + b"\n"
    _check_certificate(both, str(user))
    return both


def _check_certificate(both: bytes, place: str) -> None:
    """Raises CredentialsError where OpenSSL couldn't use it."""
    import ssl

    from kmetad.api import tls

    tls.load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), both, place)


def _identity(user: Entry) -> Mapping[str, str]:
    """As whom the user wants to act (``kubectl --as``)."""
    headers = {}
    for key, header in (("as", "Impersonate-User"), ("as-uid", "Impersonate-Uid")):
        if value := user.text(key):
            headers[header] = value
    groups = user.values.get("as-groups") or []
    if not isinstance(groups, list) or len(groups) > 1 or user.values.get("as-user-extra"):
        raise user.fault(
            "asks for as-user-extra or several as-groups, which aren't supported; use a user without"
        )
    if groups:
        headers["Impersonate-Group"] = str(groups[0])
    if headers and "Impersonate-User" not in headers:
        raise user.fault("asks for a group or a uid to act as, and for no user: set `as`, too")
    for header, value in headers.items():
        if not value.isascii() or not value.isprintable():
            raise user.fault(f"has characters in its `as` that no header can hold ({header})")
    return headers or NO_HEADERS


def _plugin(user: Entry, cluster: Entry) -> ExecPlugin | None:
    declared = user.values.get("exec")
    if declared is None:
        return None
    if not isinstance(declared, dict):
        raise user.fault("has an exec that is no mapping")
    ca = cluster.content("certificate-authority", "the cluster's CA")
    return ExecPlugin.of(declared, cluster.values, ca, file=user.file, place=f"{user}, exec")


def _authorization(at: Chosen) -> str:
    """The header that a user's token, password or auth-provider comes to; empty for none.

    Of several the first counts, as in client-go: tokenFile, token, password.
    """
    user = at.user
    token = user.text("token")
    if path := user.path("tokenFile"):
        token = read(path, f"{user}: tokenFile").strip().decode("ascii", "replace")
        if not token:
            raise user.fault(f"has a tokenFile that is empty: {path}")
    if token:
        return bearer(token, f"{user}: token")["Authorization"]
    name, password = user.text("username"), user.text("password")
    if name and password:
        from base64 import b64encode

        return Secret("Basic " + b64encode(f"{name}:{password}".encode(errors="replace")).decode("ascii"))
    if name or password:
        raise user.fault("has a username or a password, but not both")
    if user.values.get("auth-provider") is not None:
        from kmetad.api.kubeconfig import auth_provider

        return auth_provider.authorization(user)
    return ""
