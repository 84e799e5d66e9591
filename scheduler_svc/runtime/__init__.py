"""What all subjects stand on: the gRPC server, checks of requests, calls into transactions, loops, signals."""
