"""`contentgen-console config check`: what the settings are, and everything that is wrong with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from console_svc.config import CERTIFICATES, ConsoleSettings, unusable
from console_svc.web.schedulers import Schedulers
from contentgen.service.check import ConfigCheck, Findings, expired, same_ports, unresolved

CALL_TIMEOUT = 5.0
"""Seconds that a scheduler may take to answer."""


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
    scheduler = f"CONTENTGEN_SCHEDULER: {settings.scheduler}"
    schedulers = Schedulers(settings)
    try:
        serves = await schedulers.serve(within=CALL_TIMEOUT)
    except grpc.RpcError as error:
        answer = f"{error.code().name}: {error.details()}"
        return [f"{scheduler} must answer, and does not ({answer}): correct it, or start a scheduler"]
    finally:
        await schedulers.close()
    if not serves:
        return [f"{scheduler} must serve, and does not: look at its log and its database"]
    findings["scheduler"] = "serves"
    return []
