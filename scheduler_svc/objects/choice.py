"""Opens the store that the settings name."""

from __future__ import annotations

from pathlib import Path

from scheduler_svc.application.assets.objects import ObjectStore
from scheduler_svc.config import Bucket
from scheduler_svc.objects.folder import FolderStore


def open_store(location: Path | Bucket) -> ObjectStore:
    """Connects to nothing and creates nothing yet. Raises SettingsError for credentials in files that can't be used."""
    if isinstance(location, Bucket):
        from scheduler_svc.objects.bucket import BucketStore  # imported on use: most schedulers use a folder

        return BucketStore(location)
    return FolderStore(location)
