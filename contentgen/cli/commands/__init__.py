"""The commands, one file a group of them. Each makes its calls by the session's connection and writes to its output."""
