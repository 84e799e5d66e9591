"""Messages and stubs of the API, generated from `protos/contentgen/v1` by `make gen`. Never edited."""
