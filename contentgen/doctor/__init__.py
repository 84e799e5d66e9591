"""What is wrong with a deployment, as far as its API tells, and what to do about it.

Layer: above client. `contentgen doctor` and the console share it; each adds what only it can see.
"""
