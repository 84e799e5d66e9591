"""The README's snippets are run as they stand there; what is for grpcurl, which may be missing, names what there is."""

from __future__ import annotations

import json
import os
import re
import sys
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

from contentgen.rpcs import METHODS, SERVICES, path_of
from tests.harness.guides import DOCS, snippets, type_in
from tests.harness.process import installed
from tests.harness.stack import Scheduler, Stack

README = DOCS.parent / "README.md"
TARGET = "127.0.0.1:50051"
NOT_LISTED = frozenset({"WorkerService", "AssetService"})
"""A conversation of the workers' own, and calls that need an id which only a content with a file has."""
WITHIN = 60.0
CALL = re.compile(r"^call\(\) .*$", re.MULTILINE)
"""How the README defines it: by a program that costs too much for each of some eighty calls."""
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


def block(mark: str) -> str:
    """The only block that has `mark` in it."""
    (text,) = [snippet.text for snippet in snippets(README) if mark in snippet.text]
    return text


EVERY_RPC = block("AccountService/UpdateAccount")
OUT_OF_SERVICE = block("AccountService/DeactivateAccount")
"""What nobody should paste with all the others."""


def follow(text: str, stack: Stack, scheduler: Scheduler) -> tuple[str, str]:
    """Types it in, with the scheduler's address in place of the README's; returns what it prints, errors apart."""
    bin_ = Path(sys.executable).parent
    text = text.replace(TARGET, scheduler.target).replace(".venv/bin/buf", str(bin_ / "buf"))
    text = text.replace("$PWD/.venv/bin", str(bin_))
    environment = {"PATH": os.environ["PATH"], "HOME": str(stack.folder), "CONTENTGEN_SCHEDULER": scheduler.target}
    return type_in(text, environment, stack.folder, within=WITHIN)


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
        server.settimeout(WITHIN)
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
        return f"ok {MessageToJson(call(request, timeout=WITHIN), indent=None)}"
    except grpc.RpcError as error:
        if not isinstance(error, grpc.Call):
            raise
        return str(error.code().name).lower()


@pytest.mark.costly("two workers' tasks, and commands as a reader types them")
def test_the_first_calls_and_the_python_client_show_what_a_reader_looks_for(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler = stack.scheduler().start()
    assert scheduler.client.create_account() == 1
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()

    export, _, others = block("contentgen doctor").partition("\n\n")
    assert follow(f"{export}\ncommand -v contentgen", stack, scheduler)[0] == f"{installed('contentgen')}\n"
    out, _ = follow(others, stack, scheduler)
    assert out.count("status       completed") == 2
    for shown in ("pending_review", "claim-", "人工智能的未来发展", "1 connected", "ok    target"):
        assert shown in out
    assert "fail" not in out
    out, _ = follow(block("--list-methods"), stack, scheduler)
    first, _, rest = out.partition("}\n}")
    assert '"topic": "Working well from home"' in first
    assert rest.count('"taskId"') == 3
    assert "contentgen.v1.TaskService/SubmitTask" in rest.split()

    python = block("ContentGenerationClient").replace(TARGET, scheduler.target)
    exec(compile(python, str(README), "exec"), {})  # noqa: S102 - our own text
    assert "# 人工智能的未来发展" in capsys.readouterr().out


def test_no_rpc_is_left_out() -> None:
    every_rpc = EVERY_RPC + OUT_OF_SERVICE
    listed = [name for name in METHODS if name.partition("/")[0] not in NOT_LISTED]
    assert [name for name in listed if name not in every_rpc] == []


@pytest.mark.costly("every line of the README")
def test_each_line_runs_as_it_is_written(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    (of_readme,) = CALL.findall(EVERY_RPC)
    assert of_readme in block("--list-methods"), "the first calls are made by it"
    with answered(scheduler.target) as port:
        text = EVERY_RPC.replace(of_readme, SAME_CALL.format(port=port))
        out, errors = follow(text + OUT_OF_SERVICE, stack, scheduler)
    codes = re.findall(r'"code": "(\w+)"', errors)
    assert codes.count("failed_precondition") == 1, "the retry is refused"
    assert set(codes) <= {"failed_precondition", "canceled"}, "a watch that is stopped may say so; nothing else fails"
    assert "PUBLISH_STATUS_PUBLISHED" in out
    assert "TASK_STATUS_CANCELLED" in out


def test_rpcs_called_by_grpcurl_exist() -> None:
    services = {service.full_name: service for service in SERVICES.values()}
    lines = block("grpcurl -plaintext").splitlines()
    calls = [re.fullmatch(rf"grpcurl -plaintext -d '(.*)' {TARGET} (.*)/(.*)", line) for line in lines[:-1]]
    for call in calls:
        assert call
        method = services[call[2]].methods_by_name[call[3]]
        ParseDict(json.loads(call[1]), GetMessageClass(method.input_type)())  # raises on a field that there is not
    assert len(calls) == 2
    describe, _, described = lines[-1].rpartition(" ")
    assert describe == f"grpcurl -plaintext {TARGET} describe"
    assert described in services
