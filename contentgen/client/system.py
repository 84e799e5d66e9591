"""Ask how the schedulers themselves stand. For operators. Layer: client."""

from __future__ import annotations

from contentgen.client import documents
from contentgen.client.connection import Connected
from contentgen.client.documents import Document
from contentgen.v1 import system_service_pb2 as pb


class SystemMethods(Connected):
    def get_system(self) -> Document:
        """Every scheduler, how its work stands, and who holds locks of the database that it waits for.

        `version`, `replicas`: of each `scheduler_id`, `version`, `started_at`, `last_heartbeat_at`, `serving`, `lanes`
        (by name: `oldest_age`, `waiting`, `set_aside`); `lock_holders`: of each `pid`, `role`, `application`,
        `address`, `state`, `transaction_age`, `relation`, `waited_for`; `database` (`version`, `size` in bytes);
        `limits`: what the scheduler that answers bounds, None where it does not. Ages and durations are in seconds.

        Example:
            >>> away = [it["scheduler_id"] for it in client.get_system()["replicas"] if not it["serving"]]
        """
        return documents.system(self._connection.call(self._connection.system.GetSystem, pb.GetSystemRequest()))
