"""The PEM files that the settings name: whether they can be used, and when they expire."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from console_svc.config import ConsoleSettings


def unusable(settings: ConsoleSettings) -> Iterator[str]:
    """What OpenSSL finds wrong with the files: a line for each setting, or pair."""
    of_schedulers = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.tls_ca:
        try:
            of_schedulers.load_verify_locations(settings.tls_ca)
        except OSError as error:
            yield f"CONTENTGEN_TLS_CA={settings.tls_ca}: should be a PEM file with certificates ({error})"
    cert, key = settings.tls_client_cert, settings.tls_client_key
    yield from _unusable_pair(of_schedulers, "CONTENTGEN_TLS_CLIENT_", cert, key)
    cert, key = settings.console_tls_cert, settings.console_tls_key
    yield from _unusable_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "CONTENTGEN_CONSOLE_TLS_", cert, key)


def _unusable_pair(context: ssl.SSLContext, setting: str, cert: Path | None, key: Path | None) -> Iterator[str]:
    if not (cert and key):
        return
    try:
        context.load_cert_chain(cert, key, password=lambda: "")
    except OSError as error:
        pair = f"{setting}CERT={cert}, {setting}KEY={key}"
        yield f"{pair}: should be PEM files that belong together, the key without a password ({error})"


def expiries(settings: ConsoleSettings) -> Iterator[tuple[str, Path, datetime]]:
    """Yields the setting, its file, and when the first certificate in it expires. Files without one are left out."""
    for setting, path in (
        ("CONTENTGEN_TLS_CA", settings.tls_ca),
        ("CONTENTGEN_TLS_CLIENT_CERT", settings.tls_client_cert),
        ("CONTENTGEN_CONSOLE_TLS_CERT", settings.console_tls_cert),
    ):
        if path and (end := _earliest(path)):
            yield setting, path, end


def _earliest(path: Path) -> datetime | None:
    from cryptography import x509  # a console without TLS does not need it

    try:
        return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError):
        return None
