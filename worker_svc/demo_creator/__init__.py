"""A creator CLI for demonstrations and tests: a real program that works offline, and is not a language model.

A stand-in for a foreign program: it imports nothing of the worker, only the standard library, and starts fast. It
speaks the `reference` profile (an asynchronous run is a file in a folder that its callers share and a clock, no
process) and `json` (`--mode=sync`). Options make it slow and misbehave; see `arguments` and `misbehaviour`.

Environment: CREATOR_DEMO_DIR, the shared folder (default: a folder of this user in the temporary folder);
CREATOR_DEMO_SECONDS, how long a run takes (default 1.5); CREATOR_DEMO_JOURNAL, a file that gets lines for each run
(unset: none).
"""
