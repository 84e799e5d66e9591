"""The console's process without a scheduler: the certificate that it starts with, and TERM at once."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.harness.certificates import make_signed
from tests.harness.console import Console

NOBODY = "127.0.0.1:1"
STARTS, STOPS = 20.0, 10.0


def tls(folder: Path, cert: str, key: str) -> dict[str, str]:
    return {
        "CONTENTGEN_CONSOLE_TLS_CERT": str(folder / f"{cert}.pem"),
        "CONTENTGEN_CONSOLE_TLS_KEY": str(folder / f"{key}.key"),
    }


def test_a_start_with_an_expired_certificate_is_logged(certificates: Path, tmp_path: Path) -> None:
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    make_signed(tmp_path, "expired", days=0)
    with Console(tmp_path, NOBODY, **tls(tmp_path, "expired", "expired")) as console:
        console.wait_for("ready", within=STARTS)
        [warning] = console.events("certificate")
        assert warning["setting"] == "CONTENTGEN_CONSOLE_TLS_CERT"
        console.stop(STOPS)


def test_a_start_refuses_files_that_do_not_belong_together(certificates: Path, tmp_path: Path) -> None:
    with Console(tmp_path, NOBODY, **tls(certificates, "server", "other")) as console:
        console.ended(STARTS, 78)
        assert "must be PEM files that belong together" in console.text()
