"""A plugin of kmetad: on a change, run a command or send a signal."""

from kmetad_reload.plugin import Options, Plugin

__all__ = ["API_VERSION", "Options", "Plugin"]

API_VERSION = 1
