"""A worker's token and certificates are replaced while it runs: its next stream uses the new ones."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from contentgen.certificates import earliest_expiry
from contentgen.service.settings import SettingsError
from scheduler_svc.replica.replica import Replica
from tests.harness.credentials import line, write
from tests.harness.scrape import Scrape
from tests.harness.waiting import PATIENCE_S, wait_until_async
from tests.harness.worker_process import WorkerProcess
from worker_svc.config import read_settings
from worker_svc.session.credentials import Credentials

pytestmark = pytest.mark.contract


@pytest.fixture
def folder(tmp_path: Path, certificates: Path) -> Path:
    """All files of both sides, as they are at first."""
    write(tmp_path / "tokens", line("w", "worker", token="old"))
    (tmp_path / "token").write_text("old\n")
    put(certificates, tmp_path, server="server", client="client", authority="ca")
    return tmp_path


def put(certificates: Path, folder: Path, *, server: str, client: str, authority: str) -> None:
    """Certificates and keys for both sides, and the authority that each of them trusts."""
    for name, of in (("server", server), ("client", client)):
        for kind in ("pem", "key"):
            shutil.copy(certificates / f"{of}.{kind}", folder / f"{name}.{kind}")
    for name in ("server-ca", "client-ca"):
        shutil.copy(certificates / f"{authority}.pem", folder / f"{name}.pem")


@pytest.fixture
def replica_settings(folder: Path) -> dict[str, Any]:
    files = {"tokens_file": "tokens", "tls_cert": "server.pem", "tls_key": "server.key"}
    return {name: folder / file for name, file in {**files, "tls_client_ca": "client-ca.pem"}.items()}


def settings_of(folder: Path) -> dict[str, str]:
    """Settings of a worker with these files."""
    return {
        "CONTENTGEN_TOKEN_FILE": str(folder / "token"),
        "CONTENTGEN_TLS_CA": str(folder / "server-ca.pem"),
        "CONTENTGEN_TLS_CLIENT_CERT": str(folder / "client.pem"),
        "CONTENTGEN_TLS_CLIENT_KEY": str(folder / "client.key"),
    }


@pytest.fixture
def worker(replica: Replica, folder: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(folder / "worker", f"127.0.0.1:{replica.port}", **settings_of(folder)) as worker:
        yield worker


async def times(worker: WorkerProcess, action: str, number: int) -> None:
    """Returns once the worker has logged that action so often."""
    await wait_until_async(lambda: len(worker.events(action)) >= number, within=PATIENCE_S, what=f"{action}, {number}")


async def test_token_and_certificates_are_replaced(
    replica: Replica, worker: WorkerProcess, folder: Path, certificates: Path
) -> None:
    await times(worker, "session.opened", 1)
    put(certificates, folder, server="other", client="other", authority="other")
    (folder / "token").write_text("new\n")
    await times(worker, "credentials.read", 1)
    write(folder / "tokens", line("w", "worker", token="new"))
    replica.reload_files()  # which ends the streams of the old token
    await times(worker, "session.opened", 2)
    assert "old" not in worker.text()
    worker.term()
    assert await worker.exited() == 0


async def test_the_expiry_of_certificates_is_told(replica: Replica, folder: Path, certificates: Path) -> None:
    """Of those that are in use, also after they were replaced."""
    settings = {**settings_of(folder), "CONTENTGEN_METRICS_LISTEN": "127.0.0.1:0"}
    with WorkerProcess(folder / "worker", f"127.0.0.1:{replica.port}", **settings) as worker:
        await times(worker, "metrics.ready", 1)
        port = worker.metrics_port
        of_ca, of_client, of_other = (
            earliest_expiry((certificates / f"{name}.pem").read_bytes()) for name in ("ca", "client", "other")
        )
        await _expiry_is_told(port, "CONTENTGEN_TLS_CA", of_ca)
        await _expiry_is_told(port, "CONTENTGEN_TLS_CLIENT_CERT", of_client)
        for kind in ("pem", "key"):
            shutil.copy(certificates / f"other.{kind}", folder / f"client.{kind}")
        await _expiry_is_told(port, "CONTENTGEN_TLS_CLIENT_CERT", of_other)
        worker.term()
        assert await worker.exited() == 0


async def _expiry_is_told(port: int, setting: str, end: datetime | None) -> None:
    assert end is not None
    metric = "contentgen_certificate_expiry_timestamp_seconds"
    await wait_until_async(
        lambda: Scrape(port)(metric, setting=setting) == end.timestamp(), within=PATIENCE_S, what=f"{setting} is told"
    )


async def test_unusable_files_are_logged_once_and_the_former_ones_stay_in_use(
    replica: Replica, worker: WorkerProcess, folder: Path, certificates: Path
) -> None:
    await times(worker, "session.opened", 1)
    (folder / "token").write_text("two words")
    shutil.copy(certificates / "other.key", folder / "client.key")
    worker.signal(signal.SIGHUP)
    await times(worker, "credentials.refused", 1)
    *_, event = worker.events("credentials.refused")
    text = " ".join(event["problems"])
    assert f"CONTENTGEN_TOKEN_FILE={folder}/token: must hold one token and nothing else" in text
    assert "CONTENTGEN_TLS_CLIENT_KEY" in text
    assert "words" not in worker.text()

    write(folder / "tokens", line("op", "operator"))
    replica.reload_files()
    await wait_until_async(lambda: "TOKEN_INVALID" in worker.text(), within=PATIENCE_S, what="it is refused")
    write(folder / "tokens", line("w", "worker", token="old"))
    replica.reload_files()
    await times(worker, "session.opened", 2)
    worker.term()
    assert await worker.exited() == 0


@pytest.mark.parametrize(
    ("file", "content", "setting"),
    [
        ("token", "", "CONTENTGEN_TOKEN_FILE"),
        ("token", "not one\ntoken", "CONTENTGEN_TOKEN_FILE"),
        ("server-ca.pem", "nonsense", "CONTENTGEN_TLS_CA"),
        ("client.key", "nonsense", "CONTENTGEN_TLS_CLIENT_KEY"),
    ],
)
def test_unusable_files_are_named_without_what_they_hold(
    folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: str, setting: str
) -> None:
    (folder / file).write_text(content)
    for name, value in settings_of(folder).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        Credentials(read_settings([]))
    assert setting in str(refused.value)
    assert not content or content not in str(refused.value)
