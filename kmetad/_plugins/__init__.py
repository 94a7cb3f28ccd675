"""Plugins: found, made into instances, and called. Nothing is loaded that the TOML doesn't name."""

from kmetad._plugins.instance import Instance, make
from kmetad._plugins.load import Loaded, installed, load

__all__ = ["Instance", "Loaded", "installed", "load", "make"]
