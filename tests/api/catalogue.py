"""The catalogue of requests: what each RPC answers, `GOOD`, and what it refuses, `BAD`.

The rows of an RPC stand in the file that tests it. What is bad with the RPCs of one kind follows from their good
requests and from their messages, and needs no row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

from tests.api.cases import NO_TASK, NOTHING, OTHER_PAGE, Bad, Good, missing, taking
from tests.api.wire import NAMES

TESTS = Path(__file__).parents[1]
MODULES = [
    import_module(f"tests.{path.parent.name}.{path.stem}")
    for path in sorted(TESTS.glob("*/test_*.py"))
    if "\nGOOD = [\n" in path.read_text(encoding="utf-8")
]
MISSING_IDS = {
    "task_id": (NO_TASK, "no id"),
    "worker_id": ("nobody",),
    **dict.fromkeys(("account_id", "channel_id", "content_id", "delivery_id", "schedule_id", "webhook_id"), (NOTHING,)),
}
OTHER_LISTS = taking("page_token") - taking("task_id") - taking("content_id") - taking("webhook_id")
"""Of all things, or of an account's."""


def about_one(good: Iterable[Good]) -> Iterator[Bad]:
    """An RPC that takes the id of one thing and no more is refused without it, and with the id of nothing.

    A service other than that of accounts takes the id of an account as a condition, and does without.
    """
    for rpc, field in sorted({(case.rpc, *case.request) for case in good if len(case.request) == 1}):
        if field in MISSING_IDS and (field != "account_id" or NAMES[rpc].startswith("AccountService/")):
            yield Bad(rpc, {}, fields=(field,))
            for missing_id in MISSING_IDS[field]:
                yield missing(rpc, {field: missing_id}, field.removesuffix("_id"), missing_id)


GOOD: list[Good] = [case for module in MODULES for case in module.GOOD]
BAD: list[Bad] = [
    *about_one(GOOD),
    *(Bad(rpc, OTHER_PAGE, fields=("page_token",)) for rpc in sorted(OTHER_LISTS)),
    *(case for module in MODULES for case in getattr(module, "BAD", ())),
]
