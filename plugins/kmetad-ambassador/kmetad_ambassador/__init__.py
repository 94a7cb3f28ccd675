"""The API server at localhost, without credentials and with rules: a proxy that is safer than ``kubectl proxy``.

Each module may import those above it::

    refusal    what a request gets that isn't passed on
    target     the request target, made canonical once               (pure)
    asked      what a request asks for, in Kubernetes' terms         (pure)
    rule       one rule, as a Role has it                            (pure)
    rules      what is allowed                                       (pure)
    filter     kubectl proxy's expressions; Host and Origin          (pure)
    options    what the TOML may say, and the command line
    advice     what whoever runs it should know, in sentences
    headers    which headers are passed on                           (pure)
    incoming   a request as a client sent it                         (pure)
    reader     bytes in, requests out                                (pure)
    saying     what the proxy says itself, as HTTP                   (pure)
    aside      calls that take long, beside the event loop
    deadline   something has to happen in time
    line       one connected socket in the event loop
    identity   as whom the API server is asked
    connect    a connection to it
    back       these connections, and the pool of them
    front      a client's connection
    gate       all that a request has to pass                        (pure, but for its token's file)
    tally      counters, and the line in the log for each request
    answer     an answer on its way
    exchange   one request with its answer
    tunnel     both ways, once the protocol was switched
    listen     takes clients off the socket that they connect to
    proxy      listens, limits, stops in order
    running    a proxy in a thread of its own
    command    ``kmetad proxy``
    plugin     the hooks
"""

from kmetad_ambassador.options import Options as Options
from kmetad_ambassador.plugin import Plugin as Plugin

__all__ = ["API_VERSION", "ROLE", "Options", "Plugin"]

API_VERSION = 1

ROLE: dict[str, str] = {}
"""Nothing: it asks for nothing by itself. What its clients ask for, the Pod's service account has to be allowed."""
