"""The console's process without a scheduler: TLS of its own, what a start refuses, and TERM."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path
from urllib.request import urlopen

from tests.harness.certificates import make_signed
from tests.harness.console import Console
from tests.harness.ports import free_port

NOBODY = "127.0.0.1:1"
STOPS, STARTS = 10.0, 20.0


def tls(folder: Path, cert: str, key: str) -> dict[str, str]:
    return {
        "CONTENTGEN_CONSOLE_TLS_CERT": str(folder / f"{cert}.pem"),
        "CONTENTGEN_CONSOLE_TLS_KEY": str(folder / f"{key}.key"),
    }


def test_a_console_serves_by_its_own_certificate_an_expired_one_too(certificates: Path, tmp_path: Path) -> None:
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    make_signed(tmp_path, "expired", days=0)
    probes = f"127.0.0.1:{free_port()}"
    with Console(tmp_path, NOBODY, CONTENTGEN_METRICS_LISTEN=probes, **tls(tmp_path, "server", "server")) as console:
        console.wait_for("ready", within=STARTS)
        trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with urlopen(f"https://127.0.0.1:{console.port}/healthz", timeout=STARTS, context=trusting) as answer:
            assert answer.headers["Strict-Transport-Security"]
        with urlopen(f"http://{probes}/readyz", timeout=STARTS) as answer:
            assert answer.status == 200
        console.stop(STOPS)
        console.start(**tls(tmp_path, "expired", "expired"))
        [warning] = console.events("certificate")
        assert warning["setting"] == "CONTENTGEN_CONSOLE_TLS_CERT"
        console.stop(STOPS)  # as soon as it says that it is ready


def test_a_start_refuses_files_that_do_not_belong_together(certificates: Path, tmp_path: Path) -> None:
    with Console(tmp_path, NOBODY, **tls(certificates, "server", "other")) as console:
        console.ended(STARTS, 78)
        assert "should be PEM files that belong together" in console.text()
