"""Small pictures, and what tests ask the store that keeps them."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Mapping

from scheduler_svc.assets.objects import ObjectStore
from scheduler_svc.domain.content import MAX_BYTES
from scheduler_svc.domain.errors import AssetStoreUnavailable

# Small pictures, and their digests.


PNG = b"\x89PNG\r\n\x1a\n"
"""With which such a file begins."""


def png(width: int = 3, height: int = 2, *, shade: int = 0) -> bytes:
    """Returns a grey picture."""
    pixels = zlib.compress(b"".join(b"\0" + bytes([shade]) * width for _ in range(height)))
    return png_header(width, height) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def png_header(width: int, height: int, colour: int = 0) -> bytes:
    """Returns one whose `colour` is 0 for grey, and 6 for colours with transparency."""
    return PNG + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


def avif(brand: bytes = b"avif") -> bytes:
    """Returns the beginning of one; those below are beginnings, too."""
    size = box(b"ispe", struct.pack(">III", 0, 3, 2))
    meta = box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", size)))
    return box(b"ftyp", b"mif1" + bytes(4) + b"miaf" + brand) + meta


def jpeg(segments: bytes = b"") -> bytes:
    frame = struct.pack(">HBHHB", 8, 8, 2, 3, 1)
    return b"\xff\xd8" + segments + b"\xff\xc0" + frame


def gif(width: int = 3, height: int = 2) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)


def webp() -> bytes:
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + b"\2\0\0\1\0\0"


def bmp(height: int = 2) -> bytes:
    return b"BM" + bytes(12) + struct.pack("<Iii", 40, 3, height) + bytes(28)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# What tests ask an object store, beyond what the product needs.


def has(store: ObjectStore, sha256: str) -> bool:
    try:
        return bool(store.read(sha256, 0, 1))
    except AssetStoreUnavailable:
        return False


# Pictures that were made to cost whoever looks at them: much memory, much time. Made when they are asked for.


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
