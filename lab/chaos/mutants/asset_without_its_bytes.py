"""A scheduler that keeps each asset's name and size, but not its bytes; run in place of `contentgen-scheduler`.

Instead of `FolderStore.keep`.
"""

from __future__ import annotations

from unittest.mock import patch

from scheduler_svc.assets.objects import Incoming
from scheduler_svc.assets.stores import FolderStore
from scheduler_svc.main import main

_keep = FolderStore.keep


def _keep_name(self: FolderStore, incoming: Incoming, sha256: str) -> None:
    _keep(self, incoming, sha256)
    path = self.path(sha256)
    path.write_bytes(bytes(path.stat().st_size))


if __name__ == "__main__":
    with patch.object(FolderStore, "keep", _keep_name):
        main()
