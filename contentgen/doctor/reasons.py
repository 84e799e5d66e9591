"""Why tasks wait, and what is paused, in words. Layer: inside doctor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contentgen.doctor.phrases import Phrase, joined

_WAITS_FOR: Mapping[str, Phrase] = {
    "backoff": Phrase("the time before its next attempt (`contentgen task retry` takes the wait away)"),
    "scheduled": Phrase("its schedule time"),
    "account_limit": Phrase("another task of its account to end: as many run as the account may have at once"),
    "rate_limit": Phrase("a minute to pass: as many attempts have started within it as its account may start"),
    "paused": Phrase("`contentgen dispatch resume`: dispatch is paused"),
    "no_workers": Phrase("a worker: none is connected"),
    "all_slots_busy": Phrase("a free slot: no worker offers one"),
}


def waits_for(pending_reason: str) -> Phrase | str:
    """Returns what a task waits for. Returns a reason that only a newer scheduler knows as it is."""
    return _WAITS_FOR.get(pending_reason, pending_reason)


def paused(everything: bool, account_ids: Sequence[int]) -> Phrase | str:
    """Returns what is paused, as in `everything; accounts 1, 3`. Returns an empty text if nothing is."""
    ids = ", ".join(map(str, account_ids))
    accounts = Phrase("accounts {ids}", ids=ids) if len(account_ids) > 1 else Phrase("account {ids}", ids=ids)
    return joined([*([Phrase("everything")] if everything else []), *([accounts] if account_ids else [])], "; ")
