"""An API server for the tests: real TLS and HTTP/1.1, answers as a Kubernetes 1.36 gave them.

::

    with ApiServer() as server:
        server.put(pod("web", "lab", labels={"app": "web"}))
        server.allow("system:serviceaccount:lab:app", ["get", "watch"], ["pods"], namespace="lab")
        mounted = server.mount(directory, "system:serviceaccount:lab:app")
        ...
        server.script("watch pods", behaviour.watch_error(410))
        server.rotate_certificate(Authority())
        assert [request.path for request in server.requests] == [...]

In Pods a few commands can be run, and ports reached (``containers``), by SPDY and by WebSocket.
``tests/test_apiserver.py`` holds it to the recording in ``tests/data/api``.
"""

from tests.apiserver.objects import pod as pod
from tests.apiserver.server import ApiServer as ApiServer
from tests.apiserver.tls import Authority as Authority

__all__ = ["ApiServer", "Authority", "pod"]
