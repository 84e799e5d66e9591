"""Settings of both services, as flags: taken, or refused by name with what they should be."""

from __future__ import annotations

import random
from pathlib import Path

from contentgen.service.settings import SettingsError, flag_of
from lab.fuzz import values
from lab.fuzz.known import Known
from scheduler_svc.config import read_settings as scheduler_settings
from worker_svc.config import WorkerSettings, read_settings

_SCHEDULER = (
    "--data-dir",
    "--listen",
    "--tls-cert",
    "--tokens-file",
    "--lease-ttl",
    "--max-queue-size",
    "--max-worker-losses",
    "--retention",
    "--content-retention",
    "--pg-bindir",
    "--log-level",
    "--log-format",
    "--no-such",
)
_WORKER = tuple(flag_of(WorkerSettings, name) for name in WorkerSettings.model_fields)
_VALUES = (
    "1", "-1", "0", "1e400", "nan", "inf", "9" * 5_000, "5m", "5 m", "1h30m", "٣", "on", "json", "debug",
    ":0", "[::1]:1", "127.0.0.1:99999", "a:b:c", "dns:///x", "unix:/x", "/", "/dev/null", "", "\udcff", "a\0b", "%s",
)  # fmt: skip


def scheduler(source: random.Random, _: Path) -> None:
    try:
        scheduler_settings(_arguments(_SCHEDULER, source))
    except SettingsError as error:
        assert error.problems


def worker(source: random.Random, _: Path) -> None:
    try:
        read_settings(_arguments(_WORKER, source))
    except SettingsError as error:
        assert error.problems


def _arguments(flags: tuple[str, ...], source: random.Random) -> list[str]:
    sample = source.sample(flags, source.randint(1, 4))
    return [f"{flag}={source.choice((source.choice(_VALUES), values.text(Known(), source)))}" for flag in sample]
