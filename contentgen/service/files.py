"""Files that settings name: whether PEM files can be used, when they expire, and when a file has changed."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from contentgen.service.settings import ServiceSettings, variable_of
from contentgen.validity import earliest_expiry


def unusable_pair(context: ssl.SSLContext, settings: ServiceSettings, cert: str, key: str) -> Iterator[str]:
    """Yields what OpenSSL finds wrong with a certificate and its key, by names of settings; gRPC gives no reason."""
    if not (getattr(settings, cert) and getattr(settings, key)):
        return
    try:
        context.load_cert_chain(getattr(settings, cert), getattr(settings, key), password=lambda: "")
    except OSError as error:
        pair = ", ".join(f"{variable_of(type(settings), name)}={getattr(settings, name)}" for name in (cert, key))
        yield f"{pair}: must be PEM files that belong together, the key without a password ({error})"


def unusable_authorities(context: ssl.SSLContext, settings: ServiceSettings, name: str) -> Iterator[str]:
    """Yields what OpenSSL finds wrong with a file of authorities, by the name of its setting."""
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


CHECK_INTERVAL = 2.0
"""Seconds between two looks at them."""

_Stamps = tuple[tuple[int, int, int] | None, ...]
"""Inode, time of change and size of each file; None if it is missing."""


class WatchedFiles:
    """Create it before the first read: it notices each change from then on."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = tuple(files)
        self._seen: _Stamps | None = self._stamps()

    def __bool__(self) -> bool:
        return bool(self._files)

    def changed(self) -> bool:
        """Returns whether a file has changed since the last call. Call it before reading them, to miss no change."""
        stamps = self._stamps()
        changed, self._seen = stamps != self._seen, stamps
        return changed

    def expect_change(self) -> None:
        """Has the next call of `changed` return True, in any case."""
        self._seen = None

    def _stamps(self) -> _Stamps:
        return tuple(map(_stat, self._files))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
