"""The file that keeps which database a scheduler used, so that no restart goes back to an old primary."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path

import sqlalchemy as sa
import structlog

_log = structlog.get_logger(__name__)


class LineageFile:
    """The file for one URL. Replicas may share the folder."""

    def __init__(self, folder: Path, url: str) -> None:
        address = sa.make_url(url)
        self._name = f"{address.host or ''}{address.port or ''}{address.query.get('host', '')}/{address.database}"
        self._path = folder / f"database-{hashlib.sha256(self._name.encode()).hexdigest()[:12]}.json"

    def __str__(self) -> str:
        return str(self._path)

    def read(self) -> tuple[int, int] | None:
        """System and timeline; None if there is no file, or it can't be read."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return int(found["system"]), int(found["timeline"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning(
                "which database it was is not known any more", action="store", file=str(self), error=str(error)
            )
            return None

    def write(self, system: int, timeline: int) -> None:
        """Logs a warning if the folder is not writable."""
        text = json.dumps({"database": self._name, "system": str(system), "timeline": timeline})
        unfinished = self._path.with_name(f"{self._path.name}.{platform.node()}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(f"{text}\n", encoding="utf-8")
            unfinished.rename(self._path)
        except OSError as error:
            _log.warning(
                "an old primary may be taken for the database after a restart", action="store", error=str(error)
            )
