"""The scheduler warns before a certificate expires."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from contentgen.validity import EXPIRY_WARNING, describe_expiry, earliest_expiry
from tests.harness.certificates import make_signed
from tests.harness.replicas import serving
from tests.harness.waiting import wait_until_async

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ends_in", "said"),
    [
        (EXPIRY_WARNING + timedelta(seconds=1), None),
        (EXPIRY_WARNING, "expires on 2026-03-15 12:00 UTC, in 14 days"),
        (timedelta(hours=30), "expires on 2026-03-02 18:00 UTC, in 1 day"),
        (timedelta(0), "expired on 2026-03-01 12:00 UTC"),
    ],
)
def test_an_expiry_is_logged_from_14_days_before(ends_in: timedelta, said: str | None) -> None:
    assert describe_expiry(NOW + ends_in, NOW) == said


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


@pytest.mark.parametrize("module", ["scheduler_svc.main", "contentgen.cli.app"])
def test_the_certificate_library_is_loaded_only_with_tls(module: str) -> None:
    program = f"import sys, {module}; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


async def test_the_scheduler_warns_at_start_and_when_files_change(
    db_url: str, certificates: Path, tmp_path: Path
) -> None:
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    make_signed(tmp_path, "server", days=3)
    files = {
        "tls_cert": tmp_path / "server.pem",
        "tls_key": tmp_path / "server.key",
        "tls_client_ca": tmp_path / "ca.pem",
    }
    with structlog.testing.capture_logs() as logs:
        async with serving(db_url, **files) as replica:

            async def warned(number: int) -> list[str]:
                def found() -> list[str]:
                    warnings = [event for event in logs if event["action"] == "certificate"]
                    assert all(event["setting"] == "CONTENTGEN_TLS_CERT" for event in warnings)
                    return [event["event"] for event in warnings] if len(warnings) >= number else []

                return await wait_until_async(found, within=20, what=f"{number} warnings")

            assert "a certificate expires on" in (await warned(1))[0]
            make_signed(tmp_path, "server", days=0)
            replica.reload_files()
            assert "a certificate expired on 2026-01-01" in (await warned(2))[1]
