"""The worker's end of `WorkerService.Lease`: the leases that it holds, and the messages that it reads and writes.

`deadlines`, `leases` and `outbox` are pure: they decide and do nothing, so that tests and a model
checker can drive them. `worker` carries their decisions out, with `slots`, `lease_executor`, `durable_journal`,
`reporter` and `health`. `scheduler_connection` keeps a stream, whose next message `outbound_policy` chooses.
`wire` knows the protos; `service` assembles all of it.
"""
