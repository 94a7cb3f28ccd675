"""Bytes passed from one connection to another, as a proxy does."""

from __future__ import annotations

import socket
import threading


def relay_once(listening: socket.socket, to: tuple[str, int]) -> None:
    """Pass one connection on, both ways, to its end."""
    theirs, _ = listening.accept()
    with theirs, socket.create_connection(to) as ours:
        back = threading.Thread(target=copy, args=(ours, theirs))
        back.start()
        copy(theirs, ours)
        back.join()


def copy(source: socket.socket, to: socket.socket) -> None:
    """Until it ends."""
    try:
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        pass
