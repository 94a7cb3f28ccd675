"""Log entries with the metadata of the Pod as it is now."""

from kmetad_logtag.inprocess import Follower, LogFilter, Processor, processor

__all__ = ["Follower", "LogFilter", "Processor", "processor"]
