"""`contentgen doctor`: what is wrong with a deployment, as far as gRPC tells, and what to do about it."""
