"""What tasks, leases and contents are, and what may happen to them. Pure: no I/O and no clock.

The innermost layer: it imports no other one. Decisions that must hold whatever fails (transitions, a session's rank,
capacity, expiry, outcomes of reports) are plain functions here, so tests and a model checker call the production code.
"""
