"""`make bench-scale`: what changes as backlog, workers, accounts, schedulers and hours grow.

`__main__` is the command. A case starts what it needs, and keeps a row as soon as it is known, as a JSON line (`case`);
`tables` has all cases, and shows the rows.
"""
