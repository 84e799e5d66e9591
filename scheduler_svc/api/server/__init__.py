"""The gRPC server: address, certificates, limits, the error interceptor, and the standard services."""
