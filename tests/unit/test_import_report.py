"""What an import shows on a terminal, and without one."""

from __future__ import annotations

import io

from scheduler_svc.admin.import_command import ImportProgress
from scheduler_svc.domain.old_rows import RowKind
from scheduler_svc.importing.run import ImportTally


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(err: io.StringIO) -> str:
    out = io.StringIO()
    report = ImportProgress(out, err)
    for kind in RowKind:
        report.begins(kind, 1_200)
        report.moved(300)
        if kind is RowKind.POOL_ENTRY:
            report.left_out(kind, 7, "its content 9 is not there")
        report.moved(900)
        report.ends(kind, ImportTally(taken=1_199, before=0, left_out=1))
    report.sums(dry_run=False)
    return out.getvalue()


def test_the_rows_left_out_and_the_sums_are_on_the_standard_output() -> None:
    lines = run(io.StringIO()).splitlines()
    assert lines == [
        "left out: pool entry 7: its content 9 is not there",
        "                     taken      before    left out",
        "accounts             1,199           0           1",
        "tasks                1,199           0           1",
        "contents             1,199           0           1",
        "pool entries         1,199           0           1",
    ]


def test_a_terminal_has_a_bar_that_is_gone_at_the_end() -> None:
    err = Terminal()
    run(err)
    assert "[########......................] tasks 300 of 1,200 (25%" in err.getvalue()
    assert err.getvalue().endswith("\r\033[K")


def test_a_quick_import_shows_no_progress_without_a_terminal() -> None:
    err = io.StringIO()
    run(err)
    assert err.getvalue() == ""
