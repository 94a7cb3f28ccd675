"""Certificates: authorities, good ones and ones that only a lenient client takes, and what they issue."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    def write(self, directory: str | os.PathLike[str]) -> tuple[Path, Path]:
        """Put both into files of a directory: the certificate's, the key's."""
        paths = Path(directory, "tls.crt"), Path(directory, "tls.key")
        paths[0].write_bytes(self.certificate)
        paths[1].write_bytes(self.key)
        return paths

    def load(self, context: ssl.SSLContext) -> None:
        """Let a context show it; ssl takes files only."""
        with tempfile.TemporaryDirectory() as directory:
            context.load_cert_chain(*self.write(directory))


class Authority:
    """One that issues certificates.

    With ``strict=False`` its certificate, and what it issues, say neither what they are
    for nor by which key they are signed, as many an old cluster's: clients take them, but
    not with ``ssl.VERIFY_X509_STRICT``, which Python sets from 3.13 on.
    """

    def __init__(self, name: str = "kubernetes", *, strict: bool = True) -> None:
        self._strict = strict
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        if strict:
            builder = builder.add_extension(_usage(signs=True), critical=True)
            builder = builder.add_extension(self._subject_key, critical=False)
        self._certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """Its certificate, as ``ca.crt`` holds it."""
        return self._certificate.public_bytes(Encoding.PEM)

    def server(self, *names: str, expired: bool = False) -> Issued:
        """One for a server; by default for where the tests' servers are."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
        return self._issue(
            subject, ExtendedKeyUsageOID.SERVER_AUTH, names or ("127.0.0.1", "localhost"), expired
        )

    def client(self, user: str, groups: Iterable[str] = (), *, expired: bool = False) -> Issued:
        """One for a user, as Kubernetes reads it: the name is the CN, the groups are the Os."""
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        return self._issue(subject, ExtendedKeyUsageOID.CLIENT_AUTH, (), expired)

    @property
    def _subject_key(self) -> x509.SubjectKeyIdentifier:
        return x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())

    def _issue(
        self, subject: x509.Name, purpose: x509.ObjectIdentifier, names: Iterable[str], expired: bool
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(subject, self._name, key.public_key(), expired)
        if alternatives := [_alternative(name) for name in names]:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        if self._strict:
            signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._subject_key)
            builder = (
                builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
                .add_extension(_usage(signs=False), critical=True)
                .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
                .add_extension(signer, critical=False)
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, expired: bool = False
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    begin, end = (now - 2 * _DAY, now - _DAY) if expired else (now - _DAY, now + 365 * _DAY)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
