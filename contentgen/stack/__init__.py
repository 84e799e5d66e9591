"""Commands for people: today the whole stack on one machine, for a look (`demo`) or to work with (`run`).

Layer: above the client, the only part of the scheduler it uses: services are started as commands and called over gRPC.
"""
