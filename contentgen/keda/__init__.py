"""Messages and stubs of KEDA's interface, generated from `protos/contentgen/keda` by `make gen`. Never edited."""
