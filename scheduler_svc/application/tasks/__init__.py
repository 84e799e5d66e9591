"""Tasks, from submit to cleanup: submits, cancels, retries, reads, and the waits and polls of clients."""
