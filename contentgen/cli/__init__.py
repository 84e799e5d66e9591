"""`contentgen`, the operators' command: what a scheduler can do over gRPC, for a terminal and for scripts.

Layer: cli, beside the stack. It knows `contentgen.client`, and nothing of a server: `app` puts the
commands together, `command` gives each its connection and its exit status, `output` writes what they found.
"""
