"""Schedules, which submit tasks by themselves."""
