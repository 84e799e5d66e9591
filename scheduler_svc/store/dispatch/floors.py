"""Floors: for each priority a tag below which nothing can be claimed, so that no statement reads dead entries there.

A deleted row stays in its index for as long as any transaction on the server could see it, and a backup's transaction
lasts for hours. A search for the first tag would read all of these entries, so it begins at the floor.

No task is hidden below a floor: tags are assigned from the virtual time on, which is never below the floor, under a
shared lock that is held from before the virtual time is read until the commit. The floor is raised under the same lock,
exclusive, so no tag is being assigned then. A periodic check lowers a floor that hides a task nevertheless.
"""

from __future__ import annotations

import sqlalchemy as sa

from scheduler_svc.domain.bounds import MAX_PRIORITY, MIN_PRIORITY
from scheduler_svc.store.engine.advisory import AdvisoryLock
from scheduler_svc.store.engine.rows import Statements

ASSIGN_TAGS = sa.text(f"SELECT pg_advisory_xact_lock_shared({AdvisoryLock.FLOORS.key})")
"""Locks the floors, before the statement that reads the virtual time and assigns tags."""


def floor(priority: str) -> str:
    """The floor of a priority; nothing with a lower tag can be claimed."""
    return f"coalesce((SELECT f.tag FROM ready_floors AS f WHERE f.priority = {priority}), '-Infinity')"


def virtual_time(priority: str) -> str:
    """The virtual time of a priority: the smallest tag that waits, or the largest finish if none waits."""
    return f"""coalesce(
        (SELECT w.tag FROM ready AS w WHERE w.priority = {priority} AND w.tag >= {floor(priority)}
            ORDER BY w.tag LIMIT 1),
        greatest({floor(priority)}, coalesce(
            (SELECT s.finish FROM shares AS s WHERE s.priority = {priority} ORDER BY s.finish DESC LIMIT 1), 0)))"""


_LOCK_OUT_TAGS = sa.text(f"SELECT pg_try_advisory_xact_lock({AdvisoryLock.FLOORS.key})")
"""Locks out transactions that assign tags, if none does."""
_RAISE = sa.text(f"""
    INSERT INTO ready_floors AS f (priority, tag)
    SELECT priority, tag FROM (
        SELECT p.priority, {virtual_time("p.priority")} AS tag
        FROM generate_series({MIN_PRIORITY}, {MAX_PRIORITY}) AS p(priority)) AS p
    WHERE tag > {floor("p.priority")} AND tag > 0
    ON CONFLICT (priority) DO UPDATE SET tag = excluded.tag WHERE excluded.tag > f.tag
""")
"""Raises each floor to the virtual time of its priority."""
_LOWER = sa.text("""
    UPDATE ready_floors AS f SET tag = w.tag FROM ready_floors AS g, LATERAL (
        SELECT tag FROM ready AS w WHERE w.priority = g.priority AND w.tag < g.tag ORDER BY w.tag LIMIT 1) AS w
    WHERE f.priority = g.priority AND w.tag < f.tag
""")
"""Lowers the floors that hide a task."""


class Floors(Statements):
    def rise(self) -> bool:
        """Raises each floor to the virtual time; returns False if a transaction is assigning tags."""
        free = self._row(_LOCK_OUT_TAGS)[0]
        if free:
            self._run(_RAISE)
        return bool(free)

    def uncover(self) -> int:
        """Lowers floors that hide a task; returns how many. Reads all dead entries below them."""
        return self._run(_LOWER)
