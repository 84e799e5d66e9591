"""Statements on assets, and on what contents name. `work.py` says how they keep names and objects together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cache

import sqlalchemy as sa

from scheduler_svc.assets.work import AssetUsage, ContentAssetRow
from scheduler_svc.database.batch import Insert, array
from scheduler_svc.database.statements import Statements, accounts
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import Asset, Media

_TOUCH_ASSET = sa.text("""
    INSERT INTO assets (sha256, size) VALUES (:sha256, :size)
    ON CONFLICT (sha256) DO UPDATE SET touch_time = now() RETURNING complete
""")
"""Adds an asset that is not complete, or touches the one that is there; says whether it is complete."""
_LOCK_ASSET = sa.text("SELECT sha256 FROM assets WHERE sha256 = :sha256 FOR UPDATE")
"""Locks an asset, to complete it."""
_COMPLETE_ASSET = sa.text("""
    UPDATE assets SET complete = true, size = :size, media_type = :media_type, width = :width, height = :height,
        touch_time = now()
    WHERE sha256 = :sha256
""")
"""Completes an asset, whose object is durable."""

_THESE = "sha256 = ANY(CAST(:these AS text[]))"
# A lock that keeps them complete until the content is committed.
_LOCK_COMPLETE = sa.text(f"SELECT sha256 FROM assets WHERE {_THESE} AND complete ORDER BY sha256 FOR SHARE")
"""Locks those assets that contents may name."""
_INSERT_NAMED_ASSETS = Insert(
    "content_assets",
    content_id="bigint",
    position="smallint",
    account_id="bigint",
    name="text",
    sha256="text",
    reason="text",
)
"""Inserts what contents name, and what was left out."""

_NAME_FILE = sa.text("""
    INSERT INTO content_assets (content_id, position, account_id, name, sha256)
    SELECT content_id, (
            SELECT min(p) FROM generate_series(0, 1000) AS p
            WHERE NOT EXISTS (SELECT FROM content_assets AS n WHERE (n.content_id, n.position) = (:content_id, p))
        ), account_id, :name, :sha256
    FROM contents WHERE content_id = :content_id
""")
"""Lets a locked content name one more asset, at the first free place."""
# It stays for a while: a backup under way may know the content.
_UNNAME = sa.text("""
    WITH gone AS (
        DELETE FROM content_assets WHERE content_id = :content_id AND name = :name RETURNING sha256
    ), touched AS (UPDATE assets SET touch_time = now() WHERE sha256 IN (SELECT sha256 FROM gone))
    SELECT count(*) FROM gone
""")
"""Lets a locked content name an asset no more, whether it is stored or was left out."""

_UNNAMED = "NOT EXISTS (SELECT FROM content_assets AS n WHERE n.sha256 = assets.sha256)"
_OLD = "touch_time < now() - CAST(:age AS interval)"
_PAGE_OF_ASSETS = sa.text("SELECT sha256 FROM assets WHERE sha256 > :after ORDER BY sha256 LIMIT :limit")
"""Reads the next assets, in the order of the collection."""
_LOCK_UNNAMED = sa.text(f"""
    SELECT sha256 FROM assets WHERE {_THESE} AND complete AND {_OLD} AND {_UNNAMED}
    ORDER BY sha256 FOR UPDATE SKIP LOCKED
""")
"""Locks those assets that are old and that no content names."""
# Anew, since the statement that locked them may have seen the time before a content that names one was committed.
_RETIRE = sa.text(f"UPDATE assets SET complete = false WHERE {_THESE} AND {_UNNAMED}")
"""Makes locked assets incomplete that no content names."""
_LOCK_RETIRED = sa.text(f"""
    SELECT sha256 FROM assets WHERE NOT complete AND {_OLD} ORDER BY touch_time LIMIT :limit FOR UPDATE SKIP LOCKED
""")
"""Locks old assets that are not complete."""
_DELETE_ASSETS = sa.text(f"DELETE FROM assets WHERE {_THESE}")
"""Deletes locked assets."""

_USAGE = sa.text("""
    SELECT a.max_asset_bytes, coalesce(u.bytes, 0),
        EXISTS (SELECT FROM account_assets AS c WHERE c.sha256 = :sha256 AND c.account_id = a.account_id)
    FROM accounts AS a LEFT JOIN asset_usage AS u ON u.account_id = a.account_id WHERE a.account_id = :account_id
""")
"""Reads what an account may have, what it has, and whether an asset counts already."""
_ADD_BYTES = """
    INSERT INTO asset_usage AS u (account_id, bytes) SELECT account_id, sum(size) FROM added GROUP BY account_id
    ON CONFLICT (account_id) DO UPDATE SET bytes = u.bytes + excluded.bytes
"""
_COUNT_ASSET = sa.text(f"""
    WITH counted AS (
        INSERT INTO account_assets (sha256, account_id, size)
        SELECT sha256, :account_id, size FROM assets WHERE sha256 = :sha256
        ON CONFLICT (sha256, account_id) DO UPDATE SET upload_time = now() RETURNING account_id, size, xmax = 0 AS new
    ), added AS (SELECT account_id, size FROM counted WHERE new)
    {_ADD_BYTES} RETURNING true
""")
"""Counts an asset for an account, if it did not count before; locks the account's bytes then."""
_COUNT_NAMED = sa.text(f"""
    WITH added AS (
        INSERT INTO account_assets (sha256, account_id, size)
        SELECT DISTINCT a.sha256, n.account_id, a.size FROM assets AS a JOIN content_assets AS n ON n.sha256 = a.sha256
        WHERE a.sha256 = ANY(CAST(:these AS text[]))
        ON CONFLICT (sha256, account_id) DO NOTHING RETURNING account_id, size
    )
    {_ADD_BYTES}
""")
"""Counts those assets that were stored before assets were counted, or by a version that does not count them."""
_UNCOUNT = sa.text(f"""
    WITH gone AS (
        DELETE FROM account_assets AS c
        WHERE {_THESE} AND upload_time < now() - CAST(:age AS interval) AND NOT EXISTS (
            SELECT FROM content_assets AS n WHERE n.sha256 = c.sha256 AND n.account_id = c.account_id)
        RETURNING account_id, size
    )
    UPDATE asset_usage AS u SET bytes = u.bytes - g.bytes
    FROM (SELECT account_id, sum(size) AS bytes FROM gone GROUP BY account_id) AS g WHERE u.account_id = g.account_id
""")
"""Counts assets no more for the accounts whose contents do not name them."""

_STORE_ID = sa.text("SELECT store_id FROM asset_store")
"""Reads which store the assets are in."""
_CLAIM_STORE = sa.text("UPDATE asset_store SET store_id = :store_id WHERE store_id IS NULL")
"""Writes which store the assets are in, once the first one is stored."""


@cache
def _get(*, of_accounts: bool) -> sa.TextClause:
    """Reads an asset, by the name that one of these accounts' contents has for it."""
    account_condition = " AND n.account_id = ANY(CAST(:accounts AS bigint[]))" if of_accounts else ""
    return sa.text(f"""
        SELECT n.name, a.sha256, a.media_type, a.size, a.width, a.height FROM assets AS a, LATERAL (
            SELECT n.name FROM content_assets AS n WHERE n.sha256 = a.sha256{account_condition} LIMIT 1) AS n
        WHERE a.sha256 = :sha256
    """)


class Assets(Statements):
    def touch(self, sha256: str, size: int) -> bool:
        """Makes sure that there is a row, and that nothing collects it for a while. Returns whether it is complete."""
        return bool(self._row(_TOUCH_ASSET, sha256=sha256, size=size)[0])

    def lock(self, sha256: str) -> bool:
        """Locks an asset; returns whether it exists."""
        return self._row(_LOCK_ASSET, sha256=sha256) is not None

    def complete(self, sha256: str, size: int, media: Media) -> None:
        self._run(_COMPLETE_ASSET, sha256=sha256, size=size, **media._asdict())

    def lock_complete(self, these: Sequence[str]) -> frozenset[str]:
        """Returns those of these assets that are complete; they stay so until the end of the transaction."""
        return frozenset(self._all(str, _LOCK_COMPLETE, these=array("text", these)))

    def name(self, rows: Sequence[ContentAssetRow]) -> None:
        """Stores what contents name. The assets among it are locked and complete."""
        self._session.insert(_INSERT_NAMED_ASSETS, rows)

    def name_file(self, content_id: int, name: str, sha256: str) -> None:
        """Lets a locked content name an asset, which is locked and complete, by a name that it does not have yet."""
        self._run(_NAME_FILE, content_id=content_id, name=name, sha256=sha256)

    def unname(self, content_id: int, name: str) -> bool:
        """Lets a locked content name a file no more; returns whether it did."""
        return bool(self._row(_UNNAME, content_id=content_id, name=name)[0])

    def get(self, scope: Scope, sha256: str) -> Asset | None:
        """Returns an asset that a content of these accounts names."""
        parameters = accounts(scope)
        return self._one(Asset, _get(of_accounts=bool(parameters)), sha256=sha256, **parameters)

    def usage(self, account_id: int, sha256: str) -> AssetUsage:
        return AssetUsage(*self._row(_USAGE, account_id=account_id, sha256=sha256))

    def count(self, account_id: int, sha256: str) -> bool:
        """Counts an asset for an account. Returns whether that is new; then the account's bytes are locked."""
        return self._row(_COUNT_ASSET, account_id=account_id, sha256=sha256) is not None

    def count_named(self, these: Sequence[str]) -> None:
        """Counts those of these assets that contents name, for their accounts."""
        self._run(_COUNT_NAMED, these=array("text", these))

    def uncount(self, these: Sequence[str], age: timedelta) -> None:
        """Counts these assets no more for accounts that neither name them nor have uploaded them for that long."""
        self._run(_UNCOUNT, these=array("text", these), age=age)

    def store_id(self) -> str | None:
        """Returns the store that the assets are in; None if none was stored yet."""
        row = self._row(_STORE_ID)
        return None if row is None else row[0]

    def claim_store(self, store_id: str) -> str:
        """Makes this the store that the assets are in, unless another one is by now; returns which one is."""
        self._run(_CLAIM_STORE, store_id=store_id)
        return str(self._row(_STORE_ID)[0])

    def page(self, after: str, limit: int) -> list[str]:
        return self._all(str, _PAGE_OF_ASSETS, after=after, limit=limit)

    def lock_unnamed(self, these: Sequence[str], age: timedelta) -> list[str]:
        """Returns those of these assets that are complete, untouched for that long, and that no content named."""
        return self._all(str, _LOCK_UNNAMED, these=array("text", these), age=age)

    def retire(self, these: Sequence[str]) -> None:
        """Makes locked assets incomplete, except for those that a content names by now."""
        self._run(_RETIRE, these=array("text", these))

    def lock_retired(self, age: timedelta, limit: int) -> list[str]:
        """Returns the assets that are not complete and were not touched for that long."""
        return self._all(str, _LOCK_RETIRED, age=age, limit=limit)

    def delete(self, these: Sequence[str]) -> None:
        """Deletes locked assets, which nothing names."""
        self._run(_DELETE_ASSETS, these=array("text", these))
