"""The schedulers themselves, for operators, and what a caller may call. Layer: client."""

from __future__ import annotations

from contentgen.client.documents import document
from contentgen.client.methods import Methods, Unary
from contentgen.client.results import Caller, System
from contentgen.v1 import system_service_pb2 as pb


class SystemMethods(Methods):
    @Unary
    async def get_system(self) -> System:
        """Returns every scheduler with its work that waits, the sessions that hold locks, the database and the limits.

        Example:
            >>> away = [it["scheduler_id"] for it in client.get_system()["replicas"] if not it["serving"]]
        """
        return document(System, await self._call(self._stubs.system.GetSystem, pb.GetSystemRequest()))

    @Unary
    async def get_caller(self) -> Caller:
        """Returns whose token the client has, and which RPCs it may call. Every role may ask.

        Example:
            >>> may_submit = "TaskService/SubmitTask" in client.get_caller()["methods"]
        """
        return document(Caller, await self._call(self._stubs.system.GetCaller, pb.GetCallerRequest()))
