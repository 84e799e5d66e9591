"""A hostile worker: sessions of WorkerService.Lease by one whose token may, and who keeps no rule of the protocol.

It takes leases and does with them whatever comes: holds them silently, reports twice, out of order, on leases that are
not its own, with results as large as they may be. What it says of the leases that it holds is believed, since that is
what a worker's token means; so those of honest tasks it only delays, and then releases or lets expire.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub
from lab.fuzz import values
from lab.fuzz.attack import OPTIONS, REFUSALS, Ending, status_details, wrong_with
from lab.fuzz.case import PATIENT, Case, Who, random_of
from lab.fuzz.generating import message, spoil
from lab.fuzz.inputs.pictures import picture
from lab.fuzz.services import HONEST_ACCOUNT
from lab.fuzz.tally import Finding, Tally
from lab.fuzz.values import Known
from tests.harness.pictures import sha256
from tests.harness.scripted_worker import LEASE

TARGET = "hostile worker"
_WORKERS = 64
"""Ids that sessions choose from: now and then one takes another one's."""
_CHUNK = 256 * 1024
_Leases = deque[tuple[str, int]]
"""Of all sessions, so that each can meddle with the others'."""


def hostile_sessions(target: str, token: str, seed: int, numbers: range) -> Tally:
    """Opens the sessions, some at a time, and judges how they end; runs in a process of the campaign's pool."""
    tally, lock = Tally(), threading.Lock()
    shared = _Leases([("lease-0000000000000001-00000001", 1)], maxlen=200)
    with grpc.insecure_channel(target, options=OPTIONS) as channel, ThreadPoolExecutor(16) as threads:

        def one(number: int) -> None:
            session = _Session(channel, token, random_of(TARGET, seed, number), shared)
            ending = session.run()
            with lock:
                _note(seed, number, session, ending, tally)

        list(threads.map(one, numbers))
    return tally


def _note(seed: int, number: int, session: _Session, ending: Ending, tally: Tally) -> None:
    case = Case(LEASE, seed, number, "session", Who.WORKER, (), PATIENT, 0.0)
    tally.count(TARGET, ending.code.name)
    messages = session.messages
    tally.further["messages of hostile workers"] += len(messages)
    tally.further["leases that hostile workers got"] += session.got
    if problem := wrong_with(case, ending) or session.wrong:
        tally.find(Finding(TARGET, problem, seed, number, f"{len(messages)} messages", tuple(messages[-50:])))


class _Session:
    """One stream, from hello (mostly) to its end."""

    def __init__(self, channel: grpc.Channel, token: str, source: random.Random, shared: _Leases) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._source = source
        self._shared = shared
        self._own: list[pb.AssignedLease] = []
        self._known = Known()
        self._reads = source.random() < 0.9
        self._over = threading.Event()
        self._number = self._report = self._assignment = 0
        self.messages: list[bytes] = []
        self.got = 0
        self.wrong: str | None = None

    def run(self) -> Ending:
        """Talks until there is no more to say or the scheduler ends it; then hangs up, or says goodbye."""
        begin: Any = self._channel.stream_stream(LEASE)
        call = begin(self._requests(), timeout=PATIENT, metadata=self._metadata)
        try:
            if not self._reads:
                self._over.wait(1)
                call.cancel()
            for answer in call:
                self._hear(answer)
        except grpc.RpcError:
            pass
        finally:
            self._over.set()
            call.cancel()
        return Ending(call.code(), call.details() or "", status_details(call.trailing_metadata()), (), hung_up=True)

    def _requests(self) -> Iterator[bytes]:
        source = self._source
        if source.random() < 0.95:
            yield self._say(pb.LeaseRequest(hello=self._hello()))
        steps = [*(self._state,) * 8, *(self._reports,) * 8, self._anything, self._upload]
        for _ in range(source.randrange(30)):
            if self._over.wait(source.choice((0, 0, 0, 0.001, 0.02, 0.2))):
                return
            yield source.choice(steps)()

    def _upload(self) -> bytes:
        """Returns a picture for a lease, mostly one of its own; then a heartbeat."""
        source = self._source
        leases = [(lease.lease_id, lease.attempt) for lease in self._own] or self._shared
        lease_id, attempt = source.choice(leases)
        data = picture(source)
        first = pb.PutAssetRequest(lease_id=lease_id, attempt=attempt, sha256=sha256(data), size=len(data))
        chunks = (pb.PutAssetRequest(chunk=data[offset : offset + _CHUNK]) for offset in range(0, len(data), _CHUNK))
        try:
            WorkerServiceStub(self._channel).PutAsset(chain([first], chunks), timeout=PATIENT, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code() not in REFUSALS:
                self.wrong = f"PutAsset: {error.code().name}: {error.details()}"
        return self._state()

    def _say(self, request: pb.LeaseRequest) -> bytes:
        data = request.SerializeToString()
        self.messages.append(data)
        return data

    def _hear(self, answer: bytes) -> None:
        try:
            response = pb.LeaseResponse.FromString(answer)
        except DecodeError:
            self.wrong = "an answer that is no message"
            return
        if response.HasField("assignment"):
            self._assignment = response.assignment.number
            self.got += len(response.assignment.leases)
            for lease in response.assignment.leases:
                self._own.append(lease)
                if lease.task.account_id != HONEST_ACCOUNT:
                    self._shared.append((lease.lease_id, lease.attempt))

    def _hello(self) -> pb.Hello:
        source = self._source
        number = source.randrange(_WORKERS)
        hello = pb.Hello(
            worker_id=f"hostile-{number}",
            folder_id=f"folder-{number if source.random() < 0.9 else source.randrange(_WORKERS)}",
            session_number=int(time.time() * 1_000) % 2**31 if source.random() < 0.95 else source.choice((0, 1, -1)),
            hostname="a-host",
            slots=source.choice((0, 1, 5, 1_000)),
        )
        for field in ("held_leases", "lost_leases"):
            if source.random() < 0.3:
                self._name(getattr(hello, field), named=field == "held_leases")
        return hello

    def _state(self) -> bytes:
        """Makes it mostly with a number that rises, and with some of what it holds."""
        source = self._source
        self._number += 1 if source.random() < 0.9 else source.choice((0, -3, 2**20))
        state = pb.Heartbeat(
            number=max(self._number, -(2**31)),
            free_slots=source.choice((0, 1, 5, 50)) if source.random() < 0.98 else source.choice((-1, 2**31 - 1)),
            last_assignment=source.choice((self._assignment, self._assignment, 0, 2**31 - 1, -1)),
            last_poll_id=source.choice(("", "1", "9" * 18, "9" * 30, "x")),
        )
        self._name(state.held_leases, named=True)
        return self._say(pb.LeaseRequest(heartbeat=state))

    def _name(self, field: Any, *, named: bool) -> None:
        """Names leases: its own, others', made up; rarely more than anyone may hold."""
        source = self._source
        leases = [(lease.lease_id, lease.attempt) for lease in self._own if source.random() < 0.7]
        leases += [source.choice(self._shared) for _ in range(source.choice((0, 0, 1, 3)))]
        if source.random() < 0.1:
            leases.append((values.text(self._known, source)[:5_000], source.choice((0, -1, 1, 2**31 - 1))))
        if source.random() < 0.01:
            leases += [(f"lease-{number:016x}-00000001", 1) for number in range(source.choice((1_000, 9_999, 10_001)))]
        for lease_id, attempt in leases:
            if named:
                field.add(lease_id=lease_id, attempt=attempt, stage=source.choice((0, 1, 2, 3, 4)))
            else:
                field.append(lease_id)

    def _reports(self) -> bytes:
        source = self._source
        self._report += source.choice((1, 1, 0, -1))
        report = pb.Report(number=self._report)
        for _ in range(source.choice((0, 1, 1, 2, 5, 500 if source.random() < 0.02 else 1))):
            if self._own and source.random() < 0.8:
                lease = source.choice(self._own)
                self._update(report.updates.add(lease_id=lease.lease_id, attempt=lease.attempt), lease)
            else:
                lease_id, attempt = source.choice(self._shared)
                attempt += source.choice((0, 0, 1, -1))
                self._update(report.updates.add(lease_id=lease_id, attempt=attempt), None)
        if report.updates and source.random() < 0.1:
            part = pb.ReportPart(report_number=report.number, data=report.SerializeToString(), last=True)
            return self._say(pb.LeaseRequest(report_part=part))
        return self._say(pb.LeaseRequest(report=report))

    def _update(self, update: pb.LeaseUpdate, lease: pb.AssignedLease | None) -> None:
        """Makes any update; of an honest task's lease none that ends the task."""
        source = self._source
        honest = lease is not None and lease.task.account_id == HONEST_ACCOUNT
        kinds = ("accepted", "processing", "progress", "released") + (() if honest else ("completed", "failed"))
        kind = source.choice(kinds) if honest or source.random() < 0.98 else ""
        if kind == "completed":
            result = message(pb.Result.DESCRIPTOR, self._known, source)
            update.completed.result.MergeFromString(result.SerializeToString())
            if source.random() < 0.02:
                update.completed.result.body = "人" * ((2 * 1024 * 1024 - 100) // 3)  # as much as is taken
        elif kind == "released":
            reason = source.choice((0, 99, -1)) if source.random() < 0.05 else source.choice((1, 2, 3, 4))
            update.released.reason = pb.RELEASE_REASON_DRAINING if honest else pb.ReleaseReason.ValueType(reason)
            update.released.started = source.random() < 0.5
        elif kind:
            part = getattr(update, kind)
            part.CopyFrom(message(part.DESCRIPTOR, self._known, source))

    def _anything(self) -> bytes:
        """Returns a second hello, a goodbye, nothing at all, or bytes that are no message."""
        source = self._source
        chance = source.random()
        if chance < 0.3:
            return self._say(pb.LeaseRequest(draining=pb.Draining()))
        if chance < 0.4:
            return self._say(pb.LeaseRequest(hello=self._hello()))
        if chance < 0.5:
            return self._say(pb.LeaseRequest())
        if chance < 0.6:
            part = message(pb.ReportPart.DESCRIPTOR, self._known, source)
            assert isinstance(part, pb.ReportPart)
            return self._say(pb.LeaseRequest(report_part=part))
        if chance < 0.8:
            return self._state()
        heartbeat = pb.LeaseRequest(heartbeat=pb.Heartbeat(number=1)).SerializeToString()
        data = spoil(heartbeat, pb.LeaseRequest.DESCRIPTOR, source)[1]
        self.messages.append(data)
        return data
