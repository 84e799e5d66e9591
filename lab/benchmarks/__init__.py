"""How fast the hot paths are, on the real path: a scheduler process on its embedded PostgreSQL with durability on, and
loaders and no-op workers that speak gRPC from processes of their own.

`__main__` is the command. `stack` starts the scheduler, `child` the other processes (`loader`, `noop_worker`,
`latency_probe`, `idle_workers`); `measures` puts them together, one function a measure, and `goals` says what each
figure should be. Comparisons with other queues would be further measures beside these.
"""
