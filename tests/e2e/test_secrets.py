"""With tokens: no log has a secret, a topic or a body, and what lies on the disk is its owner's only."""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentgen import ContentGenerationClient, RequestError
from scheduler_svc.config.tokens import TokenLine, add_token, hash_of, new_token
from tests.harness.stack import EMBEDDED, Scheduler, Stack, Worker
from tests.harness.waiting import wait_until

TOPIC = "a-topic-that-is-nobodys-business"
ROLES = ("client", "worker", "operator")


@pytest.fixture
def tokens(stack: Stack) -> dict[str, str]:
    """A token a role, and the hashes in the file `tokens` of the stack."""
    tokens_by_role = {role: new_token() for role in ROLES}
    for role, token in tokens_by_role.items():
        add_token(stack.folder / "tokens", TokenLine(role, hash_of(token), role))
    return tokens_by_role


@pytest.fixture
def scheduler(stack: Stack, tokens: dict[str, str]) -> Scheduler:
    return stack.scheduler(CONTENTGEN_TOKENS_FILE=str(stack.folder / "tokens")).start()


@pytest.fixture
def worker(stack: Stack, scheduler: Scheduler, tokens: dict[str, str]) -> Worker:
    return stack.worker("worker", scheduler, CONTENTGEN_TOKEN=tokens["worker"]).start()


@pytest.fixture
def client(scheduler: Scheduler, tokens: dict[str, str]) -> Iterator[ContentGenerationClient]:
    with ContentGenerationClient(scheduler.target, token=tokens["client"]) as client:
        yield client


@pytest.fixture
def account_id(scheduler: Scheduler, tokens: dict[str, str]) -> int:
    with ContentGenerationClient(scheduler.target, token=tokens["operator"]) as operator:
        return int(operator.create_account("one")["account_id"])


@pytest.mark.usefixtures("worker")
def test_no_log_has_a_secret_a_topic_or_a_body(
    stack: Stack, scheduler: Scheduler, client: ContentGenerationClient, account_id: int, tokens: dict[str, str]
) -> None:
    done = client.submit_task(account_id, TOPIC, creator_options={"demo-seconds": "0.1"})
    failed = client.submit_task(
        account_id, TOPIC, auto_retry=False, creator_options={"demo-seconds": "0.1", "demo-fail": "exit"}
    )
    assert client.wait(done, timeout=30)["status"] == "completed"
    assert client.wait(failed, timeout=30)["status"] == "failed"
    for wrong in ("a-guessed-token", tokens["worker"]):
        with ContentGenerationClient(scheduler.target, token=wrong) as refused, pytest.raises(RequestError):
            refused.list_tasks()
    scheduler.signal(signal.SIGHUP)
    scheduler.wait_for("reread", within=10)
    task = client.get_task_status(done)
    assert task
    content = client.get_content(task["content_id"])
    assert content
    body = content["body"]
    stack.stop()
    logs = "".join(path.read_text() for path in stack.folder.glob("*.log"))
    hidden = [TOPIC, *tokens.values(), *map(hash_of, tokens.values()), "a-guessed-token", "Bearer ", body[:40]]
    assert len(body) > 40
    assert len(logs) > 1_000
    assert [text for text in hidden if text in logs] == []


@pytest.mark.costly("two services and a server of a database")
def test_files_made_under_an_open_umask_are_private_or_writable_by_their_owner_only(stack: Stack) -> None:
    before = os.umask(0)
    try:
        scheduler = stack.scheduler(database_url=EMBEDDED).start()
        worker = stack.worker("worker", scheduler).start()
    finally:
        os.umask(before)
    client = scheduler.client
    account_id = client.create_account()
    client.wait_completed(client.submit(account_id, TOPIC, options={"demo-seconds": "0.1"}), within=30)
    lasting = client.submit(account_id, TOPIC, options={"demo-seconds": "60"})
    client.wait_processing(lasting, within=20)
    workers = worker.folder / "workers"
    kept = [path for path in workers.rglob("*") if path.is_file()]
    assert kept, "marks, ids and locks of the worker"
    private = [workers, *(path for path in workers.rglob("*") if path.is_dir()), scheduler.socket_folder()]
    private.append(scheduler.data_dir / "postgres" / "data")
    assert {path.name: oct(mode(path)) for path in private if mode(path) & 0o077} == {}
    sockets = [path for path in scheduler.socket_folder().iterdir() if path.is_socket()]
    assert sockets, "the database's own, behind its folder"
    client.cancel(lasting, force=True)
    stack.stop()
    paths = [scheduler.data_dir, *scheduler.data_dir.rglob("*"), *workers.rglob("*")]
    assert len(paths) > 100
    assert [path for path in paths if mode(path) & 0o022] == []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_wrong_tokens_file_ends_the_start_with_each_line_named(stack: Stack) -> None:
    (stack.folder / "tokens").write_text('nonsense\n{"name": "c", "role": "boss", "sha256": "1"}\n')
    scheduler = stack.scheduler(CONTENTGEN_TOKENS_FILE=str(stack.folder / "tokens")).launch()
    wait_until(lambda: not scheduler.alive, within=20, what="it ends")
    log = scheduler.tail()
    assert len(re.findall(r"tokens, line 1: |tokens, line 2: ", log)) == 3
    assert "Traceback" not in log
    assert scheduler.exit_status == 78
