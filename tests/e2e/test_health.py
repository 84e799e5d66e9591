"""`contentgen-scheduler health` and `config check --connect`, against schedulers as they are configured."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.process import inherited, installed, run_to_end
from tests.harness.stack import Scheduler, Stack
from tests.harness.tokens import line, write
from tests.harness.waiting import wait_until

LIMIT = 60


def ran(command: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    program, *arguments = command.split()
    return run_to_end([installed(program), *arguments], environment, within=LIMIT)


def beside(scheduler: Scheduler, **changed: str) -> dict[str, str]:
    """The environment of a health check in the scheduler's container."""
    return {**scheduler.environment, **changed}


def test_a_scheduler_on_this_machine_is_healthy_until_it_ends(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    healthy = ran("contentgen-scheduler health", beside(scheduler))
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "SERVING\n", "")
    wide = beside(scheduler, CONTENTGEN_LISTEN=f"0.0.0.0:{scheduler.port}", CONTENTGEN_INSECURE="on")
    assert ran("contentgen-scheduler health", wide).returncode == 0
    assert ran(f"contentgen-scheduler health --target {scheduler.target}", inherited()).returncode == 0
    scheduler.stop()
    gone = ran("contentgen-scheduler health", beside(scheduler))
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.startswith("UNAVAILABLE: ")
    assert len(gone.stderr.splitlines()) == 1


@pytest.mark.parametrize("of_clients", [False, True], ids=["tls", "mutual-tls"])
def test_tls_and_tokens_are_those_of_the_settings(stack: Stack, certificates: Path, of_clients: bool) -> None:
    settings = {
        "CONTENTGEN_TLS_CERT": str(certificates / "server.pem"),
        "CONTENTGEN_TLS_KEY": str(certificates / "server.key"),
        "CONTENTGEN_TOKENS_FILE": str(write(stack.folder / "tokens", line("op", "operator"))),
        **({"CONTENTGEN_TLS_CLIENT_CA": str(certificates / "ca.pem")} if of_clients else {}),
    }
    scheduler = stack.scheduler().start(**settings)
    healthy = ran("contentgen-scheduler health", beside(scheduler))
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "SERVING\n", "")

    another = beside(scheduler, CONTENTGEN_TLS_CERT=str(certificates / "other.pem"))
    another["CONTENTGEN_TLS_KEY"] = str(certificates / "other.key")
    assert ran("contentgen-scheduler health", another).returncode == 1

    caller = {**inherited(), "CONTENTGEN_TLS_CA": str(certificates / "ca.pem")}
    if of_clients:
        assert ran(f"contentgen-scheduler health --target {scheduler.target}", caller).returncode == 1
        caller["CONTENTGEN_TLS_CLIENT_CERT"] = str(certificates / "client.pem")
        caller["CONTENTGEN_TLS_CLIENT_KEY"] = str(certificates / "client.key")
    assert ran(f"contentgen-scheduler health --target {scheduler.target}", caller).returncode == 0
    assert ran(f"contentgen-scheduler health --target {scheduler.target} --timeout 1", inherited()).returncode == 1

    worker = {**caller, "CONTENTGEN_SCHEDULER": scheduler.target, "CREATOR_CLI_PATH": "true"}
    checked = ran("contentgen-worker config check --connect", {**worker, "CONTENTGEN_DATA_DIR": str(stack.folder)})
    assert checked.returncode == 0, checked.stderr
    assert f"CONTENTGEN_SCHEDULER={scheduler.target} (environment): serves\n" in checked.stdout


def health_of(scheduler: Scheduler) -> str:
    """What the check of an unhealthy scheduler says; empty while it is healthy."""
    checked = ran("contentgen-scheduler health", scheduler.environment)
    assert checked.returncode == bool(checked.stderr)
    return checked.stderr


def test_a_scheduler_without_its_database_is_unhealthy(stack: Stack, server: EmbeddedPostgres) -> None:
    scheduler = stack.scheduler(database_url=server.url()).start()
    server.quit()
    wait_until(lambda: "NOT_SERVING" in health_of(scheduler), within=LIMIT, what="the outage is told")
