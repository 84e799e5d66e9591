"""Work on untrusted bytes in processes of its own: an input that takes too much memory or time ends only its process.

    sandbox = Sandbox("a_package.a_module:a_function", timeout=4.0, memory=512 * 2**20)
    answer = await sandbox.call(b"untrusted")

`sandbox.py` is for the service and has what both send each other, `__main__.py` is the process. Needs nothing but the
standard library; the services use it.
"""

from contentgen.sandbox.sandbox import Sandbox, SandboxError

__all__ = ["Sandbox", "SandboxError"]
