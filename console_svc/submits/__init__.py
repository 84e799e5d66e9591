"""New tasks: one by a form, or many by a sheet."""
