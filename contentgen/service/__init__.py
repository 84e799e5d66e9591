"""What the services have in common: how they begin, settings in one dialect, `config check`, logs, metrics, traces.

Scheduler, worker and console build on it. It knows none of them, and the client and the operators' command use nothing
of it.
"""
