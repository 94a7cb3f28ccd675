"""What a server's certificate has to pass, and how this side shows its own."""

from __future__ import annotations

import os
import ssl

from kmetad.api.credentials import Trust
from kmetad.api.errors import CredentialsError


def context(trust: Trust, *, verify: bool) -> ssl.SSLContext:
    """For connections that begin from here on. Raises CredentialsError.

    Not by ``ssl.create_default_context``: from Python 3.13 on that sets VERIFY_X509_STRICT, which CAs that
    clusters were made with years ago don't pass: they lack extensions of RFC 5280. Go, and so every other
    client of a cluster, doesn't ask for them.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python before 3.11.4 takes a connection that was cut for one that was ended (gh-95494).
    made.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
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
    if trust.cert:
        load_certificate(made, trust.cert)
    return made


def load_certificate(into: ssl.SSLContext, cert: bytes, place: str = "") -> None:
    """A certificate of this side with its key. ``place`` says whose, for the message. Raises CredentialsError."""
    at = f"{place}: " if place else ""
    file = os.memfd_create("kmetad")  # ssl reads files alone, and no key shall lie on a disk
    try:
        with open(file, "wb", closefd=False) as stream:
            stream.write(cert)
        into.load_cert_chain(
            f"/proc/self/fd/{file}", password=lambda: b""
        )  # else OpenSSL asks at the terminal
    except (ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
            raise CredentialsError(f"{at}the client key isn't that of the client certificate") from None
        raise CredentialsError(
            f"{at}the client certificate and its key aren't in PEM, or the key is encrypted; "
            "`openssl x509` and `openssl pkey` read what is right"
        ) from None
    finally:
        os.close(file)
