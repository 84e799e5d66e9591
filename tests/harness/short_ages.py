"""A scheduler whose connections and workers' streams are old after a second or two."""

from __future__ import annotations

from unittest.mock import patch

from scheduler_svc.leases import service as worker_service
from scheduler_svc.main import main
from scheduler_svc.runtime import server

if __name__ == "__main__":
    with patch.object(server, "MAX_CONNECTION_AGE", 1.0), patch.object(worker_service, "ROTATION_INTERVAL", (1.0, 2.0)):
        main()
