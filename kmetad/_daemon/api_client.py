"""The API client that all plugins share, made when the first of them asks for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from kmetad import _log
from kmetad._sources.serviceaccount import DIRECTORY

if TYPE_CHECKING:
    from kmetad._config import Config
    from kmetad.api import Client


def shared_client(
    config: Config,
    environ: Mapping[str, str] = os.environ,
    *,
    counted: Callable[[str, int | None], object] = lambda method, status: None,
) -> Callable[[], Client]:
    """What answers the one client of a configuration (``[api]``, ``[token]``), for any thread.

    ``counted`` is told of each of its requests, as Client says.

    Until somebody calls it, nothing of ``kmetad.api`` is imported. Called, it raises NoServer and
    CredentialsError where there is no server to be found, the next time again.
    """
    lock = threading.Lock()
    made: list[Client] = []

    def client() -> Client:
        from kmetad.api import Client, find_server

        with lock:
            if not made:
                api, token = config.api, config.token
                server = find_server(
                    url=api.url,
                    kubeconfig=api.kubeconfig,
                    proxy_from_env=api.proxy_from_env,
                    token_path=DIRECTORY if token is None else token.path,
                    environ=environ,
                )
                log = _log.get_logger()
                made.append(
                    Client(server, warn=lambda text: log.warning("api.warning", said=text), counted=counted)
                )
            return made[0]

    return client
