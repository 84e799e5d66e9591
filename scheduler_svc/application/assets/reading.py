"""Which assets a caller may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.asset import Asset
from scheduler_svc.domain.errors import NotFound

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def get_asset(tx: Tx, scope: Scope, sha256: str) -> Asset:
    """Returns an asset that a content of these accounts names. Raises NotFound."""
    asset = tx.assets.get(scope, sha256)
    if asset is None:
        raise NotFound("asset", sha256)
    return asset
