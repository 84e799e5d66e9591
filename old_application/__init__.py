"""The import of the old application's data: the extra `old-application`, beside the scheduler that it imports into.

The scheduler knows of it only the name of its command.
"""
