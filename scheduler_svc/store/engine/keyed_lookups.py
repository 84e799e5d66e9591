"""Rows that a statement finds by the key of each row of its own: one look-up each, whatever the planner believes.

A plan is kept for as long as its connection lives (see `transactions`). If it is made while a table is empty, that
table seems to be the smallest one there is: the planner reads it from end to end, and compares each row with the
statement's own; or it takes another index than that of the key. In a subquery that can't be taken apart the key is all
it has, and an order is free by one index only. What a statement deletes it finds by `= ANY(ARRAY(SELECT …))` for the
same reason, where IN would be a join.
"""

from __future__ import annotations


def payload(of: str) -> str:
    """For FROM: `p`, the payload of the task that a row of `of` names by its `task_key`."""
    return f"LATERAL (SELECT * FROM task_payloads AS x WHERE x.task_key = {of}.task_key OFFSET 0) AS p"


def task(of: str, name: str) -> str:
    """For FROM: that task as `name`; its `ctid` holds still for whoever has locked it, or its lease."""
    same = f"x.task_key BETWEEN {of}.task_key AND {of}.task_key"
    return f"LATERAL (SELECT x.ctid, x.* FROM tasks AS x WHERE {same} ORDER BY x.task_key) AS {name}"


def leased(of: str) -> str:
    """A condition: whether a lease, be it revoked, names that task."""
    return f"EXISTS (SELECT FROM leases AS x WHERE x.task_key = {of}.task_key OFFSET 0)"
