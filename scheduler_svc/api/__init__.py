"""The gRPC edge: each RPC checks its request, calls the application and converts the result to a message.

Above `application`, beside `loops` and `store`, below `main`. `access` authenticates and counts callers, `messages`
checks requests and converts results and errors, `server` has the interceptors and what gRPC itself needs.
"""
