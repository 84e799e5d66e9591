"""The fields of an account that people set, as `submit_fields` has those of a submit.

The scheduler's checks, the client's arguments, the command's options and texts, and the console's form and page follow
`FIELDS`. Layer: above `submit_fields`, below `client`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict

from contentgen.submit_fields import Field, Kind

_INT32 = (1 << 31) - 1
BudgetMode = Literal["soft", "hard"]
FIELDS = (
    Field("name", "Name", Kind.TEXT, "For people; 1 to 200 characters.", 1, 200),
    Field("max_concurrent_tasks", "Tasks at once", Kind.WHOLE, "How many of its tasks may run at once; 0: no limit.",
          most=_INT32, metavar="N", zero="no limit"),
    # A task adds 1 / weight to its account's virtual time: with a smaller weight sums would lose precision or overflow.
    Field("weight", "Weight", Kind.NUMBER, "Its share of the workers beside other accounts: 0.000001 to 1,000.",
          0.000_001, 1_000, default="1", metavar="W"),
    Field("max_pending_tasks", "Pending tasks", Kind.WHOLE,
          "How many may be pending, scheduled ones included; 0: no limit.", most=_INT32, metavar="N", zero="no limit"),
    Field("max_priority", "Highest priority", Kind.WHOLE,
          "The highest priority that its submits may ask for, 1 to 10; 0: no limit.", most=10, metavar="P",
          zero="no limit"),
    Field("max_starts_per_minute", "Starts per minute", Kind.WHOLE,
          "Attempts that may start within any minute; 0: no limit.", most=_INT32, metavar="N", zero="no limit"),
    Field("max_asset_bytes", "Bytes of files", Kind.WHOLE,
          "Bytes that may be stored of its files; 0: the schedulers' default.", most=(1 << 63) - 1, metavar="N",
          zero="the schedulers' default"),
    Field("max_cost_per_month", "Budget of a month", Kind.NUMBER,
          "What its contents of a month (UTC) may cost; 0: any amount.", most=1_000_000_000_000, metavar="AMOUNT"),
    Field("budget_mode", "Beyond the budget", Kind.CHOICE,
          "Beyond that: soft tells webhooks and channels; hard starts nothing, either.", default="soft",
          choices={"soft": "only told", "hard": "nothing starts"},
          hint="Webhooks and channels are told; nothing starts, either, if you say so."),
    Field("currency", "Currency", Kind.TEXT, "In which its creators count: three letters, such as CNY, or empty.",
          most=3),
    Field("active", "Active", Kind.YES_NO, "Whether submits are taken.", default="yes",
          flags=("--active/--inactive",)),
)  # fmt: skip
BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}
OF_BUDGET = ("max_cost_per_month", "budget_mode", "currency")
"""Shown together, with what is used of it."""
LIMITS = tuple(field for field in FIELDS if field.zero)
"""Numbers that hold something back, unless they are 0."""


class AccountLimits(TypedDict, total=False):
    """Fields that are given by name only."""

    max_pending_tasks: int | None
    max_priority: int | None
    max_starts_per_minute: int | None
    max_asset_bytes: int | None
    max_cost_per_month: float | None
    budget_mode: BudgetMode | None
    currency: str | None


class AccountChanges(AccountLimits, total=False):
    """Fields that an update changes."""

    name: str | None
    max_concurrent_tasks: int | None
    weight: float | None
    active: bool | None


def _document(kind: type[object]) -> None:
    known = [field for field in FIELDS if field.name in kind.__annotations__]
    lines = (f"    {field.name}: {field.help[0].lower()}{field.help[1:]}" for field in known)
    kind.__doc__ = "\n".join([f"{kind.__doc__}\n", "Attributes:", *lines])


_document(AccountLimits)
_document(AccountChanges)
