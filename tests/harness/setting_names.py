"""The environment variables of each service's settings."""

from __future__ import annotations

from console_svc.config import ConsoleSettings
from contentgen.service.settings import variable_of
from scheduler_svc.config import Settings
from worker_svc.config import WorkerSettings

NAMES = {
    service: frozenset(variable_of(kind, name) for name in kind.model_fields)
    for service, kind in (("scheduler", Settings), ("worker", WorkerSettings), ("console", ConsoleSettings))
}
"""By service."""
