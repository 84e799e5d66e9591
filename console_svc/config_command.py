"""`contentgen-console config check`: what the settings are, and everything that is wrong with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from console_svc.config import CERTIFICATES, ConsoleSettings, unusable
from console_svc.web.schedulers import credentials
from contentgen.client.connection import open_aio_channel
from contentgen.service.check import ConfigCheck, Findings, expired, not_serving, same_ports, unresolved


def run(arguments: Sequence[str]) -> int:
    """Runs the command with the arguments after `config`, and returns its exit status."""
    return ConfigCheck(
        "console",
        ConsoleSettings,
        reads="certificates and their keys",
        connects="resolves names, and asks whether a scheduler serves",
        checks=(
            lambda settings, _: unusable(settings),
            lambda settings, findings: expired(settings, findings, *CERTIFICATES),
            same_ports,
        ),
        connect=lambda settings, findings: [*unresolved(settings), *asyncio.run(_not_serving(settings, findings))],
    ).run(arguments)


async def _not_serving(settings: ConsoleSettings, findings: Findings) -> list[str]:
    """Asks a scheduler for its health, as it is reached with these settings."""
    async with open_aio_channel(settings.scheduler, credentials(settings)) as channel:
        problems = await not_serving(settings.scheduler, channel)
    if not problems:
        findings["scheduler"] = "serves"
    return problems
