"""What a file is by its beginning, and which pictures an article refers to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.assets.media_types import PICTURES, Looks
from scheduler_svc.assets.objects import LOOKED_AT
from scheduler_svc.domain.content import Media
from tests.harness.pictures import (
    avif,
    bmp,
    gif,
    ico_of_a_huge_png,
    jpeg,
    jpeg_of_empty_segments,
    png,
    png_header,
    tiff_of_many_tiles,
    webp,
)
from worker_svc.outcome import Article
from worker_svc.references import Reference, references, renamed

pytestmark = pytest.mark.unit

UNKNOWN = Media("application/octet-stream")
TEXT = Media("text/plain")


@pytest.fixture
def looks() -> Iterator[Looks]:
    looks = Looks()
    yield looks
    looks.close()


@pytest.mark.usefixtures("patient_looks")
async def test_pictures_are_told_with_their_size(looks: Looks) -> None:
    pictures = {"png": png(), "jpeg": jpeg(), "gif": gif(), "webp": webp(), "avif": avif(), "bmp": bmp()}
    kinds = [await looks.media_of(data) for data in pictures.values()]
    assert kinds == [Media(f"image/{name}", 3, 2) for name in pictures]
    assert {kind.media_type for kind in kinds} == PICTURES.keys()
    assert await looks.media_of(bmp(height=-2)) == Media("image/bmp", 3, 2), "from top to bottom"


@pytest.mark.usefixtures("patient_looks")
async def test_a_picture_without_a_size_that_the_api_can_tell_is_some_file(looks: Looks) -> None:
    cut = [png()[:20], jpeg()[:-4], webp()[:25], avif()[:40], gif()[:8]]
    absurd = [png_header(2**31, 2), gif(0, 0), jpeg_of_empty_segments(LOOKED_AT), jpeg(b"\xff\xe1\0\0")]
    assert [await looks.media_of(data) for data in (*cut, *absurd)] == [UNKNOWN] * 9
    assert await looks.media_of(png_header(2**31 - 1, 0)) == UNKNOWN
    assert await looks.media_of(gif(13_377, 13_377)) == Media("image/gif", 13_377, 13_377)


@pytest.mark.usefixtures("patient_looks")
async def test_what_is_no_known_picture_is_text_or_some_file(looks: Looks) -> None:
    texts = [b"", b"<svg></svg>", "人".encode()[:2], b"BMW, or: " + b"a" * 100, b"GIF"]
    assert [await looks.media_of(data) for data in texts] == [TEXT] * 5
    files = [b"\0", b"\xff", ico_of_a_huge_png()[:LOOKED_AT], tiff_of_many_tiles()[:LOOKED_AT], avif(b"heic")]
    assert [await looks.media_of(data) for data in files] == [UNKNOWN] * 5


# What an article refers to as a picture, and how it is renamed.


def targets_of(article: Article) -> list[str]:
    return [reference.text for reference in references(article)]


@pytest.mark.parametrize(
    ("markdown", "targets"),
    [
        ("![](cover.png)", ["cover.png"]),
        ("![a \\] b](a/b.png 'a title') and ![](<my pic.png>)", ["a/b.png", "my pic.png"]),
        ("![](a(1).png)![](b\\(2.png)", ["a(1).png", "b\\(2.png"]),
        ("![one][x] ![Two  words] ![]()\n\n[X]: x.png\n[two words]: <2.png>\n[none]: y.png", ["x.png", "2.png"]),
        (
            "<img alt='' src=\"a&amp;b.png\"> <IMG\nSRC='c.png'/><img src=d.png data-src=e.png>",
            ["a&amp;b.png", "c.png", "d.png"],
        ),
        ("[a link](page.png) `code` ![](data:image/png;base64,AA) ![](#part) ![](asset:x.png)", []),
        ("![](https://a/b.png) ![](//a/c.png) ![](file:///d.png)", ["https://a/b.png", "//a/c.png", "file:///d.png"]),
        ("![unclosed](a.png", []),
        ("plain", []),
    ],
)
def test_references_in_markdown(markdown: str, targets: list[str]) -> None:
    assert sorted(targets_of(Article(markdown))) == sorted(targets)


def test_each_reference_comes_once_images_first() -> None:
    article = Article("![](b.png) ![](a.png)", '<img src="c.png"><img src="b.png">', ("a.png", "https://h/d.png"))
    assert targets_of(article) == ["a.png", "https://h/d.png", "b.png", "c.png"]


def test_only_references_are_renamed() -> None:
    article = Article(
        "a.png ![a.png](a.png) ![](b.png) [l](a.png)", '<img alt="a.png" src="a.png"> a.png', ("a.png", "b.png")
    )
    named = renamed(article, {"a.png": "asset:a.png"})
    assert named.content == "a.png ![a.png](asset:a.png) ![](b.png) [l](a.png)"
    assert named.html == '<img alt="a.png" src="asset:a.png"> a.png'
    assert named.images == ("asset:a.png", "b.png")
    assert renamed(named, {"asset:a.png": "a.png"}) == article


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("a.png", ["a.png"]),
        ("a%20b.png", ["a%20b.png", "a b.png"]),
        ("a&amp;b.png", ["a&amp;b.png", "a&b.png"]),
        ("file:///tmp/a.png", ["/tmp/a.png"]),
        ("a.png?v=2#x", ["a.png?v=2#x", "a.png"]),
    ],
)
def test_what_a_reference_may_mean_as_a_path(text: str, paths: list[str]) -> None:
    assert Reference(text).paths == paths


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://a/b.png?x=1&amp;y=2", "https://a/b.png?x=1&y=2"),
        ("HTTP://a/b", "HTTP://a/b"),
        ("//a/b.png", "https://a/b.png"),
        ("a/b.png", None),
        ("/a/b.png", None),
    ],
)
def test_what_is_an_address(text: str, address: str | None) -> None:
    assert Reference(text).address == address


@pytest.mark.parametrize(
    "piece", ["![", "![](", "![](<", "<img ", "<img src=", "[a]: b\n![a]", "![](a(", '<img "', "\\!["]
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    """3 MiB of it would take hours otherwise; the test's own time limit fails it."""
    references(Article(piece * (3 * 1024 * 1024 // len(piece)), piece * 1_000))


@given(st.text(alphabet="![]()<>\\\"'= imgsrca.:/\n"))
def test_renaming_by_the_same_names_changes_nothing(text: str) -> None:
    article = Article(text, text)
    assert renamed(article, {name: name for name in targets_of(article)}) == article
