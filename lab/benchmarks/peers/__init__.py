"""`make bench-peers`: contentgen beside the queues that a user would pick instead, in one run on one machine."""
