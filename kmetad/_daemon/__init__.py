"""The daemon: one thread that watches, one for each plugin, and the main one, which waits for signals."""

from kmetad._daemon.daemon import run

__all__ = ["run"]
