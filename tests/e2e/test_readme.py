"""The README's snippets are run as they stand there; what is for grpcurl, which may be missing, names what there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from contentgen.v1 import (
    account_service_pb2,
    audit_service_pb2,
    content_service_pb2,
    schedule_service_pb2,
    task_service_pb2,
    webhook_service_pb2,
    worker_pool_service_pb2,
)
from tests.harness.guides import DOCS, snippets
from tests.harness.process import run_to_end
from tests.harness.stack import Scheduler, Stack

README = DOCS.parent / "README.md"
TARGET = "127.0.0.1:50051"
MODULES = (
    account_service_pb2,
    audit_service_pb2,
    content_service_pb2,
    schedule_service_pb2,
    task_service_pb2,
    webhook_service_pb2,
    worker_pool_service_pb2,
)
WITHIN = 60.0


def block(mark: str) -> str:
    """The only block that has `mark` in it."""
    (found,) = [it.text for it in snippets(README) if mark in it.text]
    return found


EVERY_RPC = block("AccountService/UpdateAccount")
OUT_OF_SERVICE = block("AccountService/DeactivateAccount")
"""What nobody should paste with all the others."""


def services() -> dict[str, ServiceDescriptor]:
    """Those that clients call, by full name; not the workers' own, which is a conversation."""
    return {it.full_name: it for module in MODULES for it in module.DESCRIPTOR.services_by_name.values()}


def follow(text: str, stack: Stack, scheduler: Scheduler) -> subprocess.CompletedProcess[str]:
    """Types it in, with the scheduler's address in place of the README's; each line has to succeed."""
    bin_ = Path(sys.executable).parent
    text = text.replace(TARGET, scheduler.target).replace(".venv/bin/buf", str(bin_ / "buf"))
    text = text.replace("$PWD/.venv/bin", str(bin_))
    environment = {"PATH": os.environ["PATH"], "HOME": str(stack.folder), "CONTENTGEN_SCHEDULER": scheduler.target}
    done = run_to_end(["bash", "-euo", "pipefail", "-c", text], environment, cwd=stack.folder, within=WITHIN)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_first_calls_and_the_python_client_show_what_a_reader_looks_for(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler = stack.scheduler().start()
    assert scheduler.client.create_account() == 1
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()

    done = follow(block("contentgen doctor"), stack, scheduler)
    assert done.stdout.count("status       completed") == 2
    for shown in ("pending_review", "claim-", "人工智能的未来发展", "1 connected", "ok    target"):
        assert shown in done.stdout
    assert "fail" not in done.stdout
    done = follow(block("--list-methods"), stack, scheduler)
    first, _, rest = done.stdout.partition("}\n}")
    assert '"topic": "Working well from home"' in first
    assert rest.count('"taskId"') == 3
    assert "contentgen.v1.TaskService/SubmitTask" in rest.split()

    python = block("ContentGenerationClient").replace(TARGET, scheduler.target)
    exec(compile(python, str(README), "exec"), {})  # noqa: S102 - our own text
    assert "# 人工智能的未来发展" in capsys.readouterr().out


def test_no_rpc_is_left_out() -> None:
    every_rpc = EVERY_RPC + OUT_OF_SERVICE
    named = [f"{service.name}/{method.name}" for service in services().values() for method in service.methods]
    assert [name for name in named if name not in every_rpc] == []


def test_each_line_runs_as_it_is_written(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    done = follow(EVERY_RPC + OUT_OF_SERVICE, stack, scheduler)
    codes = re.findall(r'"code": "(\w+)"', done.stderr)
    assert codes.count("failed_precondition") == 1, "the retry is refused"
    assert set(codes) <= {"failed_precondition", "canceled"}, "a watch that is stopped may say so; nothing else fails"
    assert "PUBLISH_STATUS_PUBLISHED" in done.stdout
    assert "TASK_STATUS_CANCELLED" in done.stdout


def test_rpcs_called_by_grpcurl_exist() -> None:
    lines = block("grpcurl -plaintext").splitlines()
    calls = [re.fullmatch(rf"grpcurl -plaintext -d '(.*)' {TARGET} (.*)/(.*)", line) for line in lines[:-1]]
    for call in calls:
        assert call
        method = services()[call[2]].methods_by_name[call[3]]
        ParseDict(json.loads(call[1]), GetMessageClass(method.input_type)())  # raises on a field that there is not
    assert len(calls) == 2
    describe, _, described = lines[-1].rpartition(" ")
    assert describe == f"grpcurl -plaintext {TARGET} describe"
    assert described in services()
