"""What a task, a lease and a content are, and what may happen to them: pure, with no I/O and no clock.

The innermost layer. Everything else imports it; it imports nothing of ours. Decisions that must hold whatever fails
(the transition table, a session's rank, capacity, expiry, the outcome of a report) are plain functions here, so that
tests and a model checker can call the very code that production runs.
"""
