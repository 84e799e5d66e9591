"""The worker's token and certificates, read again when their files change.

A stream keeps those that it was opened with.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from contentgen.certificates import earliest_expiry
from contentgen.service.files import CHECK_INTERVAL, WatchedFiles, unusable_authorities, unusable_pair
from contentgen.service.settings import SettingsError
from worker_svc.config import WorkerSettings

MAX_TOKEN = 4_096  # bytes of a token

_TOKEN = re.compile(rb"[!-~]+")

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class TlsCredentials:
    ca: bytes
    cert: bytes | None = None
    key: bytes | None = None

    def expiries(self) -> dict[str, datetime]:
        """Returns when the first certificate of each file expires, by its setting."""
        files = {"CONTENTGEN_TLS_CA": self.ca, "CONTENTGEN_TLS_CLIENT_CERT": self.cert}
        return {setting: end for setting, pem in files.items() if pem and (end := earliest_expiry(pem))}


@dataclass(frozen=True, slots=True)
class StreamCredentials:
    token: str | None
    tls: TlsCredentials | None


class Credentials:
    """`current` is what the files held when they were last valid."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Raises SettingsError if a file is not valid."""
        self._settings = settings
        paths = (settings.token_file, settings.tls_ca, settings.tls_client_cert, settings.tls_client_key)
        self.files = WatchedFiles(path for path in paths if path)
        self.current = _read(settings)

    async def keep_fresh(self) -> None:
        """Reads the files again when they change. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            if self.files:
                await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Reads the files if they have changed; blocking. Logs files that are not valid, once a change."""
        if not self.files.changed():
            return
        try:
            self.current = _read(self._settings)
        except SettingsError as error:
            _log.error(
                "changed files are not valid; the worker keeps what it read before",
                action="credentials.refused",
                problems=list(error.problems),
            )
        else:
            _log.info("changed files were read; the next stream uses them", action="credentials.read")


def _read(settings: WorkerSettings) -> StreamCredentials:
    problems: list[str] = []
    token = _token(settings, problems)
    tls = _tls(settings, problems)
    if problems:
        raise SettingsError(problems)
    return StreamCredentials(token, tls)


def _token(settings: WorkerSettings, problems: list[str]) -> str | None:
    if settings.token_file is None:
        return settings.token.get_secret_value() if settings.token else None
    source = f"CONTENTGEN_TOKEN_FILE={settings.token_file}"
    try:
        with settings.token_file.open("rb") as file:
            token = file.read(MAX_TOKEN + 1).strip()
    except OSError as error:
        problems.append(f"{source}: can't be read ({error.strerror})")
        return None
    if len(token) > MAX_TOKEN or not _TOKEN.fullmatch(token):  # not repeated in the message: it may be a secret
        problems.append(f"{source}: must hold one token and nothing else, {MAX_TOKEN:,} characters of ASCII at most")
        return None
    return token.decode()


def _tls(settings: WorkerSettings, problems: list[str]) -> TlsCredentials | None:
    if settings.tls_ca is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    problems += unusable_authorities(context, settings, "tls_ca")
    problems += unusable_pair(context, settings, "tls_client_cert", "tls_client_key")
    try:
        return TlsCredentials(
            settings.tls_ca.read_bytes(), _bytes(settings.tls_client_cert), _bytes(settings.tls_client_key)
        )
    except OSError as error:
        problems.append(f"{error.filename}: can't be read ({error.strerror})")
        return None


def _bytes(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
