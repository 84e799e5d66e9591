"""Publish pool: a list in the order of claims, and a calendar: drag an entry to another day or priority, or Shift with
an arrow, or ✎, which works without scripts and on a phone. A past time, which frees it at once, is asked about; a
change can be undone for 10 s. Failed ones with their error, and again.
"""
