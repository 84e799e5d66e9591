"""The worker pool, however many pages its workers are. For the client and the operators' command. Layer: client."""

from __future__ import annotations

import grpc

from contentgen.client.connection import Caller
from contentgen.v1 import worker_pool_service_pb2 as pb


def whole_pool(
    call: Caller, rpc: grpc.UnaryUnaryMultiCallable[pb.GetWorkerPoolRequest, pb.GetWorkerPoolResponse]
) -> pb.GetWorkerPoolResponse:
    """All pages as one answer, with the counts of the last one. A pool of thousands is one page, or a few."""
    pool = pb.GetWorkerPoolResponse()
    for page in call.pages(rpc, pb.GetWorkerPoolRequest()):
        pool.MergeFrom(page)  # lists add up
        pool.num_workers, pool.active_workers = page.num_workers, page.active_workers
        pool.total_queue_size, pool.next_page_token = page.total_queue_size, page.next_page_token
    return pool
