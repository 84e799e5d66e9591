"""Workers, dispatch and schedulers."""
