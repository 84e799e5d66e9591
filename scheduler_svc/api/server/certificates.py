"""The server's certificate, and the CA of its clients' certificates; both are read again when the files change.

Part of `api`. A connection keeps the certificates of its handshake.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import structlog

from contentgen.service.certificates import expiries, unusable_authorities, unusable_pair
from contentgen.service.settings import SettingsError, variable_of
from contentgen.validity import describe_expiry
from scheduler_svc.config import Settings
from scheduler_svc.metrics import Metrics

EXPIRY_CHECK_INTERVAL = 86_400.0
"""Seconds."""

_log = structlog.get_logger(__name__)


class Certificates:
    def __init__(self, settings: Settings, metrics: Metrics | None = None) -> None:
        """Raises SettingsError if the files are not certificates, or do not match."""
        self._metrics = metrics
        assert settings.tls_cert
        assert settings.tls_key
        self._settings = settings
        self._cert, self._key, self._client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
        self._current = self._read()

    @staticmethod
    def files(settings: Settings) -> list[Path]:
        return [path for path in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if path]

    def reread(self) -> None:
        """Reads the files again. Raises SettingsError, and keeps the certificates it had, if they can't be used."""
        self._current = self._read()

    async def warn_of_expiry(self) -> float:
        """Logs each file whose certificates have expired or expire soon. Returns the seconds until the next check."""
        for name, path, end in await asyncio.to_thread(
            lambda: [*expiries(self._settings, "tls_cert", "tls_client_ca")]
        ):
            variable = variable_of(Settings, name)
            if self._metrics:
                self._metrics.certificate_expiry.labels(variable).set(end.timestamp())
            if expiry := describe_expiry(end, datetime.now(UTC)):
                _log.warning(f"a certificate {expiry}", action="certificate", setting=variable, file=str(path))
        return EXPIRY_CHECK_INTERVAL

    def credentials(self) -> grpc.ServerCredentials:
        """For one port: each handshake uses the current certificates."""
        in_use: grpc.ServerCertificateConfiguration | None = None

        def update() -> grpc.ServerCertificateConfiguration | None:
            """The certificates if this port does not have them yet. gRPC's threads call this at each handshake."""
            nonlocal in_use
            current = self._current
            if current is in_use:
                return None
            in_use = current
            return current

        return grpc.dynamic_ssl_server_credentials(
            self._current,
            update,  # type: ignore[arg-type]  # its types lack None, which means no update
            require_client_authentication=self._client_ca is not None,
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        if problems := [*self._problems()]:
            raise SettingsError(problems)
        return grpc.ssl_server_certificate_configuration(
            [(self._key.read_bytes(), self._cert.read_bytes())],
            root_certificates=self._client_ca.read_bytes() if self._client_ca else None,
        )

    def _problems(self) -> Iterator[str]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        yield from unusable_pair(context, self._settings, "tls_cert", "tls_key")
        yield from unusable_authorities(context, self._settings, "tls_client_ca")
