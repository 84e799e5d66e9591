"""Schedules: the cron line in words with the next five runs; what it has made, and which runs made no task and why;
pause, run now.
"""
