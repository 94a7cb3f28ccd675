"""What whoever runs it should know, in sentences: who else may read it."""

from __future__ import annotations

from collections.abc import Iterator

from kmetad_status.options import Options


def of_options(options: Options) -> Iterator[str]:
    """What is to be known of these."""
    if not options.loopback:
        yield (
            f"address {options.address} is reached from other machines, and whoever reaches port {options.port} "
            "reads all labels and annotations, and what has become of them: let a NetworkPolicy say who may, "
            "or listen on 127.0.0.1 (kubectl port-forward comes there, too)"
        )
    if options.unix_socket is not None and options.hosts:
        yield "hosts means nothing with unix_socket: whoever may open the socket may name any Host"
