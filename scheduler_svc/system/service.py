"""SystemService: the state and the limits of the schedulers, and what a caller may call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import attrgetter

from google.protobuf.duration_pb2 import Duration

from contentgen.v1 import system_service_pb2 as pb
from contentgen.v1.system_service_pb2_grpc import SystemServiceServicer
from contentgen.version import own_version
from scheduler_svc.config import Settings
from scheduler_svc.domain.system import LockHolder, Maintenance, ReplicaState, System, Token
from scheduler_svc.runtime.access import Limits, caller, methods_of
from scheduler_svc.runtime.pages import DEFAULT_PAGE_SIZE, PageRequest
from scheduler_svc.runtime.validation import MAX_NAME, Violations, duration, message_of, timestamp
from scheduler_svc.system.maintenance import MaintenanceMode
from scheduler_svc.system.tokens import TokenRegister
from scheduler_svc.system.work import SystemStatus

MAX_MAINTENANCE = timedelta(days=7).total_seconds()


class SystemService(SystemServiceServicer):
    def __init__(
        self,
        systems: SystemStatus,
        tokens: TokenRegister,
        maintenance: MaintenanceMode,
        settings: Settings,
        limits: Limits,
    ) -> None:
        self._systems = systems
        self._tokens = tokens
        self._maintenance = maintenance
        self._limits = _limits(settings, limits)
        self._token_required = settings.tokens_file is not None

    async def GetSystem(self, request: pb.GetSystemRequest, context: object) -> pb.GetSystemResponse:
        system = await self._systems.get()
        return pb.GetSystemResponse(
            version=own_version(),
            replicas=[_replica(replica) for replica in system.replicas],
            lock_holders=[_holder(holder) for holder in system.lock_holders],
            database=pb.Database(**system.database._asdict()),
            limits=self._limits,
            oldest_transaction=_oldest(system),
            maintenance=self._maintenance.message(),
        )

    async def GetCaller(self, request: pb.GetCallerRequest, context: object) -> pb.GetCallerResponse:
        identity = caller()
        return pb.GetCallerResponse(
            name=identity.name,
            role=identity.role,
            account_ids=identity.scope.accounts or (),
            methods=methods_of(identity),
            token_required=self._token_required,
        )

    async def ListTokens(self, request: pb.ListTokensRequest, context: object) -> pb.ListTokensResponse:
        with Violations() as violations:
            page = PageRequest.of_names(request, violations, "ListTokens", default_size=DEFAULT_PAGE_SIZE)
        tokens = self._tokens.list(lambda line: line.name > (page.position or ""))
        entries, token = page.cut(tokens[: page.limit], _token, attrgetter("name"))
        return pb.ListTokensResponse(tokens=entries, next_page_token=token)

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: object) -> pb.RevokeTokenResponse:
        with Violations() as violations:
            violations.text("name", request.name, MAX_NAME, required=True)
        return pb.RevokeTokenResponse(token=_token(await self._tokens.revoke(request.name, caller().name)))

    async def SetMaintenance(self, request: pb.SetMaintenanceRequest, context: object) -> pb.SetMaintenanceResponse:
        with Violations() as violations:
            until_time = violations.optional_time("until_time", request)
            if until_time and not 0 < until_time.timestamp() - self._maintenance.now() <= MAX_MAINTENANCE:
                violations.add("until_time", "must be in the future, at most 7 days ahead")
            violations.text("reason", request.reason, MAX_NAME)
            if request.reason and not request.HasField("until_time"):
                violations.add("reason", "must be empty without until_time, which turns maintenance off")
        wanted = Maintenance(until_time, request.reason) if until_time else None
        await self._maintenance.set(wanted)
        return pb.SetMaintenanceResponse(maintenance=self._maintenance.message())


def _token(token: Token) -> pb.Token:
    return message_of(pb.Token, token, account_ids=token.accounts or (), revoke_time=timestamp(token.revoke_time))


def _limits(settings: Settings, limits: Limits) -> pb.Limits:
    return pb.Limits(
        max_queue_size=settings.max_queue_size,
        lease_ttl=_seconds(settings.lease_ttl),
        heartbeat_interval=_seconds(settings.heartbeat_interval),
        max_worker_losses=settings.max_worker_losses,
        max_deferrals=settings.max_deferrals,
        lock_timeout=_seconds(settings.lock_wait),
        statement_timeout=_seconds(settings.statement_timeout),
        retention=_seconds(settings.retention),
        content_retention=_seconds(settings.content_retention),
        max_calls=limits.calls,
        max_wait_calls=limits.waits,
        max_watch_streams=limits.watches,
        max_lease_streams=limits.leases,
    )


def _seconds(seconds: float | None) -> Duration | None:
    return None if seconds is None else duration(timedelta(seconds=seconds))


def _replica(state: ReplicaState) -> pb.Replica:
    return message_of(
        pb.Replica,
        state,
        last_heartbeat_time=timestamp(state.heartbeat_time or datetime.now(UTC)),
        lanes=[
            pb.Lane(name=name, oldest_age=_seconds(lane.oldest), waiting=lane.waiting, set_aside=lane.set_aside)
            for name, lane in sorted(state.lanes.items())
        ],
        clock_offset=_seconds(state.clock_offset),
    )


def _oldest(system: System) -> pb.OldestTransaction | None:
    if system.oldest_transaction is None:
        return None
    age, seen_for = _seconds(system.oldest_transaction.age), _seconds(system.oldest_seen_for)
    return message_of(pb.OldestTransaction, system.oldest_transaction, age=age, seen_for=seen_for)


def _holder(holder: LockHolder) -> pb.LockHolder:
    return message_of(pb.LockHolder, holder, transaction_age=_seconds(holder.transaction_age))
