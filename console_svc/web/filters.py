"""The filters of a list, as an address has them: what is set, and what the page does not know. Layer: `web`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from starlette.requests import Request

from console_svc.web.language import Texts

OTHERS = frozenset({"page", "before", "after", "zone", "sort", "view", "decided", "until"})
"""What an address says beside filters: the last two what the desk may undo."""
_OF_THE_WHOLE = frozenset({"page", "view"})
"""What does not hold any more where a filter is removed: a page's token, and the name of all together."""


class Filter(NamedTuple):
    """`choices`: the values that it may have, which are texts of the page; empty: any."""

    label: str
    choices: Sequence[str] = ()


Filters = Mapping[str, Filter]
"""By their names in the address."""


class Given(NamedTuple):
    """`chips` are label, value and the rest of the query for each that is set; `unknown` as the address has them."""

    chips: Sequence[tuple[str, str, Sequence[tuple[str, str]]]] = ()
    unknown: Sequence[str] = ()


def given(request: Request, filters: Filters, texts: Texts) -> Given:
    """Returns what the address of a request sets. A page without filters knows all, for it looks at none."""
    query = [(name, value) for name, value in request.query_params.multi_items() if value] if filters else []
    chips, unknown = [], []
    for pair in query:
        name, value = pair
        known = filters.get(name)
        if known and (not known.choices or value in known.choices):
            rest = [other for other in query if other != pair and other[0] not in _OF_THE_WHOLE]
            chips.append((known.label, texts(value).replace("_", " ") if known.choices else value, rest))
        elif known or name not in OTHERS:
            unknown.append(f"{name}={value}")
    return Given(chips, unknown)
