"""What a file is, by its content: its name and what its creator says of it do not count."""

from __future__ import annotations

import codecs
import re

import structlog

from contentgen.sandbox import Sandbox, SandboxError
from scheduler_svc.domain.content import Media

PICTURES = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF.{4}WEBPVP8",
    "image/avif": rb".{4}ftyp(.{4}){0,12}avi[fs]",
    "image/bmp": rb"BM.{12}[\x28-\x7c]\0\0\0",
}
"""What files of each kind begin with. Not SVG, which may hold scripts: it counts as text."""
LOOK_TIMEOUT = 10.0
LOOK_MEMORY = 256 * 2**20
MAX_SIDE = 2**31 - 1
"""Pixels: as many as the API can tell."""
_TEXT_PROBE = 64 * 1024
_UNKNOWN = Media("application/octet-stream")

_log = structlog.get_logger(__name__)


class Looks:
    """Looks at the beginnings of files. Pictures are measured in a sandbox, one after the other."""

    def __init__(self) -> None:
        self._sandbox = Sandbox(
            "scheduler_svc.assets.picture_size:picture_size", timeout=LOOK_TIMEOUT, memory=LOOK_MEMORY
        )

    async def media_of(self, begin: bytes) -> Media:
        """A picture is one only if its size is found; what can't be measured is kept as some file."""
        for media_type, pattern in PICTURES.items():
            if re.match(pattern, begin, re.DOTALL):
                size = await self._size(begin)
                return Media(media_type, *size) if size else _UNKNOWN
        return _text(begin) or _UNKNOWN

    async def _size(self, begin: bytes) -> tuple[int, int] | None:
        try:
            width, height = map(int, (await self._sandbox.call(begin)).split())
            if min(width, height) > 0 and max(width, height) <= MAX_SIDE:
                return width, height
            problem = "it has no size, or one that is too large"
        except (SandboxError, ValueError) as error:
            problem = str(error)
        _log.warning("a picture could not be measured", action="asset", error=problem)
        return None

    def close(self) -> None:
        self._sandbox.close()


def _text(begin: bytes) -> Media | None:
    probe = begin[:_TEXT_PROBE]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(probe)  # a character may be cut at the end
    except UnicodeDecodeError:
        return None
    return None if b"\0" in probe else Media("text/plain")
