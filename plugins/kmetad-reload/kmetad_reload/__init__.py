"""A plugin of kmetad: on a change, run a command or send a signal."""

from kmetad_reload.plugin import Options, Plugin

__all__ = ["Options", "Plugin"]
