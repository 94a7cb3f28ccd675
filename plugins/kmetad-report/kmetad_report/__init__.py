"""What an app has applied becomes visible to its cluster: annotations with values, a condition, Events.

::

    options   what the TOML may say
    force     what is in force: which values every instance has come to      (pure)
    wanted    that as the API has it: names, annotations, a condition        (pure)
    tally     Events: the same ones together, and not too many               (pure)
    trouble   what a failed call means
    publish   the calls: annotations, condition, Events
    worker    one thread that looks, compares and calls
    plugin    the hooks, which only say "look again"
"""

from kmetad_report.options import Options as Options
from kmetad_report.plugin import Plugin as Plugin

__all__ = ["API_VERSION", "ROLE", "Options", "Plugin"]

API_VERSION = 1

ROLE = {
    "patch pods/status": "for applied and condition",
    "create events": "for events",
    "patch events": "for events: the same again is counted in the one that is there",
}
"""What the Pod's service account needs in its own namespace."""
