"""The README's lines that call every RPC are run, in their order, as they stand there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from contentgen.v1 import (
    account_service_pb2,
    content_service_pb2,
    task_service_pb2,
    worker_pool_service_pb2,
)

from tests.e2e.stack import Stack
from tests.guides import DOCS, snippets

README = DOCS.parent / "README.md"
SERVICES = (account_service_pb2, content_service_pb2, task_service_pb2, worker_pool_service_pb2)
WITHIN = 60.0


def every_rpc() -> str:
    """The block that has them all."""
    (found,) = [it.text for it in snippets(README) if "AccountService/DeactivateAccount" in it.text]
    return found


def test_no_rpc_is_left_out() -> None:
    """But for the workers' own, which is a conversation."""
    services = [service for module in SERVICES for service in module.DESCRIPTOR.services_by_name.values()]
    missing = [
        f"{service.name}/{method.name}"
        for service in services
        for method in service.methods
        if f"{service.name}/{method.name}" not in every_rpc()
    ]
    assert missing == []


def test_each_line_runs_as_it_is_written(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    script = every_rpc().replace("127.0.0.1:50051", scheduler.target)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace(".venv/bin/buf", str(Path(sys.executable).with_name("buf")))],
        env={"PATH": os.environ["PATH"], "HOME": str(stack.folder)},
        cwd=stack.folder,
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count('"code":') == 2, "the watch is stopped, the retry refused; nothing else fails"
    assert "PUBLISH_STATUS_PUBLISHED" in done.stdout
    assert "TASK_STATUS_CANCELLED" in done.stdout
