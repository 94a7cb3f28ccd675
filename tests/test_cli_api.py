"""``kmetad api``, against a real TLS server, and real kubectl beside it."""

from __future__ import annotations

import base64
import json
import math
import os
import pty
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from kmetad._cli.api import COMMANDS
from tests.apiserver import ApiServer, Authority, behaviour, pod
from tests.cli import Running, environment, inside, kmetad
from tests.test_packaging import ROOT

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
USER = "system:serviceaccount:lab:app"


class Cluster:
    """An API server, and a Pod's ways to it: the mounted service account, or a kubeconfig."""

    def __init__(self, server: ApiServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        self.token = server.token(USER)
        self.mount = server.mount(directory / "account", token=self.token, namespace="lab")
        self.toml = directory / "kmetad.toml"
        self.toml.write_text(f'[token]\npath = "{directory}/account"\n')
        self.env = {
            "KMETAD_CONFIG": str(self.toml),
            "KUBERNETES_SERVICE_HOST": server.host,
            "KUBERNETES_SERVICE_PORT": str(server.port),
        }

    def api(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command as in the Pod. No output ever holds the token."""
        done = inside("api", *arguments, env=self.env)
        assert self.token not in done.stdout + done.stderr
        return done

    def here(self, text: str) -> str:
        """A text with the account's paths as they are here."""
        return text.replace(ACCOUNT, str(self.directory / "account"))

    def kubeconfig(self, **cluster: object) -> Path:
        """The same account for kubectl, and for --kubeconfig."""
        file = self.directory / "config"
        ca = {"certificate-authority-data": base64.b64encode(self.server.authority.pem).decode()}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "c", "cluster": {"server": self.server.url, **ca, **cluster}}],
            "users": [{"name": "app", "user": {"token": self.token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "app", "namespace": "lab"}}],
        }
        file.write_text(yaml.safe_dump(document))
        return file

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the real one; skips the test where there is none."""
        if (kubectl := shutil.which("kubectl")) is None:
            pytest.skip("needs kubectl (Debian's kubernetes-client)")
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig()), "HOME": str(self.directory)}
        return subprocess.run([kubectl, *arguments], env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One with a Pod, at which the account may look."""
    with ApiServer() as server:
        server.put(pod("web", "lab", labels={"app": "web"}))
        server.allow(USER, ["get", "list", "watch"], ["pods", "pods/log"], namespace="lab")
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Cluster:
    """The ways to it."""
    return Cluster(server, tmp_path)


def table(text: str) -> list[list[str]]:
    """The cells of a table whose columns are three blanks apart."""
    return [re.split(" {2,}", line.strip()) for line in text.splitlines()]


# -- the command itself


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_s_help_shows_examples(command: str) -> None:
    """And the options that say which server."""
    done = inside("api", command, "--help")
    assert (done.stderr, done.returncode) == ("", 0)
    assert f"\n  kmetad api {command}" in done.stdout.partition("examples:")[2]
    for option in ("--server", "--kubeconfig", "--context", "--insecure-skip-tls-verify", "--timeout", "-c "):
        assert option in done.stdout


def test_without_a_command_there_is_help() -> None:
    """On standard error, with what there is."""
    done = inside("api")
    assert (done.stdout, done.returncode) == ("", 2)
    assert all(command in done.stderr for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "invalid choice"),
        (["paths", "--nonsense"], "unrecognized arguments"),
        (["paths", "-o", "text"], "invalid choice"),
        (["paths", "--server", "example.com"], "expected http:// or https://"),
        (["paths", "--server", "https://me:secret@example.com"], "a user and a password"),
        (["paths", "--timeout", "5"], "did you mean 5s"),
        (["paths", "-c", "/nowhere/kmetad.toml"], "/nowhere/kmetad.toml"),
        (["get"], "PATH"),
        (["get", "pods"], "did you mean '/pods'?"),
        (["get", "https://example.com/api"], "did you mean '/api'?"),
        (["get", "//api", "--server", "http://127.0.0.1:1"], "no path of an API server"),
        (["get", "/api/v1/pods?watch=1"], "watch= never ends"),
        (["can-i"], "say VERB and RESOURCE"),
        (["can-i", "get"], "say VERB and RESOURCE"),
        (["can-i", "get", "pods", "--list"], "leave out the verb"),
        (["can-i", "--list", "-A"], "name it with -n"),
        (["can-i", "get", "/metrics", "-n", "lab"], "in no namespace"),
        (["can-i", "get", "/metrics", "web"], "has no objects"),
        (["can-i", "get", "pods", "-n", "lab", "-A"], "not allowed with"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    """Exit code 2, and nobody is asked."""
    done = inside("api", *arguments)
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("kmetad: ")
    assert message in done.stderr
    assert "secret" not in done.stderr


def test_options_stand_before_or_behind_the_command(cluster: Cluster) -> None:
    """As people type them."""
    file = str(cluster.kubeconfig())
    for arguments in (["--kubeconfig", file, "get", "/version"], ["get", "/version", "--kubeconfig", file]):
        done = inside("api", *arguments)
        assert (json.loads(done.stdout)["major"], done.stderr, done.returncode) == ("1", "", 0)


# -- which server


def test_in_a_pod_it_is_found_by_itself(cluster: Cluster) -> None:
    """By its variables and the mounted account; the namespace is the Pod's own."""
    done = cluster.api("cluster-info")
    assert (done.stderr, done.returncode) == ("", 0)
    shown = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    shown = {name: value.strip() for name, value in shown.items()}
    assert shown["server"] == cluster.server.url
    assert "KUBERNETES_SERVICE_HOST" in shown["found"]
    assert shown["credentials"] == f"the token in {cluster.directory}/account/token"
    assert (shown["namespace"], shown["version"], shown["ready"]) == ("lab", "v1.36.2", "yes")
    assert re.match(
        r"until \S+Z \(in 364d\d*h?\), for 127.0.0.1, localhost, by kubernetes", shown["certificate"]
    )


def test_a_kubeconfig(cluster: Cluster) -> None:
    """$KUBECONFIG, or the option, which comes before what a Pod has."""
    file = str(cluster.kubeconfig())
    done = inside("api", "cluster-info", "-o", "json", env={"KUBECONFIG": file})
    told = json.loads(done.stdout)
    assert told["found"] == f"kubeconfig {file}, context lab"
    assert told["namespace"] == "lab"
    done = cluster.api("cluster-info", "-o", "json", "--kubeconfig", file)
    assert json.loads(done.stdout)["found"] == f"kubeconfig {file}, context lab"
    done = cluster.api("cluster-info", "--context", "other", "--kubeconfig", file)
    assert (done.stdout, done.returncode) == ("", 1)
    assert "there is no 'other'; known are lab" in done.stderr


def test_the_configuration_says_where(cluster: Cluster) -> None:
    """[api] url, over plain http as to kubectl proxy: no token is sent."""
    with ApiServer(tls=False) as proxy:
        cluster.toml.write_text(f'{cluster.toml.read_text()}[api]\nurl = "{proxy.url}"\n')
        done = cluster.api("whoami")
        assert (done.stderr, done.returncode) == ("", 0)
        assert "kubectl-proxy" in done.stdout
        assert proxy.requests[-1].header("Authorization") is None
        assert cluster.server.requests == []
    assert cluster.api("whoami", "--server", cluster.server.url).stdout.split()[1] == USER
    cluster.toml.write_text('[api]\nkubeconfig = "relative"\n[watch]\nrescan = 5\n')
    done = inside("api", "whoami", "--server", "http://127.0.0.1:1", env=cluster.env)
    assert "api.kubeconfig" in done.stderr
    assert "rescan" not in done.stderr  # it has nothing to do with this


def test_unverified_is_loud_and_sends_nothing(cluster: Cluster) -> None:
    """Said by the option or by the kubeconfig."""
    cluster.server.rotate_certificate()
    file = cluster.kubeconfig(**{"insecure-skip-tls-verify": True, "certificate-authority-data": None})
    for arguments in (["--insecure-skip-tls-verify"], ["--kubeconfig", str(file)]):
        done = cluster.api("get", "/version", *arguments)
        assert json.loads(done.stdout)["major"] == "1"
        assert done.stderr == (
            f"kmetad: INSECURE: the certificate of {cluster.server.url} is not verified, so anybody on the way may "
            "be answering; no credentials are sent\n"
        )
        assert cluster.server.requests[-1].header("Authorization") is None


def test_no_server_is_known(tmp_path: Path) -> None:
    """No Pod, no kubeconfig: exit code 1, with what to do."""
    done = inside("api", "paths", env={"HOME": str(tmp_path)})
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("kmetad: no API server is known")


# -- errors, each with a way out


def test_errors_end_with_what_to_do(cluster: Cluster, server: ApiServer) -> None:
    """401, 403, 404, 410: exit code 1, nothing on standard output, never a traceback."""
    done = cluster.api("get", "/api/v1/namespaces/lab/secrets")
    assert (done.stdout, done.returncode) == ("", 1)
    assert 'rule {apiGroups: [""], resources: ["secrets"], verbs: ["list"]}' in done.stderr
    server.allow_all(USER)
    done = cluster.api("get", "/nope")
    assert "404" in done.stderr
    assert "kmetad api paths" in done.stderr
    server.revoke(cluster.token)
    done = cluster.api("get", "/version")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "it doesn't accept the token in" in done.stderr


def test_another_ca(cluster: Cluster) -> None:
    """The certificate can't be verified, so nothing was sent; what is known without the server is shown."""
    cluster.server.rotate_certificate(Authority("other"))
    done = cluster.api("cluster-info")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].split() == ["server", cluster.server.url]
    assert "can't be verified" in done.stderr
    assert cluster.server.requests == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1", "127.0.0.1:1"),
        ("http://no-such-host.invalid", "can't be resolved"),
    ],
)
def test_nobody_answers(url: str, message: str, tmp_path: Path) -> None:
    """Refused, or no such name."""
    done = inside("api", "cluster-info", "--server", url, "--timeout", "5s")
    assert done.returncode == 1
    assert url in done.stdout
    assert message in done.stderr


def test_a_server_that_hangs(cluster: Cluster) -> None:
    """--timeout is for the whole request."""
    cluster.server.script("/version", behaviour.hang)
    done = cluster.api("get", "/version", "--timeout", "300ms")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "in time" in done.stderr


# -- paths, resources


def test_paths(cluster: Cluster, server: ApiServer) -> None:
    """What / lists, a line each; as JSON the server's own document."""
    server.allow_all(USER)
    done = cluster.api("paths")
    assert (done.stderr, done.returncode) == ("", 0)
    assert {"/api/v1", "/apis/apps/v1", "/healthz"} <= set(done.stdout.splitlines())
    assert json.loads(cluster.api("paths", "-o", "json").stdout) == {"paths": done.stdout.splitlines()}
    assert yaml.safe_load(cluster.api("paths", "-o", "yaml").stdout) == {"paths": done.stdout.splitlines()}


def test_paths_of_whom_the_list_is_kept_from(cluster: Cluster) -> None:
    """Most accounts may only use discovery: the groups, and a word on the rest."""
    done = cluster.api("paths")
    assert done.returncode == 0
    shown = done.stdout.splitlines()
    assert shown[:3] == ["/api", "/api/v1", "/apis"]
    assert {"/apis/apps", "/apis/apps/v1", "/apis/autoscaling/v1", "/apis/autoscaling/v2"} <= set(shown)
    assert "only what discovery tells" in done.stderr


def test_resources(cluster: Cluster) -> None:
    """As a table with a header; in JSON with Kubernetes' names for the parts."""
    done = cluster.api("resources")
    assert (done.stderr, done.returncode) == ("", 0)
    header, *rows = table(done.stdout)
    assert header == ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND", "VERBS"]
    verbs = "create,delete,deletecollection,get,list,patch,update,watch"
    assert ["pods", "po", "v1", "true", "Pod", verbs] in rows
    assert not any("/" in row[0] for row in rows)
    told = json.loads(cluster.api("resources", "-o", "json").stdout)
    assert len(told) == len(rows)
    (deployments,) = (resource for resource in told if resource["name"] == "deployments")
    assert deployments == {
        "name": "deployments",
        "shortNames": ["deploy"],
        "groupVersion": "apps/v1",
        "namespaced": True,
        "kind": "Deployment",
        "verbs": verbs.split(","),
        "categories": ["all"],
        "preferred": True,
    }


def test_resources_chosen(cluster: Cluster) -> None:
    """A group, parts of resources, and versions that aren't preferred, are asked for."""
    shown = {row[0] for row in table(cluster.api("resources", "--api-group", "apps").stdout)[1:]}
    assert shown == {"controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"}
    assert "pods/log" in cluster.api("resources", "--subresources", "--api-group", "").stdout
    versions = ["resources", "--api-group", "autoscaling", "-o", "json"]
    assert len(json.loads(cluster.api(*versions).stdout)) == 1
    assert len(json.loads(cluster.api(*versions, "--all-versions").stdout)) == 2
    done = cluster.api("resources", "--api-group", "nonsense")
    assert (done.stdout, done.returncode) == ("", 0)
    assert "there are none such" in done.stderr


def test_resources_of_a_group_that_fails(cluster: Cluster, server: ApiServer) -> None:
    """It is told of with exit code 1, as kubectl does; the others are shown."""
    server.script("/api", "api", math.inf)
    server.script("/apis", "apis", math.inf)
    server.script("/apis/apps/v1", behaviour.unavailable, math.inf)
    done = cluster.api("resources")
    assert done.returncode == 1
    assert "jobs" in done.stdout
    assert "deployments" not in done.stdout
    assert done.stderr.startswith("kmetad: apps/v1: ")


# -- get


def test_get_is_what_kubectl_gets(cluster: Cluster) -> None:
    """The same JSON, from --raw and from -o json; YAML says the same."""
    path = "/api/v1/namespaces/lab/pods/web"
    ours = json.loads(cluster.api("get", path).stdout)
    assert ours == yaml.safe_load(cluster.api("get", path, "-o", "yaml").stdout)
    assert ours["metadata"]["name"] == "web"
    theirs = cluster.kubectl("get", "--raw", path)
    assert ours == json.loads(theirs.stdout), theirs.stderr
    assert ours == json.loads(cluster.kubectl("get", "pod", "web", "-o", "json").stdout)


def test_get_as_a_table_is_what_kubectl_prints(cluster: Cluster, server: ApiServer) -> None:
    """The server's own columns, of one object, of several, and of several namespaces."""
    server.put(pod("worker", "lab"))
    server.put(pod("web", "shop"))
    server.allow(USER, ["list"], ["pods"])
    for path, arguments in (
        ("/api/v1/namespaces/lab/pods/web", ["get", "pod", "web"]),
        ("/api/v1/namespaces/lab/pods", ["get", "pods"]),
        ("/api/v1/pods", ["get", "pods", "-A"]),
    ):
        done = cluster.api("get", path, "-o", "table")
        assert (done.stderr, done.returncode) == ("", 0)
        assert table(done.stdout)[0][-5:] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
        theirs = cluster.kubectl(*arguments)
        assert table(done.stdout) == table(theirs.stdout), theirs.stderr


def test_get_as_a_table_where_there_is_none(cluster: Cluster) -> None:
    """Nothing listed: a word; another document: JSON."""
    cluster.server.remove("Pod", "lab", "web")
    done = cluster.api("get", "/api/v1/namespaces/lab/pods", "-o", "table")
    assert (done.stdout, done.stderr, done.returncode) == ("", "kmetad: there are none\n", 0)
    assert json.loads(cluster.api("get", "/version", "-o", "table").stdout)["major"] == "1"


def test_get_what_is_no_json(cluster: Cluster, server: ApiServer) -> None:
    """Bytes go through a pipe unchanged."""
    server.script("/odd", behaviour.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n\xff\x1b[31m"))
    command = [sys.executable, "-m", "kmetad", "api", "get", "/odd"]
    done = subprocess.run(command, env=environment(cluster.env), capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"\xff\x1b[31m", b"")
    done = subprocess.run(
        [*command[:-1], "/readyz?verbose"], env=environment(cluster.env), capture_output=True, timeout=60
    )
    assert done.stdout.endswith(b"readyz check passed\n")


@pytest.mark.parametrize("output", ["json", "yaml", "table"])
def test_nothing_commands_a_terminal(output: str, cluster: Cluster, server: ApiServer) -> None:
    """What somebody wrote into an object shows itself instead of acting, in each form, and in errors."""
    evil = "\x1b]0;owned\x07\x9b31m\u202e\u2028"
    server.annotate("lab", "web", note=evil)
    server.script(lambda request: request.where == "/text", behaviour.raw(_answer(evil.encode())), math.inf)
    rows = [{"cells": [evil], "object": {"metadata": {"name": evil}}}]
    columns = [{"name": evil, "type": "string", "priority": 0}]
    forged = json.dumps({"kind": "Table", "columnDefinitions": columns, "rows": rows}).encode()
    server.script("/table", behaviour.raw(_answer(forged, "application/json")), math.inf)
    server.script("/refused", behaviour.status(418, evil, evil), math.inf)
    for path in ("/api/v1/namespaces/lab/pods/web", "/text", "/table", "/refused"):
        shown = _on_a_terminal(cluster, "get", path, "-o", output)
        assert shown
        bad = [c for c in re.sub("\x1b\\[[0-9]+m", "", shown) if not c.isprintable() and c not in "\r\n\t"]
        assert bad == []


def _answer(body: bytes, kind: str = "text/plain") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _on_a_terminal(cluster: Cluster, *arguments: str) -> str:
    """What both streams show there."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kmetad", "api", *arguments],
        env=environment({**cluster.env, "LANG": "C.UTF-8"}),
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    try:
        while data := os.read(master, 65536):
            shown += data
    except OSError:  # EIO: the other end is closed
        pass
    os.close(master)
    process.wait(60)
    return shown.decode()


# -- whoami


def test_whoami(cluster: Cluster) -> None:
    """Name and groups by the server; expiry with the time left and audiences by the token."""
    done = cluster.api("whoami")
    assert (done.stderr, done.returncode) == ("", 0)
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert shown["user"] == USER
    assert shown["groups"] == "system:serviceaccounts, system:serviceaccounts:lab, system:authenticated"
    assert shown["audiences"] == "https://kubernetes.default.svc.cluster.local"
    assert re.fullmatch(r"\S+Z \(in (1h|59m\d*s?)\)", shown["expires"])
    told = json.loads(cluster.api("whoami", "-o", "json").stdout)
    assert told["user"]["username"] == USER
    assert told["token"]["audiences"] == [shown["audiences"]]
    assert told["token"]["expires"] == shown["expires"].split()[0]
    assert yaml.safe_load(cluster.api("whoami", "-o", "yaml").stdout)["user"] == told["user"]


def test_whoami_of_an_older_server(cluster: Cluster, server: ApiServer) -> None:
    """It has no such review: that is said, and what the token says of itself."""
    server.script("/apis/authentication.k8s.io/*", "plain-404", math.inf)
    done = cluster.api("whoami")
    assert done.returncode == 0
    assert "no SelfSubjectReview" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["credentials", "expires", "audiences"]
    done = cluster.api("whoami", "--insecure-skip-tls-verify")
    assert done.returncode == 1


def test_whoami_with_an_expired_token(cluster: Cluster, server: ApiServer) -> None:
    """401, with what to do."""
    cluster.mount.rotate(server.token(USER, expires=time.time() - 60))
    done = cluster.api("whoami")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "expired" in done.stderr


# -- can-i


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["get", "pods"], True),
        (["get", "po"], True),
        (["list", "Pod"], True),
        (["get", "pods", "-n", "shop"], False),
        (["list", "pods", "-A"], False),
        (["get", "secrets"], False),
        (["list", "deployments.apps"], False),
        (["*", "*"], False),
        (["get", "/version"], True),
        (["get", "/metrics"], False),
    ],
)
def test_can_i_as_kubectl_has_it(arguments: list[str], allowed: bool, cluster: Cluster) -> None:
    """yes or no, and nothing else, on standard output; the exit code says it too."""
    done = cluster.api("can-i", *arguments)
    assert (done.stdout, done.returncode) == (("yes\n", 0) if allowed else ("no\n", 1))
    assert done.stderr.startswith("kmetad: ")
    theirs = cluster.kubectl("auth", "can-i", *arguments)
    assert theirs.stdout == done.stdout, theirs.stderr


def test_can_i_with_a_part_and_a_name(cluster: Cluster, server: ApiServer) -> None:
    """What is asked is what was meant: the part as a subresource, the short name as a resource of its group."""
    done = cluster.api("can-i", "get", "po/log", "web", "-o", "json")
    assert json.loads(done.stdout)["spec"]["resourceAttributes"] == {
        "namespace": "lab",
        "verb": "get",
        "resource": "pods",
        "subresource": "log",
        "name": "web",
    }
    assert done.returncode == 0
    done = cluster.api("can-i", "patch", "deploy", "-o", "yaml")
    assert yaml.safe_load(done.stdout)["spec"]["resourceAttributes"] == {
        "namespace": "lab",
        "verb": "patch",
        "group": "apps",
        "resource": "deployments",
    }
    assert done.returncode == 1


def test_can_i_tells_why_and_what_would_help(cluster: Cluster) -> None:
    """On standard error: the server's reason for yes, a role's rule for no."""
    assert "RBAC: allowed by RoleBinding" in cluster.api("can-i", "get", "pods").stderr
    done = cluster.api("can-i", "list", "deploy")
    rule = '{apiGroups: ["apps"], resources: ["deployments"], verbs: ["list"]}'
    assert done.stderr == f"kmetad: a Role in lab, bound to you, would allow it with the rule {rule}\n"
    done = cluster.api("can-i", "get", "nodes")
    assert "a ClusterRole, bound to you" in done.stderr


def test_can_i_of_what_the_server_does_not_know(cluster: Cluster, server: ApiServer) -> None:
    """The name is taken as it is, and that is said; so it is where discovery is refused."""
    done = cluster.api("can-i", "get", "webs.example.com")
    assert done.stdout == "no\n"
    assert "the server has no resource 'webs.example.com'" in done.stderr
    server.script("/api*", behaviour.status(403, "Forbidden", "no"), 2)
    done = cluster.api("can-i", "get", "pods")
    assert done.stdout == "yes\n"
    assert "names are taken as they are" in done.stderr


def test_can_i_list(cluster: Cluster) -> None:
    """The rules of the own namespace, a line a resource; as kubectl lists them."""
    done = cluster.api("can-i", "--list")
    assert (done.stderr, done.returncode) == ("", 0)
    header, *rows = table(done.stdout)
    assert header == ["RESOURCES", "NON-RESOURCE URLS", "RESOURCE NAMES", "VERBS"]
    assert ["pods", "[]", "[]", "[get list watch]"] in rows
    assert ["[/version]", "[]", "[get]"] in rows
    assert "pods" not in {row[0] for row in table(cluster.api("can-i", "--list", "-n", "shop").stdout)}
    theirs = cluster.kubectl("auth", "can-i", "--list")
    assert {tuple(row) for row in table(theirs.stdout)[1:]} == {tuple(row) for row in rows}


def test_can_i_list_that_is_not_all(cluster: Cluster, server: ApiServer) -> None:
    """A webhook that decides can't list its rules; then there may be more."""
    status = {"resourceRules": [], "nonResourceRules": [], "incomplete": True, "evaluationError": "webhook"}
    body = json.dumps({"kind": "SelfSubjectRulesReview", "status": status}).encode()
    server.script("selfsubjectrulesreviews", behaviour.raw(_answer(body, "application/json")))
    done = cluster.api("can-i", "--list")
    assert (done.stdout, done.returncode) == ("", 0)
    assert "there may be more, as the server says: webhook" in done.stderr


# -- cluster-info


@pytest.mark.parametrize(
    ("act", "ready"),
    [
        (behaviour.status(403, "Forbidden", "no"), "unknown: /readyz is forbidden"),
        (
            behaviour.raw(
                _answer(b"[+]ping ok\n[-]etcd failed: reason withheld\n").replace(b"200 OK", b"500 X")
            ),
            "no: etcd",
        ),
        ("plain-404", "yes"),
    ],
)
def test_cluster_info_of_a_server_that_is_not_ready(
    act: behaviour.Behaviour | str, ready: str, cluster: Cluster, server: ApiServer
) -> None:
    """What of it isn't; a server that is too old for /readyz has /healthz."""
    server.script("/readyz", act)
    assert json.loads(cluster.api("cluster-info", "-o", "json").stdout)["ready"] == ready


def test_it_starts_quickly() -> None:
    """Help needs neither HTTP, nor YAML, nor the official client."""
    code = (
        "import sys; from kmetad._cli.main import main\n"
        "code = main(['api', 'get', '--help'])\n"
        "heavy = {'urllib3', 'ssl', 'yaml', 'kubernetes', 'msgspec'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.stderr, done.returncode) == ("", 0)


def test_as_a_process_of_its_own(cluster: Cluster) -> None:
    """As people start it."""
    done = kmetad("api", "can-i", "get", "pods", env=cluster.env)
    assert (done.stdout, done.returncode) == ("yes\n", 0)


# -- docs/api.md

PAGE = ROOT / "docs/api.md"
VARYING = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID"),
    (r"\S+Z \(in [0-9dhms]+\)", "TIME"),
    (r"(Running +0 +)\w+", r"\1AGE"),
)
"""What differs from run to run."""


def section(title: str) -> str:
    """A part of the page."""
    return PAGE.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]


def commands(title: str) -> list[tuple[str, str, str]]:
    """The commands in it, each with the word behind its ``#``, and what is shown below."""
    found = re.findall(
        r"^    \$ (.*?)(?: +# (\w+))?\n((?:    (?!\$ ).*\n)*)", section(title) + "\n", re.MULTILINE
    )
    return [(command, word, re.sub("^    ", "", shown, flags=re.MULTILINE)) for command, word, shown in found]


def bash(cluster: Cluster, script: str) -> str:
    """What it prints on both streams, run as in the Pod."""
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment({**cluster.env, "PATH": path}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.stdout


def holds(text: str, word: str) -> bool:
    """Whether it is a document of this kind, or with this key."""
    document = json.loads(text)
    return word in document or document["kind"] == word


def needs(*programs: str) -> None:
    """Skip the test where one of them isn't installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


def test_the_page_s_commands_on_a_node(cluster: Cluster) -> None:
    """Through a real ``kubectl proxy`` each answers with what the page says."""
    needs("curl", "kubectl")
    (proxy, _, _), *asked = commands("From a node")
    assert proxy == "kubectl proxy &"
    assert len(asked) == 7
    env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig()), "HOME": str(cluster.directory)}
    with subprocess.Popen(
        ["kubectl", "proxy", "--port=0"], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1]
            for command, word, _ in asked:
                out = bash(cluster, command.replace("localhost:8001", address))
                assert holds(out, word), f"{command}\n{out}"
        finally:
            process.terminate()


def test_the_page_s_commands_in_a_pod(cluster: Cluster) -> None:
    """By hand, with nothing but the mounted files and the variables."""
    needs("curl")
    shell = commands("From a Pod")
    before = "\n".join(command for command, word, _ in shell if not word)
    asked = [(command, word) for command, word, _ in shell if word]
    assert len(asked) == 3
    for command, word in asked:
        out = bash(cluster, cluster.here(f"{before}\n{command}"))
        assert holds(out, word), f"{command}\n{out}"


def test_the_page_s_ambassador(cluster: Cluster) -> None:
    """``kmetad proxy`` answers with what the page says."""
    needs("curl")
    (proxy, _, _), (command, word, _) = commands("From an app that shouldn't have to know")
    arguments = shlex.split(proxy.removeprefix("kmetad ").removesuffix(" &"))
    with Running(*arguments, "--port=0", env={**os.environ, **cluster.env}) as process:
        address = process.out.line().split()[-1]
        assert holds(bash(cluster, command.replace("localhost:8001", address)), word)


def test_the_page_s_commands_of_kmetad(cluster: Cluster) -> None:
    """Each prints what is shown below it, but for what differs from run to run."""
    needs("jq")
    shown = commands("kmetad api")
    assert len(shown) == 6

    def plain(text: str) -> str:
        for pattern, name in VARYING:
            text = re.sub(pattern, name, text)
        return text

    for command, _, expected in shown:
        out = bash(cluster, cluster.here(command)).replace(f"{cluster.directory}/account", ACCOUNT)
        assert plain(out) == plain(expected), command


@contextmanager
def plain_http() -> Iterator[int]:
    """The port of something that answers whatever comes in plain HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # it was shut down
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_page_s_errors_are_real(cluster: Cluster, server: ApiServer, tmp_path: Path) -> None:
    """What its table quotes is what is said, each by a server or a Pod that has that fault."""
    said = [
        cluster.api("get", "/api/v1/secrets").stderr,
        cluster.api("get", "/api/v1/pods", "--insecure-skip-tls-verify").stderr,
    ]
    server.allow_all(USER)
    said.append(cluster.api("get", "/nope").stderr)
    server.script("/version", behaviour.html(), 1)
    said.append(cluster.api("get", "/version").stderr)
    server.script("/version", behaviour.hang, 1)
    said.append(cluster.api("get", "/version", "--timeout", "300ms").stderr)
    file = cluster.kubeconfig(**{"tls-server-name": "api.example"})
    said.append(cluster.api("get", "/version", "--kubeconfig", str(file)).stderr)
    said.append(cluster.api("get", "/version", "--server", "http://no-such-host.invalid").stderr)
    said.append(inside("api", "paths", env={"HOME": str(tmp_path)}).stderr)
    with plain_http() as port:
        said.append(cluster.api("get", "/version", "--server", f"https://127.0.0.1:{port}").stderr)
    said.append(cluster.api("get", "/version", "--server", f"http://127.0.0.1:{port}").stderr)
    server.revoke(cluster.token)
    said.append(cluster.api("get", "/version").stderr)
    server.rotate_certificate()
    said.append(cluster.api("get", "/version").stderr)
    server.mount(cluster.directory / "broken", token="nonsense")
    cluster.toml.write_text(f'[token]\npath = "{cluster.directory}/broken"\n')
    said.append(cluster.api("get", "/version").stderr)

    rows = re.findall(r"^\| (`.*?) \| ", section("What an error means"), re.MULTILINE)
    assert len(rows) == len(said)
    for row in rows:
        parts = re.findall("`(.*?)`", row)
        assert any(all(part in message for part in parts) for message in said), f"{row}\n{''.join(said)}"
