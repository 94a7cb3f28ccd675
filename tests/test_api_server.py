"""Where the API server is."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmetad.api import CredentialsError, NoServer, Server, find_server
from kmetad.api.credentials import NOBODY, Mounted
from kmetad.testing.kubelet import ServiceAccountVolume, token

IN_CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may have a kubeconfig."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def account(tmp_path: Path) -> str:
    """A service account's mount."""
    volume = ServiceAccountVolume(tmp_path / "account", namespace="lab")
    volume.rotate(token())
    return str(volume.path)


def test_in_a_pod(account: str) -> None:
    """The kubelet's variables and the mount."""
    server = find_server(environ=IN_CLUSTER, token_path=account)
    assert server.url == "https://10.96.0.1:443"
    assert isinstance(server.credentials, Mounted)
    assert server.namespace == "lab"
    assert server.secure
    assert "KUBERNETES_SERVICE_HOST" in server.found


def test_in_a_pod_with_ipv6(account: str) -> None:
    """An address with colons is put into brackets; without the port's variable it is https's own."""
    server = find_server(environ={"KUBERNETES_SERVICE_HOST": "fd00::1"}, token_path=account)
    assert server.url == "https://[fd00::1]:443"


def test_a_url(account: str) -> None:
    """It gets the mounted token over https, and over plain http nothing; the cluster's variables don't count."""
    server = find_server(url="https://api.example.com/prefix/", environ=IN_CLUSTER, token_path=account)
    assert server.url == "https://api.example.com/prefix"
    assert isinstance(server.credentials, Mounted)
    plain = find_server(url="http://127.0.0.1:8001", environ=IN_CLUSTER, token_path=account)
    assert plain.credentials is NOBODY and not plain.secure
    elsewhere = find_server(url="https://api.example.com", environ={}, token_path="/nowhere")
    assert elsewhere.credentials is NOBODY and elsewhere.verify


def test_insecure_sends_nothing(account: str) -> None:
    """Who isn't verified gets no credentials, wherever they would come from."""
    for named in ({"url": "https://127.0.0.1:6443"}, {}):
        server = find_server(insecure=True, environ=IN_CLUSTER, token_path=account, **named)
        assert server.credentials is NOBODY
        assert not server.verify and not server.secure


def test_nowhere(account: str, tmp_path: Path) -> None:
    """What was looked for is said: no Pod, or a Pod without a token, and no kubeconfig."""
    with pytest.raises(NoServer, match=r"no Pod \(\$KUBERNETES_SERVICE_HOST isn't set\).*home/\.kube/config"):
        find_server(environ={}, token_path=account)
    with pytest.raises(NoServer, match=r"no token in /nowhere \(automountServiceAccountToken\)"):
        find_server(environ=IN_CLUSTER, token_path="/nowhere")


def test_a_kubeconfig_that_is_named(account: str) -> None:
    """It is what counts, in a Pod too; one that isn't there is told of."""
    for where in ({"kubeconfig": "/nowhere/config"}, {"context": "other"}):
        with pytest.raises(CredentialsError, match="config"):
            find_server(environ={**IN_CLUSTER, "KUBECONFIG": "/nowhere/config"}, token_path=account, **where)
    assert find_server(environ={**IN_CLUSTER, "KUBECONFIG": "/nowhere/config"}, token_path=account).secure


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("127.0.0.1:8001", "expected http"),
        ("ftp://host", "expected http"),
        ("https://", "expected http"),
        ("https://host:0", "expected http"),
        ("https://host:99999", "[Pp]ort"),
        ("https://[::1", "IPv6"),
        ("https://host/?a=b", "query"),
        ("https://host/#x", "fragment"),
        ("https://ho st", "blanks"),
        ("https://höst", "characters"),
    ],
)
def test_what_is_no_url(account: str, url: str, why: str) -> None:
    """It is said at once, not by the first request, whoever is given it."""
    with pytest.raises(NoServer, match=why) as caught:
        Server(url)
    assert repr(url) in str(caught.value)
    with pytest.raises(NoServer, match=why):
        find_server(url=url, token_path=account)


def test_a_password_in_a_url() -> None:
    """It isn't repeated."""
    with pytest.raises(NoServer, match="shown everywhere") as caught:
        Server("https://somebody:hunter2@host")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "10.96.0.1"}, None),
        ({"https_proxy": "http://proxy:3128", "NO_PROXY": "*"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "localhost, 10.96.0.0/12"}, None),
        (
            {"https_proxy": "http://proxy:3128", "no_proxy": "10.97.0.0/24,10.96.0.10,.0.1x"},
            "http://proxy:3128",
        ),
        ({"http_proxy": "http://proxy:3128"}, None),
        ({}, None),
    ],
)
def test_a_proxy_if_it_is_wanted(account: str, environ: dict[str, str], proxy: str | None) -> None:
    """The usual variables count where that is configured, and never else."""
    environ = {**IN_CLUSTER, **environ}
    assert find_server(environ=environ, token_path=account, proxy_from_env=True).proxy == proxy
    assert find_server(environ=environ, token_path=account).proxy is None


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://api.example.com", {"http_proxy": "http://proxy:1"}, "http://proxy:1"),
        ("http://api.example.com", {"HTTP_PROXY": "http://proxy:1", "https_proxy": "http://proxy:2"}, None),
        ("https://api.example.com", {"https_proxy": "http://proxy:1", "no_proxy": "example.com"}, None),
        ("https://api.example.com", {"https_proxy": "http://proxy:1", "no_proxy": ".Example.com"}, None),
        ("https://api.example.com", {"https_proxy": "http://proxy:1", "no_proxy": "*.example.com"}, None),
        (
            "https://api.example.com",
            {"https_proxy": "http://proxy:1", "no_proxy": "ple.com"},
            "http://proxy:1",
        ),
        ("https://[fd00::1]:6443", {"https_proxy": "http://proxy:1", "no_proxy": "fd00::1"}, None),
        ("https://[fd00::1]:6443", {"https_proxy": "http://proxy:1", "no_proxy": "fd00::/8"}, None),
        ("https://[fd00::1]:6443", {"https_proxy": "http://proxy:1", "no_proxy": "x, [fd00::1]"}, None),
        ("https://10.96.0.1", {"https_proxy": "http://proxy:1", "no_proxy": "10.96.0.9/12"}, None),
        (
            "https://example.com",
            {"https_proxy": "http://proxy:1", "no_proxy": ".example.com"},
            "http://proxy:1",
        ),
        ("https://example.com", {"https_proxy": "http://proxy:1", "no_proxy": "example.com"}, None),
        ("https://127.0.0.1:6443", {"https_proxy": "http://proxy:1"}, None),
        ("https://localhost:6443", {"https_proxy": "http://proxy:1"}, None),
    ],
)
def test_which_servers_a_proxy_is_for(url: str, environ: dict[str, str], proxy: str | None) -> None:
    """As Go reads the variables, and so kubectl."""
    assert find_server(url=url, environ=environ, proxy_from_env=True, token_path="/nowhere").proxy == proxy


def test_a_context_is_of_a_kubeconfig(account: str) -> None:
    """It isn't passed over where a URL is given, too."""
    with pytest.raises(CredentialsError, match="/nowhere/config"):
        find_server(
            url="https://h", context="one", environ={"KUBECONFIG": "/nowhere/config"}, token_path=account
        )


def test_a_name_that_is_none() -> None:
    """Of a certificate: said at once."""
    for name in ("", "h\0st", "höst"):
        with pytest.raises(NoServer, match="that is no name"):
            Server("https://h", tls_name=name)
