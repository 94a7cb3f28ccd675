"""The service account: ``token``, ``ca.crt`` and ``namespace`` of any bytes, and well-formed tokens with any claims."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from kmetad._sources.content import NOTHING
from kmetad._sources.serviceaccount import ServiceAccount
from kmetad.testing.kubelet import token
from tests.soak.targets.target import KEY, Take, Target, directory, look


def run(data: bytes) -> None:
    """A reading always: what is no token, or no name, is a fault in it."""
    take = Take(data)
    path = directory() + "/account"
    os.makedirs(path, exist_ok=True)
    source, previous = ServiceAccount("token", path, KEY), NOTHING
    for _ in range(1 + take.number(2)):
        well_formed, trust, namespace = take.number(2), take.bytes(), take.bytes()
        secret = take.rest()
        if well_formed:
            secret = b".".join((b"e30", urlsafe_b64encode(secret).rstrip(b"="), b"c2ln"))
        for name, content in (("token", secret), ("ca.crt", trust), ("namespace", namespace)):
            with open(f"{path}/{name}", "wb") as file:
                file.write(content)
        reading = look(source, previous)
        assert reading is not None
        previous = reading


_CLAIMS = (
    urlsafe_b64decode(token(expires=2e9, warn_after=1.9e9).split(".")[1] + "=="),
    *(
        b'{"exp": 1e999}',
        b'{"exp": NaN, "aud": [1, null, "a"]}',
        b'{"exp": -9e15, "aud": "b"}',
        b"[[",
        b"[" * 500,
    ),
    *(b'{"exp": %s}' % (b"9" * digits) for digits in (15, 16, 50, 900)),
)

ACCOUNT = Target(
    "serviceaccount",
    run,
    seeds=[
        bytes([0, 0, 1]) + b"C" + bytes([7]) + b"default" + token().encode(),
        *(bytes([0, 1, 1]) + b"C" + bytes([7]) + b"default" + claims for claims in _CLAIMS),
    ],
    words=[
        b'"exp":',
        b'"aud":',
        b'"kubernetes.io":{"warnafter":',
        b"null",
        b"1e308",
        b"[",
        b"{",
        b".",
        b"\\ud800",
    ],
    share=0.25,
)
