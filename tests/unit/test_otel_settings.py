"""When spans are exported, and what is wrong with the variables; the same for both services."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import pytest

from scheduler_svc.config import SettingsError as OfScheduler
from scheduler_svc.config import otel_settings as of_scheduler
from worker_svc import otel_settings as of_worker
from worker_svc.config import SettingsError as OfWorker

URL = "http://collector:4318"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": URL}

Exports = Callable[[Mapping[str, str]], bool]
services = pytest.mark.parametrize("exports", [of_scheduler.exports_traces, of_worker.exports_traces])


@services
@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": URL},
    ],
)
def test_spans_are_not_exported(exports: Exports, environ: Mapping[str, str]) -> None:
    assert not exports(environ)


@services
@pytest.mark.parametrize(
    "environ",
    [
        ENDPOINT,
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/v1/traces"},
        {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_TRACES_EXPORTER": "otlp"},
        {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
    ],
)
def test_spans_are_exported(exports: Exports, environ: Mapping[str, str]) -> None:
    assert exports(environ)


@services
@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=grpc"),
    ],
)
def test_what_can_not_be_exported_is_named(exports: Exports, environ: Mapping[str, str], said: str) -> None:
    with pytest.raises((OfScheduler, OfWorker), match=said):
        exports(environ)


@services
def test_a_missing_extra_says_what_to_install(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)  # as if it were not installed
    with pytest.raises((OfScheduler, OfWorker), match=r"pip install 'contentgen-grpc\[otel\]'"):
        exports(ENDPOINT)
