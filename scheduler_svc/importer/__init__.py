"""`contentgen-scheduler import URL`: the old application's data, into the database that the schedulers use.

A composition root beside `replica`: it puts the source, the database and the terminal together.
"""

from scheduler_svc.importer.command import import_command

__all__ = ["import_command"]
