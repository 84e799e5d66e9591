"""The console's settings: flags over variables, and everything that is wrong named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from console_svc.config import read_settings
from contentgen.service.settings import SettingsError
from tests.harness.settings import NAMES

pytestmark = pytest.mark.unit

ADDRESS = "must be host:port, such as 127.0.0.1:50051, [::1]:50051 or :0 (loopback, any free port)"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in NAMES["console"]:
        monkeypatch.delenv(variable, raising=False)


def problems(*argv: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read_settings(argv)
    return caught.value.problems


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read_settings([])
    assert str(settings.console_listen) == "127.0.0.1:8080"
    assert settings.scheduler == "127.0.0.1:50051"
    assert (settings.metrics_listen, settings.secure, settings.console_prefix) == (None, False, "")


def test_a_flag_beats_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_SCHEDULER", "[::1]:1")
    monkeypatch.setenv("CONTENTGEN_CONSOLE_PREFIX", "/desk/")
    settings = read_settings(["--scheduler", "localhost:2", "--console-behind-proxy", "--console-listen", "0.0.0.0:80"])
    assert (settings.scheduler, settings.console_prefix) == ("localhost:2", "/desk")
    assert settings.secure


def test_everything_that_is_wrong_is_named(tmp_path: Path) -> None:
    none = tmp_path / "none.pem"
    assert problems(
        "--console-listen=nowhere",
        f"--tls-ca={none}",
        "--console-prefix=a page",
        "--log-level=loud",
        "--console-token-header=X Token",
    ) == (
        f"--console-listen=nowhere: {ADDRESS}",
        f"--tls-ca={none}: must be a file that can be read (No such file or directory)",
        "--console-prefix=a page: must be a path such as /console",
        "--console-token-header=X Token: must be the name of a header, such as X-Contentgen-Token",
        "--log-level=loud: must be debug, info, warning or error",
    )


def test_tokens_do_not_pass_the_network_in_plaintext() -> None:
    (problem,) = problems("--console-listen=0.0.0.0:8080")
    assert "tokens would pass the network in plaintext: set CONTENTGEN_CONSOLE_TLS_CERT" in problem


def test_nor_do_they_on_the_way_to_the_schedulers(tmp_path: Path) -> None:
    (file := tmp_path / "ca.pem").touch()
    for target in ("dns:///schedulers:50051", "10.0.0.1:50051", "127.0.0.1:1,scheduler:2", "127.0.0.1.example.com:1"):
        (problem,) = problems(f"--scheduler={target}")
        assert problem.startswith(f"CONTENTGEN_SCHEDULER={target}: tokens would pass the network in plaintext: set")
        assert read_settings([f"--scheduler={target}", "--insecure"]).insecure
        assert read_settings([f"--scheduler={target}", f"--tls-ca={file}"]).tls_ca
    for target in ("localhost:1", "127.0.0.2:1,[::1]:2", "unix:///run/a.sock", "dns:///localhost:1", "ipv6:[::1]:1"):
        assert read_settings([f"--scheduler={target}"]).scheduler == target


def test_names_of_the_console() -> None:
    settings = read_settings(["--console-hosts=Desk.example.com, desk"])
    assert settings.console_hosts == ("desk.example.com", "desk")
    (problem,) = problems("--console-hosts=desk:8080")
    assert (
        "must be names of hosts without ports, separated by commas, such as desk.example.com; 'desk:8080' is not"
        in problem
    )


def test_what_belongs_together_is_set_together(tmp_path: Path) -> None:
    (file := tmp_path / "a.pem").touch()
    assert problems(f"--console-tls-key={file}", f"--tls-client-cert={file}") == (
        "CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY go together: set both or none",
        "CONTENTGEN_CONSOLE_TLS_CERT and CONTENTGEN_CONSOLE_TLS_KEY go together: set both or none",
        "CONTENTGEN_TLS_CLIENT_CERT asks for CONTENTGEN_TLS_CA",
    )
