"""Imports accounts, all in one transaction: either each gets its id, or nothing is written.

They are read before it begins. It locks the table of accounts, and the server ends a transaction that waits too long
for its client: neither may depend on how quick the source is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from old_application import rules
from old_application.old_rows import ImportRefused, LeftOut, OldRow, RowKind, RowsUnreadable, printable
from old_application.progress import ImportTally
from old_application.rules import ImportedAccount
from old_application.source import ImportSource, LeftOutRow, Row, halved, readable

if TYPE_CHECKING:
    from old_application.old_tables import OldDatabase
    from old_application.sql import ImportDatabase, Imports


_NO_SOURCE = 0
_NAMED = 20
_DEFAULTS = Row(max_concurrent_tasks=0, weight=1.0)


@dataclass(frozen=True, slots=True)
class AccountChoices:
    """What to do about ids that are in use: give new ones, or map an account to an existing one."""

    renumber: bool = False
    mapped: Mapping[int, int] = field(default_factory=dict)


def import_accounts(
    database: ImportDatabase, old: OldDatabase, source_name: str, choices: AccountChoices, *, dry_run: bool
) -> tuple[ImportSource, ImportTally, Sequence[LeftOutRow]]:
    """Imports the accounts that are new; returns the source for the rest of the import, and those that can't be read.

    Raises ImportRefused if a mapping can't be, or if an id is in use and no choice decides.
    """
    source_id = database.run(lambda imports: imports.find_source(source_name))

    def known(ids: Iterable[int]) -> dict[int, int]:
        if source_id is None:
            return {}
        return database.run(lambda imports: imports.known(source_id, RowKind.ACCOUNT, ids))

    _check_mapped(old, choices, known(choices.mapped))
    pages: list[list[ImportedAccount]] = []
    left_out: list[LeftOutRow] = []
    before = 0
    for ids in old.pages(RowKind.ACCOUNT):
        imported = known(ids)
        before += len(imported)
        accounts, unreadable = _read(old, [old_id for old_id in ids if old_id not in imported], choices)
        pages.append(accounts)
        left_out += unreadable
    source, taken = database.run(lambda imports: _store(imports, pages, old, source_name, choices, dry_run=dry_run))
    return source, ImportTally(taken, before), left_out


def _check_mapped(old: OldDatabase, choices: AccountChoices, before: Mapping[int, int]) -> None:
    present: set[int] = set()
    _read_in_parts(old, list(choices.mapped), lambda rows: present.update(row.key for row in rows))
    for old_id, new_id in choices.mapped.items():
        if old_id not in present:
            raise ImportRefused(f"--map-account {old_id}={new_id}: the source has no account {old_id}")
        if before.get(old_id, new_id) != new_id:
            raise ImportRefused(
                f"--map-account {old_id}={new_id}: account {old_id} was imported as {before[old_id]}, and stays so"
            )


def _read(
    old: OldDatabase, ids: Sequence[int], choices: AccountChoices
) -> tuple[list[ImportedAccount], list[LeftOutRow]]:
    def account(row: OldRow) -> ImportedAccount:
        imported_account = rules.account(row)
        if imported_account.old_id < 1 and imported_account.old_id not in choices.mapped:
            raise LeftOut("ids begin at 1; --map-account OLD=NEW gives it another")
        return imported_account

    accounts: list[ImportedAccount] = []
    left_out: list[LeftOutRow] = []

    def take(rows: list[OldRow]) -> None:
        imported, refused = readable(rows, account)
        accounts.extend(imported)
        left_out.extend(refused)

    left_out += _read_in_parts(old, ids, take)
    return accounts, left_out


def _read_in_parts(old: OldDatabase, ids: Sequence[int], take: Callable[[list[OldRow]], None]) -> Iterable[LeftOutRow]:
    """Gives `take` these rows in the largest readable parts; returns the unreadable ones."""

    def read(part: Sequence[int]) -> str | None:
        try:
            take(old.rows(RowKind.ACCOUNT, part))
        except RowsUnreadable as error:
            return str(error)
        return None

    return list(halved(ids, read))


def _store(
    imports: Imports,
    pages: Sequence[Sequence[ImportedAccount]],
    old: OldDatabase,
    source_name: str,
    choices: AccountChoices,
    *,
    dry_run: bool,
) -> tuple[ImportSource, int]:
    if not dry_run:
        imports.lock_accounts()
    others = [name for name in imports.sources() if name != source_name]
    source = ImportSource(old, _source_id(imports, source_name, dry_run=dry_run), dry_run)
    accounts = _Accounts(imports, source, choices)
    for page in pages:
        accounts.take(page)
    if accounts.conflicts:
        raise ImportRefused(_advice(accounts.conflicts, others))
    accounts.renumber()
    return source, accounts.taken


def _source_id(imports: Imports, name: str, *, dry_run: bool) -> int:
    """Returns the source's number; a dry run of a new source uses one that no source has."""
    source_id = imports.find_source(name) if dry_run else imports.use_source(name)
    return source_id if source_id is not None else _NO_SOURCE if dry_run else imports.add_source(name)


class _Accounts:
    """The work of one transaction: the pages first, then the accounts that get new ids."""

    def __init__(self, imports: Imports, source: ImportSource, choices: AccountChoices) -> None:
        self._imports = imports
        self._source = source
        self._choices = choices
        self._to_renumber: list[ImportedAccount] = []
        self.conflicts: list[str] = []
        self.taken = 0

    def take(self, accounts: Sequence[ImportedAccount]) -> None:
        target_ids = {account.old_id: self._choices.mapped.get(account.old_id, account.old_id) for account in accounts}
        names = self._imports.account_names(target_ids.values())
        rows: dict[int, Row] = {}
        new_ids: dict[int, int] = {}
        for account in accounts:
            new_id = target_ids[account.old_id]
            if new_id not in names or account.old_id in self._choices.mapped:
                new_ids[account.old_id] = new_id
                if new_id not in names:
                    rows.setdefault(new_id, _row(account, new_id, self._imports.tx.now))
            elif self._choices.renumber:
                self._to_renumber.append(account)
            else:
                self.conflicts.append(
                    f'account {account.old_id} "{printable(account.name)}" of the source, and account {new_id}'
                    f' "{printable(names[new_id])}"'
                )
        self._store(new_ids, list(rows.values()))

    def renumber(self) -> None:
        """Runs last, so that no new id is one that another account of the source keeps."""
        if not self._to_renumber:
            return
        count = len(self._to_renumber)
        ids = [0] * count if self._source.dry_run else self._imports.next_account_ids(count)
        pairs = list(zip(self._to_renumber, ids, strict=True))
        self._store(
            {account.old_id: new_id for account, new_id in pairs},
            [_row(account, new_id, self._imports.tx.now) for account, new_id in pairs],
        )

    def _store(self, new_ids: Mapping[int, int], rows: Sequence[Row]) -> None:
        if not self._source.dry_run:
            self._imports.insert_accounts(rows)
        self._imports.remember(self._source.source_id, RowKind.ACCOUNT, new_ids)
        self.taken += len(new_ids)


def _row(account: ImportedAccount, new_id: int, now: datetime) -> Row:
    create_time = min(account.create_time or now, now)
    return Row(account_id=new_id, name=account.name, active=account.active, create_time=create_time) | _DEFAULTS


def _advice(conflicts: Sequence[str], sources: Sequence[str]) -> str:
    lines = [
        "These ids are taken by accounts that did not come from this source; nothing was written:",
        *(f"  {conflict}" for conflict in conflicts[:_NAMED]),
        *([f"  and {len(conflicts) - _NAMED:,} more"] if len(conflicts) > _NAMED else []),
        "--map-account OLD=NEW says which account here is the same (or a free id for it), --renumber gives new ids.",
    ]
    if sources:
        names = printable(", ".join(sources))
        lines.append(f"If this is one of the sources that were imported before, say --source NAME: {names}")
    return "\n".join(lines)
