"""Bytes that are no message of the RPC, or one in a form that nobody would send."""

from __future__ import annotations

import random
from collections.abc import Callable

from google.protobuf.descriptor import Descriptor

Spoil = Callable[[bytes, Descriptor, random.Random], bytes]
"""Another form of a valid message's bytes."""
_DEPTHS = (10, 99, 100, 101, 1_000, 20_000)
_VARINTS = (b"\x00", b"\x01", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x80" * 12)


def _random(message: bytes, _: Descriptor, source: random.Random) -> bytes:
    return source.randbytes(source.choice((1, 2, 8, 64, 1_024, 20_000)))


def _truncated(message: bytes, _: Descriptor, source: random.Random) -> bytes:
    return message[: source.randrange(len(message) + 1)]


def _flipped(message: bytes, _: Descriptor, source: random.Random) -> bytes:
    data = bytearray(message or b"\x00")
    for _bit in range(source.randint(1, 8)):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(data)


def _spliced(message: bytes, _: Descriptor, source: random.Random) -> bytes:
    """Returns a piece of it again, elsewhere."""
    begin, end, position = (source.randrange(len(message) + 1) for _ in range(3))
    return message[:position] + message[min(begin, end) : max(begin, end)] + message[position:]


def _doubled(message: bytes, _: Descriptor, source: random.Random) -> bytes:
    """Returns the message several times over: the last one counts, lists grow."""
    return message * source.choice((2, 3, 50)) if len(message) < 10_000 else message


def _nested(message: bytes, descriptor: Descriptor, source: random.Random) -> bytes:
    """Fields within fields, or groups within groups, beyond any parser's depth."""
    depth = source.choice(_DEPTHS)
    number = source.choice(descriptor.fields).number if descriptor.fields else 1
    if source.random() < 0.5:
        return _tag(number, 3) * depth + _tag(number, 4) * source.choice((depth, 0))
    data = message[:100]
    for _ in range(min(depth, 1_000)):
        data = _tag(number, 2) + _varint(len(data)) + data
    return data


def _mistyped(message: bytes, descriptor: Descriptor, source: random.Random) -> bytes:
    """Known field numbers with wire types and lengths of their own."""
    numbers = [field.number for field in descriptor.fields] + [0, 15, 2_000, 2**29 - 1]
    parts = []
    for _ in range(source.randint(1, 6)):
        kind = source.randrange(8)
        body = source.choice(_VARINTS) if kind in {0, 2} else source.randbytes(source.choice((0, 4, 8)))
        parts.append(_tag(source.choice(numbers), kind) + body)
    return b"".join(parts)


def _overlong(message: bytes, descriptor: Descriptor, source: random.Random) -> bytes:
    """Returns a length that is more than there is."""
    number = source.choice(descriptor.fields).number if descriptor.fields else 1
    return message + _tag(number, 2) + source.choice(_VARINTS) + source.randbytes(4)


def _unutf8(message: bytes, descriptor: Descriptor, source: random.Random) -> bytes:
    """Texts that are no UTF-8: overlong forms, lone surrogates, cut characters."""
    body = source.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xe4\xba", b"\x80" * 40))
    number = source.choice(descriptor.fields).number if descriptor.fields else 1
    return message + _tag(number, 2) + _varint(len(body)) + body


def _stuffed(message: bytes, _: Descriptor, source: random.Random) -> bytes:
    """Fields that nobody knows: they are kept, and must not be told to anyone."""
    return message + b"".join(
        _tag(source.randint(100, 2**29 - 1), 2) + b"\x03abc" for _ in range(source.choice((1, 500)))
    )


_ALL = (_random, _truncated, _flipped, _spliced, _doubled, _nested, _mistyped, _overlong, _unutf8, _stuffed)
SPOILS: dict[str, Spoil] = {spoil.__name__.lstrip("_"): spoil for spoil in _ALL}
"""By the name that a finding shows."""


def spoil(told: bytes, descriptor: Descriptor, source: random.Random) -> tuple[str, bytes]:
    """Returns another form of these bytes, and its name."""
    name = source.choice(list(SPOILS))
    return name, SPOILS[name](told, descriptor, source)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
