"""Which API server a command asks, and as whom: the options, the configuration, or what is found."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmetad.api import Server


def arguments(parser: argparse.ArgumentParser, *, again: bool = False) -> Any:
    """The options that choose; answers their group, for others that belong there.

    ``again``: the parser before this one has them too, with their defaults.
    """
    none = argparse.SUPPRESS if again else None
    group = parser.add_argument_group(
        "which server", "in a Pod the cluster's own, with the Pod's token; else what the kubeconfig says"
    )
    group.add_argument(
        "--server",
        metavar="URL",
        type=_url,
        default=none,
        help="ask this one; plain http gets no credentials",
    )
    group.add_argument(
        "--kubeconfig",
        metavar="FILE",
        default=none,
        help="else $KUBECONFIG (several files, joined by :), else ~/.kube/config",
    )
    group.add_argument(
        "--context", metavar="NAME", default=none, help="of the kubeconfig, instead of its current one"
    )
    group.add_argument(
        "--insecure-skip-tls-verify",
        action="store_true",
        default=argparse.SUPPRESS if again else False,
        help="believe any certificate; then no credentials are sent",
    )
    group.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=none,
        help="the configuration, for its [api] and [token]; else $KMETAD_CONFIG, "
        "else /etc/kmetad/kmetad.toml if it is there",
    )
    return group


def server(args: argparse.Namespace) -> Server:
    """What they say; tells on standard error of one that is asked insecurely, and of faults of the configuration.

    Raises ConfigError, NoServer, CredentialsError.
    """
    found = _found(args)
    if not found.verify:
        _warn(found)
    return found


def _found(args: argparse.Namespace) -> Server:
    from kmetad import _config
    from kmetad._cli import choose
    from kmetad._sources.serviceaccount import DIRECTORY
    from kmetad.api import find_server
    from kmetad.errors import ConfigError

    config = _config.Config()
    if (file := _config.find(args.config, os.environ)) is not None:
        loaded = choose.load(args)
        if loaded.fatal:
            raise ConfigError(tuple(map(str, loaded.problems)))
        for problem in loaded.problems:
            if problem.file != file or problem.place.partition(".")[0] in ("api", "token"):
                print(f"kmetad: {problem}", file=sys.stderr)
        config = loaded.config
    url, kubeconfig = args.server, args.kubeconfig
    if url is None and kubeconfig is None and args.context is None:  # the options are for all of it
        url, kubeconfig = config.api.url, config.api.kubeconfig
    token_path = DIRECTORY if config.token is None else config.token.path
    return find_server(
        url=url,
        kubeconfig=kubeconfig,
        context=args.context,
        insecure=args.insecure_skip_tls_verify,
        proxy_from_env=config.api.proxy_from_env,
        token_path=token_path,
    )


def _warn(server: Server) -> None:
    """So that nobody overlooks it."""
    from kmetad._cli import text

    loud = text.paint("INSECURE:", f"{text.BOLD};{text.RED}", text.colours(sys.stderr))
    print(
        f"kmetad: {loud} the certificate of {text.escape(server.url)} is not verified, so anybody on the way may "
        "be answering; no credentials are sent",
        file=sys.stderr,
    )


def _url(text: str) -> str:
    from kmetad.api import NoServer, Server

    try:
        Server(text)
    except NoServer as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
