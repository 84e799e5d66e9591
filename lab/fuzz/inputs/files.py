"""Files and sockets that a service reads: tokens, spool, what worker and guard say to each other."""

from __future__ import annotations

import json
import random
import socket
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from contentgen.service.settings import SettingsError
from contentgen.v1 import worker_service_pb2 as pb
from lab.fuzz.inputs import documents
from lab.fuzz.known import Known
from lab.fuzz.messages import message
from scheduler_svc.config.tokens import ROLES, hash_of, read_tokens
from scheduler_svc.runtime.access import KnownTokens
from worker_svc.guard.process.wire import Closed, GuardChannel
from worker_svc.session import wire
from worker_svc.spool import Spool

_TOKEN = ("name", "sha256", "role", "accounts")
_LINES = ("", "#", "# a comment", "{}", "[]", "null", "\ufeff")


def tokens(source: random.Random, folder: Path) -> None:
    """A tokens file: read as a whole, or refused with what is wrong."""
    path = folder / "tokens"
    lines = [source.choice((_token_line(source), _token_line(source), source.choice(_LINES))) for _ in range(4)]
    path.write_bytes(documents.spoilt(documents.encoded("\n".join(lines)), source))
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
    """A spool with files that nobody wrote like that: what can be read is kept, the rest is set aside."""
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
        payload = documents.spoilt(update.SerializeToString(), source)
        sizes = source.choice(((len(key), len(payload)), (len(key), len(payload)), (2**32 - 1, 5), (0, 2**24)))
        data += struct.pack(">III", *sizes, zlib.crc32(payload, zlib.crc32(key))) + key + payload
    return documents.spoilt(data, source)


def guard_wire(source: random.Random, folder: Path) -> None:
    """Bytes on the socket between worker and guard: documents, or the other end counts as gone."""
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
    body = documents.spoilt(json.dumps(document).encode() if source.random() < 0.9 else b"[" * 40_000, source)
    length = source.choice((len(body), len(body), len(body), 0, 2**32 - 1, len(body) + 1))
    return struct.pack("!I", length) + body
