"""Logs, metrics, traces and spans of the services."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from math import inf
from typing import Any

import pytest
import structlog
from grpc import _common, aio
from prometheus_client import CollectorRegistry

from contentgen.service.logs import follow_level_signals
from contentgen.service.metrics import Declared
from contentgen.service.settings import SettingsError, exports_traces
from contentgen.v1.worker_service_pb2 import LeaseResponse
from scheduler_svc.config import Settings, configure_logging
from scheduler_svc.domain.errors import QueueFull
from scheduler_svc.domain.ids import make_key
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import MAX_TRACESTATE, TraceContext, read_trace
from scheduler_svc.metrics import Metrics
from scheduler_svc.metrics.distribution import Distribution
from scheduler_svc.runtime.otel import OtelTracer
from scheduler_svc.runtime.tls import LOG_WINDOW, MAX_LOGGED, HandshakeFailure, HandshakeFailureParser, LogLimit
from tests.harness.receivers import OtlpReceiver
from verification.generated.metrics import problems
from worker_svc import otel as of_worker
from worker_svc.config import configure_logging as configure_worker
from worker_svc.session.leases import Lease
from worker_svc.session.leases import TraceContext as OfLease

pytestmark = pytest.mark.unit


# Logging of both services, as they set it up.


def configure_scheduler(level: str, log_format: str) -> None:
    configure_logging(Settings.model_validate({"log_level": level, "log_format": log_format}))


Configure = Callable[[str, str], None]
Lines = Callable[[], list[str]]
"""Reads what was logged since the last call."""
of_both = pytest.mark.parametrize("configure", [configure_scheduler, configure_worker])


def log_events() -> None:
    structlog.contextvars.bind_contextvars(worker_id="w1")
    log = structlog.get_logger()
    EARLY.info("task leased", action="lease", task_id="task-1", lease_id="lease-1", attempt=1)
    log.debug("not shown")
    for name in ("grpc", "asyncio", "sqlalchemy", "alembic"):
        logging.getLogger(name).info("not shown")
    logging.getLogger("grpc").warning("told by %s", "gRPC")
    try:
        password = "secret"  # noqa: F841  # a traceback with variables would show it
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("it failed", action="rpc")
        logging.getLogger("asyncio").exception("a callback failed")
    structlog.contextvars.clear_contextvars()


EARLY = structlog.get_logger("early")
"""A logger from before logging is set up."""


@pytest.fixture
def lines(logging_as_before: None, capsys: pytest.CaptureFixture[str]) -> Lines:
    def read() -> list[str]:
        out, errors = capsys.readouterr()
        assert out == ""
        return errors.splitlines()

    return read


@of_both
def test_json_is_one_event_a_line_whoever_logs_it(configure: Configure, lines: Lines) -> None:
    configure("info", "json")
    log_events()
    events: list[dict[str, Any]] = list(map(json.loads, lines()))
    for event in events:
        assert event.pop("timestamp").endswith("Z")
        assert event.pop("worker_id") == "w1"
    leased, foreign, failed, foreign_failed = events
    assert leased == {
        "event": "task leased",
        "level": "info",
        "action": "lease",
        "task_id": "task-1",
        "lease_id": "lease-1",
        "attempt": 1,
    }
    assert foreign == {"event": "told by gRPC", "level": "warning", "logger": "grpc"}
    assert "ValueError: two\nlines" in failed["exception"]
    assert "ValueError: two\nlines" in foreign_failed.pop("exception")
    assert foreign_failed == {"event": "a callback failed", "level": "error", "logger": "asyncio"}


@of_both
def test_the_console_is_for_people_and_shows_no_variables(configure: Configure, lines: Lines) -> None:
    configure("info", "console")
    log_events()
    shown = "\n".join(lines())
    assert "task leased" in shown
    assert "task_id=task-1" in shown
    assert "not shown" not in shown
    assert "ValueError: two" in shown
    assert "secret" not in shown


@of_both
@pytest.mark.parametrize("level", ["info", "error"])
def test_a_change_of_the_level_is_told_while_debug_is_shown(configure: Configure, lines: Lines, level: str) -> None:
    async def change_levels() -> None:
        follow_level_signals(asyncio.get_running_loop(), level)
        for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR2):
            signal.raise_signal(number)
            await asyncio.sleep(0)  # the loop reads that a signal came
            await asyncio.sleep(0)  # and calls its handler
            EARLY.debug("a step")

    configure(level, "json")
    asyncio.run(change_levels())
    events = map(json.loads, lines())
    changes = [(event["former"], event["present"]) if "former" in event else event["event"] for event in events]
    unchanged = [(level, level)] if level == "info" else []
    assert changes == [*unchanged, (level, "debug"), "a step", ("debug", "debug"), "a step", ("debug", level)]


def test_an_answer_for_one_who_hung_up_is_no_error_of_the_schedulers(lines: Lines) -> None:
    configure_scheduler("info", "json")
    try:
        raise aio.InternalError("nobody is there any more")
    except aio.InternalError:
        logging.getLogger("grpc").exception("not shown")
    assert lines() == []


def test_a_message_that_cannot_be_read_is_told_once_by_the_worker_where_its_stream_ends(lines: Lines) -> None:
    configure_worker("info", "json")
    assert _common.deserialize(b"\xff", LeaseResponse.FromString) is None
    assert lines() == []


def test_a_value_that_a_scheduler_sent_is_bounded(lines: Lines) -> None:
    configure_worker("info", "json")
    EARLY.info("task leased", action="lease", lease_id="x" * 1_000_000, attempt=1)
    (event,) = map(json.loads, lines())
    assert event["lease_id"] == "x" * 1_000 + "…"
    assert event["attempt"] == 1


# The metrics that both services declare.


@pytest.mark.parametrize(
    "metric",
    [
        Declared("tasks_total", "counter", "Tasks.", ()),
        Declared("contentgen_tasks", "counter", "Tasks.", ()),
        Declared("contentgen_tasks_total", "gauge", "Tasks.", ()),
        Declared("contentgen_wait_ms", "histogram", "Waits.", ()),
        Declared("contentgen_tasks", "gauge", "Tasks", ()),
    ],
)
def test_a_metric_that_follows_no_convention_is_found(metric: Declared) -> None:
    assert len(list(problems(metric))) == 1


def test_a_distribution_counts_a_group_into_its_buckets() -> None:
    registry = CollectorRegistry()
    distribution = Distribution("waits", "Waits.", "priority", (1.0, 5.0))
    registry.register(distribution)
    distribution.observe("5", [0.5, 1.0, 2.0, 9.0])
    distribution.observe("5", [5.0])
    counts = {
        le: registry.get_sample_value("waits_bucket", {"priority": "5", "le": le}) for le in ("1.0", "5.0", "+Inf")
    }
    assert counts == {"1.0": 2, "5.0": 4, "+Inf": 5}
    assert registry.get_sample_value("waits_sum", {"priority": "5"}) == 17.5
    assert registry.get_sample_value("waits_count", {"priority": "5"}) == 5
    assert registry.get_sample_value("waits_count", {"priority": "6"}) is None


def test_moves_are_counted_with_attempts_retries_and_ends() -> None:
    metrics = Metrics("1")
    metrics.moved(
        {
            (Status.PROCESSING, Status.COMPLETED, "COMPLETED"): 1,
            (Status.PROCESSING, Status.FAILED, "WORKER_LOST"): 1,
            (Status.FAILED, Status.PENDING, "REQUEUED"): 1,
            (Status.PROCESSING, Status.FAILED, "A_REASON_OF_A_LATER_VERSION"): 1,
        },
        {Status.COMPLETED: [make_key(1_000, 1)], Status.FAILED: [make_key(1_000, 2)]},
    )

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"contentgen_{name}", labels)

    assert value("task_moves_total", source="processing", target="failed") == 2
    assert value("task_moves_total", source="failed", target="pending") == 1
    assert value("attempts_total", reason="COMPLETED") == 1
    assert value("attempts_total", reason="WORKER_LOST") == 1
    assert value("attempts_total", reason="OTHER") == 1
    assert value("task_retries_total", kind="lost") == 1
    assert value("task_seconds_count", status="completed") == 1
    assert value("task_seconds_count", status="failed") == 1


# W3C Trace Context, as the scheduler reads it from a call and the worker from an assignment.


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
INVALID = {
    "empty": "",
    "a word": "none",
    "no flags": f"00-{TRACE}-{SPAN}",
    "upper case": PARENT.upper(),
    "a trace of zeros": f"00-{'0' * 32}-{SPAN}-01",
    "a span of zeros": f"00-{TRACE}-{'0' * 16}-01",
    "the version that never is": f"ff-{TRACE}-{SPAN}-01",
    "version 00 with more": f"{PARENT}-00",
    "a short trace": f"00-{TRACE[:-1]}-{SPAN}-01",
    "a line after it": f"{PARENT}\n",
    "no hexadecimal digits": f"00-{'g' * 32}-{SPAN}-01",
}


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID.keys())
def test_an_invalid_traceparent_is_ignored(value: str) -> None:
    assert read_trace(value, "a=1") is None
    assert OfLease.of(value, "a=1") is None


LARGEST_STATE = f"a={'v' * 255},{'b' * (MAX_TRACESTATE - 260)}=1"
assert len(LARGEST_STATE) == MAX_TRACESTATE


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        (PARENT, PARENT),
        (f" {PARENT}\t", PARENT),
        (f"01-{TRACE}-{SPAN}-01", PARENT),
        (f"cc-{TRACE}-{SPAN}-01-what the future brings", PARENT),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
    ],
)
def test_a_traceparent_that_is_newer_is_read_as_far_as_it_is_known(sent: str, passed_on: str) -> None:
    trace = read_trace(sent)
    assert trace == TraceContext(passed_on)
    assert trace.trace_id == TRACE


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("a=1 , b=2,, c=3", "a=1,b=2,c=3"),
        ("fw529a3039@dt=FfAAAA", "fw529a3039@dt=FfAAAA"),
        pytest.param(LARGEST_STATE, LARGEST_STATE, id="the longest"),
        ("a=1,a=2", ""),
        ("no value", ""),
        ("a=", ""),
        ("A=1", ""),
        ("a=é", ""),
        pytest.param(",".join(f"k{n}=v" for n in range(33)), "", id="too many"),
        pytest.param(f"a={'v' * 255},b={'v' * 255}", "", id="too long"),
    ],
)
def test_a_tracestate_is_passed_on_and_an_invalid_one_counts_as_empty(sent: str, passed_on: str) -> None:
    assert read_trace(PARENT, sent) == TraceContext(PARENT, passed_on)


def test_the_cli_gets_the_variables() -> None:
    with_state, without = OfLease.of(PARENT, "a=1"), OfLease.of(PARENT, "")
    assert with_state
    assert with_state.variables() == {"TRACEPARENT": PARENT, "TRACESTATE": "a=1"}
    assert with_state.trace_id == TRACE
    assert without
    assert without.variables() == {"TRACEPARENT": PARENT}


def test_a_state_that_no_environment_can_hold_is_left_out() -> None:
    assert OfLease.of(PARENT, "a=\0") == OfLease(PARENT)
    assert OfLease.of(PARENT, "a" * 513) == OfLease(PARENT)


# The spans of both services' tracers, as a receiver of OTLP gets them, beyond what a whole stack shows.


WITHIN = 10.0


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """A receiver to which the tracers of the test export."""
    level = logging.getLogger("opentelemetry.exporter").level
    with OtlpReceiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        yield receiver
    logging.getLogger("opentelemetry.exporter").setLevel(level)


def test_a_submit_that_is_refused_is_an_error_without_its_text(receiver: OtlpReceiver) -> None:
    tracer = OtelTracer()
    caller = TraceContext(PARENT)
    with pytest.raises(QueueFull), tracer.submit("TaskService/SubmitTask", caller):
        raise QueueFull(7)
    tracer.close(WITHIN)
    (span,) = receiver.spans()
    assert (span.trace_id, span.error) == (TRACE, "QueueFull")
    assert span.attributes == {}


def test_the_environment_names_the_service(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "articles")
    tracer = OtelTracer()
    with tracer.submit("schedule", None):
        pass
    tracer.close(WITHIN)
    (span,) = receiver.spans()
    assert span.service == "articles"


def test_a_lease_that_never_ran_is_delivered_in_its_trace(receiver: OtlpReceiver) -> None:
    tracer = of_worker.OtelTracer("a worker")
    lease = Lease("lease-1", 2, "task-1", 60.0, 0.0, inf, trace=OfLease(PARENT))
    tracer.ended(lease, "released", "DRAINING")
    tracer.delivered("lease-1", "committed")
    tracer.delivered("lease-1", "committed")  # a lease from the spool is not known
    tracer.close(WITHIN)
    (span,) = receiver.spans()
    assert (span.name, span.trace_id, span.parent_id) == ("deliver", TRACE, PARENT.split("-")[2])


def test_an_attempt_that_was_stopped_early_is_no_error(receiver: OtlpReceiver) -> None:
    tracer = of_worker.OtelTracer("a worker")
    lease = Lease("lease-1", 1, "task-1", 60.0, 0.0, inf, trace=OfLease(PARENT, "vendor=1"))
    tracer.started(lease)
    assert lease.trace
    assert (lease.trace.trace_id, lease.trace.tracestate) == (TRACE, "vendor=1")
    tracer.ended(lease, "released", "EXPIRED")
    tracer.delivered("lease-1", "lease_lost")
    tracer.close(WITHIN)
    attempt, delivery = receiver.spans()
    assert (attempt.error, attempt.attributes["contentgen.reason"]) == ("", "EXPIRED")
    assert delivery.parent_id == attempt.span_id == lease.trace.traceparent.split("-")[2]
    assert delivery.attributes["contentgen.outcome"] == "lease_lost"


def test_a_lease_without_a_trace_has_no_spans(receiver: OtlpReceiver) -> None:
    tracer = of_worker.OtelTracer("a worker")
    lease = Lease("lease-1", 1, "task-1", 60.0, 0.0, inf)
    tracer.started(lease)
    tracer.ended(lease, "completed", "")
    tracer.delivered("lease-1", "committed")
    tracer.close(WITHIN)
    assert lease.trace is None
    assert receiver.spans() == []


# When spans are exported, and what is wrong with the variables.


URL = "http://collector:4318"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": URL}


@pytest.mark.parametrize(
    ("environ", "exported"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": URL}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/v1/traces"}, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_TRACES_EXPORTER": "otlp"}, True),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            True,
        ),
    ],
)
def test_the_environment_says_whether_spans_are_exported(environ: Mapping[str, str], *, exported: bool) -> None:
    assert exports_traces(environ) == exported


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc"),
    ],
)
def test_what_can_not_be_exported_is_named(environ: Mapping[str, str], setting: str) -> None:
    with pytest.raises(SettingsError, match=setting):
        exports_traces(environ)


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)  # as if it were not installed
    with pytest.raises(SettingsError, match=r"pip install 'contentgen-grpc\[otel\]'"):
        exports_traces(ENDPOINT)


# Failures found in gRPC core's trace of handshakes.


BEGIN = "I1127 08:12:05.889937    5744 handshaker.cc:155] CallNextHandshakerLocked: "
SSL = (
    "UNKNOWN: Ssl handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
)
END = (
    " shutdown=false index=2, args={endpoint=0x7f, args={grpc.internal.endpoint_peer_address=%s, grpc.x=1}, read_buffer"
)


def read(*lines: str) -> list[HandshakeFailure]:
    failures = HandshakeFailureParser()
    return [failure for line in lines if (failure := failures.next(line))]


@pytest.mark.parametrize(
    ("error", "address", "failure"),
    [
        (
            f"{SSL}CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
            "ipv4:127.0.0.1:53172",
            HandshakeFailure("127.0.0.1:53172", "CERTIFICATE_VERIFY_FAILED: self signed certificate", hung_up=False),
        ),
        (
            f"{SSL}HTTP_REQUEST: Invalid certificate verification context: OK",
            "ipv6:%5B::1%5D:9",
            HandshakeFailure("[::1]:9", "HTTP_REQUEST", hung_up=False),
        ),
        (
            "UNAVAILABLE: Handshake read failed (Socket closed)",
            "ipv4:10.0.0.1:1",
            HandshakeFailure("10.0.0.1:1", "Handshake read failed (Socket closed)", hung_up=True),
        ),
    ],
)
def test_an_error_and_its_address_make_a_failure(error: str, address: str, failure: HandshakeFailure) -> None:
    assert read(f"{BEGIN}error={error}", "=== Source Location Trace: ===", "src/core/x.cc:1", END % address) == [
        failure
    ]


def test_a_successful_handshake_is_no_failure() -> None:
    good = f"{BEGIN}error=OK shutdown=false index=1, args={{grpc.internal.endpoint_peer_address=ipv4:127.0.0.1:1, x=1}}"
    assert read(good, END % "ipv4:127.0.0.1:2", "anything else") == []


def test_failures_above_the_limit_of_a_window_are_counted() -> None:
    limit = LogLimit()
    assert limit.next_window(0.0) == 0
    assert [limit.allows() for _ in range(MAX_LOGGED + 3)] == [True] * MAX_LOGGED + [False] * 3
    assert limit.next_window(LOG_WINDOW - 0.1) == 0
    assert limit.next_window(LOG_WINDOW) == 3
    assert limit.allows()
