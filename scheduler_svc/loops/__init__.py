"""What runs by itself: the lanes (group commit), the dispatcher, the listener, the reaper and its neighbours.

Each is started and stopped by `main`; stopping twice is harmless. Nothing here decides: that is `application` and
`domain`.
"""
