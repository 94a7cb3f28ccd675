"""A command that prints credentials: the exec plugin of a kubeconfig's user.

The protocol is client.authentication.k8s.io (v1 and v1beta1): the command gets an ExecCredential in
``$KUBERNETES_EXEC_INFO``, and prints one whose status holds a token, or a certificate and its key, and
when they end. What it prints is a secret, and never part of a message; what it says on standard error is
meant for people.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from kmetad.api.errors import CredentialsError

API = "client.authentication.k8s.io/"
VERSIONS = (f"{API}v1", f"{API}v1beta1")

PATIENCE = 60.0
"""Seconds that a plugin has which can't ask anybody; one that can may wait for a person's answer."""

LONGEST = 1000
"""Characters of its standard error that a message shows: the last ones."""

_MOST = 1 << 20
"""Bytes that are read of what it prints."""
_LARGEST_FILE = 64 << 20
_TOKEN = re.compile(r"[A-Za-z0-9_.+=-]{40,}")


@dataclass(frozen=True, slots=True, repr=False)
class Granted:
    """What a plugin printed. It has no ``repr``: this is a secret."""

    token: str = ""
    certificate: bytes = b""
    """With its key, in PEM; empty for none."""
    expires: float | None = None
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True, repr=False)
class ExecPlugin:
    """A command, as a user's entry declares it."""

    place: str
    """``FILE, user NAME, exec``, for messages."""
    command: str
    arguments: tuple[str, ...]
    environ: tuple[tuple[str, str], ...]
    """What it gets beside the process's own."""
    api_version: str
    interactive: str
    """``Never``, ``IfAvailable`` or ``Always``."""
    hint: str
    """How to install it, in the words of whoever wrote the kubeconfig."""
    cluster: Mapping[str, Any] | None
    """What it is told of the cluster; None for nothing."""

    @classmethod
    def of(
        cls, declared: Mapping[str, Any], cluster: Mapping[str, Any], ca: bytes, *, file: str, place: str
    ) -> ExecPlugin:
        """Read an entry's ``exec``; ``cluster`` is the cluster's entry, ``ca`` its CA. Raises CredentialsError."""
        command = declared.get("command")
        if not isinstance(command, str) or not command:
            raise CredentialsError(f"{place}: command is missing")
        if "/" in command:  # else it is looked for in $PATH
            command = os.path.join(os.path.dirname(os.path.abspath(file)), command)
        version = declared.get("apiVersion")
        if version not in VERSIONS:
            raise CredentialsError(f"{place}: apiVersion has to be {' or '.join(VERSIONS)}")
        arguments, environ = declared.get("args") or [], declared.get("env") or []
        if not isinstance(arguments, list) or not all(isinstance(argument, str) for argument in arguments):
            raise CredentialsError(f"{place}: args has to be a list of texts: put numbers in quotes")
        try:
            pairs = tuple((str(pair["name"]), str(pair["value"])) for pair in environ)
        except (KeyError, TypeError):
            raise CredentialsError(f"{place}: env has to be a list of name and value") from None
        interactive = declared.get("interactiveMode") or "IfAvailable"
        if interactive not in ("Never", "IfAvailable", "Always"):
            raise CredentialsError(f"{place}: interactiveMode has to be Never, IfAvailable or Always")
        hint = declared.get("installHint")
        return cls(
            place=place,
            command=command,
            arguments=tuple(arguments),
            environ=pairs,
            api_version=version,
            interactive=interactive,
            hint=hint.strip() if isinstance(hint, str) else "",
            cluster=_told(cluster, ca) if declared.get("provideClusterInfo") is True else None,
        )

    def run(self) -> Granted:
        """Run it and read what it prints. Raises CredentialsError, with what it said on standard error."""
        program = shutil.which(self.command)
        if program is None:
            hint = f"; {self.hint}" if self.hint else "; install it, or mend $PATH"
            raise CredentialsError(f"{self.place}: there is no command {self.command}{hint}")
        code, printed, said = self._call(program)
        if code != 0:
            ended = f"ended with {code}" if code > 0 else f"was ended by signal {-code}"
            raise CredentialsError(f"{self.place}: {self.command} {ended}{_quoted(said)}")
        return self._read(printed, said)

    def _call(self, program: str) -> tuple[int, bytes, bytes]:
        """Its exit code, what it printed, and what it said."""
        import subprocess
        import sys
        from json import dumps

        asks = self.interactive != "Never" and sys.stdin is not None and sys.stdin.isatty()
        if self.interactive == "Always" and not asks:
            raise CredentialsError(
                f"{self.place}: {self.command} has to ask somebody, and there is no terminal"
            )
        spec: dict[str, Any] = {"interactive": asks}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        # A date in an extension, as YAML reads one, becomes a text.
        info = dumps({"kind": "ExecCredential", "apiVersion": self.api_version, "spec": spec}, default=str)
        # Files in memory, not pipes: what a plugin leaves running may hold a pipe open, and nobody waits for that.
        with open(os.memfd_create("printed"), "w+b") as printed, open(os.memfd_create("said"), "w+b") as said:
            try:
                process = subprocess.Popen(
                    [program, *self.arguments],
                    env={**os.environ, **dict(self.environ), "KUBERNETES_EXEC_INFO": info},
                    stdin=None if asks else subprocess.DEVNULL,
                    stdout=printed,
                    stderr=None if asks else said,  # a person sees its questions at once
                    start_new_session=not asks,
                )
            except (OSError, ValueError) as error:  # ValueError: a NUL
                why = getattr(error, "strerror", "") or "its arguments can't be passed on"
                raise CredentialsError(f"{self.place}: {self.command} can't be run: {why}") from None
            try:
                _limit(process.pid)
                code = process.wait(None if asks else PATIENCE)
            except subprocess.TimeoutExpired:
                raise CredentialsError(
                    f"{self.place}: {self.command} has printed nothing within {PATIENCE:g} s; "
                    "does it wait for somebody to sign in? Run it in a terminal first"
                ) from None
            finally:
                if process.returncode is None:  # it took too long, or somebody wants to end all this
                    _kill(process.pid, group=not asks)
                    process.wait()
            return code, _begin(printed), _begin(said)

    def _read(self, printed: bytes, said: bytes) -> Granted:
        from json import loads

        try:
            answer = loads(printed)
        except (ValueError, RecursionError):  # it holds what it failed at
            raise CredentialsError(f"{self.place}: {self.command} printed no JSON{_quoted(said)}") from None
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict) or answer.get("kind") != "ExecCredential":
            raise CredentialsError(
                f"{self.place}: {self.command} printed no ExecCredential with a status{_quoted(said)}"
            )
        if answer.get("apiVersion") != self.api_version:
            raise CredentialsError(
                f"{self.place}: {self.command} answers with another apiVersion than {self.api_version}: "
                "set the one that its documentation names"
            )
        token, certificate, key, expires = (
            value if isinstance(value := status.get(name), str) else ""
            for name in ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
        )
        if not token and not (certificate and key):
            raise CredentialsError(
                f"{self.place}: {self.command} printed neither a token nor a certificate with its key{_quoted(said)}"
            )
        both = f"{certificate.rstrip()}\n{key.rstrip()}\n".encode() if certificate and key else b""
        return Granted(token.strip(), both, self._seconds(expires) if expires else None)

    def _seconds(self, expires: str) -> float:
        try:
            at = datetime.fromisoformat(expires)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            raise CredentialsError(
                f"{self.place}: {self.command} printed an expirationTimestamp that is no time"
            )
        return at.timestamp()


def _told(cluster: Mapping[str, Any], ca: bytes) -> dict[str, Any]:
    """The spec.cluster of an ExecCredential."""
    from base64 import b64encode

    kept = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
    told = {key: cluster[key] for key in kept if key in cluster}
    if ca:
        told["certificate-authority-data"] = b64encode(ca).decode()
    extensions = cluster.get("extensions")
    for extension in extensions if isinstance(extensions, list) else ():
        if isinstance(extension, dict) and extension.get("name") == f"{API}exec":
            told["config"] = extension.get("extension")
    return told


def _quoted(said: bytes) -> str:
    """Its last words, in one line, but for what may be a token: helpers print those when they are told to debug."""
    text = "".join(c if c.isprintable() else " " for c in said.decode("utf-8", "replace")).strip()
    text = _TOKEN.sub("<secret>", text)
    return (
        f", and said: {'…' if len(text) > LONGEST else ''}{text[-LONGEST:]}" if text else ", and said nothing"
    )


def _begin(file: IO[bytes]) -> bytes:
    """What it holds, up to ``_MOST``: a credential is far shorter."""
    file.seek(0)
    return file.read(_MOST)


def _limit(pid: int) -> None:
    """It may write files of so many bytes, and not fill the memory with what it prints."""
    from resource import RLIMIT_FSIZE, prlimit

    try:
        prlimit(pid, RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    except (OSError, ValueError):
        pass  # it has ended already, or has a smaller one


def _kill(pid: int, *, group: bool) -> None:
    """End it, with all that it started where it leads a group of its own."""
    from signal import SIGKILL

    try:
        (os.killpg if group else os.kill)(pid, SIGKILL)
    except ProcessLookupError:
        pass
