"""Tokens and certificates that are replaced during calls, or expire."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from grpc import StatusCode

from contentgen.certificates import EXPIRY_WARNING, describe_expiry, earliest_expiry, first_name
from scheduler_svc.replica.replica import Replica
from tests.harness.credentials import Caller, line, make_signed, shown_on, write
from tests.harness.load import HonestCallers
from tests.harness.replicas import serving
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.contract


# Tokens and certificates are replaced during calls: no call is dropped.


@pytest.fixture
def folder(tmp_path: Path, certificates: Path) -> Path:
    """A tokens file, and a certificate as `server.pem` and `server.key`."""
    write(tmp_path / "tokens", line("op", "operator", token="old"))
    for name in ("server.pem", "server.key"):
        shutil.copy(certificates / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def replica_settings(folder: Path) -> dict[str, Any]:
    return {"tokens_file": folder / "tokens", "tls_cert": folder / "server.pem", "tls_key": folder / "server.key"}


async def test_tokens_are_replaced_under_load(replica: Replica, folder: Path, certificates: Path) -> None:
    callers = HonestCallers(replica, "old", certificates / "ca.pem")

    async def refuses(token: str) -> bool:
        async with callers.connected() as channel:
            return await Caller(channel, token).refused(StatusCode.UNAUTHENTICATED)

    async def lets_in(token: str) -> bool:
        return not await refuses(token)

    async with callers.calling(lasting=2, fresh=2):
        await callers.more(20)
        with structlog.testing.capture_logs() as logs:
            write(folder / "tokens", '{"name": "c"}', "nonsense")
            replica.reload_files()  # a broken file changes nothing
            event, *_ = await wait_until_async(
                lambda: [event for event in logs if "can't be used" in event["event"]],
                within=10,
                what="the log says what is wrong",
            )
        assert "line 1: sha256 must be" in event["problems"][0]
        assert "line 2: must be a JSON object" in event["problems"][-1]
        await callers.more(20)
        write(folder / "tokens", line("op", "operator", token="old"), line("op", "operator", token="new"))
        replica.reload_files()
        await wait_until_async(partial(lets_in, "new"), within=10, what="the new token is known")
        callers.token = "new"
        await callers.more(20)
        write(folder / "tokens", line("op", "operator", token="new"))
        replica.reload_files()
        await wait_until_async(partial(refuses, "old"), within=10, what="the old token is refused")
        await callers.more(20)


async def test_certificates_are_replaced_under_load(
    replica: Replica, folder: Path, certificates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callers = HonestCallers(replica, "old", certificates / "ca.pem")
    before = await asyncio.to_thread(shown_on, replica.port)
    async with callers.calling(lasting=2, fresh=2):
        await callers.more(20)
        shutil.copy(certificates / "client.pem", folder / "server.pem")
        replica.reload_files()  # the key does not match yet: the former pair stays in use
        await callers.more(20)
        assert await asyncio.to_thread(shown_on, replica.port) == before
        shutil.copy(certificates / "client.key", folder / "server.key")
        replica.reload_files()

        async def changed() -> bool:
            return await asyncio.to_thread(shown_on, replica.port) != before

        await wait_until_async(changed, within=10, what="new connections get the new certificate")
        await callers.more(20)
    assert "must be PEM files that belong together" in "".join(capsys.readouterr())


# The scheduler warns before a certificate expires.


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ends_in", "text"),
    [
        (EXPIRY_WARNING + timedelta(seconds=1), None),
        (EXPIRY_WARNING, "expires on 2026-03-15 12:00 UTC, in 14 days"),
        (timedelta(hours=30), "expires on 2026-03-02 18:00 UTC, in 1 day"),
        (timedelta(0), "expired on 2026-03-01 12:00 UTC"),
    ],
)
def test_an_expiry_is_logged_from_14_days_before(ends_in: timedelta, text: str | None) -> None:
    assert describe_expiry(NOW + ends_in, NOW) == text


def test_the_earliest_expiry_of_several_certificates_counts(certificates: Path, tmp_path: Path) -> None:
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    make_signed(tmp_path, "short", days=3)
    chain = (tmp_path / "server.pem").read_bytes() + (tmp_path / "short.pem").read_bytes()
    end = earliest_expiry(b"a comment\n" + chain)
    assert end is not None
    assert abs(end - datetime.now(UTC) - timedelta(days=3)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    "body", ["", "AAAA", "MAA=", "MIID", "MAMCAQE=", "MAUwAwIBAQ=="], ids=lambda body: body or "nothing"
)
def test_a_file_without_a_certificate_has_no_expiry(body: str) -> None:
    assert earliest_expiry(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----".encode()) is None
    assert earliest_expiry(body.encode()) is None


def test_a_client_alone_knows_no_expiry(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyasn1_modules.rfc5280", None)
    assert earliest_expiry((certificates / "server.pem").read_bytes()) is None


def test_a_name_of_a_certificate_is_a_host_s_if_it_has_one(certificates: Path, tmp_path: Path) -> None:
    def named(names: str) -> str | None:
        make_signed(tmp_path, "named", host=names)
        return first_name((tmp_path / "named.pem").read_bytes())

    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    assert named("IP:127.0.0.1,DNS:*.example.com,DNS:other.example.com") == "*.example.com"
    assert named("IP:::1,IP:127.0.0.1") == "::1"
    assert first_name(b"") is None


def test_the_certificate_library_is_loaded_only_with_tls() -> None:
    program = "import sys, scheduler_svc.main, contentgen.cli.app; sys.exit('pyasn1' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


async def test_the_scheduler_warns_at_start_and_when_files_change(
    db_url: str, certificates: Path, tmp_path: Path
) -> None:
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    make_signed(tmp_path, "server", days=3)
    names = {"tls_cert": "server.pem", "tls_key": "server.key", "tls_client_ca": "ca.pem"}
    files = {setting: tmp_path / name for setting, name in names.items()}
    with structlog.testing.capture_logs() as logs:
        async with serving(db_url, **files) as replica:

            async def warned(number: int) -> list[str]:
                def warnings() -> list[str]:
                    warnings = [event for event in logs if event["action"] == "certificate"]
                    assert all(event["setting"] == "CONTENTGEN_TLS_CERT" for event in warnings)
                    return [event["event"] for event in warnings] if len(warnings) >= number else []

                return await wait_until_async(warnings, within=20, what=f"{number} warnings")

            assert "a certificate expires on" in (await warned(1))[0]
            make_signed(tmp_path, "server", days=0)
            replica.reload_files()
            assert "a certificate expired on 2026-01-01" in (await warned(2))[1]
