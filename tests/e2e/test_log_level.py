"""The log level of running services, which signals change."""

from __future__ import annotations

import signal

import pytest

from contentgen import ContentGenerationClient, RequestError
from scheduler_svc.config.tokens import TokenLine, add_token, hash_of, new_token
from tests.harness.service import Service
from tests.harness.stack import EMBEDDED, Scheduler, Stack
from tests.harness.waiting import wait_until

WITHIN = 20.0


def change(service: Service, number: signal.Signals) -> tuple[str, str]:
    """Sends the signal, and returns from which level to which it says that it has changed."""
    before = len(service.events("log_level"))
    service.signal(number)
    wait_until(lambda: len(service.events("log_level")) > before, within=WITHIN, what=f"{service.name} has changed it")
    event = service.events("log_level")[-1]
    return event["former"], event["present"]


def refused(scheduler: Scheduler) -> int:
    """Makes a call that is refused, which is logged at the level debug; returns how many are in the log then."""
    with ContentGenerationClient(scheduler.target, token="a-guess") as client, pytest.raises(RequestError):
        client.list_tasks()
    return len(scheduler.events("auth"))


def test_usr1_sets_debug_and_usr2_sets_the_level_back(stack: Stack) -> None:
    token = new_token()
    add_token(stack.folder / "tokens", TokenLine("w", hash_of(token), "worker"))
    scheduler = stack.scheduler(database_url=EMBEDDED, CONTENTGEN_TOKENS_FILE=str(stack.folder / "tokens")).launch()
    wait_until(lambda: scheduler.events("postgres"), within=WITHIN, what="it starts its database")
    scheduler.signal(signal.SIGUSR1)  # changes nothing yet, and does not end it
    scheduler.wait_for("ready", within=WITHIN)
    worker = stack.worker("worker", scheduler, CONTENTGEN_TOKEN=token).start()
    assert refused(scheduler) == 0
    for service in (scheduler, worker):
        assert change(service, signal.SIGUSR1) == ("info", "debug")
    assert refused(scheduler) == 1
    for service in (scheduler, worker):
        assert change(service, signal.SIGUSR2) == ("debug", "info")
    assert refused(scheduler) == 1
    assert worker.alive
