"""Pictures that were made to cost whoever looks at them: much memory, much time. Made when they are asked for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

from scheduler_svc.domain.content import MAX_BYTES
from tests.harness.pictures import png_chunk, png_header

SIDE = 13_377
"""Pixels: so many squared are as many as the usual decoders accept with a warning."""
_BLOCK = 1 << 20


def ico_of_a_huge_png() -> bytes:
    """Returns an icon of 0.7 MB; its pixels take as much memory as a picture of `SIDE` pixels squared, 716 MB."""
    png = _huge_png()
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(png), 22) + png


def _huge_png() -> bytes:
    size = SIDE * (1 + SIDE * 4)
    return png_header(SIDE, SIDE, 6) + png_chunk(b"IDAT", _compressed_zeros(size)) + png_chunk(b"IEND", b"")


def _compressed_zeros(size: int) -> bytes:
    """Makes them as zlib has them, without compressing all of them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = packer.compress(bytes(size % _BLOCK)) + packer.flush()
    checksum = (size % 65_521) << 16 | 1
    return b"\x78\xda" + block * (size // _BLOCK) + last + struct.pack(">I", checksum)


def jpeg_of_empty_segments(size: int = MAX_BYTES) -> bytes:
    return b"\xff\xd8" + b"\xff\xe1\x00\x02" * ((size - 2) // 4)


def tiff_of_many_tiles(across: int = 2_000, down: int = 2_000) -> bytes:
    """Makes four bytes for each tile's offset: 16 MB."""
    tags = [(256, 4, 1, 16 * across), (257, 4, 1, 16 * down), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(277, 3, 1, 1), (322, 4, 1, 16), (323, 4, 1, 16), (324, 4, across * down, 0), (325, 4, 1, 256)]
    behind = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", *tag[:3], behind if tag[0] == 324 else tag[3]) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4 + 4 * across * down)


def png_of_empty_chunks(size: int = MAX_BYTES) -> bytes:
    header = png_header(3, 2)
    chunk = png_chunk(b"prVt", b"")
    return header + chunk * ((size - len(header)) // len(chunk))


def gif_of_huge_dimensions() -> bytes:
    """Makes 43 bytes, whose frame is to be disposed of to the background: a canvas of `SIDE` pixels squared."""
    screen = b"GIF89a" + struct.pack("<HHBBB", SIDE, SIDE, 0x80, 0, 0) + bytes(6)
    control = b"\x21\xf9\x04\x08" + bytes(4)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, SIDE, SIDE, 0)
    return screen + control + frame + b"\x02\x02\x44\x01\x00\x3b"


HOSTILE_PICTURES: Mapping[str, Callable[[], bytes]] = {
    "icon": ico_of_a_huge_png,
    "segments": jpeg_of_empty_segments,
    "tiles": tiff_of_many_tiles,
    "chunks": png_of_empty_chunks,
    "canvas": gif_of_huge_dimensions,
}
