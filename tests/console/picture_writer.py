"""A CLI that writes articles with pictures: good ones, a bad one, and one of another site."""

from __future__ import annotations

from pathlib import Path

from tests.harness.picture_creator import picture_creator, writing
from tests.harness.pictures import png

BODY = "# An article\n\nIt has a picture:\n\n![a cover](asset:cover.png)\n\nand an end.\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def picture_writer(folder: Path) -> Path:
    """Makes the CLI in this folder and returns its path."""
    return picture_creator(
        folder,
        writing(cover_png=png(60, 40, shade=90), bad_svg=SVG),
        content=BODY,
        images=["cover.png", "bad.svg", "https://elsewhere.example/picture.png"],
    )
