"""WorkerService and WorkerPoolService: the workers' streams, their messages, and the pool as a whole."""
