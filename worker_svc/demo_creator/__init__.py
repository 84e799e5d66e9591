"""A creator CLI for demonstrations and tests: a real program that works offline and is no language model.

A stand-in for a foreign program: it imports nothing of the worker, only the standard library, and starts fast. It
speaks the `reference` profile (an asynchronous run is a file in a folder that its callers share and a clock, no
process) and `json` (`--mode=sync`). It can be told to be slow and to misbehave; see `arguments` and `misbehaviour`.

Environment: CREATOR_DEMO_DIR, the shared folder (default: one of the user's own under the temporary folder);
CREATOR_DEMO_SECONDS, how long a run takes (default 1.5); CREATOR_DEMO_JOURNAL, a file that gets lines for each run
(unset: none).
"""
