"""PEM files that settings name: whether they can be used, and when they expire."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from contentgen.service.settings import ServiceSettings, variable_of
from contentgen.validity import earliest_expiry


def unusable_pair(context: ssl.SSLContext, settings: ServiceSettings, cert: str, key: str) -> Iterator[str]:
    """What OpenSSL finds wrong with a certificate and its key, by the names of their settings; gRPC gives no reason."""
    if not (getattr(settings, cert) and getattr(settings, key)):
        return
    try:
        context.load_cert_chain(getattr(settings, cert), getattr(settings, key), password=lambda: "")
    except OSError as error:
        pair = ", ".join(f"{variable_of(type(settings), name)}={getattr(settings, name)}" for name in (cert, key))
        yield f"{pair}: must be PEM files that belong together, the key without a password ({error})"


def unusable_authorities(context: ssl.SSLContext, settings: ServiceSettings, name: str) -> Iterator[str]:
    """What OpenSSL finds wrong with a file of authorities, by the name of its setting."""
    if (path := getattr(settings, name)) is None:
        return
    try:
        context.load_verify_locations(path)
    except OSError as error:
        yield f"{variable_of(type(settings), name)}={path}: must be a PEM file with certificates ({error})"


def expiries(settings: ServiceSettings, *names: str) -> Iterator[tuple[str, Path, datetime]]:
    """Yields the name of each setting whose file has certificates, the file, and when the first of them expires."""
    for name in names:
        path: Path | None = getattr(settings, name)
        try:
            end = earliest_expiry(path.read_bytes()) if path else None
        except OSError:
            continue
        if path and end:
            yield name, path, end
