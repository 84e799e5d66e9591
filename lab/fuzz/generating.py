"""Cases and their messages: `case(target, seed, number, known)` is the same case each time, live ids apart.

A message is made from its descriptor, plausible but for as much as a case wants to be wrong. Its bytes may be spoilt,
so that they are no message of the RPC, or one in a form that nobody would send.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from contentgen.v1.account_service_pb2 import EraseAccountRequest
from lab.fuzz import values
from lab.fuzz.case import PATIENT, RPCS, UNKNOWN, Case, Rpc, Who, random_of
from lab.fuzz.values import Known

_DEEPEST = 6
_MAX_ITEMS = 6_000
"""Of all lists and maps of a message: lists of lists would grow beyond what any connection carries."""


def message(descriptor: Descriptor, known: Known, source: random.Random) -> Message:
    filled = GetMessageClass(descriptor)()
    wild = source.choice((0.0, 0.0, 0.05, 0.1, 0.3, 1.0))  # the chance of each field to be hostile
    _Filling(known, source, wild).fill(filled)
    if source.random() < 0.002:
        _swell(filled, source)
    return filled


class _Filling:
    """Fills messages with one chance of wrong values."""

    def __init__(self, known: Known, source: random.Random, wild: float) -> None:
        self._known, self._source, self._wild = known, source, wild
        self._items_left = _MAX_ITEMS
        self._left_out = source.choice((0.0, 0.1, 0.5))

    def fill(self, target: Message, depth: int = 0) -> None:
        choices: set[str] = set()
        fields: list[Any] = list(target.DESCRIPTOR.fields)
        self._source.shuffle(fields)
        for field in fields:
            oneof = field.containing_oneof
            choice = oneof.name if oneof is not None and len(oneof.fields) > 1 else None
            if choice in choices or (choice is None and self._is_left_out(field)):
                continue
            if choice is not None:
                choices.add(choice)
            self._set(target, field, depth)

    def _set(self, target: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._set_map(target, field, depth)
        elif field.is_repeated:
            self._set_list(target, field, depth)
        elif field.message_type is not None:
            part = getattr(target, field.name)
            part.SetInParent()
            if depth < _DEEPEST:
                self.fill(part, depth + 1)
        else:
            setattr(target, field.name, self._scalar(field))

    def _set_list(self, target: Message, field: FieldDescriptor, depth: int) -> None:
        items = getattr(target, field.name)
        for _ in range(self._length()):
            if field.message_type is None:
                items.append(self._scalar(field))
            elif depth < _DEEPEST:
                self.fill(items.add(), depth + 1)

    def _set_map(self, target: Message, field: FieldDescriptor, depth: int) -> None:
        assert field.message_type is not None
        entries = getattr(target, field.name)
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        for number in range(self._length()):
            name = self._scalar(key)
            name = f"{name}{number}" if isinstance(name, str) and not self._is_wild() else name
            if value.message_type is None:
                entries[name] = self._scalar(value)
            elif depth < _DEEPEST:
                self.fill(entries[name], depth + 1)

    def _scalar(self, field: FieldDescriptor) -> Any:
        make = values.hostile if self._is_wild() else values.plausible
        return make(field, self._known, self._source)

    def _is_wild(self) -> bool:
        return self._source.random() < self._wild

    def _is_left_out(self, field: FieldDescriptor) -> bool:
        """Decides by chance; but of a time or a duration, which are nothing without their seconds."""
        return field.name != "seconds" and self._source.random() < self._left_out

    def _length(self) -> int:
        """Chooses that of a list or a map: few, or very many until the limit of items is reached."""
        is_long = self._wild and self._source.random() < 0.01
        length = self._source.choice((1_000, 1_001, 3_000) if is_long else (0, 1, 1, 2, 3))
        self._items_left -= length
        return length if self._items_left > 0 else 0


def _swell(target: Message, source: random.Random) -> None:
    """Makes a text so long that the message is just below, at or above what may be sent."""
    texts = [
        field
        for field in target.DESCRIPTOR.fields
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
    ]
    if texts:
        remaining = max(0, values.MAX_BYTES - 4_096 - target.ByteSize())
        setattr(target, source.choice(texts).name, "a" * (remaining + source.choice((0, 4_000, 5_000))))


def case(rpc_path: str, seed: int, number: int, known: Known) -> Case:
    source = random_of(rpc_path, seed, number)
    rpc = RPCS.get(rpc_path)
    if rpc is None:
        return Case(rpc_path, seed, number, "nowhere", Who.OPERATOR, (source.randbytes(9),), PATIENT)
    shape, requests = _requests(rpc, known, source)
    timeout, hangs_up_after = _patience(rpc, source)
    return Case(
        rpc=rpc_path,
        seed=seed,
        number=number,
        shape=shape,
        who=_who(rpc, source),
        requests=requests,
        timeout=timeout,
        hangs_up_after=hangs_up_after,
        metadata=_metadata(source),
    )


def every_path() -> list[str]:
    """Returns what a campaign calls: each RPC, and some that are not there."""
    return [*RPCS, *UNKNOWN]


def _requests(rpc: Rpc, known: Known, source: random.Random) -> tuple[str, tuple[bytes, ...]]:
    """Returns what is sent, and how it was made: messages, of which one may be spoilt."""
    count = source.randint(1, 6) if rpc.method.client_streaming else 1
    requests = [_sparing(message(rpc.request, known, source)).SerializeToString() for _ in range(count)]
    if source.random() >= 0.3:  # else bytes are spoilt
        return "structured", tuple(requests)
    index = source.randrange(count)
    shape, requests[index] = spoil(requests[index], rpc.request, source)
    return shape, tuple(requests)


def _sparing(request: Message) -> Message:
    """Erases no account: it could not be attacked any more."""
    if isinstance(request, EraseAccountRequest):
        request.dry_run = True
    return request


def _who(rpc: Rpc, source: random.Random) -> Who:
    """Chooses mostly one who may; the others are refused at the door. None of them reaches what is the honest ones'."""
    if source.random() >= 0.08:  # else it is mostly one who may not
        return source.choice(rpc.rightful)
    return source.choice((Who.CLIENT, Who.TIED, Who.STRANGER, Who.NOBODY, Who.WORKER if rpc.contract else Who.NOBODY))


def _patience(rpc: Rpc, source: random.Random) -> tuple[float, float | None]:
    if source.random() < 0.03:
        return source.choice((0.0, -1.0, 0.001, 0.01, 0.1, 1.0)), None
    if source.random() < 0.03:
        return PATIENT, source.choice((0.0, 0.002, 0.02))
    if rpc.method.server_streaming or rpc.name in _SLOW:
        return PATIENT, 0.3  # it would wait for minutes for something to happen
    return PATIENT, None


_SLOW = frozenset({"TaskService/WaitTask", "TaskService/PollRunningTasks", "TaskService/PollTask"})
"""They wait: for a task, or for what workers say that say nothing. That matters here alone, so no row has it."""


def _metadata(source: random.Random) -> tuple[tuple[str, str | bytes], ...]:
    if source.random() >= 0.03:
        return ()
    return source.choice(
        (
            (("x-request-id", "a" * 1_000),),
            (("x-many", "1"),) * 40,
            (("x-bytes-bin", source.randbytes(100)),),
            (("x-large", "a" * 20_000),),
            (("authorization", "Bearer another"),),
            (("content-encoding", "gzip"), ("traceparent", "~")),
            (("te", "gzip"), ("user-agent", "another/1")),
        )
    )


Numbers = Sequence[int]
"""The numbers of the fields that a message has."""
Spoil = Callable[[bytes, Numbers, random.Random], bytes]
"""Another form of a valid message's bytes, or of others."""
_DEPTHS = (10, 99, 100, 101, 1_000, 20_000)
_VARINTS = (b"\x00", b"\x01", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x80" * 12)


def _random(message: bytes, _: Numbers, source: random.Random) -> bytes:
    return source.randbytes(source.choice((1, 2, 8, 64, 1_024, 20_000)))


def _truncated(message: bytes, _: Numbers, source: random.Random) -> bytes:
    return message[: source.randrange(len(message) + 1)]


def _flipped(message: bytes, _: Numbers, source: random.Random) -> bytes:
    data = bytearray(message or b"\x00")
    for _bit in range(source.randint(1, 8)):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(data)


def _spliced(message: bytes, _: Numbers, source: random.Random) -> bytes:
    """Returns a piece of it again, elsewhere."""
    begin, end, position = (source.randrange(len(message) + 1) for _ in range(3))
    return message[:position] + message[min(begin, end) : max(begin, end)] + message[position:]


def _doubled(message: bytes, _: Numbers, source: random.Random) -> bytes:
    """Returns the message several times over: the last one counts, lists grow."""
    return message * source.choice((2, 3, 50)) if len(message) < 10_000 else message


def _nested(message: bytes, numbers: Numbers, source: random.Random) -> bytes:
    """Makes fields within fields, or groups within groups, beyond any parser's depth."""
    depth = source.choice(_DEPTHS)
    number = source.choice(numbers)
    if source.random() < 0.5:
        return _tag(number, 3) * depth + _tag(number, 4) * source.choice((depth, 0))
    data = message[:100]
    for _ in range(min(depth, 1_000)):
        data = _tag(number, 2) + _varint(len(data)) + data
    return data


def _mistyped(message: bytes, numbers: Numbers, source: random.Random) -> bytes:
    """Makes known field numbers with wire types and lengths of their own."""
    parts = []
    for _ in range(source.randint(1, 6)):
        kind = source.randrange(8)
        body = source.choice(_VARINTS) if kind in {0, 2} else source.randbytes(source.choice((0, 4, 8)))
        parts.append(_tag(source.choice([*numbers, 0, 15, 2_000, 2**29 - 1]), kind) + body)
    return b"".join(parts)


def _overlong(message: bytes, numbers: Numbers, source: random.Random) -> bytes:
    number = source.choice(numbers)
    return message + _tag(number, 2) + source.choice(_VARINTS) + source.randbytes(4)


def _unutf8(message: bytes, numbers: Numbers, source: random.Random) -> bytes:
    """Makes texts that are no UTF-8: overlong forms, lone surrogates, cut characters."""
    body = source.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xe4\xba", b"\x80" * 40))
    number = source.choice(numbers)
    return message + _tag(number, 2) + _varint(len(body)) + body


def _stuffed(message: bytes, _: Numbers, source: random.Random) -> bytes:
    """Makes fields that nobody knows: they are kept, and must not be told to anyone."""
    return message + b"".join(
        _tag(source.randint(100, 2**29 - 1), 2) + b"\x03abc" for _ in range(source.choice((1, 500)))
    )


_OF_ANY_BYTES = (_random, _truncated, _flipped, _spliced, _doubled)
_OF_MESSAGES = (_nested, _mistyped, _overlong, _unutf8, _stuffed)
SPOILS: dict[str, Spoil] = {spoil.__name__.lstrip("_"): spoil for spoil in (*_OF_ANY_BYTES, *_OF_MESSAGES)}
"""By the name that a finding shows."""


def spoil(data: bytes, descriptor: Descriptor, source: random.Random) -> tuple[str, bytes]:
    """Returns another form of these bytes, and its name."""
    name = source.choice(list(SPOILS))
    return name, SPOILS[name](data, [field.number for field in descriptor.fields] or [1], source)


def spoilt(data: bytes, source: random.Random) -> bytes:
    """Makes bytes that need not be a message: mostly as they are, or in another form, twice as often cut or flipped."""
    if source.random() < 0.7:
        return data
    (spoil,) = source.choices(_OF_ANY_BYTES, (1, 2, 2, 1, 1))
    return spoil(data, (), source)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
