"""Certificates for the tests of TLS, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificates(folder: Path) -> None:
    """An authority `ca`, and certificates `server` (for 127.0.0.1) and `client` of it, and `other` of its own."""
    _make(folder, "ca")
    _make(folder, "server", issuer="ca")
    _make(folder, "client", issuer="ca")
    _make(folder, "other")


def _make(folder: Path, name: str, issuer: str = "") -> None:
    signed = f"-CA {issuer}.pem -CAkey {issuer}.key" if issuer else ""
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} {signed}"
        f" -addext subjectAltName=IP:127.0.0.1 -keyout {name}.key -out {name}.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
