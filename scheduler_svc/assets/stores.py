"""The store of assets that the settings name: a folder, which all replicas share, or a bucket.

A folder has

objects/ab/abcd…    one file an asset, named by its SHA-256
incoming/           uploads under way; what a crash left is removed after a day
store-id            which store it is
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

from contentgen.service.durable import sync_folder
from scheduler_svc.assets.objects import Incoming, ObjectStore, as_unavailable
from scheduler_svc.config import Bucket
from scheduler_svc.domain.errors import AssetStoreUnavailable

_LEFT_BEHIND = 24 * 3600.0
"""Seconds after which nobody writes to an upload any more."""
_WRITE_TIME = 2.0
"""Seconds in which whoever creates the id of a store also writes it."""


class FolderStore:
    def __init__(self, folder: Path) -> None:
        """Creates nothing yet."""
        self._folder = folder
        self._objects = folder / "objects"
        self._incoming = folder / "incoming"

    def prepare(self) -> None:
        """Creates the folder, and removes the uploads that a crash has left. Raises OSError if it can't be written."""
        for folder in (self._objects, self._incoming):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LEFT_BEHIND:
                    path.unlink()
        with self.incoming() as probe:
            probe.file.write(b"a file")

    def names(self) -> set[str]:
        """Returns the names of the objects that are stored. Raises OSError."""
        return {path.name for path in self._objects.glob("??/*")}

    def identity(self, *, create: bool = False) -> str | None:
        path = self._folder / "store-id"
        with as_unavailable(OSError):
            if create and not path.exists():
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _create(path, uuid.uuid4().hex)
            text = _read(path)
        if text == "":
            raise AssetStoreUnavailable(f"{path} is empty: delete it if it stays so")
        return text

    def incoming(self) -> Incoming:
        with as_unavailable(OSError):
            self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._incoming)
            return Incoming(os.fdopen(descriptor, "w+b"), Path(name))

    def keep(self, incoming: Incoming, sha256: str) -> None:
        assert incoming.path is not None
        path = self.path(sha256)
        with as_unavailable(OSError):
            incoming.file.flush()
            os.fsync(incoming.file.fileno())
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            incoming.path.rename(path)
            for folder in (path.parent, self._objects):  # the file's name, and that of its folder, which may be new
                sync_folder(folder)

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        try:
            with self.path(sha256).open("rb") as file:
                data = os.pread(file.fileno(), length, offset)
        except OSError as error:
            problem = f"asset {sha256} can't be read ({error.strerror}); do all replicas share its folder?"
            raise AssetStoreUnavailable(problem) from None
        if len(data) != length:
            raise AssetStoreUnavailable(f"asset {sha256} is shorter than it was")
        return data

    def delete(self, sha256: str) -> None:
        with as_unavailable(OSError):
            self.path(sha256).unlink(missing_ok=True)

    def path(self, sha256: str) -> Path:
        return self._objects / sha256[:2] / sha256


def _create(path: Path, text: str) -> None:
    """Writes a file durably, unless it is there."""
    try:
        with suppress(FileExistsError), path.open("x", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)  # of a disk that is full
        raise
    sync_folder(path.parent)


def _read(path: Path) -> str | None:
    """Returns what a file says; None if there is none. One that is empty may be about to be written.

    A link of a whole file would need no wait, but not every folder that replicas share has links.
    """
    until = time.monotonic() + _WRITE_TIME
    while path.exists():
        if (text := path.read_text(encoding="ascii").strip()) or time.monotonic() > until:
            return text
        time.sleep(0.01)
    return None


def open_store(location: Path | Bucket) -> ObjectStore:
    """Connects to nothing and creates nothing yet. Raises SettingsError for credentials in files that can't be used."""
    if isinstance(location, Bucket):
        from scheduler_svc.assets.bucket import BucketStore  # imported on use: most schedulers use a folder

        return BucketStore(location)
    return FolderStore(location)
