"""Settings of the scheduler, who reads each one, and variables that look like ours."""

from __future__ import annotations

import ast
import inspect
import os
import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from console_svc.config import ConsoleSettings
from contentgen.service.settings import SettingsError
from contentgen.service.values import Address
from contentgen.variables import NAMES, PREFIX, notices
from scheduler_svc import config as scheduler
from scheduler_svc.config import Settings, read_settings
from scheduler_svc.domain.lease import LeaseTerms
from scheduler_svc.domain.task import SubmitBounds
from tests.harness.settings import NAMES as OF_SERVICES
from worker_svc.config import WorkerSettings

pytestmark = pytest.mark.unit


# Settings: flags over the environment, every problem named with what the setting should be, nothing secret shown.


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("CONTENTGEN_", "DATABASE_URL")):
            monkeypatch.delenv(name)


def problems(*arguments: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        read_settings(arguments)
    return list(raised.value.problems)


DAY = 86_400
DEFAULTS = {
    "database_url": None,
    "listen": Address("127.0.0.1", 50051),
    "metrics_listen": None,
    "scaler_listen": None,
    "lease_ttl": 120,
    "heartbeat_interval": 10,
    "max_queue_size": 1_000_000,
    "max_asset_bytes": 10 * 1024**3,
    "max_worker_losses": 5,
    "max_deferrals": 100,
    "max_publish_attempts": 3,
    "publish_backoff": 60,
    "priority_aging": 0,
    "audit_retention": 400 * DAY,
    "metrics_accounts": (),
    "webhook_allow": (),
    "log_level": "info",
    "insecure": False,
}
READ: dict[str, dict[str, Any]] = {
    "--lease-ttl": {"90": 90, "90s": 90, "2m": 120, "1.5 m": 90, "5000ms": 5, "1h": 3_600, "1d": DAY},
    "--priority-aging": {"15m": 900, "1": 1, "0": 0, "0s": 0, "7d": 7 * DAY},
    "--max-asset-bytes": {"0": 0, "5000": 5_000, "64KiB": 65_536, "3MiB": 3 << 20, "2 TiB": 2 << 40},
    "--metrics-accounts": {"42, 7,42,": (42, 7)},
    "--webhook-allow": {
        "10.1.0.0/16, 127.0.0.1,::1": tuple(map(ip_network, ["10.1.0.0/16", "127.0.0.1/32", "::1/128"]))
    },
    "--listen": {
        "127.0.0.1:50051": Address("127.0.0.1", 50051),
        ":0": Address("127.0.0.1", 0),
        "localhost:1": Address("localhost", 1),
        "[::1]:65535": Address("::1", 65535),
    },
}
REFUSED = {
    "--lease-ttl": (
        "must be a duration of 5 s to 86400 s, such as 90, 90s or 2m",
        ["", "4.9", "-90", "90x", "1e3", "inf", "nan", "2d", "9" * 400],
    ),
    "--priority-aging": (
        "must be a duration of 1 s to 604800 s, such as 90, 90s or 2m, or 0",
        ["", "0.5", "-1", "off", "8d", "nan"],
    ),
    "--publish-backoff": (
        "must be a duration of 0.1 s to 3600 s, such as 90, 90s or 2m",
        ["", "0", "0.05", "2h", "soon"],
    ),
    "--audit-retention": ("must be a duration of 1 s to", ["0", "off", "3651d"]),
    "--max-publish-attempts": ("must be a whole number from 1 to 1,000", ["", "0", "-1", "1.5", "1001"]),
    "--max-asset-bytes": ("must be a size of 0 to 4,", ["-1", "1GB", "1.5GiB", "all", str(1 << 63)]),
    "--metrics-accounts": (
        "must be ids of accounts by comma, such as 1,42",
        ["all", "0", "-1", "1;2", "１", str(1 << 63)],
    ),
    "--webhook-allow": (
        "must be networks by comma, such as 10.1.0.0/16,127.0.0.1,::1",
        ["localhost", "10.1.0.1/16", "10.0.0.0/33", "10.0.0.0;::1"],
    ),
    "--listen": (
        "must be host:port",
        ["", "50051", "host", "host:", "host:65536", "::1:50051", "[::1]", "[x]:1", "a b:1"],
    ),
    "--scaler-listen": ("At most one '::' permitted", ["[:::]:1"]),
    "--metrics-listen": ("must be host:port", ["9464"]),
}


def test_the_defaults_are_the_contracts() -> None:
    settings = read_settings([])
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("flag", "text", "value"), [(flag, text, value) for flag, texts in READ.items() for text, value in texts.items()]
)
def test_a_setting_is_read(flag: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    name = flag.removeprefix("--").replace("-", "_")
    assert getattr(read_settings([flag, text]), name) == value
    monkeypatch.setenv(f"CONTENTGEN_{name.upper()}", text)
    assert getattr(read_settings([]), name) == value


@pytest.mark.parametrize(
    ("flag", "text", "wanted"), [(flag, text, wanted) for flag, (wanted, texts) in REFUSED.items() for text in texts]
)
def test_a_value_that_does_not_fit_is_refused_with_what_does(flag: str, text: str, wanted: str) -> None:
    (problem,) = problems(f"{flag}={text}")
    assert problem.startswith(f"{flag}={text[:200]}: {wanted}")


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_LEASE_TTL", "30s")
    monkeypatch.setenv("CONTENTGEN_MAX_QUEUE_SIZE", "7")
    settings = read_settings(["--lease-ttl", "5m"])
    assert (settings.lease_ttl, settings.max_queue_size) == (300, 7)


def test_accounts_of_metrics_are_limited() -> None:
    (problem,) = problems("--metrics-accounts", ",".join(map(str, range(1, 102))))
    assert "must name at most 100 accounts, names 101" in problem


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOG_FORMAT", "PRIORITY_AGING", "TLS_CERT", "TOKENS_FILE"):
        monkeypatch.setenv(f"CONTENTGEN_{name}", "")
    monkeypatch.setenv("DATABASE_URL", "")
    assert read_settings([]) == Settings()


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


def test_the_database_url_comes_from_a_file_and_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "url"
    file.write_text("postgres://user:zebra@host/db\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(file))
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
def test_a_file_without_a_database_url_is_refused(
    held: bytes | None, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "url"
    if held is not None:
        file.write_bytes(held)
    monkeypatch.setenv("DATABASE_URL_FILE", str(file))
    (problem,) = problems()
    assert problem.startswith(f"DATABASE_URL_FILE: {wrong}")
    assert "zebra" not in problem


def test_a_url_in_the_place_of_its_file_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL_FILE", "postgresql://user:zebra@host/db")
    (problem,) = problems()
    assert problem == "DATABASE_URL_FILE: must be the path of a file that can be read (No such file or directory)"


def test_exactly_one_of_url_and_file_may_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://one/db")
    monkeypatch.setenv("DATABASE_URL_FILE", str(file))
    monkeypatch.setenv("DATABASE_URL", "postgresql://other/db")
    (problem,) = problems()
    assert problem == (
        "DATABASE_URL: exactly one of DATABASE_URL and DATABASE_URL_FILE may be set: unset the other one"
    )
    monkeypatch.setenv("DATABASE_URL", "")
    assert read_settings([]).database_url == "postgresql+psycopg2://one/db"


@pytest.mark.parametrize("url", ["mysql://user:secret@host/db", "secret", "sqlite:///secret"])
def test_another_database_is_refused_without_its_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    (problem,) = problems()
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
    (problem,) = problems()
    assert problem.startswith("DATABASE_URL: must be postgresql://user:password@host:5432/database")
    assert "%40" in problem
    assert not {"zebra", "giraffe"} & set(re.findall(r"\w+", problem))


@pytest.mark.parametrize(
    "url",
    [
        "u:p%40q@host:1/db",
        "u@[::1]:1/db",
        "u@%2Frun%2Fpg/db",
        "/db?host=/run/pg&options=a@b",
        "",
        "h/db",
        "u:a:b@h,i:2",
    ],
)
def test_other_urls_are_left_to_the_driver(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{url}")
    assert read_settings([]).database_url


@pytest.mark.parametrize(
    "arguments",
    [("--database-url", "postgresql://u:zebra@host"), ("--database-url=zebra",), ("postgresql://u:zebra@host/db",)],
)
def test_the_value_of_an_unknown_flag_is_not_repeated(arguments: tuple[str, ...]) -> None:
    (problem,) = problems(*arguments)
    assert "zebra" not in problem
    assert problem.startswith(
        "--database-url: no such flag" if arguments[0].startswith("--") else "there is an argument too many, without --"
    )


@pytest.mark.parametrize("given", [None, ""])
def test_a_database_url_can_be_required(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_REQUIRE_DATABASE_URL", "on")
    if given is not None:
        monkeypatch.setenv("DATABASE_URL", given)
    (problem,) = problems()
    assert problem.startswith(
        "DATABASE_URL or DATABASE_URL_FILE must be set, since CONTENTGEN_REQUIRE_DATABASE_URL is on"
    )
    assert len(problems("--require-database-url")) == 1
    monkeypatch.setenv("DATABASE_URL", "postgresql://host/db")
    assert read_settings([]).require_database_url


def test_the_heartbeat_interval_is_a_third_of_a_short_lease_time() -> None:
    assert read_settings(["--lease-ttl", "15"]).heartbeat_interval == 5


def test_all_that_is_wrong_is_named_with_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_LEASE_TTL", "3s")
    monkeypatch.setenv("CONTENTGEN_INSECURE", "perhaps")
    monkeypatch.setenv("CONTENTGEN_TOKENS_FILE", "tokens")
    named = problems("--listen=nonsense", "--log-level=loud", "--max-queue-size=0", "--pg-bindir=/nowhere")
    assert {problem.partition(":")[0].partition(" ")[0] for problem in named} == {
        "CONTENTGEN_LEASE_TTL=3s",
        "CONTENTGEN_INSECURE",
        "CONTENTGEN_TOKENS_FILE=tokens",
        "--listen=nonsense",
        "--log-level=loud",
        "--max-queue-size=0",
        "--pg-bindir=/nowhere",
    }
    assert all("must be" in problem for problem in named)


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:0", "10.0.0.1:1", "scheduler.example:1"])
def test_an_address_wider_than_loopback_needs_tls_and_tokens_or_client_certificates(
    address: str, tmp_path: Path
) -> None:
    pem = tmp_path / "file.pem"
    pem.touch()
    assert "wider than loopback" in problems("--listen", address)[0]
    tls = (f"--tls-cert={pem}", f"--tls-key={pem}")
    assert "CONTENTGEN_TOKENS_FILE or CONTENTGEN_TLS_CLIENT_CA" in problems("--listen", address, *tls)[0]
    assert "CONTENTGEN_TLS_CERT" in problems("--listen", address, f"--tokens-file={pem}")[0]
    assert read_settings(["--listen", address, *tls, f"--tls-client-ca={pem}"]).tls
    assert read_settings(["--listen", address, *tls, f"--tokens-file={pem}"]).tokens_file == pem
    assert read_settings(["--listen", address, "--insecure"]).insecure


@pytest.mark.parametrize("address", ["0.0.0.0:50052", "scheduler.example:1"])
def test_a_scaler_s_address_wider_than_loopback_needs_tls(address: str, tmp_path: Path) -> None:
    pem = tmp_path / "file.pem"
    pem.touch()
    (problem,) = problems("--scaler-listen", address)
    assert problem.startswith(f"CONTENTGEN_SCALER_LISTEN={address} is wider than loopback")
    settings = read_settings(["--scaler-listen", address, f"--tls-cert={pem}", f"--tls-key={pem}"])
    assert str(settings.scaler_listen) == address
    assert read_settings(["--scaler-listen", address, "--insecure"]).scaler_listen == settings.scaler_listen


def test_tls_settings_go_together(tmp_path: Path) -> None:
    pem = tmp_path / "file.pem"
    pem.touch()
    assert "go together" in problems(f"--tls-key={pem}")[0]
    assert "CONTENTGEN_TLS_CLIENT_CA" in problems(f"--tls-client-ca={pem}")[0]


@pytest.mark.parametrize("flag", ["--tokens-file", "--tls-cert", "--pg-bindir"])
def test_a_path_that_no_file_can_have_is_refused(flag: str) -> None:
    assert re.search(r"must be a .*\(File name too long\)", problems(f"{flag}={'a' * 5_000}")[0])


def test_an_unknown_flag_is_a_problem_like_any_other() -> None:
    assert "--lissen" in problems("--lissen", ":0")[0]


def test_the_help_names_every_setting_with_its_variable_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        read_settings(["--help"])
    assert raised.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in Settings.model_fields.keys() - Settings.SECRETS:
        assert f"--{name.replace('_', '-')}" in shown
        assert f"[CONTENTGEN_{name.upper()}]" in shown
    assert "[DATABASE_URL]" in shown
    assert "[DATABASE_URL_FILE]" in shown
    assert shown.count("Default:") == len(Settings.model_fields)


# Each setting is read by what it is for: code that has the settings, beside their own class and `config check`.


ROOT = Path(__file__).parents[2]


class Bogus:
    """Settings of which one is that of no service."""

    log_level: str
    never_read: bool


def unread(kind: type, folder: str, *owners: str) -> set[str]:
    """The fields that no module of a folder reads of a variable or attribute with one of these names."""
    names = {name for text in sources(kind, folder) for name, owner in reads(text) if owner in owners}
    methods = {name: {read for read, owner in reads(text) if owner == "self"} for name, text in methods_of(kind)}
    while missing := set[str]().union(*(methods[name] for name in names & methods.keys())) - names:
        names |= missing  # what a property reads that is read itself
    return set(inspect.get_annotations(kind)) - {"SECRETS", "UNSHOWN"} - names


def sources(kind: type, folder: str) -> Iterator[str]:
    own = inspect.getsource(kind)
    modules = (path for path in (ROOT / folder).rglob("*.py") if path.name != "config_command.py")
    return (path.read_text().replace(own, "") for path in modules)


def methods_of(kind: type) -> Iterator[tuple[str, str]]:
    source = inspect.getsource(kind)
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for part in definition.body:
        if isinstance(part, ast.FunctionDef):
            yield part.name, ast.unparse(part)


def reads(source: str) -> Iterator[tuple[str, str]]:
    """Each attribute that is read, with the name of its owner: the last one, of a path."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name, value=ast.Name(id=owner) | ast.Attribute(attr=owner), ctx=ast.Load()):
                yield name, owner


def test_the_scheduler_reads_its_settings() -> None:
    deciding = {"database_url_file", "insecure", "require_database_url"}  # what other settings may be
    assert unread(Settings, "scheduler_svc", "settings", "_settings") == deciding


def test_the_scheduler_reads_what_it_takes_of_its_settings() -> None:
    assert unread(SubmitBounds, "scheduler_svc", "bounds", "_bounds") == set()
    assert unread(LeaseTerms, "scheduler_svc", "terms", "_terms") == set()


def test_the_worker_reads_its_settings() -> None:
    assert unread(WorkerSettings, "worker_svc", "settings", "_settings") == {"insecure"}


def test_the_console_reads_its_settings() -> None:
    assert unread(ConsoleSettings, "console_svc", "settings", "_settings") == {"insecure"}


@pytest.mark.parametrize("folder", ["scheduler_svc", "worker_svc", "console_svc"])
def test_a_setting_that_nothing_reads_is_named(folder: str) -> None:
    assert unread(Bogus, folder, "settings", "_settings") == {"never_read"}


# Variables that look like settings of ours: what services and command say of them.


OF_OTHERS = {"CONTENTGEN_ACCOUNT", "CONTENTGEN_CONTEXT", "CONTENTGEN_RUN"}
"""Of the command, and of the CLIs."""


def test_the_list_has_what_there_is() -> None:
    of_services = frozenset[str]().union(*OF_SERVICES.values())
    assert {name for name in of_services if not name.startswith("CREATOR_")} | OF_OTHERS == NAMES


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("CONTENTGEN_LOG_LEVL", "did you mean CONTENTGEN_LOG_LEVEL?"),
        ("CONTENTGEN_TOKENFILE", "did you mean CONTENTGEN_TOKEN"),
        ("CONTENTGEN_CONSOLE_LISTN", "did you mean CONTENTGEN_CONSOLE_LISTEN?"),
        ("CONTENTGEN_DATABASE_URL", "did you mean DATABASE_URL?"),
        ("CONTENTGEN_COLOUR", "and is ignored"),
    ],
)
def test_an_unknown_variable_is_named_without_its_value(variable: str, told: str) -> None:
    (notice,) = notices({variable: "zebra", "PATH": "/bin", "CREATOR_COLOUR": "red", f"{PREFIX}SLOTS": "3"})
    assert notice.startswith(f"{variable} is no setting, and is ignored")
    assert told in notice
    assert "zebra" not in notice


def test_variables_set_by_kubernetes_are_not_reported() -> None:
    host, url = "10.0.0.1", "tcp://10.0.0.1:50051"
    set_by_it = {
        "SERVICE_HOST": host,
        "SERVICE_PORT": "50051",
        "SERVICE_PORT_GRPC": "50051",
        "PORT": url,
        "PORT_50051_TCP": url,
        "PORT_50051_TCP_PROTO": "tcp",
        "PORT_50051_TCP_PORT": "50051",
        "PORT_50051_TCP_ADDR": host,
    }
    assert list(notices({f"CONTENTGEN_SCHEDULER_{name}": value for name, value in set_by_it.items()})) == []
    assert len(list(notices({"CONTENTGEN_PORT": "50051"}))) == 1


def test_an_empty_database_url_is_told() -> None:
    (notice,) = scheduler.notices({"DATABASE_URL": ""})
    assert "DATABASE_URL is empty" in notice
