"""The client for other services: submit tasks, follow them, read what they made.

Layer: beside the server, of which it uses nothing; needs the plain package only (grpcio, protobuf and google.rpc).

    with ContentGenerationClient("127.0.0.1:50051") as client:
        task_id = client.submit_task(account_id=1, topic="人工智能的未来发展", priority=8)
        print(client.wait(task_id, timeout=60)["status"])
"""

from contentgen.client.client import AsyncContentGenerationClient, ContentGenerationClient
from contentgen.client.errors import (
    AlreadyExists,
    ContentGenerationError,
    CreatorCLINotFoundException,
    CreatorException,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    InvalidStateException,
    PermissionDenied,
    RequestError,
    ResourceExhausted,
    ResourceNotFoundException,
    ResumeTokenExpiredException,
    TaskCancelledException,
    TaskTimeoutException,
    Unauthenticated,
    Unavailable,
    WaitTimeoutException,
)
from contentgen.client.results import (
    Account,
    Content,
    DispatchStatus,
    PendingReason,
    PollStats,
    PublishPoolEntry,
    PublishStatus,
    ReviewStatus,
    System,
    Task,
    TaskChange,
    TaskEvent,
    TaskProgress,
    TaskStats,
    TaskStatus,
    Worker,
    WorkerPool,
)
from contentgen.client.watch import AsyncWatch, Watch

__all__ = [
    "Account",
    "AlreadyExists",
    "AsyncContentGenerationClient",
    "AsyncWatch",
    "Content",
    "ContentGenerationClient",
    "ContentGenerationError",
    "CreatorCLINotFoundException",
    "CreatorException",
    "DeadlineExceeded",
    "DispatchStatus",
    "FailedPrecondition",
    "FieldViolation",
    "InvalidArgument",
    "InvalidStateException",
    "PendingReason",
    "PermissionDenied",
    "PollStats",
    "PublishPoolEntry",
    "PublishStatus",
    "RequestError",
    "ResourceExhausted",
    "ResourceNotFoundException",
    "ResumeTokenExpiredException",
    "ReviewStatus",
    "System",
    "Task",
    "TaskCancelledException",
    "TaskChange",
    "TaskEvent",
    "TaskProgress",
    "TaskStats",
    "TaskStatus",
    "TaskTimeoutException",
    "Unauthenticated",
    "Unavailable",
    "WaitTimeoutException",
    "Watch",
    "Worker",
    "WorkerPool",
]
