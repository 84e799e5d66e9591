"""Contexts: what they hold, which one a command uses, and what wins over it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from contentgen.cli import contexts
from contentgen.v1 import task_service_pb2 as pb
from tests.contract.operators.transcript import SCHEDULER, Transcript, run
from tests.harness.scripted_server import scripted


class Lists:
    """Answers ListTasks, and keeps what is asked and by which token."""

    def __init__(self) -> None:
        self.accounts: list[int] = []
        self.tokens: list[Any] = []

    @contextmanager
    def served(self) -> Iterator[str]:
        with scripted(ListTasks=self._list) as target:
            yield target

    def _list(self, request: pb.ListTasksRequest, context: grpc.ServicerContext) -> pb.ListTasksResponse:
        self.accounts.append(request.account_id)
        self.tokens.append(dict(context.invocation_metadata()).get("authorization"))
        return pb.ListTasksResponse()


def test_contexts_print_the_golden_screens(request: pytest.FixtureRequest) -> None:
    transcript = Transcript(SCHEDULER, request.config.getoption("--update-golden"))
    for words in (
        ("context", "list"),
        ("context", "set", "local", "--scheduler", "127.0.0.1:50051", "--account", "1"),
        ("context", "set", "production", "-s", "10.0.0.5:50051"),
        ("context", "list"),
        ("context", "use", "production"),
        ("context", "show"),
        ("context", "set", "local", "--account", "0"),
        ("-o", "jsonl", "context", "list"),
        ("context", "delete", "production"),
        ("context", "use", "production"),
        ("context", "show"),
    ):
        transcript.add(words, run(*words))
    transcript.check("contexts")


def test_a_command_uses_the_current_context_and_given_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = Lists()
    with lists.served() as target:
        run("context", "set", "here", "-s", target, "-a", "3")
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
        assert run("-s", target, "task", "list").status == 0
    assert lists.accounts == [3, 5, 0, 6, 6, 6]


def test_a_token_goes_to_the_scheduler_of_its_context_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("of-the-context")
    monkeypatch.chdir(tmp_path)
    lists = Lists()
    with lists.served() as target:
        assert run("context", "set", "here", "-s", target, "--token-file", "token").status == 0
        monkeypatch.chdir("/")
        assert run("task", "list").status == 0
        assert run("-s", target, "task", "list").status == 0, "who names a scheduler names its token"
        monkeypatch.setenv("CONTENTGEN_TOKEN", "of-the-environment")
        assert run("task", "list").status == 0
    assert lists.tokens == ["Bearer of-the-context", None, "Bearer of-the-environment"]
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
