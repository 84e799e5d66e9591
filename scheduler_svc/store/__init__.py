"""All the SQL, on PostgreSQL through SQLAlchemy Core; `docs/statements.md` lists it.

`engine/transactions.py` has the statements of a transaction, by subject. Many rows are one parameter a column
(`engine/batch.py`). A state's number comes from its enum: an IntEnum in an f-string is its number. Every transaction
takes its locks in one order: workers, leases, waiting tasks (ready, delayed), tasks, each by ascending key.
"""
