"""What a service reads: files, sockets, settings, and the tokens that clients bring back."""

from __future__ import annotations

import base64
import json
import random
import socket
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from contentgen.service.settings import SettingsError, flag_of
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_service_pb2 as pb
from lab.fuzz import values
from lab.fuzz.generating import message, spoilt
from lab.fuzz.inputs import documents
from lab.fuzz.values import Known
from scheduler_svc.config import read_settings as scheduler_settings
from scheduler_svc.config.tokens import ROLES, hash_of, read_tokens
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.ids import KEY_MAX, parse_lease_id, parse_task_id
from scheduler_svc.runtime.access import KnownTokens
from scheduler_svc.runtime.pages import PageRequest
from scheduler_svc.runtime.validation import Violations
from scheduler_svc.tasks import requests as watching
from scheduler_svc.watch.work import Position, Selection
from worker_svc.config import WorkerSettings, read_settings
from worker_svc.guard.process.wire import Closed, GuardChannel
from worker_svc.session import wire
from worker_svc.spool import Spool

_TOKEN = ("name", "sha256", "role", "accounts")
_LINES = ("", "#", "# a comment", "{}", "[]", "null", "\ufeff")


def tokens(source: random.Random, folder: Path) -> None:
    """Tries a tokens file: read as a whole, or refused with what is wrong."""
    path = folder / "tokens"
    lines = [source.choice((_token_line(source), _token_line(source), source.choice(_LINES))) for _ in range(4)]
    path.write_bytes(spoilt(documents.encoded("\n".join(lines)), source))
    try:
        keys = KnownTokens(read_tokens(path))
    except SettingsError as error:
        assert error.problems
        assert hash_of("a token") not in str(error), "what a token's line holds is not repeated"
    else:
        keys.identify(bytes(32))


def _token_line(source: random.Random) -> str:
    document = documents.of(_TOKEN, source)
    sane = {
        "name": source.choice("abc"),
        "sha256": hash_of(source.choice(("a token", "b", "c"))),
        "role": source.choice(ROLES),
        "accounts": source.choice(([1], [], [0], [2**63], [True], ["1"], list(range(200)))),
    }
    document |= {key: value for key, value in sane.items() if source.random() < 0.7}
    return documents.line(document, source).replace("\n", " ")


def spool(source: random.Random, folder: Path) -> None:
    """Tries a spool with files that nobody wrote like that: what can be read is kept, the rest is set aside."""
    path = folder / "spool"
    path.mkdir(exist_ok=True)
    for batch in path.rglob("*.batch"):
        batch.unlink()
    for number in range(source.randint(1, 3)):
        name = source.choice((f"{number}.batch", "x.batch", "٣.batch", f"{'9' * 100}.batch", "1.tmp"))
        (path / name).write_bytes(_batch(source))
    faults: list[str] = []
    with ThreadPoolExecutor(1) as disk:
        entries = Spool(path, disk).recover(faults.append)
    for entry in entries:
        with suppress(ValueError):
            wire.decode(entry.payload)
    assert not list(path.glob("*.tmp"))


def _batch(source: random.Random) -> bytes:
    data = b"contentgen spool 1\n"
    for _ in range(source.randrange(4)):
        key = documents.encoded(documents.text(source))[:300]
        update = message(pb.LeaseUpdate.DESCRIPTOR, Known(), source)
        payload = spoilt(update.SerializeToString(), source)
        sizes = source.choice(((len(key), len(payload)), (len(key), len(payload)), (2**32 - 1, 5), (0, 2**24)))
        data += struct.pack(">III", *sizes, zlib.crc32(payload, zlib.crc32(key))) + key + payload
    return spoilt(data, source)


def guard_wire(source: random.Random, folder: Path) -> None:
    """Tries bytes on the socket between worker and guard: documents, or the other end counts as gone."""
    own_end, other_end = socket.socketpair()
    other_end.setblocking(False)
    channel = GuardChannel(own_end)
    try:
        for _ in range(source.randint(1, 4)):
            remaining = _frame(source)
            while remaining:
                with suppress(BlockingIOError):
                    remaining = remaining[other_end.send(remaining) :]
                for document, descriptors in channel.receive():
                    assert isinstance(document, dict)
                    assert not descriptors
        other_end.close()
        while True:
            channel.receive()
    except Closed:
        pass
    finally:
        channel.close()
        other_end.close()


def _frame(source: random.Random) -> bytes:
    document = documents.value(source)
    if source.random() < 0.7:
        document = {"op": "open", "fds": source.choice((0, 0, 0, 1, -1, None, "0", [], 1.5, True, 2**70))}
    body = spoilt(json.dumps(document).encode() if source.random() < 0.9 else b"[" * 40_000, source)
    length = source.choice((len(body), len(body), len(body), 0, 2**32 - 1, len(body) + 1))
    return struct.pack("!I", length) + body


_SCHEDULER = (
    "--data-dir", "--listen", "--tls-cert", "--tokens-file", "--lease-ttl", "--max-queue-size", "--max-worker-losses",
    "--retention", "--content-retention", "--pg-bindir", "--log-level", "--log-format", "--no-such",
)  # fmt: skip
_VALUES = (
    "1", "-1", "0", "1e400", "nan", "inf", "9" * 5_000, "5m", "5 m", "1h30m", "٣", "on", "json", "debug",
    ":0", "[::1]:1", "127.0.0.1:99999", "a:b:c", "dns:///x", "unix:/x", "/", "/dev/null", "", "\udcff", "a\0b", "%s",
)  # fmt: skip


def settings_of_scheduler(source: random.Random, _: Path) -> None:
    _try_settings(scheduler_settings, _SCHEDULER, source)


def settings_of_worker(source: random.Random, _: Path) -> None:
    _try_settings(read_settings, tuple(flag_of(WorkerSettings, name) for name in WorkerSettings.model_fields), source)


def _try_settings(read: Callable[[list[str]], object], flags: tuple[str, ...], source: random.Random) -> None:
    sample = source.sample(flags, source.randint(1, 4))
    try:
        read([f"{flag}={source.choice((source.choice(_VALUES), values.text(Known(), source)))}" for flag in sample])
    except SettingsError as error:
        assert error.problems


def page_token(source: random.Random, _: Path) -> None:
    """Tries a page token: a position within the list, or refused."""
    request = task_pb.ListTasksRequest(
        page_size=source.choice((0, 1, -1, 2**31 - 1)), page_token=_client_token(source, _PAGE)
    )
    try:
        with Violations() as violations:
            page = PageRequest.of(request, violations, "ListTasks", 0)
    except InvalidArgument as error:
        assert error.violations
    else:
        assert page.position is None or 0 < page.position <= KEY_MAX


def resume_token(source: random.Random, folder: Path) -> None:
    """Tries a resume token: a position in a history, or refused."""
    watched = Selection(scope=Scope.of(1))
    request = task_pb.WatchTasksRequest(account_id=1, resume_token=_client_token(source, _RESUME))
    try:
        resumption = watching.resume_position(request, watched)
    except InvalidArgument as error:
        assert error.violations
    else:
        if resumption is not None:
            position, _ = resumption
            assert 0 <= position.number <= KEY_MAX
            assert 0 <= position.key <= KEY_MAX


def public_id(source: random.Random, _: Path) -> None:
    """Tries ids of tasks and leases: a key that the database can hold, or none."""
    text = values.changed(source.choice(("task-0000000000000001", "lease-0000000000000001-00000001")), source)
    key, ref = parse_task_id(text), parse_lease_id(text, source.choice((1, 0, -1, 2**31)))
    assert key is None or 0 < key <= KEY_MAX
    assert ref is None or (0 <= ref.task_key <= KEY_MAX and ref.fence < 2**31)


_PAGE = json.dumps([5, "0" * 18])
_RESUME = watching.resume_token(
    Position(3, 4, listing=False), "origin", watching.fingerprint(Selection(scope=Scope.of(1)))
)


def _client_token(source: random.Random, sane: str) -> str:
    """Returns a valid one, one with other parts, or anything."""
    chance = source.random()
    if chance < 0.3:
        return values.changed(sane, source)
    parts = json.loads(base64.urlsafe_b64decode(_RESUME))
    for _ in range(source.randint(0, 2)):
        parts[source.randrange(len(parts))] = documents.value(source)
    body = spoilt(documents.encoded(documents.line(parts, source)), source)
    return base64.urlsafe_b64encode(body).decode()[: source.choice((250, 4_000, 10_000))]
