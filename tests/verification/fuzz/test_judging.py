"""The campaign's judge is judged: what must not come of a call is found, and what may come of it is not."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode, aio

from scheduler_svc.runtime.interceptor import ErrorInterceptor, InFlight
from verification.fuzz.attack import Order, attack, note
from verification.fuzz.calling import Ending
from verification.fuzz.case import PATIENT, Case, Who
from verification.fuzz.judging import REFUSALS, wrong_with
from verification.fuzz.known import Known
from verification.fuzz.report import write_findings
from verification.fuzz.services import alarms, growth
from verification.fuzz.tally import MAX_FINDINGS, Finding, Tally

GET = Case("/contentgen.v1.TaskService/GetTask", 1, 2, "structured", Who.TIED, (b"",), PATIENT)


def details(code: StatusCode, *kinds: type[ErrorInfo | BadRequest]) -> bytes:
    status = Status(code=code.value[0])
    for kind in kinds:
        status.details.add().Pack(kind())
    return status.SerializeToString()


@pytest.mark.parametrize("code", [code for code in StatusCode if code not in {*REFUSALS, StatusCode.OK}])
def test_other_statuses_are_wrong(code: StatusCode) -> None:
    assert wrong_with(GET, Ending(code, "x", details(code, ErrorInfo)))


@pytest.mark.parametrize("code", sorted(REFUSALS, key=str))
def test_a_refusal_says_why(code: StatusCode) -> None:
    whole = details(code, ErrorInfo, BadRequest)
    assert wrong_with(GET, Ending(code, "x", whole)) is None
    if code is not StatusCode.RESOURCE_EXHAUSTED:  # gRPC's own, of what is too large, has none
        assert wrong_with(GET, Ending(code, "x"))
    assert wrong_with(GET, Ending(code, "x", details(code, BadRequest)))
    assert wrong_with(GET, Ending(code, "x", details(StatusCode.OK, ErrorInfo, BadRequest)))


def test_few_calls_may_meet_a_lock() -> None:
    status = Status(code=StatusCode.UNAVAILABLE.value[0])
    status.details.add().Pack(ErrorInfo(reason="LOCK_TIMEOUT"))
    locked, tally = Ending(StatusCode.UNAVAILABLE, "x", status.SerializeToString()), Tally()
    assert wrong_with(GET, locked) is None
    for _ in range(1_000):
        note(GET, Ending(StatusCode.OK, answers=(b"",)), tally)
    note(GET, locked, tally)
    assert not tally.locked_too_often
    note(GET, locked, tally)
    note(GET, locked, tally)
    assert tally.locked_too_often


def test_bad_fields_are_named() -> None:
    code = StatusCode.INVALID_ARGUMENT
    assert wrong_with(GET, Ending(code, "x", details(code, ErrorInfo)))


def test_a_call_ends_in_time_and_only_the_caller_ends_it_before() -> None:
    assert wrong_with(GET, Ending(None))
    assert wrong_with(GET, Ending(StatusCode.CANCELLED, hung_up=True)) is None
    assert wrong_with(replace(GET, timeout=0.001), Ending(StatusCode.DEADLINE_EXCEEDED)) is None
    wait = replace(GET, rpc="/contentgen.v1.TaskService/WaitTask")
    assert wrong_with(wait, Ending(StatusCode.DEADLINE_EXCEEDED)) is None


def test_an_answer_is_a_message_of_an_rpc_that_is_there() -> None:
    assert wrong_with(GET, Ending(StatusCode.OK, answers=(b"",))) is None
    assert wrong_with(GET, Ending(StatusCode.OK, answers=(b"\xff",)))
    nowhere = replace(GET, rpc="/x")
    assert wrong_with(nowhere, Ending(StatusCode.UNIMPLEMENTED)) is None
    assert wrong_with(nowhere, Ending(StatusCode.OK))


async def test_a_server_with_defects_is_found_out() -> None:
    def broken(_request: object, _context: object) -> bytes:
        raise RuntimeError("a defect")

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(broken)
    server = aio.server(interceptors=[ErrorInterceptor(InFlight())])
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("contentgen.v1.TaskService", {"GetTask": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    paths = (GET.rpc, "/contentgen.v1.TaskService/RetryTask")
    tally = await asyncio.to_thread(attack, Order(f"127.0.0.1:{port}", {}, paths, 1, 0, 40, Known()))
    await server.stop(None)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert tally.cases == 40
    defects = {(finding.target, finding.what.partition(":")[0]) for finding in tally.findings}
    assert ("TaskService/GetTask", "INTERNAL") in defects
    assert ("TaskService/RetryTask", "UNIMPLEMENTED, of an RPC that is there") in defects
    assert tally.unanswered(20) == ["TaskService/GetTask", "TaskService/RetryTask"]


def test_a_finding_is_written_with_what_reproduces_it(tmp_path: Path) -> None:
    tally = Tally()
    for number in range(100):
        tally.find(Finding("a", "the same", 1, number, "how", (b"\x01\xff",)))
    tally.find(Finding("b", "another", 1, 7))
    written = write_findings(tally.findings, tmp_path / "findings")
    assert len(written) == MAX_FINDINGS + 1
    first = json.loads(written[0].read_text())
    assert (first["target"], first["seed"], first["case"], first["data"]) == ("a", 1, 0, ["01ff"])


def test_alarms_are_errors_tracebacks_and_what_is_no_event(tmp_path: Path) -> None:
    lines = [
        {"level": "info", "event": "fine"},
        {"level": "warning", "event": "fine"},
        {"level": "error", "event": "bad", "action": "rpc"},
        {"level": "error", "event": "expected", "action": "session.ended"},
        {"level": "info", "event": "bad", "exception": "Traceback"},
    ]
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + "Segmentation fault\n")
    texts = alarms(log, {"session.ended"})
    assert len(texts) == 3
    assert all("fine" not in text and "expected" not in text for text in texts)


def test_growth_is_counted_from_after_the_warm_up() -> None:
    mib = 1 << 20
    assert growth([10 * mib] * 30 + [100 * mib] * 70) == (100.0, 100.0)
    assert growth([mib * number for number in range(100)]) == (34.5, 94.5)
    assert growth([5 * mib]) == (5.0, 5.0)
