"""`contentgen top`: the queue, the workers and what they run, live."""
