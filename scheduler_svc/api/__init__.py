"""The gRPC edge: an RPC is checked, becomes an application call, and its answer a message again.

Above `application`, beside `loops` and `store`, below `main`. `submits`, `validation` and `pages` read requests,
`convert` writes answers; `errors` has the one table from domain errors to statuses, `guard` applies it to every RPC.
"""
