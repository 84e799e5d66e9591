"""The client for other services: submit tasks, follow them, read what they made.

Layer: beside the server, of which it uses nothing; needs the plain package only (grpcio, protobuf and google.rpc).

    with ContentGenerationClient("127.0.0.1:50051") as client:
        task_id = client.submit_task(account_id=1, topic="人工智能的未来发展", priority=8)
        print(client.wait(task_id, timeout=60)["status"])
"""

from contentgen.client.client import ContentGenerationClient
from contentgen.client.errors import (
    CreatorCLINotFoundException,
    CreatorException,
    InvalidStateException,
    Refusal,
    ResourceNotFoundException,
    ResumeTokenExpiredException,
    refusal,
)
from contentgen.client.watch import Watch

__all__ = [
    "ContentGenerationClient",
    "CreatorCLINotFoundException",
    "CreatorException",
    "InvalidStateException",
    "Refusal",
    "ResourceNotFoundException",
    "ResumeTokenExpiredException",
    "Watch",
    "refusal",
]
