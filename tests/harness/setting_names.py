"""The environment variables of both services' settings."""

from __future__ import annotations

from scheduler_svc.config import Settings, variable_of
from worker_svc.config import WorkerSettings

NAMES = {
    "scheduler": {variable_of(name) for name in Settings.model_fields},
    "worker": {str(field.alias) for field in WorkerSettings.model_fields.values()},
}
"""By service."""
