"""The settings that an operator may set, read once at start, and the logging that follows them.

The lowest layer: other modules get `Settings`; none reads the environment itself.
"""

from scheduler_svc.config.settings import (
    Settings,
    configure_logging,
    notices,
    read_settings,
    settings_of,
    settings_parser,
)
from scheduler_svc.config.values import Bucket, check_location

__all__ = [
    "Bucket",
    "Settings",
    "check_location",
    "configure_logging",
    "notices",
    "read_settings",
    "settings_of",
    "settings_parser",
]
