"""The environment variables of each service's settings."""

from __future__ import annotations

from console_svc.config import ConsoleSettings
from scheduler_svc.config import Settings, variable_of
from worker_svc.config import WorkerSettings

NAMES = {
    "scheduler": {variable_of(name) for name in Settings.model_fields},
    "worker": {str(field.alias) for field in WorkerSettings.model_fields.values()},
    "console": {str(field.alias) for field in ConsoleSettings.model_fields.values()},
}
"""By service."""
