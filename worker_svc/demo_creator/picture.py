"""Draws a small picture: bands of colours that depend on a brief, as a PNG."""

from __future__ import annotations

import struct
import zlib

WIDTH, HEIGHT = 160, 90


def png(digest: bytes, number: int) -> bytes:
    """Returns picture `number` of a brief with this digest, the same each time."""
    seed = zlib.crc32(digest, number)
    low, high = _colour(seed), _colour(seed >> 8)
    rows = (_row(low, high, y) for y in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)  # 8 bits each of red, green and blue
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(b"".join(rows))),
            _chunk(b"IEND", b""),
        ]
    )


def _colour(seed: int) -> tuple[int, int, int]:
    return (seed & 0xFF, (seed >> 8) & 0xFF, (seed >> 16) & 0xFF)


def _row(low: tuple[int, int, int], high: tuple[int, int, int], y: int) -> bytes:
    """Returns one line of the picture, without a filter."""
    part = y / (HEIGHT - 1)
    return b"\0" + bytes(round(a + (b - a) * part) for a, b in zip(low, high, strict=True)) * WIDTH


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
