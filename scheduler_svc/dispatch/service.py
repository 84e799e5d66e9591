"""ExternalScaler, as KEDA calls it: the demand for workers, on a server of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, Never

from grpc import StatusCode, aio

from contentgen.keda import externalscaler_pb2 as pb
from contentgen.keda.externalscaler_pb2_grpc import ExternalScalerServicer
from scheduler_svc.dispatch.work import MAX_AGE, Demands, Pairs
from scheduler_svc.domain.errors import ShuttingDown
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.runtime.health import Health
from scheduler_svc.runtime.validation import MAX_ITEMS, MAX_NAME, Violations, entry_path

METRIC = "contentgen-tasks"
DEFAULT_TARGET = 3
"""The default of a worker's slots."""
ACCOUNT, TARGET, SELECTOR = "accountId", "targetPerWorker", "workerSelector"
_OURS = {name.lower(): name for name in (ACCOUNT, TARGET, SELECTOR)}

Context = aio.ServicerContext[Any, Any]


class ScalerService(ExternalScalerServicer):
    def __init__(self, demands: Demands, health: Health) -> None:
        self._demands = demands
        self._health = health

    async def IsActive(self, request: pb.ScaledObjectRef, context: object) -> pb.IsActiveResponse:
        trigger = _options(request.scalerMetadata)
        return pb.IsActiveResponse(result=await self._demands.of(trigger.account_id, trigger.selector) > 0)

    async def StreamIsActive(self, request: pb.ScaledObjectRef, context: object) -> AsyncIterator[pb.IsActiveResponse]:
        trigger = _options(request.scalerMetadata)
        sent = None
        while not self._health.draining:
            active = await self._demands.of(trigger.account_id, trigger.selector) > 0
            if active is not sent:
                yield pb.IsActiveResponse(result=active)
                sent = active
            await asyncio.sleep(MAX_AGE)
        raise ShuttingDown

    async def GetMetricSpec(self, request: pb.ScaledObjectRef, context: object) -> pb.GetMetricSpecResponse:
        target = _options(request.scalerMetadata).target
        spec = pb.MetricSpec(metricName=METRIC, targetSize=target, targetSizeFloat=target)
        return pb.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: object) -> pb.GetMetricsResponse:
        with Violations() as violations:
            if request.metricName not in {"", METRIC}:
                violations.add("metricName", f"must be {METRIC}, is {request.metricName[:MAX_NAME]!r}")
        trigger = _options(request.scaledObjectRef.scalerMetadata, "scaledObjectRef.")
        demand = await self._demands.of(trigger.account_id, trigger.selector)
        value = pb.MetricValue(metricName=METRIC, metricValue=demand, metricValueFloat=demand)
        return pb.GetMetricsResponse(metricValues=[value])

    async def StreamMetricSpec(self, request: pb.ScaledObjectRef, context: Context) -> Never:  # type: ignore[override]
        await context.abort(StatusCode.UNIMPLEMENTED, "the target does not change: call GetMetricSpec")


class _Trigger(NamedTuple):
    """An account, 0 for all; tasks for each worker; the worker selector of the tasks that count (None: any)."""

    account_id: int
    target: int
    selector: Pairs | None


def _options(metadata: Mapping[str, str], path: str = "") -> _Trigger:
    """Raises InvalidArgument."""
    numbers = {ACCOUNT: 0, TARGET: DEFAULT_TARGET}
    allowed = {ACCOUNT: (0, KEY_MAX), TARGET: (1, MAX_ITEMS)}
    selector = None
    with Violations() as violations:
        violations.path = path
        for key, text in metadata.items():
            plain_key = key.replace("_", "").lower()
            name = _OURS.get(plain_key)
            if name == SELECTOR:
                selector = _pairs(violations, key, text)
            elif name:
                numbers[name] = _number(violations, key, text, *allowed[name])
            elif close := get_close_matches(plain_key[:MAX_NAME], _OURS, n=1, cutoff=0.5):
                violations.add(entry_path("scalerMetadata", key), f"is unknown: did you mean {_OURS[close[0]]}?")
    return _Trigger(numbers[ACCOUNT], numbers[TARGET], selector)


def _pairs(violations: Violations, key: str, text: str) -> Pairs:
    pairs = [pair.strip().partition("=") for pair in text.split(",") if pair.strip()]
    if not all(name and value for name, _, value in pairs):
        requirement = "must be labels separated by commas, such as creator=video, or empty"
        violations.add(entry_path("scalerMetadata", key), f"{requirement}, is {text[:MAX_NAME]!r}")
    labels = {name: value for name, _, value in pairs}
    return frozenset(violations.labels(entry_path("scalerMetadata", key), labels).items())


def _number(violations: Violations, key: str, text: str, minimum: int, maximum: int) -> int:
    """Returns the number; `minimum` if the text is not one in this range."""
    text = text.strip()
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else -1
    if minimum <= number <= maximum:
        return number
    requirement = f"must be a whole number from {minimum:,} to {maximum:,}"
    violations.add(entry_path("scalerMetadata", key), f"{requirement}, is {text[:MAX_NAME]!r}")
    return minimum
