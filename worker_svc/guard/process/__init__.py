"""The guard's own program: the parent of every CLI of one worker.

It runs in an interpreter of its own, without site packages (`worker_svc.guard.client` starts it), so its modules import
only each other and a little of the standard library. It forks, so it has one thread.
"""
