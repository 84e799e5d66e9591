"""The assets of a backup: a folder beside its file, laid out as the schedulers' own. A bucket keeps its own.

Objects never change, and one that no content names stays for a week: a copy that begins after the database's snapshot
has all that it names. Part of `scheduler_svc.admin.backups`.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from contentgen.service.settings import SettingsError
from scheduler_svc.assets.folder import FolderStore
from scheduler_svc.config import Bucket
from scheduler_svc.domain.errors import AssetStoreUnavailable


def folder_of(file: Path) -> Path:
    """Where the assets of this backup are."""
    return file.with_name(file.name + ".assets")


def save(location: Path | Bucket, file: Path) -> str:
    """Copies the assets beside the backup; removes what an earlier backup of that name had and the store has no longer.

    Returns what to tell the operator. Raises OSError.
    """
    if isinstance(location, Bucket):
        return f"its assets are in {location}: that bucket belongs to this backup, so keep it as long"
    names = FolderStore(location).names()
    if not names and not folder_of(file).exists():
        return ""
    copied = _copy(location, folder_of(file), names)
    store = FolderStore(folder_of(file))
    for name in store.names() - names:
        store.delete(name)
    return f"{folder_of(file)}: {len(names):,} assets, {copied:,} of them new"


def bring_back(file: Path, location: Path | Bucket) -> str:
    """Copies the assets of a backup into the schedulers' folder; those that are there stay.

    Returns what to tell the operator. Raises OSError, SettingsError if the folder can't be written.
    """
    names = FolderStore(folder_of(file)).names()
    if isinstance(location, Bucket):
        return f"{folder_of(file)} is not copied into {location}: do that" if names else ""
    if not names:
        return ""
    try:
        FolderStore(location).prepare()
    except AssetStoreUnavailable as error:
        raise SettingsError([str(error)]) from None
    return f"{location}: {_copy(folder_of(file), location, names):,} of {len(names):,} assets were missing"


def store_id_of(file: Path, location: Path | Bucket) -> str | None:
    """Returns the id of the folder that `bring_back` put the assets of a backup into; None if it put none there.

    Raises OSError.
    """
    if isinstance(location, Bucket) or not FolderStore(folder_of(file)).names():
        return None
    try:
        return FolderStore(location).identity(create=True)
    except AssetStoreUnavailable as error:
        raise OSError(str(error)) from None


def _copy(source: Path, target: Path, names: set[str]) -> int:
    """Copies objects that are not there yet; returns how many. Raises OSError."""
    target_store, source_store = FolderStore(target), FolderStore(source)
    missing = sorted(names - target_store.names())
    try:
        for name in missing:
            with (
                suppress(FileNotFoundError),
                source_store.path(name).open("rb") as file,
                target_store.incoming() as incoming,
            ):
                shutil.copyfileobj(file, incoming.file)  # what is gone meanwhile was named by nothing for a week
                target_store.keep(incoming, name)
    except AssetStoreUnavailable as error:
        raise OSError(str(error)) from None
    return len(missing)
