"""What tests ask an object store, beyond what the product needs."""

from __future__ import annotations

from scheduler_svc.assets.objects import ObjectStore
from scheduler_svc.domain.errors import AssetStoreUnavailable


def has(store: ObjectStore, sha256: str) -> bool:
    """Whether the object is there."""
    try:
        return bool(store.read(sha256, 0, 1))
    except AssetStoreUnavailable:
        return False
