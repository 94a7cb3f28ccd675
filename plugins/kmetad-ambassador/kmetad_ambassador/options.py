"""What ``[plugins.NAME]`` with ``use = "ambassador"`` may hold, and what ``kmetad proxy`` has on its command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Literal

import msgspec

from kmetad.quantity import Quantity
from kmetad_ambassador.filter import Filter
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.rules import Policy, Rule, parse_rule, policy
from kmetad_ambassador.target import canonical

LOCALHOST = ("^localhost$", r"^127\.0\.0\.1$", r"^\[::1\]$")
"""Hosts that kubectl proxy accepts (kubectl, pkg/proxy: DefaultHostAcceptRE)."""

_LONGEST_SOCKET = 107
"""Bytes of a unix socket's path (unix(7): sun_path, with a NUL at its end)."""
_LONGEST_KEEPALIVE = 32767
"""Seconds that TCP_KEEPIDLE takes (Linux, include/net/tcp.h: MAX_TCP_KEEPIDLE)."""
_LEAST_HEAD = 1 << 10
_MOST_HEAD = 1 << 20
_MOST_BODY = 1 << 40


class OptionsError(ValueError):
    """Options that can't be, or not together.

    ``text`` has options as ``{port}``, other values by their own names; they are shown as the TOML writes them.
    """

    def __init__(self, text: str, **values: object) -> None:
        self._text = text
        self._values = values
        super().__init__(self.told(str))

    def told(self, shown: Callable[[str], str]) -> str:
        """The sentence, with options' names as ``shown`` writes them."""
        return self._text.format(**{name: shown(name) for name in Options.__struct_fields__}, **self._values)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.ambassador]``. Raises OptionsError."""

    address: str = "127.0.0.1"
    """An IP address to listen at."""
    port: int = 8001
    """0: any that is free."""
    unix_socket: str | None = None
    """Listen there instead, for this user alone."""
    api_prefix: str = "/"
    """Before all paths; the proxy takes it away. It ends in a slash, with one added."""
    append_server_path: bool = False
    """Whether the path of the server's URL is put before all others."""
    accept_hosts: tuple[str, ...] = LOCALHOST
    """Regular expressions for the Host of a request, without its port; one has to match, anywhere in it."""
    accept_paths: tuple[str, ...] = ("^.*",)
    """Likewise for the path."""
    reject_paths: tuple[str, ...] = ()
    """None may match the path, whatever accepts it."""
    reject_methods: tuple[str, ...] = ()
    """Likewise for the method."""
    disable_filter: bool = False
    """Check nothing of all this, and no rule: kubectl proxy's meaning."""
    allow_write: bool = False
    """Allow whatever changes something, but for what is sensitive."""
    allow: tuple[str | Rule, ...] = ()
    """What is allowed, instead of reading everything; with ``allow_write`` what is allowed as well."""
    token_file: str | None = None
    """Clients have to send what it holds, as a bearer token."""
    max_requests: int = 256
    """At once."""
    max_head: str = "32Ki"
    """A request's first line and headers, together."""
    max_body: str = "8Mi"
    """A request's."""
    idle_timeout: timedelta = timedelta(seconds=60)
    """For clients that send nothing."""
    keepalive: timedelta = timedelta(seconds=30)
    """Of TCP: how long a silent connection is left alone before it is probed; 0: never probed."""
    drain_timeout: timedelta = timedelta(seconds=3)
    """What is under way has so long when the proxy stops: less than ``run.drain_timeout``, which is for all plugins."""
    log_requests: Literal["all", "refused", "none"] = "all"
    """Which requests are a line in the log."""

    def __post_init__(self) -> None:
        self._check_place()
        self._check_prefix()
        self._check_expressions()
        self._check_rules()
        self._check_limits()

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine (this Pod) comes to where it listens."""
        address = ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return self.unix_socket is not None or (mapped or address).is_loopback

    @property
    def head_bytes(self) -> int:
        """``max_head``."""
        return int(Quantity(self.max_head))

    @property
    def body_bytes(self) -> int:
        """``max_body``."""
        return int(Quantity(self.max_body))

    def rules(self) -> tuple[Rule, ...]:
        """``allow``, read."""
        return tuple(rule if isinstance(rule, Rule) else parse_rule(rule) for rule in self.allow)

    def policy(self) -> Policy:
        """What is allowed; not asked with ``disable_filter``."""
        return policy(self.rules(), self.allow_write)

    def filter(self) -> Filter:
        """The regular expressions; not asked with ``disable_filter``."""
        return Filter(self.accept_hosts, self.accept_paths, self.reject_paths, self.reject_methods)

    def _check_place(self) -> None:
        try:
            ip_address(self.address)
        except ValueError:
            meant = {"localhost": "127.0.0.1", "": "0.0.0.0", "*": "0.0.0.0"}
            near = meant.get(self.address, self.address.strip("[]"))
            raise OptionsError(
                "{address}: {found!r} is no IP address{hint}", found=self.address, hint=_did_you_mean(near)
            ) from None
        if not 0 <= self.port <= 65535:
            raise OptionsError("{port}: {found} is no port; 0 takes any that is free", found=self.port)
        if self.unix_socket is None:
            return
        if self.address != "127.0.0.1" or self.port != 8001:
            raise OptionsError(
                "{unix_socket} is listened at instead of {address} and {port}: leave out that, or these"
            )
        if not self.unix_socket or "\0" in self.unix_socket:
            raise OptionsError("{unix_socket}: {found!r} is no path", found=self.unix_socket)
        if len(os.fsencode(self.unix_socket)) > _LONGEST_SOCKET:
            raise OptionsError(
                "{unix_socket}: {found} is longer than the {most} bytes that a socket's path may have; "
                "put it into a directory with a shorter one",
                found=self.unix_socket,
                most=_LONGEST_SOCKET,
            )

    def _check_prefix(self) -> None:
        prefix = self.api_prefix if self.api_prefix.endswith("/") else f"{self.api_prefix}/"
        try:
            plain = prefix.startswith("/") and canonical(prefix.encode(errors="replace")) == (prefix, "")
        except Refusal:
            plain = False
        if not plain:
            raise OptionsError(
                "{api_prefix}: {found!r} is no plain path: it begins with a slash, as /custom/, and holds neither "
                "empty parts nor . or .., %, ? or #",
                found=self.api_prefix,
            )
        msgspec.structs.force_setattr(self, "api_prefix", prefix)

    def _check_expressions(self) -> None:
        for name in ("accept_hosts", "accept_paths"):
            if not getattr(self, name):
                raise OptionsError(f"{{{name}}} is empty, so nothing would be accepted; leave it out")
        for name in ("reject_paths", "reject_methods"):
            if "" in getattr(self, name):
                raise OptionsError(
                    f"{{{name}}}: an empty expression matches everything, so nothing would be passed on; "
                    "leave it out to reject nothing"
                )
        for name in ("accept_hosts", "accept_paths", "reject_paths", "reject_methods"):
            try:
                Filter(**{**dict.fromkeys(_EXPRESSIONS, ()), name: getattr(self, name)})
            except ValueError as error:
                why = str(error).removeprefix(f"{name}: ")
                raise OptionsError(f"{{{name}}}: {{why}}", why=why) from None

    def _check_rules(self) -> None:
        for name in ("allow", "allow_write"):
            if self.disable_filter and getattr(self, name):
                raise OptionsError(
                    f"{{disable_filter}} lets everything pass, so {{{name}}} would mean nothing: leave out one"
                )
        try:
            self.rules()
        except ValueError as error:
            raise OptionsError("{allow}: {why}", why=error) from None

    def _check_limits(self) -> None:
        if self.token_file == "":
            raise OptionsError("{token_file} is empty; name a file, or leave it out")
        if self.max_requests < 1:
            raise OptionsError("{max_requests}: {found} lets nobody in; at least 1", found=self.max_requests)
        self._check_size("max_head", _LEAST_HEAD, _MOST_HEAD, "1Ki to 1Mi")
        self._check_size("max_body", 0, _MOST_BODY, "0 to 1Ti")
        if self.idle_timeout <= timedelta():
            raise OptionsError("{idle_timeout} has to be more than nothing")
        if self.drain_timeout < timedelta():
            raise OptionsError("{drain_timeout} can't be less than nothing")
        seconds = self.keepalive.total_seconds()
        if seconds and not 1 <= seconds <= _LONGEST_KEEPALIVE:
            raise OptionsError("{keepalive} is 0, for none, or from 1s to {most}s", most=_LONGEST_KEEPALIVE)

    def _check_size(self, name: str, least: int, most: int, shown: str) -> None:
        text: Any = getattr(self, name)
        try:
            fits = least <= int(Quantity(text)) <= most
        except ValueError:
            fits = False
        if not fits:
            raise OptionsError(
                f"{{{name}}}: {{found!r}} is no size from {shown}, as Kubernetes writes it: 32Ki, 8Mi",
                found=text,
            )


_EXPRESSIONS = ("accept_hosts", "accept_paths", "reject_paths", "reject_methods")


def _did_you_mean(text: str) -> str:
    """An address that is one; empty for anything else."""
    try:
        return f"; did you mean {ip_address(text)}?"
    except ValueError:
        return ""
