"""As whom the API server is asked, and by what its certificate is verified.

Tokens and CAs rotate in place, so nothing here is read once and for all: who sends
a request asks first, and again when it was refused.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from kmetad._sources.serviceaccount import DIRECTORY, Mount, Secret, read_mount
from kmetad.api.errors import CredentialsError
from kmetad.errors import SourceError
from kmetad.metadata import Token

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 2.1: what may follow ``Bearer``."""


@dataclass(frozen=True, slots=True)
class Trust:
    """How the server and this side prove who they are, while a connection is made."""

    ca: bytes | None = None
    """Its authorities' certificates in PEM; None: those that the system trusts."""
    cert: bytes = field(default=b"", repr=False)
    """A certificate for this side and its key, in PEM; empty for none."""


class Credentials:
    """Nobody's: no token is sent, and the system's authorities are trusted. Others are subclasses of this.

    May be used from several threads at once.
    """

    def trust(self) -> Trust:
        """As it is now. Raises CredentialsError."""
        return Trust()

    def headers(self) -> Mapping[str, str]:
        """What proves, in each request, who asks. Raises CredentialsError.

        Only what is going to the server itself, over a verified connection, may ask for it.
        """
        return NO_HEADERS

    def reread(self) -> None:
        """The server can't be verified: look afresh at what is known of it. Raises CredentialsError."""

    def renew(self, sent: Mapping[str, str]) -> bool:
        """The server didn't accept these headers: look afresh. Whether there are others now."""
        return False

    def forked(self) -> None:
        """This is a forked child, in which no other thread is left that would give a lock back."""

    def token(self) -> Token | None:
        """What the token says of itself; None where there is none, or it says nothing. Raises CredentialsError."""
        return None

    def about(self) -> str:
        """Whose they are, for a message; never what they are."""
        return "no credentials"


NOBODY = Credentials()


class Mounted(Credentials):
    """A service account's mount in a Pod: ``token``, ``ca.crt``, ``namespace``.

    One look costs one readlink; files are read when the kubelet has swapped them. A token that is
    empty or half-written is as if it weren't there: the one before stays.
    """

    def __init__(self, path: str = DIRECTORY) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._mount = Mount()
        self._fingerprint: Hashable = None

    def __repr__(self) -> str:
        return f"Mounted({self.path!r})"

    @property
    def namespace(self) -> str:
        """The Pod's; empty where the mount doesn't say it (now)."""
        try:
            return self._look().namespace
        except CredentialsError:
            return ""

    def trust(self) -> Trust:
        """The mounted CA alone: the cluster's own is the only one that vouches for it."""
        ca = self._look().ca
        if not ca:
            raise CredentialsError(
                f"{self.path}/ca.crt isn't there, or empty, so the API server can't be verified: "
                "mount the whole projected volume of the service account"
            )
        return Trust(ca)

    def headers(self) -> Mapping[str, str]:
        """The token."""
        token = self._look().token
        if not token:
            raise CredentialsError(
                f"{self.path}/token holds no whole token: is automountServiceAccountToken false, "
                "or is this another kind of volume?"
            )
        return bearer(token, f"{self.path}/token")

    def reread(self) -> None:
        """Read the files anew, swapped or not."""
        self._look(afresh=True)

    def renew(self, sent: Mapping[str, str]) -> bool:
        """Likewise."""
        self.reread()
        return self.headers() != sent

    def forked(self) -> None:
        """Locks are new."""
        self._lock = threading.Lock()

    def token(self) -> Token | None:
        """Expiry and audiences, unverified."""
        return self._look().claims

    def about(self) -> str:
        """Its file."""
        return f"the token in {self.path}/token"

    def _look(self, *, afresh: bool = False) -> Mount:
        with self._lock:
            try:
                read = read_mount(self.path, self._mount, None if afresh else self._fingerprint)
                if read is not None:
                    self._mount, self._fingerprint = read
            except SourceError as error:
                if not self._mount.token:  # else what there was goes on, until it isn't accepted
                    raise CredentialsError(f"no service account: {error}") from None
            return self._mount


def bearer(token: str, place: str) -> Mapping[str, str]:
    """The header for a token. Raises CredentialsError for what can't be one, before an HTTP library shows it."""
    if not _TOKEN.fullmatch(token):
        raise CredentialsError(f"{place} holds something that is no token (RFC 6750)")
    return MappingProxyType({"Authorization": Secret(f"Bearer {token}")})
