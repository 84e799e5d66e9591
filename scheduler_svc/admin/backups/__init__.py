"""`contentgen-scheduler backup FILE` and `restore FILE`: the whole database as one file, and back.

A composition root beside `replica`: it puts PostgreSQL's programs, the database and the terminal together. A backup is
what `pg_dump` writes in its custom format, so PostgreSQL's own programs can read it too.
"""

from scheduler_svc.admin.backups.command import backup_command, restore_command

__all__ = ["backup_command", "restore_command"]
