"""The schedulers themselves, for operators, and what a caller may call. Layer: client."""

from __future__ import annotations

from contentgen.client.methods import Methods, returns
from contentgen.client.results import Caller, System
from contentgen.v1 import system_service_pb2 as pb


class SystemMethods(Methods):
    @returns(System)
    async def get_system(self) -> pb.GetSystemResponse:
        """Returns every scheduler with its work that waits, the sessions that hold locks, the database and the limits.

        Example:
            >>> away = [it["scheduler_id"] for it in client.get_system()["replicas"] if not it["serving"]]
        """
        return await self._call(self._stubs.system.GetSystem, pb.GetSystemRequest())

    @returns(Caller)
    async def get_caller(self) -> pb.GetCallerResponse:
        """Returns whose token the client has, and which RPCs it may call. Every role may ask.

        Example:
            >>> may_submit = "TaskService/SubmitTask" in client.get_caller()["methods"]
        """
        return await self._call(self._stubs.system.GetCaller, pb.GetCallerRequest())
