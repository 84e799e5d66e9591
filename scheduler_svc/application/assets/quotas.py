"""How many bytes of assets an account may have (`Account.max_asset_bytes`), and which count.

An asset counts once for each account whose tasks named it: from its upload, for as long as an unnamed one is kept, and
while a content of the account names it. What counts is a row, and the sum of the rows another one, so that no upload
adds them up. Neither a report nor a deletion touches them: the collection counts what is not named any more out, and
what was stored without being counted in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.domain.errors import AccountAssetsFull

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


class Quota(NamedTuple):
    """An account, and the bytes that it may have unless it has a limit of its own; 0: any number."""

    account_id: int
    default: int


def check_fits(tx: Tx, quota: Quota, sha256: str, size: int) -> None:
    """Raises AccountAssetsFull if an asset does not fit as things are: others may be under way."""
    usage = tx.assets.usage(quota.account_id, sha256)
    if not usage.counts:
        _check(usage.bytes + size, usage.limit, quota)


def count(tx: Tx, quota: Quota, sha256: str) -> None:
    """Counts a stored asset. Raises AccountAssetsFull if it does not fit."""
    if tx.assets.count(quota.account_id, sha256):
        usage = tx.assets.usage(quota.account_id, sha256)
        _check(usage.bytes, usage.limit, quota)


def _check(wanted: int, own_limit: int, quota: Quota) -> None:
    limit = own_limit or quota.default
    if limit and wanted > limit:
        raise AccountAssetsFull(quota.account_id, limit)
