"""Small pictures, and what tests ask the store that keeps them."""

from __future__ import annotations

import hashlib
import struct
import zlib

from scheduler_svc.assets.objects import ObjectStore
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
