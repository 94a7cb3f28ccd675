"""Servers and credentials from kubeconfig files, against a real TLS server, with real exec plugins."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmetad.api import Client, CredentialsError, Server, Unauthorized, Untrusted, find_server, kubeconfig
from kmetad.api.kubeconfig import exec_plugin as plugins
from tests.apiserver import ApiServer, Authority
from tests.cli import inside

USER = "system:serviceaccount:lab:app"
MARKER = "MARKER-of-a-secret"
"""Stands in every secret that must not be shown."""

Write = Callable[..., Path]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One that knows tokens and client certificates."""
    with ApiServer() as server:
        yield server


@pytest.fixture
def write(server: ApiServer, tmp_path: Path) -> Write:
    """Writes a kubeconfig with one context, ``lab``, for the server; ``changed`` replaces its parts."""

    def written(
        user: Mapping[str, Any] | None = None,
        cluster: Mapping[str, Any] | None = None,
        name: str = "config",
        **changed: Any,
    ) -> Path:
        whole = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "c", "cluster": {**trusted(server), **(cluster or {})}}],
            "users": [{"name": "app", "user": user or {}}],
            "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "app", "namespace": "shop"}}],
            **changed,
        }
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump({key: value for key, value in whole.items() if value is not None}))
        return file

    return written


def trusted(server: ApiServer) -> dict[str, Any]:
    """The cluster's entry."""
    return {"server": server.url, "certificate-authority-data": encoded(server.authority.pem)}


def encoded(content: bytes) -> str:
    """In base64, as ``…-data`` has it."""
    return base64.b64encode(content).decode()


def who(found: Server) -> str:
    """Whom the server takes this for."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    with Client(found) as client:
        answer = client.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    name: str = answer["status"]["userInfo"]["username"]
    return name


def plugin(
    directory: Path, status: Mapping[str, Any], before: str = "", version: str = "v1"
) -> dict[str, Any]:
    """A user's entry with an exec plugin, a script that notes each run and prints credentials."""
    script = directory / "login"
    credential = {
        "kind": "ExecCredential",
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "status": dict(status),
    }
    (directory / "credential.json").write_text(json.dumps(credential))
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "here = os.path.dirname(os.path.abspath(__file__))\n"
        "open(f'{here}/runs', 'a').write(os.environ['KUBERNETES_EXEC_INFO'] + '\\n')\n"
        f"{before}\n"
        "print(open(f'{here}/credential.json').read())\n"
    )
    script.chmod(0o755)
    return {"exec": {"apiVersion": f"client.authentication.k8s.io/{version}", "command": "./login"}}


def runs(directory: Path) -> list[dict[str, Any]]:
    """What the plugin was told, each time that it ran."""
    path = directory / "runs"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_token(server: ApiServer, write: Write) -> None:
    """With the context's namespace, and where it was found; expiry and audiences are told, the token isn't."""
    token = server.token(USER)
    file = write({"token": token})
    found = kubeconfig.server(str(file))
    assert (found.url, found.namespace, found.verify) == (server.url, "shop", True)
    assert found.found == f"kubeconfig {file}, context lab"
    assert found.credentials.about() == f"the token of app in {file}"
    assert who(found) == USER
    told = found.credentials.token()
    assert told is not None
    assert told.audiences == ("https://kubernetes.default.svc.cluster.local",)
    assert told.expires
    assert told.expires > time.time()
    assert token not in repr(found) + repr(found.credentials) + repr(dict(found.credentials.headers()))


def test_a_token_file_is_followed(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """Relative to the kubeconfig; it comes before a token, and is read again when it changes."""
    (tmp_path / "token").write_text(server.token(USER) + "\n")
    found = kubeconfig.server(str(write({"tokenFile": "token", "token": "old"})))
    assert who(found) == USER
    (tmp_path / "token.new").write_text(server.token("jane"))
    os.replace(tmp_path / "token.new", tmp_path / "token")
    assert who(found) == "jane"


def test_a_changed_kubeconfig_is_followed(server: ApiServer, write: Write) -> None:
    """A refused token is replaced without a restart; a file that is half-written changes nothing."""
    file = write({"token": server.token(USER)})
    found = kubeconfig.server(str(file))
    assert who(found) == USER
    whole = file.read_text()
    for key in ("server:", "contexts:", "name: lab", "users:", "token:"):
        file.write_text(whole[: whole.index(key)])
        assert who(found) == USER
    write({"token": server.token("jane")})
    assert who(found) == "jane"


def test_credentials_are_for_one_server(server: ApiServer, write: Write) -> None:
    """When the context names another one by and by, they aren't sent to the first."""
    file = write({"token": server.token(USER)})
    found = kubeconfig.server(str(file))
    write({"token": server.token(USER)}, {"server": "https://other.example:6443"})
    with pytest.raises(CredentialsError, match="another server now"):
        who(found)
    assert server.requests == []


def test_a_client_certificate_in_the_file(server: ApiServer, write: Write) -> None:
    """It goes over no disk; the server takes the name from it."""
    issued = server.client_certificate("jane", ["devs"])
    user = {"client-certificate-data": encoded(issued.certificate), "client-key-data": encoded(issued.key)}
    found = kubeconfig.server(str(write(user)))
    assert who(found) == "jane"
    assert found.credentials.token() is None
    trust = found.credentials.trust()
    assert issued.key.strip() in trust.cert
    assert "PRIVATE" not in repr(trust)


def test_a_client_certificate_in_files_is_followed(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """Relative to the kubeconfig, in another directory than this; a renewed one is used for new connections."""
    server.client_certificate("jane").write(tmp_path)
    user = {"client-certificate": "tls.crt", "client-key": "tls.key"}
    found = kubeconfig.server(str(write(user)))
    with Client(found) as client:
        assert client.get("/version")
        before = found.credentials.trust()
        assert found.credentials.trust() == before
    server.client_certificate("jim").write(tmp_path)
    assert found.credentials.trust() != before
    assert who(found) == "jim"


def test_a_ca_in_a_file(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """Relative to the kubeconfig; another one is taken when it is there."""
    (tmp_path / "ca.crt").write_bytes(Authority().pem)
    cluster = {"certificate-authority": "ca.crt", "certificate-authority-data": None}
    found = kubeconfig.server(str(write({"token": server.token(USER)}, cluster)))
    (tmp_path / "ca.crt").write_bytes(server.authority.pem)
    assert who(found) == USER


def test_basic_auth(write: Write) -> None:
    """As RFC 7617 writes it; API servers since Kubernetes 1.19 don't take it, but what stands before one may."""
    found = kubeconfig.server(str(write({"username": "jane", "password": MARKER})))
    expected = base64.b64encode(f"jane:{MARKER}".encode()).decode()
    assert found.credentials.headers()["Authorization"] == f"Basic {expected}"
    assert found.credentials.token() is None
    assert found.credentials.about().startswith("the password of app in ")


def test_impersonation(write: Write, server: ApiServer) -> None:
    """As whom the user acts is said in headers, as ``kubectl --as`` does; what can't be said is refused."""
    user = {"token": server.token(USER), "as": "jane", "as-groups": ["devs"]}
    found = kubeconfig.server(str(write(user)))
    who(found)
    sent = server.requests[-1]
    assert (sent.header("Impersonate-User"), sent.header("Impersonate-Group")) == ("jane", "devs")
    with pytest.raises(CredentialsError, match="several as-groups"):
        kubeconfig.server(str(write({**user, "as-groups": ["a", "b"]})))


def test_another_name_for_tls(server: ApiServer, write: Write) -> None:
    """tls-server-name is what the certificate is for; without it the address doesn't match."""
    server.authority = authority = Authority()
    server._context = context = server._new_context()
    authority.server("api.example").load(context)
    cluster = {**trusted(server), "tls-server-name": "api.example"}
    found = kubeconfig.server(str(write({"token": server.token(USER)}, cluster)))
    assert found.tls_name == "api.example"
    assert who(found) == USER


def test_a_proxy(write: Write) -> None:
    """proxy-url is the way there."""
    found = kubeconfig.server(str(write({"token": "t"}, {"proxy-url": "http://proxy.example:3128"})))
    assert found.proxy == "http://proxy.example:3128"


def test_several_files(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """Of each name the first counts, of the current context too; a file that isn't there is passed over."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/token").write_text(server.token("jane"))
    first = write(
        clusters=None, users=[{"name": "jim", "user": {"token": server.token("jim")}}], contexts=None
    )
    second = write(
        name="other/config",
        users=[
            {"name": "jim", "user": {"token": "overridden"}},
            {"name": "jane", "user": {"tokenFile": "token"}},
        ],
        contexts=[
            {"name": "lab", "context": {"cluster": "c", "user": "jim"}},
            {"name": "jane", "context": {"cluster": "c", "user": "jane"}},
        ],
        **{"current-context": "jane"},
    )
    files = os.pathsep.join(map(str, (first, tmp_path / "nowhere", second)))
    assert who(kubeconfig.server(files)) == "jim"
    assert who(kubeconfig.server(files, context="jane")) == "jane"


def test_nothing_is_sent_unverified(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """Whoever says it, the option or the file: no token, no certificate, and no exec plugin is even run."""
    token = {"token": server.token(USER)}
    for found in (
        kubeconfig.server(str(write(token)), insecure=True),
        find_server(kubeconfig=str(write(token)), insecure=True),
        kubeconfig.server(str(write(token, {"insecure-skip-tls-verify": True}))),
        kubeconfig.server(str(write(plugin(tmp_path, token))), insecure=True),
    ):
        assert not found.verify
        assert "never go over a connection that isn't verified" in found.credentials.about()
        with Client(found) as client:
            assert client.get("/version")
        assert server.requests[-1].header("Authorization") is None
    assert runs(tmp_path) == []


def test_nothing_is_sent_over_plain_http(write: Write, tmp_path: Path) -> None:
    """As to ``kubectl proxy``, which has its own."""
    with ApiServer(tls=False) as proxy:
        user = plugin(tmp_path, {"token": proxy.token(USER)})
        found = kubeconfig.server(str(write(user, {"server": proxy.url})))
        assert who(found) == "kubectl-proxy"
        assert "never go over plain http" in found.credentials.about()
        assert proxy.requests[-1].header("Authorization") is None
    assert runs(tmp_path) == []


def test_an_exec_plugin(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """It runs once, when it is first needed, and isn't told of the cluster unless that is wanted."""
    user = plugin(tmp_path, {"token": server.token(USER)})
    found = kubeconfig.server(str(write(user)))
    assert runs(tmp_path) == []
    assert who(found) == USER
    assert who(found) == USER
    (told,) = runs(tmp_path)
    assert told == {
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "spec": {"interactive": False},
    }
    assert found.credentials.about().startswith(f"the exec plugin {tmp_path}/./login of app in ")


def test_an_exec_plugin_is_told_of_the_cluster(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """With provideClusterInfo, and the configuration that the cluster has for plugins; it gets its variables."""
    user = plugin(
        tmp_path, {"token": server.token(USER)}, "assert os.environ['ROLE'] == 'dev', os.environ['ROLE']"
    )
    user["exec"] |= {"provideClusterInfo": True, "env": [{"name": "ROLE", "value": "dev"}], "args": ["a"]}
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    assert who(kubeconfig.server(str(write(user, {"extensions": [extension]})))) == USER
    (told,) = runs(tmp_path)
    assert told["spec"]["cluster"] == {**trusted(server), "config": {"audience": "x"}}


def test_an_exec_plugin_brings_a_certificate(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """In place of a token."""
    issued = server.client_certificate("jane")
    status = {"clientCertificateData": issued.certificate.decode(), "clientKeyData": issued.key.decode()}
    found = kubeconfig.server(str(write(plugin(tmp_path, status, version="v1beta1"))))
    assert who(found) == "jane"
    assert len(runs(tmp_path)) == 1


def test_an_exec_plugin_runs_again_after_a_refusal(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """A revoked token costs no call: the plugin is asked, and the call made once more."""
    token = server.token(USER)
    found = kubeconfig.server(str(write(plugin(tmp_path, {"token": token}))))
    assert who(found) == USER
    server.revoke(token)
    plugin(tmp_path, {"token": server.token("jane")})
    assert who(found) == "jane"
    assert len(runs(tmp_path)) == 2
    server.revoke(json.loads((tmp_path / "credential.json").read_text())["status"]["token"])
    with pytest.raises(Unauthorized, match="the exec plugin"):
        who(found)


def test_an_exec_plugin_runs_again_before_the_end(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """A fifth of a short life before it, so that one of a minute isn't renewed with every request."""
    start = 1_800_000_000.0
    now = start

    def until(seconds: float) -> str:
        return datetime.fromtimestamp(start + seconds, UTC).isoformat().replace("+00:00", "Z")

    file = write(plugin(tmp_path, {"token": "opaque", "expirationTimestamp": until(60)}))
    credentials = kubeconfig.Kubeconfig(str(file), "lab", clock=lambda: now)
    credentials.headers()
    told = credentials.token()
    assert told is not None
    assert told.expires == start + 60
    now = start + 47
    credentials.headers()
    assert len(runs(tmp_path)) == 1
    now = start + 48
    credentials.headers()
    assert len(runs(tmp_path)) == 2


def test_an_exec_plugin_that_fails_is_told_with_its_words(write: Write, tmp_path: Path) -> None:
    """Its standard error is for people; what it prints isn't."""
    before = f"print('{MARKER}'); sys.stderr.write('please sign in\\x1b[31m\\n'); sys.exit(3)"
    found = kubeconfig.server(str(write(plugin(tmp_path, {}, before))))
    with pytest.raises(CredentialsError) as raised:
        who(found)
    assert str(raised.value) == (
        f"{tmp_path}/config, user app, exec: {tmp_path}/./login ended with 3, and said: please sign in [31m"
    )


def test_an_exec_plugin_that_hangs(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended with what it started, and never holds a call for ever."""
    monkeypatch.setattr(plugins, "PATIENCE", 0.5)
    hang = "import subprocess; subprocess.run(['sleep', '600'])"
    found = kubeconfig.server(str(write(plugin(tmp_path, {}, hang))))
    with pytest.raises(CredentialsError, match="has printed nothing within 0.5 s"):
        who(found)


def test_an_exec_plugin_that_leaves_something_running(
    server: ApiServer, write: Write, tmp_path: Path
) -> None:
    """A helper of its own, as an agent, that has its output too: nobody waits for that."""
    os.mkfifo(tmp_path / "fifo")
    before = f"import subprocess; subprocess.Popen(['cat', '{tmp_path}/fifo'], start_new_session=True)"
    user = plugin(tmp_path, {"token": server.token(USER)}, before)
    try:
        assert who(kubeconfig.server(str(write(user)))) == USER
    finally:
        os.close(os.open(tmp_path / "fifo", os.O_WRONLY))  # which ends it


def test_an_exec_plugin_that_prints_without_an_end(write: Write, tmp_path: Path) -> None:
    """A little of it is read."""
    found = kubeconfig.server(str(write(plugin(tmp_path, {}, "print('x' * (4 << 20))"))))
    with pytest.raises(CredentialsError, match="printed no JSON"):
        found.credentials.headers()


def test_what_an_exec_plugin_says_may_hold_a_token(write: Write, tmp_path: Path) -> None:
    """A helper that is told to debug prints such things; the rest of its words is shown."""
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0." + "s" * 40
    before = f"print('sent {token} to https://idp', file=sys.stderr); sys.exit(1)"
    found = kubeconfig.server(str(write(plugin(tmp_path, {}, before))))
    with pytest.raises(CredentialsError, match="and said: sent <secret> to https://idp"):
        found.credentials.headers()


def test_who_has_a_token_runs_nothing(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """As client-go: an exec plugin beside it is for those who have none."""
    user = {"token": server.token(USER), **plugin(tmp_path, {"token": "x.y.z"})}
    assert who(kubeconfig.server(str(write(user)))) == USER
    assert runs(tmp_path) == []


def test_another_exec_plugin_is_run(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """When the file names another, what the first one gave is forgotten."""
    user = plugin(tmp_path, {"token": server.token(USER)})
    found = kubeconfig.server(str(write(user)))
    assert who(found) == USER
    user["exec"]["args"] = ["--other"]
    write(user)
    assert who(found) == USER
    assert len(runs(tmp_path)) == 2


def test_two_threads_renew_once(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """Both were refused with the same token: the second finds what the first has got."""
    found = kubeconfig.server(str(write(plugin(tmp_path, {"token": server.token(USER)}))))
    sent = found.credentials.headers()
    new = json.dumps({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
                      "status": {"token": server.token(USER)}})  # fmt: skip
    (tmp_path / "credential.json").write_text(new)
    assert found.credentials.renew(sent)
    assert found.credentials.renew(sent)
    assert len(runs(tmp_path)) == 2


def test_an_untrusted_server_runs_no_plugin(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """None knows of another CA."""
    found = kubeconfig.server(str(write(plugin(tmp_path, {"token": server.token(USER)}))))
    assert who(found) == USER
    server.rotate_certificate()
    with pytest.raises(Untrusted):
        who(found)
    assert len(runs(tmp_path)) == 1


def test_one_of_several_may_be_empty(server: ApiServer, write: Write, tmp_path: Path) -> None:
    """As kubectl has it; one alone may not."""
    for name, content in (("empty", ""), ("little", "kind: Config\npreferences: {}\n")):
        (tmp_path / name).write_text(content)
        files = f"{tmp_path / name}:{write({'token': server.token(USER)})}"
        assert who(kubeconfig.server(files)) == USER
        with pytest.raises(CredentialsError, match="kubeconfig"):
            kubeconfig.server(str(tmp_path / name))


def test_a_pipe_is_no_file(write: Write, tmp_path: Path) -> None:
    """It would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CredentialsError, match="pipe is no file"):
        kubeconfig.server(str(write({"tokenFile": "pipe"})))


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ("nonsense", "printed no JSON"),
        ([], "printed no ExecCredential"),
        ({"apiVersion": "client.authentication.k8s.io/v1beta1", "status": {}}, "another apiVersion"),
        ({"status": {}}, "neither a token"),
        ({"status": {"token": MARKER, "expirationTimestamp": "soon"}}, "no time"),
        ({"status": {"clientCertificateData": MARKER, "clientKeyData": MARKER}}, "aren't in PEM"),
    ],
)
def test_what_an_exec_plugin_prints_is_checked(
    printed: object, message: str, write: Write, tmp_path: Path
) -> None:
    """Each fault names the user's entry, and quotes nothing."""
    user = plugin(tmp_path, {})
    if isinstance(printed, dict):
        printed = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1"} | printed
    text = printed if isinstance(printed, str) else json.dumps(printed)
    (tmp_path / "credential.json").write_text(text)
    found = kubeconfig.server(str(write(user)))
    with pytest.raises(CredentialsError, match=message) as raised:
        who(found)
    assert "user app, exec: " in str(raised.value)
    assert MARKER not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"command": "no-such-command-here", "installHint": "get it at example.com"},
            "get it at example.com",
        ),
        ({"command": "no-such-command-here"}, "there is no command no-such-command-here"),
        ({"command": "./absent"}, "there is no command /"),
        ({"command": "true", "interactiveMode": "Always"}, "there is no terminal"),
    ],
)
def test_an_exec_plugin_that_cannot_run(declared: Mapping[str, Any], message: str, write: Write) -> None:
    """With what to do, in the words of whoever wrote the kubeconfig if there are some."""
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", **declared}}
    found = kubeconfig.server(str(write(user)))
    with pytest.raises(CredentialsError, match=message):
        who(found)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"exec": {"command": "x"}}, "apiVersion has to be"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, "command is missing"),
        ({"exec": "x"}, "an exec that is no mapping"),
        (
            {
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "x",
                    "interactiveMode": "never",
                }
            },
            "interactiveMode has to be Never, IfAvailable or Always",
        ),
        ({"as-groups": ["devs"]}, "and for no user: set `as`"),
        ({"tokenFile": "a\0b"}, "can't be a path"),
        ({"token": 12345}, "token has to be a text: put it in quotes"),
        ({"token": f"{MARKER} {MARKER}"}, "no token"),
        ({"tokenFile": "nowhere"}, "tokenFile: there is no .*/nowhere"),
        (
            {"client-certificate": "nowhere", "client-key": "nowhere"},
            "its certificate: there is no .*/nowhere",
        ),
        ({"client-certificate-data": encoded(b"x")}, "no client-key"),
        ({"client-certificate-data": f"!{MARKER}"}, "client-certificate-data isn't base64"),
        ({"client-certificate-data": encoded(b"x"), "client-key-data": encoded(b"y")}, "aren't in PEM"),
        ({"username": "jane"}, "but not both"),
        (
            {"auth-provider": {"name": "azure", "config": {"access-token": MARKER}}},
            "auth-provider that isn't",
        ),
        ({"auth-provider": {"name": "oidc", "config": {"id-token": MARKER}}}, "gives no token"),
        (
            {"auth-provider": {"name": "oidc", "config": {"refresh-token": MARKER}}},
            "its auth-provider failed",
        ),
    ],
)
def test_faults_of_a_user(user: Mapping[str, Any], message: str, write: Write) -> None:
    """The message names the file and the entry, and what to do; never what stands there."""
    file = write(user)
    with pytest.raises(CredentialsError, match=message) as raised:
        kubeconfig.server(str(file))
    assert str(raised.value).startswith(f"{file}, user app")
    told = "".join(traceback.format_exception(raised.value))
    assert MARKER not in told


def test_two_halves_that_do_not_belong_together(server: ApiServer, write: Write) -> None:
    """A certificate with another one's key."""
    one, other = server.client_certificate("jane"), server.client_certificate("jim")
    user = {"client-certificate-data": encoded(one.certificate), "client-key-data": encoded(other.key)}
    with pytest.raises(CredentialsError, match="the client key isn't that of the client certificate"):
        kubeconfig.server(str(write(user)))


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ({"server": None}, "has no server; `kubectl config set-cluster"),
        ({"server": "10.0.0.1:6443"}, "expected http:// or https://"),
        ({"certificate-authority-data": encoded(b"x")}, "isn't in PEM"),
        (
            {"certificate-authority-data": None, "certificate-authority": "nowhere"},
            "CA: there is no .*/nowhere",
        ),
        ({"insecure-skip-tls-verify": "true"}, "insecure-skip-tls-verify has to be true or false"),
    ],
)
def test_faults_of_a_cluster(cluster: Mapping[str, Any], message: str, write: Write) -> None:
    """Likewise."""
    file = write({"token": "t"}, cluster)
    with pytest.raises(CredentialsError, match=message) as raised:
        kubeconfig.server(str(file))
    assert str(raised.value).startswith(f"{file}, cluster c")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"current-context": None}, r"no current-context; name one with --context \(lab\)"),
        ({"current-context": "other"}, "the current context: there is no 'other'; known are lab"),
        ({"contexts": None}, "there is no 'lab'; known are none"),
        ({"clusters": None}, "context lab: there is no 'c'; known are none"),
        ({"users": [{"name": "jim"}]}, "context lab: there is no 'app'; known are jim"),
        ({"contexts": [{"name": "lab", "context": {"user": "app"}}]}, "context lab names no cluster"),
        ({"contexts": {"lab": {}}}, "contexts has to be a list"),
        ({"users": [{"user": {"token": MARKER}}]}, r"users\[0\] has no name"),
        ({"users": [{"name": "app", "user": MARKER}]}, "user app: user has to be a mapping"),
    ],
)
def test_faults_of_the_whole(changed: Mapping[str, Any], message: str, write: Write) -> None:
    """What is named has to be there; the message lists what is."""
    file = write({"token": MARKER}, **changed)
    with pytest.raises(CredentialsError, match=message) as raised:
        kubeconfig.server(str(file))
    assert str(raised.value).startswith(str(file))
    assert MARKER not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"users:\n- name: {MARKER}\n  user: {{token: {MARKER}\n", r"config:\d+: this isn't YAML"),
        (f"token: 2026-99-99\nx: {MARKER}\n", "config: this isn't YAML"),
        (f"\x00{MARKER}", "config.*: this isn't YAML"),
        (MARKER, "this is no kubeconfig"),
        ("[1]", "this is no kubeconfig"),
        ("", "is empty"),
    ],
)
def test_files_that_are_none(content: str, message: str, tmp_path: Path) -> None:
    """With the line, where YAML knows it; PyYAML's own message would quote the file."""
    file = tmp_path / "config"
    file.write_text(content)
    with pytest.raises(CredentialsError, match=message) as raised:
        kubeconfig.server(str(file))
    assert MARKER not in "".join(traceback.format_exception(raised.value))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    """All that were looked for are named."""
    with pytest.raises(CredentialsError, match="there is no .*/a"):
        kubeconfig.server(f"{tmp_path}/a")
    with pytest.raises(CredentialsError, match="no kubeconfig: there is no .*/a and no .*/b"):
        kubeconfig.server(f"{tmp_path}/a:{tmp_path}/b")
    with pytest.raises(CredentialsError, match="is no file"):
        kubeconfig.server(str(tmp_path))


def test_without_the_official_client(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an auth-provider takes it, and then what to install is said, by the command too."""
    monkeypatch.setitem(sys.modules, "kubernetes.client", None)
    assert kubeconfig.server(str(write({"token": MARKER}))).secure
    file = write({"auth-provider": {"name": "oidc", "config": {}}})
    with pytest.raises(CredentialsError, match=r'pip install "kmetad\[kubeconfig\]"'):
        kubeconfig.server(str(file))
    done = inside("api", "whoami", "--kubeconfig", str(file))
    assert (done.stdout, done.returncode) == ("", 1)
    assert 'pip install "kmetad[kubeconfig]"' in done.stderr
