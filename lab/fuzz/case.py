"""One case of a campaign, and every RPC that it may call: those of the contract, health, reflection and channelz.

A case is made from a seed and a number alone, but for live ids, which a run has learnt: a finding keeps its bytes too.
The RPCs come from the descriptors: a new one is in the campaign as soon as it is in a .proto.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from contentgen.rpcs import METHODS, accounts_of, path_of
from contentgen.rpcs import RPCS as CONTRACT


class Who(StrEnum):
    TIED = "tied"
    """An operator of some accounts: may do everything to what is theirs."""
    CLIENT = "client"
    """A client of the same accounts."""
    WORKER = "worker"
    OPERATOR = "operator"
    """An operator of all accounts, for calls that nobody else may make."""
    STRANGER = "stranger"
    """A token that nobody knows."""
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Case:
    """One call. `requests` are serialized messages; a call that takes one is made with the first."""

    rpc: str
    """`/package.Service/Method`."""
    seed: int
    number: int
    shape: str
    """How the bytes were made: structured, random, truncated, …"""
    who: Who
    requests: tuple[bytes, ...]
    timeout: float
    """The deadline in seconds; 0 or less has passed at once."""
    hangs_up_after: float | None = None
    """Seconds after which the caller cancels."""
    metadata: tuple[tuple[str, str | bytes], ...] = ()

    @property
    def impatient(self) -> bool:
        return self.hangs_up_after is not None or self.timeout < PATIENT


PATIENT = 15.0
"""Seconds of a deadline that is met whatever is asked, but for calls that wait by their nature."""


def random_of(target: str, seed: int, number: int) -> random.Random:
    """Returns the source of everything random in one case; the same on any machine."""
    return random.Random(f"{target}/{seed}/{number}")


UNKNOWN = ("/contentgen.v1.TaskService/NoSuchRpc", "/no.such.Service/Rpc", "/x")


@dataclass(frozen=True, slots=True)
class Rpc:
    path: str
    method: MethodDescriptor
    contract: bool
    """Whether it is ours, so that its refusals have details."""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def request(self) -> Descriptor:
        return self.method.input_type

    @property
    def answer_class(self) -> type[Message]:
        return GetMessageClass(self.method.output_type)

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
        for module in (health_pb2, reflection_pb2, channelz_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ),
)
RPCS: dict[str, Rpc] = {rpc.path: rpc for rpc in _RPCS}
