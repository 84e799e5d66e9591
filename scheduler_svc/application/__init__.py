"""The use cases: submit, dispatch, report, recover, cancel, retry, query. Synchronous, on the ports of `ports.py`.

Functions take a transaction first and leave the commit to their caller, so that several can share one (group commit).
What must happen after the commit is collected in `tx.signals`.
"""
