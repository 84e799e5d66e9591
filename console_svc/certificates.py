"""The PEM files that the settings name: whether they can be used."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from console_svc.config import ConsoleSettings
from contentgen.service.certificates import unusable_authorities, unusable_pair

CERTIFICATES = ("tls_ca", "tls_client_cert", "console_tls_cert")
"""The settings that name files with certificates."""


def unusable(settings: ConsoleSettings) -> Iterator[str]:
    """What OpenSSL finds wrong with the files: a line for each setting, or pair."""
    of_schedulers = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.tls_ca:
        yield from unusable_authorities(of_schedulers, "CONTENTGEN_TLS_CA", settings.tls_ca)
    cert, key = settings.tls_client_cert, settings.tls_client_key
    if cert and key:
        pair = ("CONTENTGEN_TLS_CLIENT_CERT", cert), ("CONTENTGEN_TLS_CLIENT_KEY", key)
        yield from unusable_pair(of_schedulers, *pair)
    cert, key = settings.console_tls_cert, settings.console_tls_key
    if cert and key:
        pair = ("CONTENTGEN_CONSOLE_TLS_CERT", cert), ("CONTENTGEN_CONSOLE_TLS_KEY", key)
        yield from unusable_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *pair)
