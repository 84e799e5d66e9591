"""Every RPC that the scheduler serves, from the descriptors: those of the contract, health, reflection and channelz.

A new RPC is in the campaign as soon as it is in a .proto.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from contentgen.rpcs import METHODS, accounts_of, path_of
from contentgen.rpcs import RPCS as CONTRACT
from lab.fuzz.case import Who

FOREIGN = (health_pb2, reflection_pb2, channelz_pb2)
UNKNOWN = ("/contentgen.v1.TaskService/NoSuchRpc", "/no.such.Service/Rpc", "/x")
"""Paths that lead nowhere."""


@dataclass(frozen=True, slots=True)
class Rpc:
    """An RPC by its path, `/package.Service/Method`."""

    path: str
    method: MethodDescriptor
    contract: bool
    """Whether it is ours, so that its refusals have details."""

    @property
    def name(self) -> str:
        """`Service/Method`."""
        return self.path.rpartition(".")[2]

    @property
    def request(self) -> Descriptor:
        return self.method.input_type

    @property
    def answer_class(self) -> type[Message]:
        return GetMessageClass(self.method.output_type)

    @property
    def streams_requests(self) -> bool:
        return self.method.client_streaming

    @property
    def streams_answers(self) -> bool:
        return self.method.server_streaming

    @property
    def rightful(self) -> tuple[Who, ...]:
        """Who may make this call, the honest left alone."""
        if self.name.startswith("WorkerService/"):
            return (Who.WORKER,)
        # An RPC that may name an account is not called for all of them: to pause dispatch would stop the honest, too.
        of_all = not self.contract or (CONTRACT[self.name].all_accounts and not accounts_of(self.name))
        return (Who.OPERATOR,) if of_all else (Who.TIED,)


_RPCS = (
    *(Rpc(path_of(name), method, contract=True) for name, method in METHODS.items()),
    *(
        Rpc(f"/{service.full_name}/{method.name}", method, contract=False)
        for module in FOREIGN
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ),
)
RPCS: dict[str, Rpc] = {rpc.path: rpc for rpc in _RPCS}
"""By path."""
