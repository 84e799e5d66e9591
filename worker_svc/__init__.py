"""The worker: takes leases from a scheduler and runs the content-creator CLI for each."""
