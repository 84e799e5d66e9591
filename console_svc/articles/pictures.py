"""Where the pictures of an article come from: our assets, or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from contentgen import Asset

SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif")
"""Media types that are shown: a browser only draws them. SVG is none of them, as it may hold scripts."""
_OURS = "asset:"


class Picture(NamedTuple):
    """`address` leads to it, in a new tab; empty: nowhere. `shown`: it is ours, and safe to be drawn in a page."""

    name: str
    address: str
    shown: bool


class Pictures:
    """The pictures that an article may name."""

    def __init__(self, assets: Mapping[str, Picture]) -> None:
        """`assets` are our pictures by their names."""
        self.assets = assets

    @classmethod
    def of(cls, assets: Sequence[Asset], prefix: str) -> Pictures:
        """Returns the pictures of a content."""
        return cls(
            {
                asset["name"]: Picture(
                    asset["name"],
                    f"{prefix}/assets/{asset['sha256']}/{quote(asset['name'].rpartition('/')[2])}",
                    asset["media_type"] in SHOWN,
                )
                for asset in assets
            }
        )

    def find(self, source: str) -> Picture:
        """The picture of an address in an article, such as `asset:cover.png`."""
        if source.startswith(_OURS):
            name = source.removeprefix(_OURS)
            return self.assets.get(name, Picture(name, "", shown=False))
        return Picture(source, source if is_web(source) else "", shown=False)

    def all(self, images: Sequence[str]) -> Sequence[Picture]:
        """Returns the pictures of `images`, and then the assets that these leave out."""
        named_pictures = [self.find(image) for image in images]
        return [*named_pictures, *(asset for asset in self.assets.values() if asset not in named_pictures)]


def is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)
