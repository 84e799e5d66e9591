"""PEM files that settings name: whether they can be used, and when they expire."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

EXPIRY_WARNING = timedelta(days=14)
"""The remaining validity below which a certificate is logged."""


def unusable_pair(context: ssl.SSLContext, cert: tuple[str, Path], key: tuple[str, Path]) -> Iterator[str]:
    """What OpenSSL finds wrong with a certificate and its key, each with its variable; gRPC gives no reason."""
    try:
        context.load_cert_chain(cert[1], key[1], password=lambda: "")
    except OSError as error:
        pair = f"{cert[0]}={cert[1]}, {key[0]}={key[1]}"
        yield f"{pair}: must be PEM files that belong together, the key without a password ({error})"


def unusable_authorities(context: ssl.SSLContext, variable: str, path: Path) -> Iterator[str]:
    """What OpenSSL finds wrong with a file of authorities."""
    try:
        context.load_verify_locations(path)
    except OSError as error:
        yield f"{variable}={path}: must be a PEM file with certificates ({error})"


def earliest_expiry(pem: bytes) -> datetime | None:
    """When the first of the certificates in a PEM document expires. Returns None if they can't be read."""
    from cryptography import x509  # a service without TLS does not need it

    try:
        return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pem))
    except ValueError:
        return None


def describe_expiry(end: datetime, now: datetime) -> str | None:
    """That a certificate has expired, or expires soon. Returns None if it is valid for longer."""
    if end - now > EXPIRY_WARNING:
        return None
    day = f"{end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return f"expired on {day}"
    days = (end - now).days
    return f"expires on {day}, in {days} day{'' if days == 1 else 's'}"
