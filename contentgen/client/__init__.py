"""The client for other services: submit tasks, follow them, read what they made.

Layer: beside the server, of which it uses nothing; needs the plain package only (grpcio, protobuf and google.rpc).

    with ContentGenerationClient("127.0.0.1:50051") as client:
        task_id = client.submit_task(account_id=1, topic="人工智能的未来发展", priority=8)
        print(client.wait(task_id, timeout=60)["status"])
"""

from contentgen.client.client import AsyncContentGenerationClient as AsyncContentGenerationClient
from contentgen.client.client import ContentGenerationClient as ContentGenerationClient
from contentgen.client.errors import *  # noqa: F403 - the names of its `__all__`
from contentgen.client.results import *  # noqa: F403 - the names of its `__all__`
from contentgen.client.target import Person as Person
from contentgen.client.tasks import TaskFilter as TaskFilter
from contentgen.client.watch import AsyncWatch as AsyncWatch
from contentgen.client.watch import Watch as Watch
from contentgen.submit_fields import NewTask as NewTask
from contentgen.submit_fields import ScheduledTask as ScheduledTask
from contentgen.submit_fields import SubmitFields as SubmitFields
from contentgen.submit_fields import TaskChanges as TaskChanges
