"""What a file is told to be by its beginning, and how large a picture is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scheduler_svc.assets.media_types import PICTURES, Looks
from scheduler_svc.assets.objects import LOOKED_AT
from scheduler_svc.domain.asset import Media
from tests.harness.hostile_pictures import ico_of_a_huge_png, jpeg_of_empty_segments, tiff_of_many_tiles
from tests.harness.pictures import avif, bmp, gif, jpeg, png, png_header, webp

pytestmark = pytest.mark.usefixtures("patient_looks")
UNKNOWN = Media("application/octet-stream")
TEXT = Media("text/plain")


@pytest.fixture
def looks() -> Iterator[Looks]:
    made = Looks()
    yield made
    made.close()


async def test_pictures_are_told_with_their_size(looks: Looks) -> None:
    pictures = {"png": png(), "jpeg": jpeg(), "gif": gif(), "webp": webp(), "avif": avif(), "bmp": bmp()}
    kinds = [await looks.media_of(data) for data in pictures.values()]
    assert kinds == [Media(f"image/{name}", 3, 2) for name in pictures]
    assert {kind.media_type for kind in kinds} == PICTURES.keys()
    assert await looks.media_of(bmp(height=-2)) == Media("image/bmp", 3, 2), "from top to bottom"


async def test_a_picture_without_a_size_that_the_api_can_tell_is_some_file(looks: Looks) -> None:
    cut = [png()[:20], jpeg()[:-4], webp()[:25], avif()[:40], gif()[:8]]
    absurd = [png_header(2**31, 2), gif(0, 0), jpeg_of_empty_segments(LOOKED_AT), jpeg(b"\xff\xe1\0\0")]
    assert [await looks.media_of(data) for data in (*cut, *absurd)] == [UNKNOWN] * 9
    assert await looks.media_of(png_header(2**31 - 1, 0)) == UNKNOWN
    assert await looks.media_of(gif(13_377, 13_377)) == Media("image/gif", 13_377, 13_377)


async def test_what_is_no_known_picture_is_text_or_some_file(looks: Looks) -> None:
    texts = [b"", b"<svg></svg>", "人".encode()[:2], b"BMW, or: " + b"a" * 100, b"GIF"]
    assert [await looks.media_of(data) for data in texts] == [TEXT] * 5
    files = [b"\0", b"\xff", ico_of_a_huge_png()[:LOOKED_AT], tiff_of_many_tiles()[:LOOKED_AT], avif(b"heic")]
    assert [await looks.media_of(data) for data in files] == [UNKNOWN] * 5
