"""The import of the old application's data: accounts, tasks with their contents, other contents, the publish pool.

Page by page in the order of the old ids, a transaction each; what was taken is remembered in that transaction, so an
import may be cut off anywhere and started again.
"""
