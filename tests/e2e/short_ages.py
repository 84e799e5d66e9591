"""A scheduler whose connections and workers' streams are old after a second or two."""

from __future__ import annotations

from unittest.mock import patch

from scheduler_svc.api.leases import worker_service
from scheduler_svc.api.server import server
from scheduler_svc.main import main

if __name__ == "__main__":
    with patch.object(server, "MAX_CONNECTION_AGE", 1.0), patch.object(worker_service, "ROTATION_INTERVAL", (1.0, 2.0)):
        main()
