"""The certificate that a scheduler shows, seen by a handshake of its own, since gRPC does not tell it.

Layer: inside doctor.
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime

from contentgen.cli.connection import Tls

_LIMIT = 3.0


def end_of_certificate(address: str, tls: Tls) -> datetime | None:
    """When the certificate at host:port expires; None where that can't be found out, as for other targets."""
    host, colon, port = address.rpartition(":")
    if not (tls.ca and colon and port.isdecimal()):
        return None
    host = host.strip("[]")
    try:
        context = ssl.create_default_context(cadata=tls.ca.decode("ascii", "replace"))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), _LIMIT) as plain_socket,
            context.wrap_socket(plain_socket, server_hostname=host) as tls_socket,
        ):
            certificate = tls_socket.getpeercert()
    except (OSError, ValueError):
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC) if certificate else None
