"""What runs by itself: group committers, dispatcher, admission, listener, notifier, and the timed loops.

`service.py` has their common protocol; `Replica` starts and stops them. Nothing here decides: that is `application` and
`domain`.
"""
