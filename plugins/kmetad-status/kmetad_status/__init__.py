"""What a Pod knows of itself, over HTTP: health, metrics, the event stream, and a page that shows it.

Each module may import those above it::

    options      what the TOML may say
    advice       what whoever runs it should know, in sentences
    hosts        which Host a request may name                        (pure)
    history      what has happened, as far as it is kept
    documents    the JSON documents                                   (pure)
    metrics      the same in Prometheus' forms
    answer       what a request gets                                  (pure)
    site         the paths, and what is there
    stream       one client that listens to events                    (pure)
    audience     all of them
    connection   one client's connection
    server       listens, limits, stops in order
    running      a server in a thread of its own
    plugin       the hooks
"""

from kmetad_status.options import Options as Options
from kmetad_status.plugin import Plugin as Plugin

__all__ = ["API_VERSION", "Options", "Plugin"]

API_VERSION = 1
"""Of kmetad's hooks: what this was written for."""
