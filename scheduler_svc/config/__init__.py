"""The settings that an operator may set, read once at start, and the logging that follows them.

The lowest layer: other modules get `Settings`; none reads the environment itself.
"""

from scheduler_svc.config.command_line import read_settings, settings_of, settings_parser, variable_of
from scheduler_svc.config.logs import configure_logging, follow_level_signals, ignore_level_signals
from scheduler_svc.config.notices import notices
from scheduler_svc.config.otel_settings import exports_traces
from scheduler_svc.config.settings import EXIT_STATUS, Settings, SettingsError, UsageError
from scheduler_svc.config.values import Address, Bucket, check_location

__all__ = [
    "EXIT_STATUS",
    "Address",
    "Bucket",
    "Settings",
    "SettingsError",
    "UsageError",
    "check_location",
    "configure_logging",
    "exports_traces",
    "follow_level_signals",
    "ignore_level_signals",
    "notices",
    "read_settings",
    "settings_of",
    "settings_parser",
    "variable_of",
]
