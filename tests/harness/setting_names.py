"""The environment variables of each service's settings."""

from __future__ import annotations

from console_svc.config import ConsoleSettings
from contentgen.service.settings import variables_of
from scheduler_svc.config import Settings
from worker_svc.config import WorkerSettings

NAMES = {
    "scheduler": variables_of(Settings),
    "worker": variables_of(WorkerSettings),
    "console": variables_of(ConsoleSettings),
}
"""By service."""
