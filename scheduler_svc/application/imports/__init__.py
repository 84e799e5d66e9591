"""The import of the old application's data: accounts, tasks with their contents, other contents, the publish pool.

It goes page by page in the order of the old ids, a transaction each. Each transaction also stores what it imported, so
an import may be cut off anywhere and run again.
"""
