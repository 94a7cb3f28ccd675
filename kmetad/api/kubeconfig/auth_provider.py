"""auth-providers of a kubeconfig's user, which exec plugins have replaced: the official client asks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kmetad._sources.serviceaccount import Secret
from kmetad.api.kubeconfig.files import Entry

INSTALL = 'pip install "kmetad[kubeconfig]"'


def authorization(user: Entry) -> str:
    """The header that it gives, renewed where it has ended. Raises CredentialsError."""
    provider = user.values["auth-provider"]
    if not isinstance(provider, dict) or provider.get("name") != "oidc":
        raise user.fault("has an auth-provider that isn't supported; an exec plugin (kubelogin) replaces it")
    try:
        from kubernetes.client import Configuration
        from kubernetes.config import load_kube_config_from_dict
    except ImportError:
        raise user.fault(
            f"has an auth-provider, which takes the official client, and that isn't installed: {INSTALL}"
        ) from None
    configuration = Configuration()
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": "https://it"}}],
        "users": [{"name": "it", "user": {"auth-provider": _with_ca(provider)}}],
    }
    try:
        load_kube_config_from_dict(  # type: ignore[no-untyped-call]
            document, client_configuration=configuration, persist_config=False
        )
    except Exception as error:  # whatever an auth-provider's library raises; it may quote the entry
        raise user.fault(
            f"can't be used: its auth-provider failed ({type(error).__name__}); sign in again with its own tool"
        ) from None
    header = str(configuration.api_key.get("BearerToken", ""))
    if not header:
        raise user.fault("has an auth-provider that gives no token: sign in again with its own tool")
    return Secret(header)


def _with_ca(provider: Mapping[str, Any]) -> dict[str, Any]:
    """Where no CA is given, the official client would send a refresh token to whoever answers."""
    config = provider.get("config")
    if not isinstance(config, dict):
        return dict(provider)
    import certifi

    if not config.get("idp-certificate-authority") and not config.get("idp-certificate-authority-data"):
        config = {**config, "idp-certificate-authority": certifi.where()}
    return {**provider, "config": config}
