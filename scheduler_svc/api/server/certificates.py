"""The server's certificate, and whose clients' certificates it takes: read at the start, and again when they change.

Part of `api`. A connection keeps what it was made with; the next one gets what is there then.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import structlog

from scheduler_svc.config import Settings, SettingsError

EXPIRY_INTERVAL = 86_400.0
"""Seconds between two looks at when the certificates expire."""
SOON = timedelta(days=14)
"""Before its end a certificate should have been replaced."""

_log = structlog.get_logger(__name__)


class Certificates:
    """The PEM files of the settings."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError where the files are no certificates, or do not belong together."""
        assert settings.tls_cert
        assert settings.tls_key
        self._cert, self._key, self._client_ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
        self._named = {"CONTENTGEN_TLS_CERT": self._cert}
        if self._client_ca:
            self._named["CONTENTGEN_TLS_CLIENT_CA"] = self._client_ca
        self._present = self._read()
        self._handed_out: grpc.ServerCertificateConfiguration | None = None

    @staticmethod
    def files(settings: Settings) -> list[Path]:
        """What they are made of; none where the settings name none."""
        return [path for path in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if path]

    def reread(self) -> None:
        """Takes what the files hold now. Raises SettingsError, and keeps what it had, where they can't be used."""
        self._present = self._read()

    async def warn_of_expiry(self) -> float:
        """Logs each file whose certificates have expired, or will before long; the seconds until the next look."""
        for name, path in self._named.items():
            end = first_end(await asyncio.to_thread(path.read_bytes))
            if end and (said := told(end, datetime.now(UTC))):
                _log.warning(f"a certificate {said}", action="certificate", setting=name, file=str(path))
        return EXPIRY_INTERVAL

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is opened with: each handshake asks for the present files."""
        return grpc.dynamic_ssl_server_credentials(
            self._present,
            self._newer,  # type: ignore[arg-type]  # None, which its types do not know, says: nothing newer
            require_client_authentication=self._client_ca is not None,
        )

    def _newer(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC does not have yet. Called by its threads, at each handshake."""
        present = self._present
        if present is self._handed_out:
            return None
        self._handed_out = present
        return present

    def _read(self) -> grpc.ServerCertificateConfiguration:
        if problems := self._problems():
            raise SettingsError(problems)
        return grpc.ssl_server_certificate_configuration(
            [(self._key.read_bytes(), self._cert.read_bytes())],
            root_certificates=self._client_ca.read_bytes() if self._client_ca else None,
        )

    def _problems(self) -> list[str]:
        """What is wrong with the files, as OpenSSL says; gRPC does not."""
        problems = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except OSError as error:
            pair = f"CONTENTGEN_TLS_CERT={self._cert}, CONTENTGEN_TLS_KEY={self._key}"
            problems.append(f"{pair}: must be PEM files that belong together, the key without a password ({error})")
        if self._client_ca:
            try:
                context.load_verify_locations(self._client_ca)
            except OSError as error:
                problems.append(f"CONTENTGEN_TLS_CLIENT_CA={self._client_ca}: must be a PEM file ({error})")
        return problems


def first_end(pem: bytes) -> datetime | None:
    """When the first of the certificates in a PEM document expires; None if they can't be read."""
    from cryptography import x509  # a scheduler without TLS does not need it

    try:
        return min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pem))
    except ValueError:
        return None


def told(end: datetime, now: datetime) -> str | None:
    """Says that a certificate has expired, or expires soon; None if it is valid for longer."""
    if end - now > SOON:
        return None
    day = f"{end:%Y-%m-%d %H:%M} UTC"
    if end <= now:
        return f"expired on {day}"
    days = (end - now).days
    return f"expires on {day}, in {days} day{'' if days == 1 else 's'}"
