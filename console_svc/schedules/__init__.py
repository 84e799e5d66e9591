"""Schedules: the cron line in words with the next five runs; pause, run now."""
