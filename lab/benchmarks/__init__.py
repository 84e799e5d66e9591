"""How fast the hot paths are, on the real path: a scheduler process on its embedded PostgreSQL with durability on, and
loaders and no-op workers that speak gRPC from processes of their own.

`__main__` is the command. `stack` starts the scheduler, `child` the other processes, which are functions of `callers`,
`workers` and `attacker`; `measures` puts them together, and `goals` says what each figure should be.
"""
