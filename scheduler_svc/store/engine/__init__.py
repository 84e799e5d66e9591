"""The engine that runs statements: connections, transactions, time limits, and which database it is."""
