"""Files that settings name: whether PEM files can be used, when they expire, and what changed files hold."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog
from prometheus_client import Gauge

from contentgen.certificates import describe_expiry, earliest_expiry
from contentgen.service.settings import ServiceSettings, SettingsError, variable_of

_log = structlog.get_logger(__name__)


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


EXPIRY_CHECK_INTERVAL = 86_400.0
"""Seconds between two warnings of a certificate that expires."""


def warn_of_expiry(settings: ServiceSettings, *names: str, gauge: Gauge | None) -> None:
    """Logs each file whose certificates have expired or expire soon, and sets the gauge of all. Blocking."""
    for name, path, end in expiries(settings, *names):
        variable = variable_of(type(settings), name)
        if gauge:
            gauge.labels(variable).set(end.timestamp())
        if expiry := describe_expiry(end, datetime.now(UTC)):
            _log.warning(f"a certificate {expiry}", action="certificate", setting=variable, file=str(path))


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


class ReloadedFiles:
    """Files that are loaded again when one of them has changed.

    Those that can't be used are logged once a change, and what was loaded before stays in use.
    """

    def __init__(self, what: str, files: Iterable[Path], load: Callable[[], None]) -> None:
        """`load` raises SettingsError if the files can't be used.

        Create it before the first load: it notices each change from then on.
        """
        self._what = what
        self._load = load
        self.watched = WatchedFiles(files)

    def reload_if_changed(self) -> bool:
        """Returns whether changed files were loaded. Blocking."""
        if not self.watched.changed():
            return False
        try:
            self._load()
        except SettingsError as error:
            _log.error(
                "changed files can't be used; what was loaded before stays in use",
                action="reread",
                what=self._what,
                problems=list(error.problems),
            )
            return False
        _log.info("changed files were loaded", action="reread", what=self._what)
        return True
