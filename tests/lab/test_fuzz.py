"""The fuzzer's generators, and its judge."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode, aio

from contentgen.rpcs import METHODS
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from lab.fuzz import values
from lab.fuzz.attack import REFUSALS, Ending, attack, note, wrong_with
from lab.fuzz.campaign import INPUTS, TARGETS, Plan, try_inputs
from lab.fuzz.case import PATIENT, RPCS, UNKNOWN, Case, Rpc, Who, random_of
from lab.fuzz.generating import SPOILS, case, every_path, message
from lab.fuzz.lying import Liar
from lab.fuzz.services import alarms, growth, stalls
from lab.fuzz.tally import MAX_FINDINGS, Finding, Tally, write_findings
from lab.fuzz.values import Known
from scheduler_svc.runtime.interceptor import ErrorInterceptor, InFlight

pytestmark = pytest.mark.lab


# The generators: all that can be set is set, every path is called, and a case is the same each time.


CASES = 20


def cases(path: str, seed: int = 1, known: Known | None = None) -> Iterator[Case]:
    return (case(path, seed, number, known or Known()) for number in range(CASES))


def test_every_rpc_of_the_contract_is_called_and_of_the_services_beside_it() -> None:
    contract = {rpc.name for rpc in RPCS.values() if rpc.contract}
    assert contract == METHODS.keys()
    beside = {rpc.name.partition("/")[0] for rpc in RPCS.values() if not rpc.contract}
    assert beside == {"Health", "ServerReflection", "Channelz"}
    assert set(every_path()) == {*RPCS, *UNKNOWN}


@pytest.mark.parametrize("path", every_path())
def test_a_case_is_the_same_each_time_and_another_with_another_seed(path: str) -> None:
    assert list(cases(path)) == list(cases(path))
    assert list(cases(path)) != list(cases(path, seed=2))


@pytest.mark.parametrize("rpc", RPCS.values(), ids=lambda rpc: rpc.name)
def test_every_field_of_every_request_is_set(rpc: Rpc) -> None:
    missing = {field.full_name for field in _fields(rpc.request)}
    for number in range(300):
        missing -= set(_set_in(message(rpc.request, Known(), random.Random(number))))
        if not missing:
            return
    assert not missing


def _fields(descriptor: Any, above: tuple[str, ...] = ()) -> Iterator[Any]:
    """All fields, those of messages within too; of a message within itself once."""
    for field in descriptor.fields:
        yield field
        if _is_message(field) and field.message_type.full_name not in above:
            yield from _fields(field.message_type, (*above, field.message_type.full_name))


def _set_in(sample: Any) -> Iterator[str]:
    for field, value in sample.ListFields():
        yield field.full_name
        if _is_message(field):
            for part in value if field.is_repeated else [value]:
                yield from _set_in(part)


def _is_message(field: Any) -> bool:
    return field.message_type is not None and not field.message_type.GetOptions().map_entry


def test_a_field_of_each_kind_has_hostile_values() -> None:
    kinds = {
        field.cpp_type: field for rpc in RPCS.values() for field in _fields(rpc.request) if field.message_type is None
    }
    for kind, field in kinds.items():
        texts = {repr(values.hostile(field, Known(), random.Random(number))) for number in range(200)}
        assert len(texts) > 1, kind
    numbers = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_DOUBLE}
    others = {FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_BOOL, FieldDescriptor.CPPTYPE_ENUM}
    assert numbers | others <= kinds.keys()


def test_bytes_are_spoilt_in_every_way_and_callers_are_of_every_kind() -> None:
    samples = [case(rpc, 1, number, Known()) for rpc in RPCS for number in range(3 * CASES)]
    assert {sample.shape for sample in samples} == {"structured", *SPOILS}
    assert {sample.who for sample in samples} == set(Who)
    assert any(sample.metadata for sample in samples)
    assert any(sample.timeout <= 0 for sample in samples)
    assert any(sample.hangs_up_after == 0 for sample in samples)


@pytest.mark.parametrize("spoil", SPOILS)
def test_whatever_is_spoilt_are_bytes(spoil: str) -> None:
    for number in range(100):
        source = random.Random(number)
        encoded = message(pb.SubmitTaskRequest.DESCRIPTOR, Known(), source).SerializeToString()
        for data in (encoded, b""):
            assert isinstance(SPOILS[spoil](data, [1, 5], source), bytes)


def test_ids_from_answers_are_used_again_except_those_of_the_honest_account() -> None:
    known = Known({"account_id": [2]}, protected={1, "secret"})
    theirs, ours = pb.SubmitTaskResponse(), pb.ListTasksResponse(next_page_token="page-2")
    theirs.task.task_id, theirs.task.account_id = "task-of-theirs", 1
    ours.tasks.add(task_id="task-of-ours", account_id=2, worker_id="secret")
    assigned = worker_pb.LeaseResponse()
    lease = assigned.assignment.leases.add(lease_id="lease-of-theirs")
    lease.task.account_id = 1
    for answer in (theirs, ours, assigned):
        known.learn(answer)
    source = random.Random(1)
    assert (known.any("task_id", source), known.any("task_ids", source)) == ("task-of-ours", "task-of-ours")
    assert known.any("page_token", source) == "page-2"
    assert known.any("account_id", source) == 2
    assert "lease_id" not in known
    assert "worker_id" not in known


def test_a_liar_tells_the_same_lies_to_one_who_says_the_same() -> None:
    def lies(stream: int) -> list[bytes]:
        liar = Liar(1, stream)
        liar.heard(worker_pb.LeaseRequest(heartbeat=worker_pb.Heartbeat(number=3)))
        return [liar.first(), *(liar.next() for _ in range(CASES))]

    assert lies(1) == lies(1) != lies(2)
    kinds = set()
    for stream in range(10):
        for lie in lies(stream):
            with_kind = worker_pb.LeaseResponse()
            try:
                with_kind.ParseFromString(lie)
            except Exception:  # noqa: BLE001, S112 - some are no messages
                continue
            kinds.add(with_kind.WhichOneof("message"))
    assert kinds >= {"welcome", "assignment", "acknowledgement", "cancel", "poll_now", "resize", "reconnect", None}


def test_no_lie_orders_a_worker_to_drain_not_by_spoiled_bytes_either() -> None:
    for lie in (liar._anything() for liar in (Liar(1, stream) for stream in range(5)) for _ in range(300)):
        with suppress(DecodeError):
            response = worker_pb.LeaseResponse.FromString(lie)
            assert not response.HasField("drain")
            assert not response.welcome.desired_state.drain
            assert not response.acknowledgement.desired_state.drain


@pytest.mark.parametrize("name", INPUTS)
def test_each_input_is_taken_or_refused(name: str) -> None:
    assert try_inputs((name,), 7, range(5)).findings == []


def test_a_defect_is_found_with_the_number_of_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: random.Random, folder: Path) -> None:
        assert source.random() < 0.5, "broken"

    monkeypatch.setitem(INPUTS, "page token", broken)
    tally = try_inputs(("page token",), 7, range(20))
    numbers = {finding.number for finding in tally.findings}
    assert numbers == {number for number in range(20) if random_of("page token", 7, number).random() >= 0.5}
    assert tally.statuses["page token"]["FOUND"] == len(numbers)


def test_a_plan_has_all_targets_or_some_and_names_those_that_are_none() -> None:
    complete = Plan(1, 1_000)
    assert {*complete.paths, *complete.inputs} < set(TARGETS)
    assert (complete.sessions, complete.lies) == (4, 25)
    partial = Plan(1, 1_000, ("TaskService/SubmitTask", "spool"))
    assert (partial.paths, partial.inputs, partial.sessions, partial.lies) == (
        ("/contentgen.v1.TaskService/SubmitTask",),
        ("spool",),
        0,
        0,
    )
    assert Plan(1, 1, ("spool", "no such")).unknown() == ["no such"]


# The campaign's judge is judged: what must not come of a call is found, and what may come of it is not.


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
    both = details(code, ErrorInfo, BadRequest)
    assert wrong_with(GET, Ending(code, "x", both)) is None
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


NOWHERE = replace(GET, rpc="/x")
WATCH = replace(GET, rpc="/contentgen.v1.TaskService/WatchTasks")


@pytest.mark.parametrize(
    ("case", "ending", "is_wrong"),
    [
        (GET, Ending(StatusCode.INVALID_ARGUMENT, "x", details(StatusCode.INVALID_ARGUMENT, ErrorInfo)), True),
        (GET, Ending(StatusCode.CANCELLED, hung_up=True), False),
        (replace(GET, timeout=0.001), Ending(StatusCode.DEADLINE_EXCEEDED), False),
        (replace(GET, rpc="/contentgen.v1.TaskService/WaitTask"), Ending(StatusCode.DEADLINE_EXCEEDED), False),
        (GET, Ending(StatusCode.OK, answers=(b"",)), False),
        (GET, Ending(StatusCode.OK, answers=(b"\xff",)), True),
        (GET, Ending(StatusCode.OK), True),
        (GET, Ending(StatusCode.OK, hung_up=True), False),
        (GET, Ending(StatusCode.OK, answers=(b"", b"")), True),
        (WATCH, Ending(StatusCode.OK), False),
        (NOWHERE, Ending(StatusCode.UNIMPLEMENTED), False),
        (NOWHERE, Ending(StatusCode.OK), True),
    ],
)
def test_a_call_ends_in_time_with_an_answer_or_names_the_bad_fields(case: Case, ending: Ending, is_wrong: bool) -> None:
    assert bool(wrong_with(case, ending)) == is_wrong


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
    numbers = range(40)
    tally = await asyncio.to_thread(attack, f"127.0.0.1:{port}", {}, Known(), paths=paths, seed=1, numbers=numbers)
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


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ({}, []),
        ({0: "error"}, ["work stood still for inf s"]),
        ({0: "error", 59: "error"}, ["work stood still for inf s"]),
        ({0: "error", 0.1: "info"}, []),
        ({0: "error", 40: "info"}, ["work stood still for 2400 s"]),
        ({0: "error", 20: "error", 40: "info"}, ["work stood still for 2400 s"]),
        ({0: "error", 0.1: "info", 58: "error"}, ["work stood still for inf s"]),
    ],
    ids=str,
)
def test_work_that_stands_still_for_long_is_found(minutes: dict[float, str], expected: list[str]) -> None:
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    events = [{"level": level, "timestamp": f"{begin + timedelta(minutes=at)}"} for at, level in minutes.items()]
    assert stalls(lambda: events, within=0) == expected


def test_growth_is_counted_from_after_the_warm_up() -> None:
    mib = 1 << 20
    assert growth([10 * mib] * 30 + [100 * mib] * 70) == (100.0, 100.0)
    assert growth([mib * number for number in range(100)]) == (34.5, 94.5)
    assert growth([5 * mib]) == (5.0, 5.0)
