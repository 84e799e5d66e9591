"""What happens: submit, dispatch, report, recover, steer, query. Synchronous, against the ports of `ports.py`.

Each function takes a transaction first and leaves the commit to its caller, so that many of them can share one
(group commit). What must happen after the commit (wake the dispatcher, tell a worker) is collected in `tx.signals`.
"""
