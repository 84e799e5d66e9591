"""Which assets a caller may read."""

from __future__ import annotations

from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.asset import Asset
from scheduler_svc.domain.errors import NotFound


def get_asset(tx: Tx, scope: Scope, sha256: str) -> Asset:
    """Returns an asset that a content of these accounts names. Raises NotFound."""
    asset = tx.assets.get(scope, sha256)
    if asset is None:
        raise NotFound("asset", sha256)
    return asset
