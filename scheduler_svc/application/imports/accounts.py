"""Imports accounts, all in one transaction: either each gets its id, or nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from scheduler_svc.application.imports.ports import ImportedAccountRow, OldApplication
from scheduler_svc.application.imports.source import ImportSource, LeftOutRow, readable, rows_in_parts
from scheduler_svc.application.ports import Tx
from scheduler_svc.domain import imports
from scheduler_svc.domain.imports import ImportedAccount
from scheduler_svc.domain.old_rows import ImportRefused, LeftOut, OldRow, RowKind, printable

PAGE = 500
_NO_SOURCE = 0
_NAMED = 20


@dataclass(frozen=True, slots=True)
class AccountChoices:
    """What to do about ids that are in use: give new ones, or map an account to an existing one."""

    renumber: bool = False
    mapped: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class TakenAccounts:
    taken: int = 0
    before: int = 0
    left_out: list[LeftOutRow] = field(default_factory=list)


def import_accounts(
    tx: Tx, old: OldApplication, source_name: str, choices: AccountChoices, *, dry_run: bool
) -> tuple[ImportSource, TakenAccounts]:
    """Imports the accounts that are new, and returns the source for the rest of the import.

    Raises ImportRefused if an id is in use and no choice decides, or a choice is impossible.
    """
    if not dry_run:
        tx.imports.lock_accounts()
    others = [name for name in tx.imports.sources() if name != source_name]
    source = ImportSource(old, _source_id(tx, source_name, dry_run=dry_run), dry_run)
    _check_mapped(tx, source, choices)
    accounts = _Accounts(tx, source, choices)
    accounts.take()
    if accounts.conflicts:
        raise ImportRefused(_advice(accounts.conflicts, others))
    accounts.renumber()
    return source, accounts.result


def _source_id(tx: Tx, name: str, *, dry_run: bool) -> int:
    """Returns the source's number; a dry run of a new source uses one that no source has."""
    known = tx.imports.find_source(name) if dry_run else tx.imports.use_source(name)
    return known if known is not None else _NO_SOURCE if dry_run else tx.imports.add_source(name)


def _check_mapped(tx: Tx, source: ImportSource, choices: AccountChoices) -> None:
    present = {row.key for rows, _ in rows_in_parts(source.old, RowKind.ACCOUNT, list(choices.mapped)) for row in rows}
    before = tx.imports.known(source.source_id, RowKind.ACCOUNT, choices.mapped)
    for old_id, new_id in choices.mapped.items():
        if old_id not in present:
            raise ImportRefused(f"--map-account {old_id}={new_id}: the source has no account {old_id}")
        if before.get(old_id, new_id) != new_id:
            raise ImportRefused(
                f"--map-account {old_id}={new_id}: account {old_id} was imported as {before[old_id]}, and stays so"
            )


class _Accounts:
    """The work of one transaction: the pages first, then the accounts that get new ids."""

    def __init__(self, tx: Tx, source: ImportSource, choices: AccountChoices) -> None:
        self._tx = tx
        self._source = source
        self._choices = choices
        self._to_renumber: list[ImportedAccount] = []
        self.conflicts: list[str] = []
        self.result = TakenAccounts()

    def take(self) -> None:
        after: int | None = None
        while ids := self._source.old.ids(RowKind.ACCOUNT, after, PAGE):
            after = ids[-1]
            self._take_page(ids)

    def _take_page(self, ids: Sequence[int]) -> None:
        known = self._tx.imports.known(self._source.source_id, RowKind.ACCOUNT, ids)
        self.result.before += len(known)
        accounts = self._read([old_id for old_id in ids if old_id not in known])
        wanted = {account.old_id: self._choices.mapped.get(account.old_id, account.old_id) for account in accounts}
        names = self._tx.imports.account_names(wanted.values())
        rows: dict[int, ImportedAccountRow] = {}
        taken: dict[int, int] = {}
        for account in accounts:
            new_id = wanted[account.old_id]
            if new_id not in names or account.old_id in self._choices.mapped:
                taken[account.old_id] = new_id
                if new_id not in names:
                    rows.setdefault(new_id, _row(account, new_id, self._tx.now))
            elif self._choices.renumber:
                self._to_renumber.append(account)
            else:
                self.conflicts.append(
                    f'account {account.old_id} "{printable(account.name)}" of the source, and account {new_id}'
                    f' "{printable(names[new_id])}"'
                )
        self._store(taken, list(rows.values()))

    def _read(self, ids: Sequence[int]) -> list[ImportedAccount]:
        read: list[ImportedAccount] = []
        for rows, unreadable in rows_in_parts(self._source.old, RowKind.ACCOUNT, ids):
            accounts, left_out = readable(rows, self._account)
            self.result.left_out += [*unreadable, *left_out]
            read += accounts
        return read

    def _account(self, row: OldRow) -> ImportedAccount:
        account = imports.account(row)
        if account.old_id < 1 and account.old_id not in self._choices.mapped:
            raise LeftOut("ids begin at 1; --map-account OLD=NEW gives it another")
        return account

    def renumber(self) -> None:
        """Runs last, so that no new id is one that another account of the source keeps."""
        if not self._to_renumber:
            return
        count = len(self._to_renumber)
        ids = [0] * count if self._source.dry_run else self._tx.imports.next_account_ids(count)
        pairs = list(zip(self._to_renumber, ids, strict=True))
        self._store(
            {account.old_id: new_id for account, new_id in pairs},
            [_row(account, new_id, self._tx.now) for account, new_id in pairs],
        )

    def _store(self, taken: Mapping[int, int], rows: Sequence[ImportedAccountRow]) -> None:
        if not self._source.dry_run:
            self._tx.imports.insert_accounts(rows)
        self._tx.imports.remember(self._source.source_id, RowKind.ACCOUNT, taken)
        self.result.taken += len(taken)


def _row(account: ImportedAccount, new_id: int, now: datetime) -> ImportedAccountRow:
    return ImportedAccountRow(new_id, account.name, account.active, min(account.create_time or now, now))


def _advice(conflicts: Sequence[str], sources: Sequence[str]) -> str:
    lines = [
        "These ids are taken by accounts that did not come from this source; nothing was written:",
        *(f"  {conflict}" for conflict in conflicts[:_NAMED]),
        *([f"  and {len(conflicts) - _NAMED:,} more"] if len(conflicts) > _NAMED else []),
        "--map-account OLD=NEW says which account here is the same (or a free id for it), --renumber gives new ids.",
    ]
    if sources:
        named = printable(", ".join(sources))
        lines.append(f"If this is one of the sources that were imported before, say --source NAME: {named}")
    return "\n".join(lines)
