"""What a file is, by its content: its name and what its creator says of it do not count."""

from __future__ import annotations

import codecs
import warnings
from typing import BinaryIO

from scheduler_svc.domain.asset import Media

PICTURES = ("AVIF", "BMP", "GIF", "ICO", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats of Pillow. Not SVG, which may hold scripts: it counts as text."""
_TEXT_PROBE = 64 * 1024


def media_of(file: BinaryIO) -> Media:
    """Reads a picture's header, not its pixels. Leaves the position anywhere."""
    return _picture(file) or _other(file)


def _picture(file: BinaryIO) -> Media | None:
    from PIL import Image  # imported on use, since most replicas of a test or a bench see no picture

    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as of a picture with very many pixels, which are not decoded
        try:
            with Image.open(file, formats=PICTURES) as picture:
                media_type = Image.MIME.get(picture.format or "", "application/octet-stream")
                return Media(media_type, *picture.size)
        except Exception:  # noqa: BLE001 - a damaged or hostile file: the decoders raise errors of many kinds
            return None


def _other(file: BinaryIO) -> Media:
    file.seek(0)
    begin = file.read(_TEXT_PROBE)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(begin)  # a character may be cut at the end
    except UnicodeDecodeError:
        return Media("application/octet-stream")
    return Media("application/octet-stream" if b"\0" in begin else "text/plain")
