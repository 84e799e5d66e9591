"""The Chinese texts of the pages, by the English ones: those of all pages in `common`, the others a file a page.

Each module here has a mapping `TEXTS`. A text that several pages have stands in `common`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Final


def _all_texts() -> dict[str, str]:
    found: dict[str, str] = {}
    for module in iter_modules(__path__):
        found.update(import_module(f"{__name__}.{module.name}").TEXTS)
    return found


CHINESE: Final[Mapping[str, str]] = _all_texts()
