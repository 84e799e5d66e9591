"""`config check` of each service, and the address of metrics and probes."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry, Counter

from contentgen.service import metrics
from contentgen.service.metrics import MetricsEndpoint
from contentgen.service.settings import SettingsError
from contentgen.service.values import Address
from scheduler_svc.config import Settings
from tests.harness.credentials import line, make_signed, write
from tests.harness.scrape import Scrape, get
from tests.harness.scripted_server import scripted
from tests.harness.settings import CHECKS, NAMES
from tests.harness.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.integration


# `config check` of each service: what a start would refuse and what files hold, all at once, without secrets.


Check = Callable[..., tuple[int, str, list[str]]]
"""Runs a service's check with these variables: its status, its standard output, the problems."""


def refused(checked: tuple[int, str, list[str]], *named: str) -> str:
    """Returns all that a check said whose problems begin like these."""
    status, out, problems = checked
    assert status == 78
    assert [begin for begin in named if not any(problem.startswith(begin) for problem in problems)] == []
    assert out.endswith(f"\n{len(problems)} problem{'s' * (len(problems) > 1)}\n")
    return out + " ".join(problems)


@pytest.fixture
def check(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    logging_as_before: None,  # a check that connects sets it up
    no_settings: None,
) -> Check:
    monkeypatch.setenv("CONTENTGEN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CREATOR_CLI_PATH", "true")

    def check(service: str, *flags: str, **settings: str) -> tuple[int, str, list[str]]:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        status = CHECKS[service](["check", *flags])
        captured = capsys.readouterr()
        lines = captured.err.splitlines()
        return status, captured.out, [text.removeprefix("problem: ") for text in lines if text.startswith("problem: ")]

    return check


@pytest.fixture
def pems(certificates: Path, tmp_path: Path) -> Path:
    """A folder of its own with the certificates of the session, and an expired one of their authority."""
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    make_signed(tmp_path, "expired", days=0)
    return tmp_path


def test_each_setting_of_a_scheduler_is_shown_with_where_it_comes_from(check: Check, tmp_path: Path) -> None:
    status, out, problems = check("scheduler", "--lease-ttl=90", CONTENTGEN_MAX_QUEUE_SIZE="7")
    assert (status, problems) == (0, [])
    assert {text.partition("=")[0] for text in out.splitlines()[:-1]} == NAMES["scheduler"]
    assert "CONTENTGEN_LEASE_TTL=90s (flag)\n" in out
    assert "CONTENTGEN_MAX_QUEUE_SIZE=7 (environment)\n" in out
    assert "CONTENTGEN_AUDIT_RETENTION=400d (default)\n" in out
    assert "DATABASE_URL=unset (default)\n" in out
    assert out.endswith("\nall settings are right\n")
    assert not (tmp_path / "data").exists()


def test_what_is_wrong_with_a_scheduler_is_told_at_once(check: Check, pems: Path) -> None:
    (pems / "tokens").write_text('{"name": "zebra"}\n')
    (pems / "file").touch()
    checked = check(
        "scheduler",
        "--max-queue-size=0",
        CONTENTGEN_LEASE_TTL="3s",
        CONTENTGEN_LISTEN="0.0.0.0:50051",
        CONTENTGEN_METRICS_LISTEN="0.0.0.0:50051",
        CONTENTGEN_SCALER_LISTEN="0.0.0.0:50052",
        CONTENTGEN_TLS_CERT=str(pems / "expired.pem"),
        CONTENTGEN_TLS_KEY=str(pems / "other.key"),
        CONTENTGEN_TOKENS_FILE=str(pems / "tokens"),
        CONTENTGEN_ASSETS=str(pems / "file" / "assets"),
        DATABASE_URL="postgresql://user:zebra@host/db",
    )
    said = refused(
        checked,
        "CONTENTGEN_LEASE_TTL=3s: must be a duration",
        "--max-queue-size=0: must be a whole number",
        f"CONTENTGEN_TLS_CERT={pems}/expired.pem, CONTENTGEN_TLS_KEY={pems}/other.key: must be PEM files that belong",
        f"CONTENTGEN_TLS_CERT={pems}/expired.pem: must hold valid certificates only, and one expired on 2026-01-01",
        f"CONTENTGEN_TOKENS_FILE={pems}/tokens, line 1: sha256 must be",
        f"CONTENTGEN_ASSETS={pems}/file/assets: must be a folder that this user can write",
        "CONTENTGEN_METRICS_LISTEN=0.0.0.0:50051: must have a port of its own",
    )
    assert "CONTENTGEN_LEASE_TTL=invalid (environment)\n" in said
    assert "DATABASE_URL=set, not shown (environment)\n" in said
    assert "zebra" not in said


def test_a_tokens_file_that_admits_nobody_is_a_problem(check: Check, tmp_path: Path) -> None:
    said = refused(check("scheduler", CONTENTGEN_TOKENS_FILE=str(write(tmp_path / "tokens"))))
    assert "token create adds one" in said
    write(tmp_path / "tokens", line("a", "client"), line("b", "client"), line("w", "worker"))
    status, out, _ = check("scheduler")
    assert status == 0
    assert "tokens (environment): 2 of role client, 1 of role worker\n" in out


def test_files_with_the_credentials_of_a_bucket_are_checked(check: Check) -> None:
    checked = check("scheduler", CONTENTGEN_ASSETS="s3://pictures", AWS_SECRET_ACCESS_KEY_FILE="/nowhere")
    refused(checked, "AWS_SECRET_ACCESS_KEY_FILE: must be the path of a file that holds")


def test_a_url_from_a_file_is_not_shown(check: Check, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://user:zebra@host/db")
    status, out, problems = check("scheduler", DATABASE_URL_FILE=str(tmp_path / "url"))
    assert (status, problems) == (0, [])
    assert "DATABASE_URL_FILE=set, not shown (environment)\n" in out
    assert "zebra" not in out


def test_the_expiry_of_valid_certificates_is_shown(check: Check, pems: Path) -> None:
    status, out, _ = check(
        "scheduler",
        CONTENTGEN_TLS_CERT=str(pems / "server.pem"),
        CONTENTGEN_TLS_KEY=str(pems / "server.key"),
        CONTENTGEN_TLS_CLIENT_CA=str(pems / "ca.pem"),
    )
    assert status == 0
    assert out.count("): expires on ") == 2


def test_a_scheduler_logs_in_to_the_database_only_if_asked(check: Check, db_url: str) -> None:
    away = "postgresql://user:zebra@127.0.0.1:1/db"
    assert check("scheduler", DATABASE_URL=away)[0] == 0
    status, out, problems = check(
        "scheduler", "--connect", CONTENTGEN_LISTEN="nowhere.invalid:1", CONTENTGEN_INSECURE="on"
    )
    assert status == 78
    assert [problem.partition(" (")[0] for problem in problems[:1]] == [
        "CONTENTGEN_LISTEN: nowhere.invalid must be a name that resolves here"
    ]
    assert problems[1].startswith("DATABASE_URL can't be used: connection to server")
    assert "zebra" not in out + " ".join(problems)
    status, out, _ = check("scheduler", "--connect", "--listen=:0", DATABASE_URL=db_url)
    assert status == 0
    assert "DATABASE_URL=set, not shown (environment): answers, and keeps sessions\n" in out


@pytest.mark.parametrize("arguments", [[], ["chek"], ["check", "--lissen=:0"]])
def test_wrong_usage_has_a_status_of_its_own(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for command in CHECKS.values():
        assert command(arguments) == 2
        assert "--help" in capsys.readouterr().err


def test_each_setting_of_a_worker_is_shown_with_where_it_comes_from(check: Check, tmp_path: Path) -> None:
    status, out, problems = check("worker", "--slots=5", CONTENTGEN_TOKEN="zebra", CREATOR_ENV="PATH,NOT_SET")
    assert (status, problems) == (0, [])
    assert {text.partition("=")[0] for text in out.splitlines()[:-1]} == NAMES["worker"]
    assert "CONTENTGEN_SLOTS=5 (flag)\n" in out
    assert "CONTENTGEN_TOKEN=set, not shown (environment)\n" in out
    assert "CREATOR_CLI_PATH=true (environment): found, /" in out
    assert "zebra" not in out
    assert not (tmp_path / "data").exists()


def test_what_is_wrong_with_a_worker_is_told_at_once(check: Check, pems: Path) -> None:
    (pems / "token").write_text("two zebras")
    checked = check(
        "worker",
        CONTENTGEN_SLOTS="0",
        CONTENTGEN_TOKEN_FILE=str(pems / "token"),
        CONTENTGEN_TLS_CA=str(pems / "ca.pem"),
        CONTENTGEN_TLS_CLIENT_CERT=str(pems / "expired.pem"),
        CONTENTGEN_TLS_CLIENT_KEY=str(pems / "other.key"),
        CREATOR_CLI_PATH=str(pems / "nothing"),
        CONTENTGEN_DATA_DIR=str(pems / "token" / "data"),
    )
    said = refused(
        checked,
        "CONTENTGEN_SLOTS=0: must be a whole number from 1 to 1,000",
        f"CONTENTGEN_TOKEN_FILE={pems}/token: must hold one token",
        f"CONTENTGEN_TLS_CLIENT_CERT={pems}/expired.pem, CONTENTGEN_TLS_CLIENT_KEY={pems}/other.key: must be PEM",
        f"CONTENTGEN_TLS_CLIENT_CERT={pems}/expired.pem: must hold valid certificates only, and one expired",
        f"CREATOR_CLI_PATH={pems}/nothing: must be a program",
        f"CONTENTGEN_DATA_DIR={pems}/token/data: must be a folder",
    )
    assert "\n6 problems\n" in said
    assert "CONTENTGEN_SLOTS=invalid (environment)\n" in said
    assert "zebras" not in said


def test_all_conflicts_of_a_worker_are_told(check: Check, pems: Path) -> None:
    _, _, problems = check(
        "worker",
        CONTENTGEN_TOKEN="zebra",
        CONTENTGEN_TOKEN_FILE=str(pems / "ca.pem"),
        CONTENTGEN_TLS_CLIENT_CERT=str(pems / "client.pem"),
    )
    assert problems == [
        "CONTENTGEN_TLS_CLIENT_CERT and CONTENTGEN_TLS_CLIENT_KEY go together: set both or none",
        "CONTENTGEN_TOKEN and CONTENTGEN_TOKEN_FILE exclude each other: unset one of them",
        "CONTENTGEN_TLS_CLIENT_CERT asks for CONTENTGEN_TLS_CA",
    ]


def test_files_of_the_clis_variables_are_checked(check: Check, tmp_path: Path) -> None:
    key = tmp_path / "key"
    profile = {"CREATOR_PROFILE": "llm-content-creator", "LLM_API_KEY_FILE": str(key)}
    said = refused(check("worker", **profile), "LLM_API_KEY_FILE: must be the path of a file that holds LLM_API_KEY")
    assert "\n1 problem\n" in said
    key.write_text("zebra")
    assert check("worker", **profile)[0] == 0


def test_variables_of_the_cli_are_checked_before_a_run_is_paid(check: Check) -> None:
    profile = {"CREATOR_PROFILE": "llm-content-creator", "TAVILY_API_KEY": "a key", "LLM_MODEL_NAME": "a-model/v3.1"}
    assert check("worker", **profile, LLM_API_KEY="zebra", LLM_BASE_URL="http://[::1]:8000/v1")[0] == 0
    wrong = {"LLM_API_KEY": " ", "TAVILY_API_KEY": "zebra\n", "ARK_API_KEY": "", "LLM_MODEL_NAME": "zebra two"}
    wrong |= {"LLM_BASE_URL": "zebra:8000/v1", "ARK_API_URL": "ftp://zebra"}
    answer = check("worker", **profile | wrong)
    assert "zebra" not in refused(answer, *wrong)
    assert len(answer[2]) == len(wrong)


@pytest.mark.parametrize("service", ["worker", "console"])
def test_schedulers_are_asked_only_if_told(check: Check, service: str) -> None:
    assert check(service, CONTENTGEN_SCHEDULER="127.0.0.1:1")[0] == 0
    refused(check(service, "--connect"), "CONTENTGEN_SCHEDULER: 127.0.0.1:1 must answer, and does not (UNAVAILABLE")


def test_each_setting_of_a_console_is_shown_with_where_it_comes_from(check: Check, pems: Path) -> None:
    tls = {
        "CONTENTGEN_CONSOLE_TLS_CERT": str(pems / "server.pem"),
        "CONTENTGEN_CONSOLE_TLS_KEY": str(pems / "server.key"),
    }
    status, out, problems = check("console", "--console-listen=:0", CONTENTGEN_CONSOLE_PREFIX="/console", **tls)
    assert (status, problems) == (0, [])
    assert {text.partition("=")[0] for text in out.splitlines()[:-1]} == NAMES["console"]
    assert "CONTENTGEN_CONSOLE_LISTEN=127.0.0.1:0 (flag)\n" in out
    assert "CONTENTGEN_CONSOLE_PREFIX=/console (environment)\n" in out
    assert "CONTENTGEN_CONSOLE_BEHIND_PROXY=off (default)\n" in out
    assert "CONTENTGEN_METRICS_LISTEN=unset (default)\n" in out
    assert f"CONTENTGEN_CONSOLE_TLS_CERT={pems}/server.pem (environment): expires on " in out
    assert out.endswith("\nall settings are right\n")


def test_what_is_wrong_with_a_console_is_told_at_once(check: Check, pems: Path) -> None:
    checked = check(
        "console",
        "--log-level=loud",
        CONTENTGEN_CONSOLE_LISTEN="0.0.0.0:8080",
        CONTENTGEN_METRICS_LISTEN="0.0.0.0:8080",
        CONTENTGEN_CONSOLE_PREFIX="console",
        CONTENTGEN_TLS_CA=str(pems / "server.key"),
        CONTENTGEN_TLS_CLIENT_CERT=str(pems / "expired.pem"),
        CONTENTGEN_TLS_CLIENT_KEY=str(pems / "other.key"),
        CONTENTGEN_CONSOLE_TLS_KEY=str(pems / "missing.key"),
    )
    said = refused(
        checked,
        "--log-level=loud: ",
        "CONTENTGEN_CONSOLE_PREFIX=console: must be a path",
        f"CONTENTGEN_CONSOLE_TLS_KEY={pems}/missing.key: must be a file that can be read",
        "CONTENTGEN_CONSOLE_LISTEN=0.0.0.0:8080: tokens would pass the network in plaintext",
        "CONTENTGEN_METRICS_LISTEN=0.0.0.0:8080: must have a port of its own",
        f"CONTENTGEN_TLS_CA={pems}/server.key: must be a PEM file with certificates",
        f"CONTENTGEN_TLS_CLIENT_CERT={pems}/expired.pem, CONTENTGEN_TLS_CLIENT_KEY={pems}/other.key: must be PEM",
        f"CONTENTGEN_TLS_CLIENT_CERT={pems}/expired.pem: must hold valid certificates only, and one expired",
    )
    assert "\n8 problems\n" in said
    assert "CONTENTGEN_LOG_LEVEL=invalid (flag)\n" in said


def test_a_console_exports_no_spans_and_so_has_no_wrong_settings_of_them(check: Check) -> None:
    grpc = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert (check("console", **grpc)[0], check("worker", **grpc)[0]) == (0, 78)


@pytest.mark.parametrize(("health", "status"), [("SERVING", 0), ("NOT_SERVING", 78)])
def test_a_console_asks_whether_a_scheduler_serves(check: Check, health: str, status: int) -> None:
    answer = health_pb2.HealthCheckResponse(status=health)
    with scripted(Check=lambda request, context: answer) as address:
        exit_status, out, problems = check("console", "--connect", CONTENTGEN_SCHEDULER=address)
    assert exit_status == status
    if status:
        assert problems[0].startswith(f"CONTENTGEN_SCHEDULER: {address} must serve, and does not")
    else:
        assert f"CONTENTGEN_SCHEDULER={address} (environment): serves\n" in out


# The address of metrics and probes, with clients that send slowly, too much, or nothing.


@pytest.fixture
def endpoint(request: pytest.FixtureRequest) -> Iterator[MetricsEndpoint]:
    registry = CollectorRegistry()
    Counter("served", "Served.", registry=registry).inc()
    timeout = getattr(request, "param", 600.0)
    served = MetricsEndpoint(
        Address("127.0.0.1", 0), registry, live=list, ready=lambda: ["not yet"], request_timeout=timeout
    )
    yield served
    served.stop()


def connected(port: int, sent: bytes) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    peer.sendall(sent)
    return peer


def is_closed(peer: socket.socket) -> bool:
    try:
        return peer.recv(1_000) == b""
    except ConnectionError:
        return True


def test_slow_requests_keep_nobody_from_an_answer(endpoint: MetricsEndpoint) -> None:
    with ExitStack() as peers:
        for _ in range(20):
            peers.enter_context(connected(endpoint.port, b"GET /livez HT"))
        assert get(endpoint.port, "/livez") == (200, "ok\n")
        assert get(endpoint.port, "/readyz") == (503, "not yet\n")
        assert Scrape(endpoint.port)("served_total") == 1


def test_a_flood_of_connections_ends_the_oldest(endpoint: MetricsEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_CONNECTIONS", 3)
    with ExitStack() as peers:
        silent = [peers.enter_context(connected(endpoint.port, b"")) for _ in range(5)]
        assert get(endpoint.port, "/livez") == (200, "ok\n")
        assert is_closed(silent[0])


@pytest.mark.parametrize("endpoint", [0.5], indirect=True)
def test_a_request_has_a_deadline_as_a_whole(endpoint: MetricsEndpoint) -> None:
    with connected(endpoint.port, b"GET /livez HTTP/1.1\r\n") as peer:

        def ends() -> bool:
            try:
                peer.sendall(b"X-More: 1\r\n")
            except ConnectionError:
                return True
            return False

        wait_until(ends, within=PATIENCE_S, what="a request that never ends is cut off")


def test_an_endless_head_is_cut_off(endpoint: MetricsEndpoint) -> None:
    with connected(endpoint.port, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 2 * metrics.MAX_HEAD) as peer:
        assert is_closed(peer)


def test_what_is_no_request_is_refused(endpoint: MetricsEndpoint) -> None:
    for sent in (b"\r\n\r\n", b"\xff\xfe\r\n\r\n", b"GET\r\n\r\n"):
        with connected(endpoint.port, sent) as peer:
            assert peer.recv(1_000).startswith((b"HTTP/1.1 405 ", b"HTTP/1.1 404 "))
    assert get(endpoint.port, "/healthz")[0] == 404
    assert get(endpoint.port, "/metrics", method="POST")[0] == 405


def test_an_address_that_is_in_use_is_named(endpoint: MetricsEndpoint) -> None:
    taken = Settings(metrics_listen=Address("127.0.0.1", endpoint.port)).metrics_listen
    assert taken is not None
    with pytest.raises(SettingsError, match=f"CONTENTGEN_METRICS_LISTEN=127.0.0.1:{endpoint.port}: "):
        MetricsEndpoint(taken, CollectorRegistry(), live=list, ready=list)
