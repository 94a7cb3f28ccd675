"""``python -m tests.apiserver``: a server to try kubectl on, until Ctrl-C."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

from tests.apiserver import ApiServer, pod
from tests.apiserver.kubeconfig import kubeconfig


def main() -> None:
    """Serve a Pod to one who may do everything."""
    with ApiServer() as server, tempfile.TemporaryDirectory() as directory:
        server.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "lab"}})
        server.put(pod("web", "lab", labels={"app": "web"}))
        server.log("lab", "web", "hello")
        server.allow_all("admin")
        config = Path(directory, "kubeconfig")
        config.write_text(kubeconfig(server, server.token("admin"), "lab"), "utf-8")
        print(f"{server.url}\nexport KUBECONFIG={config}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
