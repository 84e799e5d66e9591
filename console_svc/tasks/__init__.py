"""Tasks: filters stand in the address; tick some, or take all that match: retry, cancel, run now, with a count first.
An id in the search field leads to its task: a timeline of its attempts and waits, why it waits and what to do, what its
CLI printed, commands to copy, submit again with changes.
"""
