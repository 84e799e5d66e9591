"""Tasks: filters and the order stand in the address, and *Created* and *Ended* sort the list; tick some, or take all
that match: retry, cancel, run now, with a count first. An id in the search field leads to its task: a timeline of its
attempts and waits, why it waits, until when and what to do, what its CLI printed, commands to copy, submit again with
changes. While it waits, change its brief, time, priority and limits there. *Save this view* names what the list shows:
this browser keeps it above the filter.
"""
