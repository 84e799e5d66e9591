"""The collection of assets that no content names."""

from __future__ import annotations

import structlog

from scheduler_svc.assets import work
from scheduler_svc.assets.objects import Objects
from scheduler_svc.domain.content import KEPT_UNNAMED
from scheduler_svc.domain.errors import AssetStoreUnavailable
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.calls import Calls, timed

INTERVAL = 3_600.0

_log = structlog.get_logger(__name__)


class AssetCollection:
    """A round goes through all assets. `run_once` does one batch, so that the loop stops soon."""

    def __init__(self, calls: Calls, objects: Objects, metrics: Metrics | None) -> None:
        self._metrics = metrics
        self._calls = calls
        self._objects = objects
        self._after: str | None = ""

    async def run_once(self) -> float:
        """Collects the next batch; returns the seconds until the next one."""
        if self._after is not None:
            self._after, pause = await timed(self._calls.run(work.retire, self._after, KEPT_UNNAMED))
            return pause
        try:
            deleted, pause = await timed(self._calls.run(work.delete_retired, self._objects.store, KEPT_UNNAMED))
        except AssetStoreUnavailable as error:
            _log.error("assets that no content names can't be deleted", action="assets", error=str(error))
            deleted = 0
        if deleted:
            if self._metrics:
                self._metrics.assets_deleted.inc(deleted)
            _log.info("assets deleted that no content names", action="assets", count=deleted)
            return pause
        self._after = ""
        return INTERVAL
