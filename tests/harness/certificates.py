"""Certificates for the tests of TLS, made by openssl."""

from __future__ import annotations

import socket
import ssl
import subprocess
from pathlib import Path


def make_certificates(folder: Path) -> None:
    """An authority `ca`, and certificates `server` (for 127.0.0.1) and `client` of it, and `other` of its own."""
    _make(folder, "ca")
    _make(folder, "server", issuer="ca")
    _make(folder, "client", issuer="ca")
    _make(folder, "other")


def make_signed(folder: Path, name: str, *, days: int = 20, host: str = "IP:127.0.0.1") -> None:
    """A certificate `name` of the authority `ca` for `host`; with 0 days it has expired."""
    _make(folder, name, issuer="ca", valid=f"-days {days}" if days else _EXPIRED, host=host)


_EXPIRED = "-not_before 20250101000000Z -not_after 20260101000000Z"  # OpenSSL 3.4 or newer


def _make(folder: Path, name: str, issuer: str = "", *, valid: str = "-days 20", host: str = "IP:127.0.0.1") -> None:
    signed = f"-CA {issuer}.pem -CAkey {issuer}.key" if issuer else ""
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes {valid} -subj /CN={name} {signed}"
        f" -addext subjectAltName={host} -keyout {name}.key -out {name}.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


def shown_on(port: int) -> bytes:
    """The certificate that a new connection to a port of this machine gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(binary_form=True) or b""
