"""Pictures that were made to cost much, and damaged ones."""

from __future__ import annotations

import asyncio
import random
import struct
from contextlib import closing
from pathlib import Path

from lab.fuzz.generating import spoilt
from scheduler_svc.assets.media_types import MAX_SIDE, PICTURES, Looks
from scheduler_svc.assets.objects import LOOKED_AT
from scheduler_svc.domain.content import Media
from tests.harness import pictures

_SIZES = (100, 10_000, 10_000, LOOKED_AT + 7)
_BOXES = (b"meta", b"iprp", b"ipco", b"ispe", b"ipma", b"pitm", b"iinf", b"infe", b"iloc", b"irot", b"free")


def picture(source: random.Random) -> bytes:
    """Returns up to some more bytes than are looked at."""
    size = source.choice(_SIZES)
    makers = (
        pictures.ico_of_a_huge_png,
        pictures.gif_of_huge_dimensions,
        lambda: pictures.jpeg_of_empty_segments(size),
        lambda: pictures.png_of_empty_chunks(size),
        lambda: pictures.tiff_of_many_tiles(10, size // 40),
        lambda: _avif(source, size),
        lambda: pictures.jpeg(source.choice((b"", b"\xff\xe1\0\2" * 9, b"\xff" * size, bytes(size)))),
        lambda: pictures.png_header(source.choice((0, 1, 2**31, 2**32 - 1)), source.randrange(3)),
        pictures.webp,
        pictures.bmp,
    )
    return spoilt(source.choice(makers)(), source)


def _avif(source: random.Random, size: int) -> bytes:
    """Makes boxes within boxes, or one after the other, with counts that they may not have."""
    inner = b""
    while len(inner) < size:
        data = struct.pack(">II", source.choice((0, 1, 2**24)), source.choice((0, 2, 2**32 - 1)))
        if source.random() < 0.3:
            inner = pictures.box(source.choice(_BOXES), data + inner)
        else:
            inner += pictures.box(source.choice(_BOXES), data) * source.choice((1, 9, size // 32))
    return pictures.avif()[:28] + pictures.box(b"meta", bytes(4) + pictures.box(b"iprp", inner))


def measured(source: random.Random, _: Path) -> None:
    """Tries pictures one after the other: each is told to be something, and one that is none keeps no other from it."""

    async def measure() -> None:
        with closing(Looks()) as looks:
            for _ in range(5):  # a try starts a process, so it takes several pictures
                _check(await looks.media_of(picture(source)[:LOOKED_AT]))
            honest = Media("image/png", 3, 2)
            assert await looks.media_of(pictures.png()) == honest, "a picture after the hostile ones is measured"

    asyncio.run(measure())


def _check(media: Media) -> None:
    if media.media_type in PICTURES:
        assert media.width
        assert media.height
        assert 0 < min(media.width, media.height) <= max(media.width, media.height) <= MAX_SIDE
    else:
        assert media in (Media("text/plain"), Media("application/octet-stream"))
