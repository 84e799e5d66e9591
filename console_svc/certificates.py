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
    scheduler_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    yield from unusable_authorities(scheduler_context, settings, "tls_ca")
    yield from unusable_pair(scheduler_context, settings, "tls_client_cert", "tls_client_key")
    browser_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yield from unusable_pair(browser_context, settings, "console_tls_cert", "console_tls_key")
