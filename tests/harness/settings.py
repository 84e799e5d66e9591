"""The settings of each service: their names, and those that a deployment gives."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from console_svc import config_command as console_command
from console_svc.config import ConsoleSettings
from contentgen.service.settings import ServiceSettings, variable_of
from scheduler_svc.admin.config_command import config_command
from scheduler_svc.config import Settings
from tests.harness.credentials import line, write
from worker_svc import config_command as worker_command
from worker_svc.config import WorkerSettings

# The environment variables of each service's settings.


KINDS: dict[str, type[ServiceSettings]] = {"scheduler": Settings, "worker": WorkerSettings, "console": ConsoleSettings}
CHECKS = {"scheduler": config_command, "worker": worker_command.run, "console": console_command.run}
"""The command `config` of each."""
NAMES = {service: frozenset(variable_of(kind, name) for name in kind.model_fields) for service, kind in KINDS.items()}
"""By service."""


def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the environment, nor what a worker hands on to a CLI, or a store of assets reads."""
    for name in list(os.environ):
        if name.startswith(("CONTENTGEN_", "CREATOR_", "DATABASE_URL", "LLM_", "AWS_")):
            monkeypatch.delenv(name)


# The settings that a deployment gives a service, as `config check` of that service judges them.


def make_secrets(folder: Path, certificates: Path, tls: Mapping[str, str], tokens: Sequence[str]) -> None:
    """Makes what a deployment mounts. `tls` names the files of `make_certificates`; `tokens` are files of one."""
    shutil.copytree(certificates, folder, dirs_exist_ok=True)
    for file_name, mounted in tls.items():
        (folder / file_name).rename(folder / mounted)
    write(folder / "tokens", line("w", "worker"))
    (folder / "database-url").write_text("postgresql://contentgen@db/contentgen")
    for name in tokens:
        (folder / name).write_text("w-token")


def check(
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    settings: Mapping[str, str],
    mounts: Sequence[str],
    folder: Path,
    *,
    flags: Sequence[str] = (),
) -> int:
    """Returns the exit status of the check with these settings alone, with `folder` in place of each mounted one."""
    mounted = re.compile(f"^({'|'.join(map(re.escape, mounts))})")
    unset(monkeypatch)
    for name, value in settings.items():
        monkeypatch.setenv(name, mounted.sub(str(folder), value))
    if service == "worker":
        monkeypatch.setenv("CREATOR_CLI_PATH", "true")  # it is in the image
    if "CREATOR_USER" in settings:  # so is this user, as which only root could run anything here
        monkeypatch.setenv("CREATOR_USER", "nobody")
        if os.geteuid() != 0:
            monkeypatch.delenv("CREATOR_USER")
    return CHECKS[service](["check", *flags])
