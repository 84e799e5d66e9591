"""Settings of the three services: flags over variables, every problem named with what the setting should be, nothing
secret shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from console_svc import config as console
from contentgen.service.settings import SettingsError, described, flag_of, variable_of
from contentgen.service.values import Address
from scheduler_svc import config as scheduler
from scheduler_svc.config import notices, read_settings
from tests.harness.settings import KINDS
from worker_svc import config as worker

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("no_settings")]

READERS = {"scheduler": scheduler.read_settings, "worker": worker.read_settings, "console": console.read_settings}
of_each = pytest.mark.parametrize("service", KINDS)


def problems(service: str, *arguments: str) -> Sequence[str]:
    with pytest.raises(SettingsError) as raised:
        READERS[service](arguments)
    return raised.value.problems


def read(*arguments: str) -> Any:
    """A worker's settings."""
    return worker.read_settings(arguments)


DAY = 86_400
DEFAULTS: dict[str, dict[str, Any]] = {
    "scheduler": {
        "database_url": None, "listen": Address("127.0.0.1", 50051), "metrics_listen": None, "scaler_listen": None,
        "lease_ttl": 120, "heartbeat_interval": 10, "max_queue_size": 1_000_000, "max_asset_bytes": 10 * 1024**3,
        "max_worker_losses": 5, "max_deferrals": 100, "max_publish_attempts": 3, "publish_backoff": 60,
        "priority_aging": 0, "audit_retention": 400 * DAY, "metrics_accounts": (), "webhook_allow": (),
        "log_level": "info", "insecure": False,
    },
    "worker": {
        "scheduler": "127.0.0.1:50051", "slots": 3, "queue_size": 0, "drain_timeout": 600, "run_one": False,
        "creator_poll_interval": 30, "creator_profile": "reference", "creator_cli_path": "content-creator",
        "creator_max_result": 3 << 20, "creator_options_allowed": None, "data_dir": Path(".contentgen"),
        "worker_id": None, "token": None, "log_format": None,
    },
    "console": {
        "console_listen": Address("127.0.0.1", 8080), "scheduler": "127.0.0.1:50051", "metrics_listen": None,
        "secure": False, "console_prefix": "",
    },
}  # fmt: skip
# What each kind of value may be, and the bounds of single settings.
READ: dict[str, dict[str, Any]] = {
    "scheduler --lease-ttl": {"90": 90, "90s": 90, "2m": 120, "1.5 m": 90, "5000ms": 5, "1h": 3_600, "1d": DAY},
    "scheduler --priority-aging": {"15m": 900, "1": 1, "0": 0, "0s": 0, "7d": 7 * DAY},
    "scheduler --max-asset-bytes": {"0": 0, "5000": 5_000, "64KiB": 65_536, "3MiB": 3 << 20, "2 TiB": 2 << 40},
    "scheduler --metrics-accounts": {"42, 7,42,": (42, 7)},
    "scheduler --webhook-allow": {
        "10.1.0.0/16, 127.0.0.1,::1": tuple(map(ip_network, ["10.1.0.0/16", "127.0.0.1/32", "::1/128"]))
    },
    "scheduler --console-url": {"https://desk.example/": "https://desk.example", "http://a:1/b": "http://a:1/b"},
    "scheduler --listen": {
        "127.0.0.1:50051": Address("127.0.0.1", 50051),
        ":0": Address("127.0.0.1", 0),
        "localhost:1": Address("localhost", 1),
        "[::1]:65535": Address("::1", 65535),
    },
    "worker --run-one": {"on": True, "off": False},
    "worker --run-one-wait": {"90s": 90},
    "worker --creator-env": {"LLM_API_KEY, LLM_BASE_URL,": ("LLM_API_KEY", "LLM_BASE_URL")},
    "worker --creator-options-allowed": {"audience, min-words,": ("audience", "min-words"), "*": ("*",)},
    "worker --creator-asset-hosts": {
        "CDN.example.com, *.b.org,c.net:8443": ("cdn.example.com", "*.b.org", "c.net:8443")
    },
    "console --scheduler": {"[::1]:1": "[::1]:1"},
    "console --console-prefix": {"/desk/": "/desk"},
    "console --console-hosts": {"Desk.example.com, desk": ("desk.example.com", "desk")},
}
HOST_PORT = "must be host:port, such as 127.0.0.1:50051, [::1]:50051 or :0 (loopback, any free port)"
LOG_LEVEL = "must be debug, info, warning or error"
NO_FILE = "must be a file that can be read (No such file or directory)"
REFUSED: dict[str, tuple[str, list[str]]] = {
    "scheduler --lease-ttl": (
        "must be a duration of 5 s to 86400 s, such as 90, 90s or 2m",
        ["", "4.9", "-90", "90x", "1e3", "inf", "nan", "2d", "9" * 400],
    ),
    "scheduler --priority-aging": (
        "must be a duration of 1 s to 604800 s, such as 90, 90s or 2m, or 0",
        ["", "0.5", "-1", "off", "8d", "nan"],
    ),
    "scheduler --publish-backoff": (
        "must be a duration of 0.1 s to 3600 s, such as 90, 90s or 2m",
        ["", "0", "0.05", "2h", "soon"],
    ),
    "scheduler --audit-retention": ("must be a duration of 1 s to", ["0", "off", "3651d"]),
    "scheduler --max-publish-attempts": ("must be a whole number from 1 to 1,000", ["", "0", "-1", "1.5", "1001"]),
    "scheduler --max-asset-bytes": ("must be a size of 0 to 4,", ["-1", "1GB", "1.5GiB", "all", str(1 << 63)]),
    "scheduler --metrics-accounts": (
        "must be ids of accounts by comma, such as 1,42",
        ["all", "0", "-1", "1;2", "１", str(1 << 63)],
    ),
    "scheduler --webhook-allow": (
        "must be networks by comma, such as 10.1.0.0/16,127.0.0.1,::1",
        ["localhost", "10.1.0.1/16", "10.0.0.0/33", "10.0.0.0;::1"],
    ),
    "scheduler --console-url": (
        "must be http:// or https://",
        ["desk.example", "https://u@a/", "https://a?b", "https://"],
    ),
    "scheduler --listen": (
        HOST_PORT,
        ["", "50051", "host", "host:", "host:65536", "::1:50051", "[::1]", "[x]:1", "a b:1"],
    ),
    "scheduler --scaler-listen": ("At most one '::' permitted", ["[:::]:1"]),
    "scheduler --metrics-listen": (HOST_PORT, ["9464"]),
    "scheduler --max-queue-size": ("must be a whole number from", ["0"]),
    "scheduler --log-level": (LOG_LEVEL, ["loud"]),
    "scheduler --tokens-file": ("must be an existing file", ["tokens"]),
    "scheduler --pg-bindir": ("must be an existing folder", ["/nowhere"]),
    "worker --slots": ("must be a whole number from 1 to 1,000", ["none"]),
    "worker --queue-size": ("must be a whole number from 0 to 1,000", ["1001"]),
    "worker --drain-timeout": ("must be a duration", ["soon"]),
    "worker --scheduler": (
        "must be host:port",
        ["host", "host:", ":50051", "host:65536", "http://host:1", "a:1,,b:2", "a:1,b"],
    ),
    "worker --creator-cli-path": ("must not be empty", ["", " "]),
    "worker --creator-max-result": ("must be a size of 1 to 3,145,728 bytes", ["4MiB"]),
    "worker --creator-env": ("must be names of environment variables", ["A-B"]),
    "worker --creator-options-allowed": (
        "must be names of creator options, or * for all, separated by commas, such as audience,min-words; '--topic'",
        ["--topic"],
    ),
    "worker --creator-profile": ("must be reference, json or llm-content-creator", ["other"]),
    "worker --creator-asset-hosts": ("must be names of hosts", ["https://a.com", "a.com/x", "*", "a.com:0", "-a.com"]),
    "worker --log-level": (LOG_LEVEL, ["loud"]),
    "worker --metrics-listen": (HOST_PORT, ["9464"]),
    "worker --tls-ca": (NO_FILE, ["/nowhere"]),
    "console --console-listen": (HOST_PORT, ["nowhere"]),
    "console --scheduler": ("must not be empty", [" "]),
    "console --tls-ca": (NO_FILE, ["/nowhere"]),
    "console --console-prefix": ("must be a path such as /console", ["a page"]),
    "console --console-hosts": (
        "must be names of hosts without ports, separated by commas, such as desk.example.com; 'desk:8080' is not",
        ["desk:8080"],
    ),
    "console --oidc-roles": (
        "must be CLAIM=VALUE:ROLE",
        [";", "press", "a=b", "a=b:worker", "a=b:viewer@0", "=b:viewer"],
    ),
    "console --oidc-issuer": ("must be https://", ["http://id.example.com", "id.example.com", "https://", "http://[x"]),
    "console --console-token-header": ("must be the name of a header, such as X-Contentgen-Token", ["X Token"]),
    "console --log-level": (LOG_LEVEL, ["loud"]),
}


@of_each
def test_the_defaults_are_the_contracts(service: str) -> None:
    settings = READERS[service]([])
    assert {name: getattr(settings, name) for name in DEFAULTS[service]} == DEFAULTS[service]


@pytest.mark.parametrize(
    ("service", "name"), [(service, name) for service, kind in KINDS.items() for name in kind.model_fields]
)
def test_a_setting_has_the_default_of_its_text(service: str, name: str) -> None:
    kind = KINDS[service]
    default, text = kind.model_fields[name].default, described(kind, name)[1]
    if default in {None, (), ""}:
        assert text.startswith("unset") or name == "assets", "those follow the data folder"
        return
    flag = flag_of(kind, name)
    written = text.partition(",")[0].removesuffix(".")
    assert getattr(READERS[service]([f"{flag}={written}"]), name) == getattr(
        READERS[service]([f"{flag}={default}"]), name
    )


@pytest.mark.parametrize(
    ("setting", "text", "value"), [(name, text, value) for name, texts in READ.items() for text, value in texts.items()]
)
def test_a_setting_is_read(setting: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service, flag = setting.split()
    name = flag.removeprefix("--").replace("-", "_")
    assert getattr(READERS[service]([f"{flag}={text}"]), name) == value
    monkeypatch.setenv(variable_of(KINDS[service], name), text)
    assert getattr(READERS[service]([]), name) == value


@pytest.mark.parametrize(
    ("setting", "text", "wanted"), [(name, text, wanted) for name, (wanted, texts) in REFUSED.items() for text in texts]
)
def test_a_value_that_does_not_fit_is_refused_with_what_does(setting: str, text: str, wanted: str) -> None:
    service, flag = setting.split()
    (problem,) = problems(service, f"{flag}={text}")
    assert problem.startswith(f"{flag}={text[:200]}: {wanted}")


@of_each
def test_a_flag_wins_over_the_environment(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_LOG_LEVEL", "error")
    monkeypatch.setenv("CONTENTGEN_METRICS_LISTEN", ":1")
    settings: Any = READERS[service](["--log-level", "debug"])
    assert (settings.log_level, settings.metrics_listen) == ("debug", Address("127.0.0.1", 1))


@of_each
def test_an_empty_variable_counts_as_unset(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KINDS[service].model_fields:
        monkeypatch.setenv(variable_of(KINDS[service], name), "")
    assert READERS[service]([]) == KINDS[service]()


@of_each
def test_all_that_is_wrong_is_named_with_where_it_came_from(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_INSECURE", "perhaps")
    monkeypatch.setenv("CONTENTGEN_METRICS_LISTEN", "9464")
    assert set(problems(service, "--log-level=loud", "--no-such-setting")) == {
        "CONTENTGEN_INSECURE: must be on or off",
        f"CONTENTGEN_METRICS_LISTEN=9464: {HOST_PORT}",
        f"--log-level=loud: {LOG_LEVEL}",
        "--no-such-setting: no such flag (--help lists them)",
    }


@of_each
def test_the_help_names_every_setting_with_its_variable_and_default(
    service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS[service]
    with pytest.raises(SystemExit) as raised:
        READERS[service](["--help"])
    assert raised.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in kind.model_fields:
        assert f"[{variable_of(kind, name)}]" in shown
        assert name in kind.SECRETS or f"{flag_of(kind, name)} " in shown
    assert shown.count("Default:") == len(kind.model_fields)


@pytest.mark.parametrize(
    "arguments",
    [("--database-url", "postgresql://u:zebra@host"), ("--database-url=zebra",), ("postgresql://u:zebra@host/db",)],
)
def test_the_value_of_an_unknown_flag_is_not_repeated(arguments: tuple[str, ...]) -> None:
    (problem,) = problems("scheduler", *arguments)
    assert "zebra" not in problem
    assert problem.startswith(
        "--database-url: no such flag" if arguments[0].startswith("--") else "there is an argument too many, without --"
    )


# What only one of the services has: first the scheduler.


def test_accounts_of_metrics_are_limited() -> None:
    (problem,) = problems("scheduler", "--metrics-accounts", ",".join(map(str, range(1, 102))))
    assert "must name at most 100 accounts, names 101" in problem


def test_the_heartbeat_interval_is_a_third_of_a_short_lease_time() -> None:
    assert scheduler.read_settings(["--lease-ttl", "15"]).heartbeat_interval == 5


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:0", "10.0.0.1:1", "scheduler.example:1"])
def test_an_address_wider_than_loopback_needs_tls_and_tokens_or_client_certificates(
    address: str, tmp_path: Path
) -> None:
    pem = tmp_path / "file.pem"
    pem.touch()
    assert "wider than loopback" in problems("scheduler", "--listen", address)[0]
    tls = (f"--tls-cert={pem}", f"--tls-key={pem}")
    assert "CONTENTGEN_TOKENS_FILE or CONTENTGEN_TLS_CLIENT_CA" in problems("scheduler", "--listen", address, *tls)[0]
    assert "CONTENTGEN_TLS_CERT" in problems("scheduler", "--listen", address, f"--tokens-file={pem}")[0]
    assert scheduler.read_settings(["--listen", address, *tls, f"--tls-client-ca={pem}"]).tls
    assert scheduler.read_settings(["--listen", address, *tls, f"--tokens-file={pem}"]).tokens_file == pem
    assert scheduler.read_settings(["--listen", address, "--insecure"]).insecure


@pytest.mark.parametrize("address", ["0.0.0.0:50052", "scheduler.example:1"])
def test_a_scaler_s_address_wider_than_loopback_needs_tls(address: str, tmp_path: Path) -> None:
    pem = tmp_path / "file.pem"
    pem.touch()
    (problem,) = problems("scheduler", "--scaler-listen", address)
    assert problem.startswith(f"CONTENTGEN_SCALER_LISTEN={address} is wider than loopback")
    settings = scheduler.read_settings(["--scaler-listen", address, f"--tls-cert={pem}", f"--tls-key={pem}"])
    assert str(settings.scaler_listen) == address
    assert scheduler.read_settings(["--scaler-listen", address, "--insecure"]).scaler_listen == settings.scaler_listen


def test_tls_settings_go_together(tmp_path: Path) -> None:
    pem = tmp_path / "file.pem"
    pem.touch()
    assert "go together" in problems("scheduler", f"--tls-key={pem}")[0]
    assert "CONTENTGEN_TLS_CLIENT_CA" in problems("scheduler", f"--tls-client-ca={pem}")[0]


@pytest.mark.parametrize("flag", ["--tokens-file", "--tls-cert", "--pg-bindir"])
def test_a_path_that_no_file_can_have_is_refused(flag: str) -> None:
    assert re.search(r"must be a .*\(File name too long\)", problems("scheduler", f"{flag}={'a' * 5_000}")[0])


# The worker.


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ("no-such-user", "must be the name of a user of this machine"),
        ("root", "must be a user with fewer rights than root and than the worker's own"),
    ],
)
def test_a_user_whom_no_cli_may_run_as_is_refused(user: str, problem: str) -> None:
    assert problems("worker", f"--creator-user={user}") == (f"--creator-user={user}: {problem}",)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user has none to lose")
def test_a_worker_without_the_capabilities_names_them() -> None:
    program = "from worker_svc.creator_user import CreatorUser; CreatorUser.named('nobody')"
    drop = ["setpriv", "--bounding-set=-kill,-setuid", "--inh-caps=-kill,-setuid"]
    done = subprocess.run([*drop, sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "(it has no KILL, SETUID)" in done.stderr


def test_a_worker_for_one_task_is_a_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read("--run-one", "--slots=7")
    assert (settings.run_one, settings.run_one_wait, settings.slots) == (True, 600.0, 7)
    monkeypatch.setenv("CONTENTGEN_RUN_ONE", "on")
    assert not read("--run-one=off").run_one
    assert problems("worker", "--run-one=two") == ("--run-one: must be on or off",)


def test_no_creator_option_may_be_allowed() -> None:
    assert read("--creator-options-allowed=").creator_options_allowed == ()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("host:50051", ["host:50051"]),
        ("10.0.0.1:1, [::1]:65535", ["10.0.0.1:1", "[::1]:65535"]),
        ("dns:///scheduler:50051", ["dns:///scheduler:50051"]),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", ["ipv4:10.0.0.1:1,10.0.0.2:2"]),
    ],
)
def test_the_scheduler_is_a_grpc_target_or_several_addresses(target: str, expected: list[str]) -> None:
    assert worker.addresses(read(f"--scheduler={target}").scheduler) == expected


def test_the_token_is_neither_a_flag_nor_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_TOKEN", "secret")
    settings = read()
    assert settings.token is not None
    assert settings.token.get_secret_value() == "secret"
    assert "secret" not in repr(settings)
    assert "no such flag" in problems("worker", "--token=secret")[0]


def test_a_token_does_not_pass_the_network_in_plaintext(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (file := tmp_path / "a.pem").touch()
    beyond = "--scheduler=localhost:1,scheduler-2.example.com:50051"
    assert read(beyond).token is None
    refused = [problems("worker", beyond, f"--token-file={file}")]
    monkeypatch.setenv("CONTENTGEN_TOKEN", "secret")
    refused.append(problems("worker", beyond))
    for (problem,) in refused:
        assert "the token would pass the network in plaintext: set CONTENTGEN_TLS_CA" in problem
    for allowed in ([beyond, "--insecure"], [beyond, f"--tls-ca={file}"], ["--scheduler=unix:///run/a"], []):
        assert read(*allowed).token


def test_what_is_no_text_for_a_terminal_is_shown_as_it_is_written() -> None:
    (problem,) = problems("worker", "--worker-id=a\n\x1b[2Jb")
    assert problem == "--worker-id='a\\n\\x1b[2Jb': must be 1 to 200 printable characters"


def test_a_flag_without_its_value_is_told_beside_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_SLOTS", "none")
    messages = problems("worker", "--queue-size")
    assert [problem.partition(":")[0] for problem in messages] == ["argument --queue-size", "CONTENTGEN_SLOTS=none"]


def test_a_variable_with_a_name_of_its_own_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_CREATOR_CLI_PATH", "elsewhere")
    assert read().creator_cli_path == "content-creator"
    assert read("--creator-cli-path=here").creator_cli_path == "here"


def test_the_guard_starts_before_grpc_is_there() -> None:
    program = "import sys, worker_svc.main; raise SystemExit('grpc' in sys.modules or 'opentelemetry' in sys.modules)"
    assert subprocess.call([sys.executable, "-c", program]) == 0


# The console.


def test_tokens_do_not_pass_the_network_in_plaintext() -> None:
    beyond = "--console-listen=0.0.0.0:8080"
    (problem,) = problems("console", beyond)
    assert "tokens would pass the network in plaintext: set CONTENTGEN_CONSOLE_TLS_CERT" in problem
    assert console.read_settings([beyond, "--console-behind-proxy"]).secure
    assert not console.read_settings([beyond, "--insecure"]).secure


def test_nor_do_they_on_the_way_to_the_schedulers(tmp_path: Path) -> None:
    (file := tmp_path / "ca.pem").touch()
    for target in ("dns:///schedulers:50051", "10.0.0.1:50051", "127.0.0.1:1,scheduler:2", "127.0.0.1.example.com:1"):
        (problem,) = problems("console", f"--scheduler={target}")
        assert problem.startswith(f"CONTENTGEN_SCHEDULER={target}: tokens would pass the network in plaintext: set")
        assert console.read_settings([f"--scheduler={target}", "--insecure"]).insecure
        assert console.read_settings([f"--scheduler={target}", f"--tls-ca={file}"]).tls_ca
    for target in ("localhost:1", "127.0.0.2:1,[::1]:2", "unix:///run/a.sock", "dns:///localhost:1", "ipv6:[::1]:1"):
        assert console.read_settings([f"--scheduler={target}"]).scheduler == target


def test_what_belongs_together_is_set_together(tmp_path: Path) -> None:
    (file := tmp_path / "a.pem").touch()
    assert problems("console", f"--console-tls-key={file}", f"--tls-client-cert={file}") == (
        "CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY go together: set both or none",
        "CONTENTGEN_CONSOLE_TLS_CERT and CONTENTGEN_CONSOLE_TLS_KEY go together: set both or none",
        "CONTENTGEN_TLS_CLIENT_CERT asks for CONTENTGEN_TLS_CA",
    )


def test_sign_in_by_openid_connect_needs_all_its_settings(tmp_path: Path) -> None:
    (file := tmp_path / "a").touch()
    together, apart = problems("console", "--oidc-issuer=https://a", "--console-token-header=X")
    assert together.endswith("CONTENTGEN_OIDC_TOKEN_FILE and CONTENTGEN_OIDC_ROLES go together: set all or none")
    assert apart == "CONTENTGEN_OIDC_ISSUER and CONTENTGEN_CONSOLE_TOKEN_HEADER exclude each other: unset one"
    files = [f"--oidc-client-secret-file={file}", f"--oidc-token-file={file}", "--oidc-client-id=desk"]
    roles = "--oidc-roles=groups=press:reviewer@2,1; https://a.b/r=urn:x=y:operator;"
    for issuer in ("https://id.example.com/", "http://[::1]:1", "http://localhost:1/a"):
        settings = console.read_settings([f"--oidc-issuer={issuer}", roles, *files])
        assert settings.oidc_issuer == issuer
        assert settings.oidc_roles == (
            ("groups", "press", "reviewer", (2, 1)),
            ("https://a.b/r", "urn:x=y", "operator", ()),
        )


# The URL of the scheduler's database: from where it is taken, how it is read, and that no part of it is shown.


def only_problem(*arguments: str) -> str:
    with pytest.raises(SettingsError) as raised:
        read_settings(arguments)
    (text,) = raised.value.problems
    return text


@pytest.fixture
def url_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that DATABASE_URL_FILE names; a test writes it."""
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    return tmp_path / "url"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_the_database_url_comes_from_the_environment_and_is_not_shown(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://user:secret@host/db")
    settings = read_settings([])
    assert settings.database_url == "postgresql+psycopg2://user:secret@host/db"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("u:p@a:1,b:2/db?target_session_attrs=read-write", "u:p@/db?host=a:1&host=b:2&target_session_attrs=read-write"),
        ("a.example,b-2.example/db", "/db?host=a.example&host=b-2.example"),
        ("u@a,b", "u@/?host=a&host=b"),
        ("u:a,b@host/db", "u:a,b@host/db"),
        ("/db?host=/a,/b", "/db?host=/a,/b"),
    ],
)
def test_several_hosts_of_a_database_become_parameters(url: str, read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{url}")
    assert read_settings([]).database_url == f"postgresql+psycopg2://{read}"


def test_the_database_url_comes_from_a_file_and_is_not_shown(url_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url_file.write_text("postgres://user:zebra@host/db\n")
    monkeypatch.setenv("CONTENTGEN_REQUIRE_DATABASE_URL", "on")
    settings = read_settings([])
    assert settings.database_url == "postgresql+psycopg2://user:zebra@host/db"
    assert "zebra" not in repr(settings)


@pytest.mark.parametrize(
    ("held", "wrong"),
    [
        (None, "must be the path of a file that can be read"),
        (b"zebra", "the URL in the file must begin with postgresql://"),
        (b"", "the URL in the file must begin with postgresql://"),
        (b"\xff", "must be the path of a file that holds the URL and nothing else"),
    ],
)
def test_a_file_without_a_database_url_is_refused(url_file: Path, held: bytes | None, wrong: str) -> None:
    if held is not None:
        url_file.write_bytes(held)
    problem = only_problem()
    assert problem.startswith(f"DATABASE_URL_FILE: {wrong}")
    assert "zebra" not in problem


def test_a_url_in_the_place_of_its_file_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "postgresql://user:zebra@host/db")
    problem = only_problem()
    assert problem == "DATABASE_URL_FILE: must be the path of a file that can be read (No such file or directory)"


def test_exactly_one_of_url_and_file_may_be_set(url_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url_file.write_text("postgresql://one/db")
    monkeypatch.setenv("DATABASE_URL", "postgresql://other/db")
    problem = only_problem()
    assert problem == "DATABASE_URL: exactly one of DATABASE_URL and DATABASE_URL_FILE may be set: unset the other one"
    monkeypatch.setenv("DATABASE_URL", "")
    assert read_settings([]).database_url == "postgresql+psycopg2://one/db"


@pytest.mark.parametrize("url", ["mysql://user:secret@host/db", "secret", "sqlite:///secret"])
def test_another_database_is_refused_without_its_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    problem = only_problem()
    assert problem.startswith("DATABASE_URL: must begin with postgresql://")
    assert "secret" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "u:zebra@giraffe@host/db",
        "u:zebra@giraffe/@host:1/db",
        "u:@zebra@host:1/db",
        "u:zebra",
        "u:zebra/db",
        "u:zebra,giraffe/db",
        "u:zebra@[::1:1/db",
        "u:zebra@host:giraffe/db",
        "u@zebra:host:1/db",
        "u:x@host,zebra@host/db",
    ],
)
def test_no_part_of_a_password_is_taken_for_a_host_and_shown(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{url}")
    problem = only_problem()
    assert problem.startswith("DATABASE_URL: must be postgresql://user:password@host:5432/database")
    assert "%40" in problem
    assert not {"zebra", "giraffe"} & set(re.findall(r"\w+", problem))


OTHERS = ["u:p%40q@h:1/db", "u@[::1]:1/db", "u@%2Frun/db", "/db?host=/run/pg&options=a@b", "", "h/db", "u:a:b@h,i:2"]


@pytest.mark.parametrize("url", OTHERS)
def test_other_urls_are_left_to_the_driver(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{url}")
    assert read_settings([]).database_url


@pytest.mark.parametrize("given", [None, ""])
def test_a_database_url_can_be_required(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_REQUIRE_DATABASE_URL", "on")
    if given is not None:
        monkeypatch.setenv("DATABASE_URL", given)
    problem = only_problem()
    assert problem.startswith(
        "DATABASE_URL or DATABASE_URL_FILE must be set, since CONTENTGEN_REQUIRE_DATABASE_URL is on"
    )
    assert only_problem("--require-database-url")
    monkeypatch.setenv("DATABASE_URL", "postgresql://host/db")
    assert read_settings([]).require_database_url


def test_an_empty_database_url_is_told() -> None:
    (notice,) = notices({"DATABASE_URL": ""})
    assert "DATABASE_URL is empty" in notice
