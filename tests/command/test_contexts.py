"""Contexts, TLS and the token of the command: what they hold, and what wins."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from contentgen.cli import contexts
from contentgen.v1 import system_service_pb2 as system_pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_pool_service_pb2 as worker_pool_pb
from tests.command.transcript import SCHEDULER, Deployment, Ran, Transcript, run
from tests.harness.credentials import line, make_signed, write
from tests.harness.scripted_server import ScriptedServices, scripted

pytestmark = pytest.mark.contract


@pytest.fixture
def replica_settings(tmp_path: Path) -> dict[str, Any]:
    """Those of one that knows tokens, one of them for two accounts."""
    lines = line("博客", "publisher", [2, 1], "site-token"), line("w", "worker")
    return {"tokens_file": write(tmp_path / "tokens", *lines)}


# Contexts: what they hold, which one a command uses, and what wins over it.


async def test_contexts_print_the_golden_screens(transcript_of: Callable[[str], Transcript]) -> None:
    await transcript_of(SCHEDULER).play("contexts")


def test_a_command_uses_the_current_context_and_given_options_win(
    scheduler: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.will("ListTasks", *[task_pb.ListTasksResponse()] * 6)
    run("context", "set", "here", "-s", scheduler.target, "-a", "3")
    run("context", "set", "nowhere", "-s", "127.0.0.1:1", "-a", "4")
    assert run("task", "list").status == 0
    assert run("task", "list", "-a", "5").status == 0
    assert run("task", "list", "-a", "0").status == 0
    monkeypatch.setenv("CONTENTGEN_ACCOUNT", "6")
    assert run("task", "list").status == 0
    assert run("--context", "nowhere", "task", "list").status == 4
    monkeypatch.setenv("CONTENTGEN_CONTEXT", "nowhere")
    assert run("task", "list").status == 4
    assert run("--context", "here", "task", "list").status == 0
    assert run("-s", scheduler.target, "task", "list").status == 0
    assert [request.account_id for request in scheduler.requests("ListTasks")] == [3, 5, 0, 6, 6, 6]


def test_a_token_goes_to_the_scheduler_of_its_context_only(
    scheduler: ScriptedServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("of-the-context")
    monkeypatch.chdir(tmp_path)
    scheduler.will("ListTasks", *[task_pb.ListTasksResponse()] * 3)
    assert run("context", "set", "here", "-s", scheduler.target, "--token-file", "token").status == 0
    monkeypatch.chdir("/")
    assert run("task", "list").status == 0
    assert run("-s", scheduler.target, "task", "list").status == 0, "who names a scheduler names its token"
    monkeypatch.setenv("CONTENTGEN_TOKEN", "of-the-environment")
    assert run("task", "list").status == 0
    tokens = [call.metadata.get("authorization") for call in scheduler.calls("ListTasks")]
    assert tokens == ["Bearer of-the-context", None, "Bearer of-the-environment"]
    assert "of-the-context" not in contexts.path().read_text()


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"current": null}', '{"current": null, "contexts": {"a": 1}}'])
def test_an_invalid_contexts_file_is_named(text: str) -> None:
    contexts.path().parent.mkdir(parents=True)
    contexts.path().write_text(text)
    result = run("task", "list")
    assert result.status == 2
    assert f"{contexts.path()} should be a file of contexts" in result.err.replace("\n", " ")


def test_a_wrong_account_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_ACCOUNT", "newsroom")
    result = run("task", "list")
    assert (result.status, "CONTENTGEN_ACCOUNT='newsroom' should be the id of an account" in result.err) == (2, True)


def test_stored_contexts_can_be_read() -> None:
    run("context", "set", "新闻", "-s", "127.0.0.1:50051")
    document = json.loads(contexts.path().read_text(encoding="utf-8"))
    assert document == {"current": "新闻", "contexts": {"新闻": {"scheduler": "127.0.0.1:50051"}}}
    assert stat.S_ISREG(contexts.path().stat().st_mode)


# TLS by the environment: which clients are accepted, and the advice to others.


def credentials(certificates: Path, name: str = "server", *, ask: bool) -> grpc.ServerCredentials:
    """Of a server with this certificate; `ask`: whether it requires one of its clients."""
    key, chain, ca = ((certificates / file).read_bytes() for file in (f"{name}.key", f"{name}.pem", "ca.pem"))
    return grpc.ssl_server_credentials([(key, chain)], ca if ask else None, ask)


def flags(certificates: Path, own: str = "") -> list[str]:
    """Options that name the authority, and a certificate of our own."""
    files = {"ca": "ca.pem", **({"client-cert": f"{own}.pem", "client-key": f"{own}.key"} if own else {})}
    return [f"--tls-{name}={certificates}/{file}" for name, file in files.items()]


def paused(certificates: Path, *, ask: bool) -> Ran:
    """`dispatch pause`, which is never retried, against a server that may require a client certificate."""
    with scripted(credentials(certificates, ask=ask), PauseDispatch=pause) as target:
        return run("-s", target, "dispatch", "pause", "--all")


def pause(*_: object) -> worker_pool_pb.PauseDispatchResponse:
    return worker_pool_pb.PauseDispatchResponse()


@pytest.fixture
def trust(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Sets the variables for an authority and our own certificate; empty: unset."""

    def set_up(ca: str, own: str) -> None:
        for name, file in (("CA", f"{ca}.pem"), ("CLIENT_CERT", f"{own}.pem"), ("CLIENT_KEY", f"{own}.key")):
            if not file.startswith("."):
                monkeypatch.setenv(f"CONTENTGEN_TLS_{name}", str(certificates / file))

    return set_up


@pytest.mark.parametrize("own", ["", "client"])
def test_a_client_with_the_right_tls_settings_is_accepted(
    own: str, certificates: Path, trust: Callable[[str, str], None]
) -> None:
    trust("ca", own)
    assert paused(certificates, ask=bool(own)) == Ran(0, "dispatch of everything is paused\n", "")


@pytest.mark.parametrize(
    ("ask", "trusted", "message"),
    [
        (True, ("ca", ""), "it hangs up): if it requires client certificates, set CONTENTGEN_TLS_CLIENT_CERT"),
        (True, ("ca", "other"), "it hangs up): it may not trust CONTENTGEN_TLS_CLIENT_CERT"),
        (False, ("other", ""), "its certificate is not trusted): CONTENTGEN_TLS_CA should be the authority"),
        (False, ("", ""), "it hangs up): if it speaks TLS, set CONTENTGEN_TLS_CA"),
    ],
)
def test_a_client_with_wrong_tls_settings_gets_advice(
    ask: bool, trusted: tuple[str, str], message: str, certificates: Path, trust: Callable[[str, str], None]
) -> None:
    trust(*trusted)
    result = paused(certificates, ask=ask)
    assert (result.status, result.out, result.err.count("\n")) == (4, "", 1)
    assert message in result.err


@pytest.fixture
def bad(certificates: Path, tmp_path: Path) -> Path:
    """Certificates of the authority: one has expired, one is for another host, and one expires soon."""
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    make_signed(tmp_path, "expired", days=0)
    make_signed(tmp_path, "elsewhere", host="DNS:elsewhere.example")
    make_signed(tmp_path, "short", days=3)
    return tmp_path


@pytest.mark.parametrize(
    ("server", "own", "message"),
    [
        ("expired", "", "its certificate has expired): give the scheduler a new CONTENTGEN_TLS_CERT"),
        ("elsewhere", "", "its certificate is for another name): call it by a name or address that its"),
        (
            "server",
            "expired",
            "it hangs up): replace CONTENTGEN_TLS_CLIENT_CERT, which expired on 2026-01-01 00:00 UTC",
        ),
    ],
)
def test_the_problem_of_a_certificate_is_named(bad: Path, server: str, own: str, message: str) -> None:
    with scripted(credentials(bad, server, ask=bool(own)), **Deployment().answers()) as target:
        result = run(*flags(bad, own), "-s", target, "dispatch", "pause", "--all")
        diagnosis = run(*flags(bad, own), "-s", target, "-o", "json", "doctor")
    assert message in result.err
    (finding,) = json.loads(diagnosis.out)
    assert (finding["check"], finding["level"]) == ("target", "fail")
    assert message.partition("): ")[0] in finding["message"]


def test_doctor_works_over_tls_and_warns_of_certificates_that_expire_soon(bad: Path) -> None:
    with scripted(credentials(bad, "short", ask=True), **Deployment().answers()) as target:
        result = run(*flags(bad, "short"), "-s", target, "-o", "json", "doctor")
    findings = json.loads(result.out)
    good, own, server = [finding["message"] for finding in findings if finding["check"] == "tls"]
    assert good.endswith("our certificate is accepted")
    assert own.startswith("CONTENTGEN_TLS_CLIENT_CERT expires on")
    assert server.startswith(f"the certificate of {target} expires on")
    assert [finding["level"] for finding in findings if finding["level"] != "ok"] == ["warn"] * 2
    assert result.status == 0


def test_tls_to_a_plaintext_server_is_refused_with_advice(certificates: Path) -> None:
    with scripted(PauseDispatch=pause) as target:
        result = run(*flags(certificates), "-s", target, "dispatch", "pause", "--all")
    assert result.status == 4
    assert "it speaks no TLS): unset CONTENTGEN_TLS_CA" in result.err


# Whose token it is.


async def test_whoami_prints_the_golden_screens(contentgen: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    await contentgen.play("whoami", 1)
    monkeypatch.setenv("CONTENTGEN_TOKEN", "site-token")
    await contentgen.play("whoami", 2)
    monkeypatch.setenv("CONTENTGEN_TOKEN", "w-token")
    await contentgen.play("whoami")


def test_whoami_says_that_no_tokens_are_required() -> None:
    answer = system_pb.GetCallerResponse(role="operator", methods=["TaskService/GetTask", "TaskService/WaitTask"])
    with scripted(GetCaller=lambda request, context: answer) as target:
        assert run("-s", target, "whoami").out.splitlines() == [
            "role         operator",
            "accounts     all",
            "tokens       none are required: every caller may call everything",
            "TaskService  GetTask, WaitTask",
        ]
