"""The worker's end of `WorkerService.Lease`: what it holds, what it says, what it does on what it hears.

Layer: above slots, below main.

`deadlines`, `leases` and `outbox` are pure: they decide and do nothing, so that tests and a model checker can drive
them. `worker` does what they decide; `carrier`, `keeper` and `reporter` help it. `link` keeps a stream, in a
`conversation` whose next message `speaker` chooses. `wire` knows the protos; `service` puts it all together.
"""
