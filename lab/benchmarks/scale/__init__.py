"""`make bench-scale`: what changes as backlog, workers, accounts, schedulers and hours grow.

`__main__` is the command, `cases` the registry. A case is one module: it starts what it needs, and yields a row as soon
as it is known. `rows` keeps them as JSON lines, `tables` and `plot` show them.
"""
