"""The gRPC server: its address, certificates, limits, interceptors around every call, and the standard services."""
