"""Opens the store of assets that the settings name: a folder or a bucket."""

from __future__ import annotations

from pathlib import Path

from scheduler_svc.assets.folder import FolderStore
from scheduler_svc.assets.objects import ObjectStore
from scheduler_svc.config import Bucket


def open_store(location: Path | Bucket) -> ObjectStore:
    """Connects to nothing and creates nothing yet. Raises SettingsError for credentials in files that can't be used."""
    if isinstance(location, Bucket):
        from scheduler_svc.assets.bucket import BucketStore  # imported on use: most schedulers use a folder

        return BucketStore(location)
    return FolderStore(location)
