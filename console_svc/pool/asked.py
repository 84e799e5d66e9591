"""What the address of a page of the publish pool asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import get_args
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request

from console_svc.web.language import text
from console_svc.web.numbers import number_of
from console_svc.web.times import day
from console_svc.web.zones import zone_of
from contentgen import PublishStatus

PUBLISH_STATES: Sequence[PublishStatus] = get_args(PublishStatus)
OPEN: Sequence[PublishStatus] = ("pending", "publishing", "failed")
"""What is shown where no state is asked for."""
_TEXTS = ("account", "from", "to", "month", "week")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of a page asks for. `problems`: what is wrong, by the field's name."""

    zone: ZoneInfo
    texts: Mapping[str, str]
    chosen: Sequence[PublishStatus]
    account: int | None = None
    first: date | None = None
    last: date | None = None
    problems: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request) -> Asked:
        params = request.query_params
        texts = {name: given for name in _TEXTS if (given := params.get(name, "").strip())}
        chosen = [state for state in PUBLISH_STATES if state in params.getlist("state")]
        problems: dict[str, str] = {}
        days: dict[str, date | None] = {"from": None, "to": None}
        for name in days:
            try:
                days[name] = day(texts[name]) if name in texts else None
            except ValueError:
                problems[name] = text("A day such as 2030-01-31.")
        account = None
        try:
            account = number_of(texts.get("account", ""))
        except ValueError:
            problems["account"] = "The number of an account."
        return cls(zone_of(request), texts, chosen, account, days["from"], days["to"], problems)

    @property
    def states(self) -> Sequence[PublishStatus]:
        return self.chosen or OPEN

    def query(self, *, without: Sequence[str] = ("page",), **more: object) -> str:
        """The address's query, with `more`."""
        kept = [(name, given) for name, given in self.texts.items() if name not in without and name not in more]
        states = [("state", state) for state in self.chosen]
        return urlencode([*kept, *states, *((name, given) for name, given in more.items() if given)])
