"""For the tests of services that use contentgen: a real scheduler, and a worker that does with tasks what a test says.

pytest finds the fixtures by itself (`plugin`). Without pytest, `scheduler.run_scheduler`, `scheduler.new_account`
and `worker.HoldingWorker` are the same as context managers. Layer: above the client.
"""
