"""What whoever runs it should know, in sentences: who else may read it, and why it can't listen."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from kmetad_status.options import Options


def of_options(options: Options) -> Iterator[str]:
    """What is to be known of these."""
    if not options.loopback:
        yield (
            f"address {options.address} is reached from other machines, and whoever reaches port {options.port} "
            "reads all labels and annotations, and what has become of them: let a NetworkPolicy say who may, "
            "or listen on 127.0.0.1 (kubectl port-forward comes there, too)"
        )
    if options.unix_socket is not None and options.hosts:
        yield "hosts means nothing with unix_socket: whoever may open the socket may name any Host"


def cannot_listen(error: OSError, options: Options) -> str:
    """Why it doesn't start, and what to do."""
    why = os.strerror(error.errno) if error.errno else str(error)
    if options.unix_socket is not None:
        hints = {
            errno.EADDRINUSE: "something is there already: remove it, or choose another path",
            errno.ENOENT: "its directory isn't there: make it",
            errno.EACCES: "this user may not write there: choose another path",
            errno.EROFS: "that file system is read-only: choose a path on an emptyDir",
        }
        hint = hints.get(error.errno or 0, why)
        return f"unix_socket {options.unix_socket} can't be listened at: {hint}"
    hints = {
        errno.EADDRINUSE: "another process has that port (containers of a Pod share them): choose another by port; "
        "0 takes any that is free",
        errno.EACCES: "this user may not have that port: choose one from 1024 on by port",
        errno.EADDRNOTAVAIL: "this machine has no such address: set address to one of its own, or to 0.0.0.0",
    }
    where = f"[{options.address}]" if ":" in options.address else options.address
    return f"{where}:{options.port} can't be listened at: {hints.get(error.errno or 0, why)}"
