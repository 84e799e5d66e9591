"""The console's settings: flags over variables, and everything that is wrong named at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from console_svc.config import ConsoleSettings, SettingsError, notices, read_settings

ADDRESS = "should be host:port, such as 127.0.0.1:8080, [::1]:8080 or :0 (loopback, any free port)"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ConsoleSettings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)


def problems(*argv: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read_settings(argv)
    return caught.value.problems


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read_settings([])
    assert str(settings.listen) == "127.0.0.1:8080"
    assert settings.scheduler == "127.0.0.1:50051"
    assert (settings.metrics, settings.secure, settings.console_prefix) == (None, False, "")


@pytest.mark.parametrize(
    ("given", "host", "port"), [(":0", "127.0.0.1", 0), ("[::1]:81", "::1", 81), ("localhost:8080", "localhost", 8080)]
)
def test_addresses(given: str, host: str, port: int) -> None:
    assert read_settings([f"--console-listen={given}", f"--metrics-listen={given}"]).listen == (host, port)


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
        f"--tls-ca={none}: should be a readable file (No such file or directory)",
        "--console-prefix=a page: should be a path such as /console",
        "--console-token-header=X Token: String should match pattern '^[A-Za-z0-9-]*$'",
        "--log-level=loud: Input should be 'debug', 'info', 'warning' or 'error'",
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
    assert "should be names of hosts without ports, by comma, such as desk.example.com; 'desk:8080' is not" in problem


def test_what_belongs_together_is_set_together(tmp_path: Path) -> None:
    (file := tmp_path / "a.pem").touch()
    assert problems(f"--console-tls-key={file}", f"--tls-client-cert={file}") == (
        "CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY should be set together",
        "CONTENTGEN_TLS_CA should be set if CONTENTGEN_TLS_CLIENT_CERT is",
        "CONTENTGEN_CONSOLE_TLS_CERT and CONTENTGEN_CONSOLE_TLS_KEY should be set together",
    )


def test_a_variable_that_is_no_setting_is_named() -> None:
    told = list(
        notices({"CONTENTGEN_CONSOLE_LISTN": "x", "CONTENTGEN_CONSOLE_COLOUR": "red", "CONTENTGEN_LISTEN": "x"})
    )
    assert told == [
        "CONTENTGEN_CONSOLE_COLOUR is no setting, and is ignored (--help lists the settings)",
        "CONTENTGEN_CONSOLE_LISTN is no setting, and is ignored: did you mean CONTENTGEN_CONSOLE_LISTEN?",
    ]
