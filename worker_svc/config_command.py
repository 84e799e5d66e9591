"""The command `contentgen-worker config check`: what the settings are, and everything that is wrong with them."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from contentgen.service.check import (
    CALL_TIMEOUT,
    ConfigCheck,
    Findings,
    expired,
    not_serving,
    traces,
    unresolved,
    unwritable,
)
from contentgen.service.settings import SettingsError
from worker_svc.config import WorkerSettings, addresses, variables_for_cli
from worker_svc.creators import PROFILES
from worker_svc.session.credentials import Credentials


def run(argv: Sequence[str]) -> int:
    return ConfigCheck(
        "worker",
        WorkerSettings,
        reads="token, certificates and their key, the data folder, the creator CLI",
        connects="asks each scheduler whether it serves",
        checks=(_files, lambda settings, _: unwritable("CONTENTGEN_DATA_DIR", settings.data_dir), _cli, traces),
        connect=lambda settings, findings: asyncio.run(_unreachable(settings, findings)),
        notes=_notes,
        more="It does not run the CLI: `contentgen-worker try --topic=TEXT` does. Whether the token is known only a"
        " start tells.\n\n",
    ).run(argv)


def _files(settings: WorkerSettings, findings: Findings) -> Iterator[str]:
    """Checks whether the token and the PEM files can be read, belong together and have not expired."""
    try:
        if not settings.conflicts():
            Credentials(settings)
    except SettingsError as error:
        yield from error.problems
    yield from expired(settings, findings, "tls_ca", "tls_client_cert")


def _cli(settings: WorkerSettings, findings: Findings) -> Iterator[str]:
    path = settings.creator_cli_path
    if program := shutil.which(path):
        findings["creator_cli_path"] = f"found, {Path(program).absolute()}"
    else:
        yield (
            f"CREATOR_CLI_PATH={path}: must be a program that can be run, by its path or by a name on the PATH, and"
            " there is none: install the creator CLI, or name it"
        )
    needs = PROFILES[settings.creator_profile].needs
    try:
        variables_for_cli((*needs.inherited, *settings.creator_env), os.environ, needs.shapes)
    except SettingsError as error:
        yield from error.problems


def _notes(settings: WorkerSettings) -> Iterable[str]:
    why = dict.fromkeys(PROFILES[settings.creator_profile].needs.required, "the CLI asks for")
    for name, reason in (why | dict.fromkeys(settings.creator_env, "CREATOR_ENV names")).items():
        if not {name, f"{name}_FILE"} & os.environ.keys():
            yield f"{reason} {name}, which is not set: the CLI does not get it"


async def _unreachable(settings: WorkerSettings, findings: Findings) -> list[str]:
    """Asks each scheduler for its health, as it is reached with these settings."""
    from worker_svc.session.channel import Dialer

    problems = [*unresolved(settings)]
    dialer = Dialer(settings.scheduler, Credentials(settings))
    for address in addresses(settings.scheduler):
        async with dialer.channel(address, CALL_TIMEOUT) as channel:
            problems += await not_serving(address, channel)
    if not problems:
        findings["scheduler"] = "serves"
    return problems
