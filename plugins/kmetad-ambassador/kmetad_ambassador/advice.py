"""What whoever runs the proxy should know, in sentences: what isn't as safe as it could be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kmetad_ambassador.options import Options

if TYPE_CHECKING:
    from kmetad.api import Server

Shown = Callable[[str], str]
"""How an option's name is written: as in the TOML, or as on the command line."""


def of_options(options: Options, shown: Shown) -> Iterator[str]:
    """What is to be known of these, whatever the server."""
    if options.disable_filter:
        if options.unix_socket is None:
            yield (
                f"{shown('disable_filter')}: every web page that somebody opens on a machine that reaches this "
                "proxy can do whatever its token can (no Host, Origin, path, method or rule is checked)"
            )
        else:
            yield f"{shown('disable_filter')}: whoever may open the socket can do whatever its token can"
    if options.token_file is not None and not os.access(options.token_file, os.R_OK):
        yield f"{shown('token_file')}: {options.token_file} can't be read, and as long as that is so, all get 503"
    if not options.loopback and options.token_file is None:
        yield (
            f"{shown('address')} {options.address} is reached from other machines, and all of them act as the "
            f"proxy: set {shown('token_file')}, or listen on 127.0.0.1"
        )
    if not options.loopback and not options.disable_filter and options.accept_hosts == Options().accept_hosts:
        yield (
            f"{shown('address')} {options.address} is asked by other names than localhost: set "
            f"{shown('accept_hosts')} to those, or all others get 403"
        )


def of_server(server: Server, options: Options, shown: Shown) -> Iterator[str]:
    """What is to be known of the server, with these options."""
    parts = urlsplit(server.url)
    if parts.scheme == "http":
        yield f"{server.url} is plain http, so no credentials are sent there: whoever answers decides who one is"
    if parts.path.strip("/") and not options.append_server_path:
        yield (
            f"the server's URL has a path, {parts.path}, which isn't put before those of requests: set "
            f"{shown('append_server_path')} if it has to be"
        )
