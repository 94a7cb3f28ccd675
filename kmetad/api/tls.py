"""What a server's certificate has to pass."""

from __future__ import annotations

import ssl

from kmetad.api.credentials import Trust
from kmetad.api.errors import CredentialsError


def context(trust: Trust, *, verify: bool) -> ssl.SSLContext:
    """For connections that begin from here on. Raises CredentialsError.

    A context of Python's own making (``ssl.create_default_context``) sets VERIFY_X509_STRICT from 3.13 on,
    which CAs that clusters were made with years ago don't pass: they lack extensions of RFC 5280. Go, and so
    every other client of a cluster, doesn't ask for them.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made
    # As in Go: what is in the file is trusted, also where it isn't the chain's root.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if trust.ca is None:
        made.load_default_certs()
    else:
        try:
            made.load_verify_locations(cadata=trust.ca.decode("ascii"))
        except (ValueError, ssl.SSLError):
            raise CredentialsError(
                "the file with the API server's CA holds no whole certificate in PEM"
            ) from None
    if trust.cert is not None:
        certificate, key = trust.cert
        try:
            made.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            why = getattr(error, "strerror", None) or str(error)
            raise CredentialsError(
                f"the client certificate {certificate} with the key {key} can't be loaded: {why}"
            ) from None
    return made


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key is encrypted")
