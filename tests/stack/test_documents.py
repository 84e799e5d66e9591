"""The snippets of README and guides, and the examples, as they are written."""

from __future__ import annotations

import json
import os
import re
import sys
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToJson, Parse, ParseDict
from google.protobuf.message_factory import GetMessageClass

from contentgen import ContentGenerationClient
from contentgen.rpcs import METHODS, SERVICES, path_of
from tests.harness.client import Status
from tests.harness.cluster import server_folder
from tests.harness.documents import DOCS, Snippet, commands, snippets, type_in
from tests.harness.importing import old_application
from tests.harness.process import Process, run_to_end
from tests.harness.processes import belonging_to, free_port
from tests.harness.stack import DEMO_CREATOR, Scheduler, Stack
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_gone

pytestmark = pytest.mark.e2e


# The README's snippets, and every RPC by hand, are run as they stand there; what is for grpcurl names what there is.


README = DOCS.parent / "README.md"
BY_HAND = DOCS / "reference" / "rpcs-by-hand.md"
TARGET = "127.0.0.1:50051"
CALL = re.compile(r"^call\(\) .*$", re.MULTILINE)
"""How the page defines it: by a program that costs too much for each of some eighty calls."""
SAME_CALL = """\
exec 3<>/dev/tcp/127.0.0.1/{port}
call() {{
    printf '%s %s\\n' "$1" "$2" >&3
    read -r code answer <&3
    if [ "$code" != ok ]; then printf '"code": "%s"\\n' "$code" >&2; return 1; fi
    printf '%s\\n' "$answer"
}}
"""
"""What stands for it: the test's process makes the call."""


def block(page: Path, mark: str) -> str:
    """The only block of a page that has `mark` in it."""
    (text,) = [snippet.text for snippet in snippets(page) if mark in snippet.text]
    return text


SESSION = block(BY_HAND, "AccountService/UpdateAccount")
OUT_OF_SERVICE = block(BY_HAND, "AccountService/DeactivateAccount")
"""What nobody should paste with all the others."""


def follow(text: str, stack: Stack, scheduler: Scheduler) -> tuple[str, str]:
    """Types it in, with the scheduler's address in place of the page's; returns what it prints, errors apart."""
    bin_ = Path(sys.executable).parent
    text = text.replace(TARGET, scheduler.target).replace(".venv/bin/buf", str(bin_ / "buf"))
    environment = {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "HOME": str(stack.folder),
        "CONTENTGEN_SCHEDULER": scheduler.target,
    }
    return type_in(text, environment, stack.folder, within=PATIENCE_S)


@contextmanager
def answered(target: str) -> Iterator[int]:
    """A port where each line `Service/Rpc JSON` is a call of the scheduler at `target`."""

    def answer() -> None:
        caller, _ = server.accept()
        with caller, caller.makefile("rw", encoding="utf-8") as lines, grpc.insecure_channel(target) as channel:
            for line in lines:
                lines.write(f"{called(channel, *line.split(' ', 1))}\n")
                lines.flush()

    with create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as beside:
        server.settimeout(PATIENCE_S)
        answers = beside.submit(answer)
        yield server.getsockname()[1]
        answers.result()


def called(channel: grpc.Channel, rpc: str, text: str) -> str:
    """`ok` and the answer, or the code of the error."""
    method = METHODS[rpc]
    request = Parse(text, GetMessageClass(method.input_type)())
    answer_class = GetMessageClass(method.output_type)
    call: Any = channel.unary_unary(path_of(rpc), lambda message: message.SerializeToString(), answer_class.FromString)
    try:
        return f"ok {MessageToJson(call(request, timeout=PATIENCE_S), indent=None)}"
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call):
            raise
        return str(error.code().name).lower()


@pytest.mark.costly("two workers' tasks, and commands as a reader types them", seconds=5)
def test_the_first_calls_and_the_python_client_show_what_a_reader_looks_for(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler = stack.scheduler().start()
    assert scheduler.client.create_account() == 1
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()

    out, _ = follow(block(README, "contentgen doctor"), stack, scheduler)
    assert out.count("status       completed") == 2
    for shown in ("pending_review", "claim-", "人工智能的未来发展", "1 connected", "ok    target"):
        assert shown in out
    assert "fail" not in out
    out, _ = follow(block(BY_HAND, "--list-methods"), stack, scheduler)
    first, _, rest = out.partition("}\n}")
    assert '"topic": "Working well from home"' in first
    assert rest.count('"taskId"') == 3
    assert "contentgen.v1.TaskService/SubmitTask" in rest.split()

    python = block(README, "ContentGenerationClient").replace(TARGET, scheduler.target)
    exec(compile(python, str(README), "exec"), {})  # noqa: S102 - our own text
    assert "# 人工智能的未来发展" in capsys.readouterr().out


@pytest.mark.costly("every RPC by hand", seconds=2)
def test_each_line_runs_as_it_is_written(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    (of_readme,) = CALL.findall(SESSION)
    assert of_readme in block(BY_HAND, "--list-methods"), "the first calls are made by it"
    with answered(scheduler.target) as port:
        text = SESSION.replace(of_readme, SAME_CALL.format(port=port))
        out, errors = follow(text + OUT_OF_SERVICE, stack, scheduler)
    codes = re.findall(r'"code": "(\w+)"', errors)
    assert codes.count("failed_precondition") == 1, "the retry is refused"
    assert set(codes) <= {"failed_precondition", "canceled"}, "a watch that is stopped may say so; nothing else fails"
    assert "PUBLISH_STATUS_PUBLISHED" in out
    assert "TASK_STATUS_CANCELLED" in out


def test_rpcs_called_by_grpcurl_exist() -> None:
    services = {service.full_name: service for service in SERVICES.values()}
    lines = block(BY_HAND, "grpcurl -plaintext").splitlines()
    calls = [re.fullmatch(rf"grpcurl -plaintext -d '(.*)' {TARGET} (.*)/(.*)", line) for line in lines[:-1]]
    for call in calls:
        assert call
        method = services[call[2]].methods_by_name[call[3]]
        ParseDict(json.loads(call[1]), GetMessageClass(method.input_type)())  # raises on a field that there is not
    assert len(calls) == 2
    describe, _, described = lines[-1].rpartition(" ")
    assert describe == f"grpcurl -plaintext {TARGET} describe"
    assert described in services


# Every new snippet of the guides of the way over is run, in its order, against a scheduler and a worker.


GUIDES = [
    (DOCS / "how-to" / "migrate.md", DOCS / "reference" / "old-application.md"),
    (DOCS / "zh_CN" / "reference" / "old-application.md",),
]
GUIDE_TARGET, OLD, CREATOR = "127.0.0.1:50051", "/srv/old/app.db", "/path/to/content-creator"
OLD_TASKS = 3


class Reader:
    """Somebody who types in what a guide says, with the stack's addresses and paths in place of the guide's."""

    def __init__(self, name: str, stack: Stack, scheduler: Scheduler, db_url: str) -> None:
        self._name = name
        self._folder = stack.folder
        self._places = {GUIDE_TARGET: scheduler.target, OLD: str(stack.folder / "old.db"), CREATOR: str(DEMO_CREATOR)}
        self._names: dict[str, Any] = {}
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(stack.folder),
            "DATABASE_URL": db_url,
            "CONTENTGEN_SCHEDULER": scheduler.target,
            "CONTENTGEN_LISTEN": "127.0.0.1:0",
            "CONTENTGEN_DATA_DIR": str(stack.folder / "reader"),
            "CONTENTGEN_ASSETS": str(scheduler.data_dir / "assets"),
            "CREATOR_CLI_PATH": str(DEMO_CREATOR),
            "CREATOR_PROFILE": "json",
            "CREATOR_ENV": "CREATOR_DEMO_DIR",
            "CREATOR_OPTIONS_ALLOWED": "*",
            "CREATOR_DEMO_DIR": str(stack.folder / "runs"),
        }

    def follow(self, snippet: Snippet) -> None:
        """Does what it says."""
        text = snippet.text
        for place, real in self._places.items():
            text = text.replace(place, real)
        match snippet.language, snippet.mark:
            case "python", "":
                exec(compile("\n" * (snippet.line - 1) + text, self._name, "exec"), self._names)  # noqa: S102
            case "sh", "":
                print(*type_in(text, self._environment, self._folder, within=PATIENCE_S))
            case "sh", "service":
                self._serve(text)
            case other:
                pytest.fail(f"{self._name}:{snippet.line}: a snippet that nothing runs: {other}")

    def _serve(self, text: str) -> None:
        """Runs a service until it is ready, then ends it as an operator does; it has to end well."""
        ((command, variables),) = commands(text)
        environment = {"CONTENTGEN_LOG_FORMAT": "json", **self._environment, **variables}
        with Process("snippet", command, self._folder / "reader.log", environment) as process:
            wait_until(
                lambda: process.events("session.opened") or process.events("ready") or not process.alive,
                within=PATIENCE_S,
                what=f"ready: {text}",
            )
            process.stop(PATIENCE_S)


@pytest.mark.costly("every snippet of a guide runs", seconds=5)
@pytest.mark.parametrize("pages", GUIDES, ids=lambda pages: pages[-1].parent.name)
def test_the_snippets_do_what_the_guide_says(
    stack: Stack, db_url: str, pages: tuple[Path, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with old_application(f"sqlite:///{stack.folder}/old.db") as old:
        old.account(1)
        for number in range(OLD_TASKS):
            old.task(number + 1)
    scheduler = stack.scheduler(lease_ttl=60.0).start()
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    reader = Reader(pages[-1].name, stack, scheduler, db_url)
    new = [snippet for page in pages for snippet in snippets(page) if snippet.mark != "old"]
    imports = [snippet for snippet in new if "contentgen-scheduler import" in snippet.text]
    for snippet in imports:
        reader.follow(snippet)
    failed = fail_once(scheduler)
    for snippet in new:
        if snippet not in imports:
            reader.follow(snippet)
    client = scheduler.client
    assert client.wait(failed, within=PATIENCE_S).retry_count == 1
    assert client.counts()["completed"] >= OLD_TASKS
    assert client.counts()["cancelled"] == 1
    out = capsys.readouterr().out
    assert "999" in out
    assert "processing -> completed" in out
    assert "人工智能的未来发展" in "".join(content.title for content in client.contents())


TUTORIALS = {
    "first-article": ["completed   content 2", "is approved and in the publish pool", "published", "exit status 1"],
    "call-it-from-your-service": ["refused: INVALID_ARGUMENT", "completed A picnic in the rain"],
    "bring-your-own-cli": [
        "A warm article about Working well from home.",
        "the CLI exited with status 1",
        "exit status 1",
    ],
}
"""What somebody who follows each sees, among others."""


@pytest.mark.costly("every snippet of a tutorial runs", seconds=3)
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_works_as_it_is_written(
    stack: Stack, db_url: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler = stack.scheduler().start()
    assert scheduler.client.create_account() == 1
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    reader = Reader(name, stack, scheduler, db_url)
    for snippet in snippets(DOCS / "tutorials" / f"{name}.md"):
        if snippet.mark != "elsewhere":
            reader.follow(snippet)
    out = capsys.readouterr().out
    assert [seen for seen in TUTORIALS[name] if seen not in out] == []


def test_the_receiver_of_webhooks_takes_what_is_signed_only(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, port = stack.scheduler(CONTENTGEN_WEBHOOK_ALLOW="127.0.0.1").start(), free_port()
    names: dict[str, Any] = {"__name__": "receiver"}
    with ContentGenerationClient(scheduler.target) as client, ThreadPoolExecutor(1) as beside:
        hook = client.create_webhook(f"http://127.0.0.1:{port}/", ["task.ended"])
        monkeypatch.setenv("WEBHOOK_SECRET", str(hook["secret"]))
        exec(block(DOCS / "how-to" / "webhooks.md", "BaseHTTPRequestHandler"), names)  # noqa: S102 - our own text
        with names["ThreadingHTTPServer"](("127.0.0.1", port), names["Receiver"]) as server:
            beside.submit(server.serve_forever)
            assert client.ping_webhook(hook["webhook_id"])["status"] == "delivered"
            names["SECRET"] = f"whsec_{b64encode(bytes(32)).decode()}"
            assert "400" in str(client.ping_webhook(hook["webhook_id"])["last_error"])
            server.shutdown()


def fail_once(scheduler: Scheduler) -> str:
    """A task that fails the first time, and then waits for somebody to retry it."""
    options = {"demo-fail": "exit", "demo-fail-times": "1"}
    task_id = scheduler.client.submit(1, auto_retry=False, options=options)
    assert scheduler.client.wait(task_id, within=PATIENCE_S).status == Status.TASK_STATUS_FAILED
    return task_id


def test_each_old_snippet_has_what_replaces_it_beside_it() -> None:
    for pages in GUIDES:
        blocks = [snippet for page in pages for snippet in snippets(page)]
        old = [i for i, snippet in enumerate(blocks) if snippet.mark == "old"]
        assert len(old) == 25
        assert [blocks[i + 1].mark for i in old if blocks[i + 1].mark == "old"] == []


# `make examples` as it is called: the module, on a machine without npm.


CHECKOUT = Path(__file__).parents[2]
LIMIT = 120


@pytest.mark.costly("every example starts a stack", seconds=7)
def test_the_examples_run_and_leave_nothing() -> None:
    with server_folder() as folder:
        environment = {
            "PATH": str(folder),
            "TMPDIR": str(folder),
            "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        }
        ran = run_to_end([sys.executable, "-m", "examples.run_all"], environment, cwd=CHECKOUT, within=LIMIT)
        wait_until_gone(lambda: belonging_to(folder), within=PATIENCE_S, what="nothing is left running")
    out = ran.stdout
    assert ran.returncode == 0, out + ran.stderr
    assert "A queue that loses nothing: " in out
    assert "5 tasks, submitted twice and made once" in out
    assert "processing → completed" in out
    assert "approved" in out
    assert "published" in out
    assert "are skipped: they need node and npm" in out
    assert out.endswith("all examples ended well\n")
