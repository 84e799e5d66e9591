"""The stubs of a channel of grpc.aio, by the names that only type checkers know: at run time one class serves all."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contentgen.v1.account_service_pb2_grpc import AccountServiceAsyncStub
    from contentgen.v1.asset_service_pb2_grpc import AssetServiceAsyncStub
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub
    from contentgen.v1.notification_service_pb2_grpc import NotificationServiceAsyncStub
    from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceAsyncStub
    from contentgen.v1.system_service_pb2_grpc import SystemServiceAsyncStub
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub
    from contentgen.v1.webhook_service_pb2_grpc import WebhookServiceAsyncStub
    from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceAsyncStub
else:
    from contentgen.v1.account_service_pb2_grpc import AccountServiceStub as AccountServiceAsyncStub
    from contentgen.v1.asset_service_pb2_grpc import AssetServiceStub as AssetServiceAsyncStub
    from contentgen.v1.content_service_pb2_grpc import ContentServiceStub as ContentServiceAsyncStub
    from contentgen.v1.notification_service_pb2_grpc import NotificationServiceStub as NotificationServiceAsyncStub
    from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceStub as ScheduleServiceAsyncStub
    from contentgen.v1.system_service_pb2_grpc import SystemServiceStub as SystemServiceAsyncStub
    from contentgen.v1.task_service_pb2_grpc import TaskServiceStub as TaskServiceAsyncStub
    from contentgen.v1.webhook_service_pb2_grpc import WebhookServiceStub as WebhookServiceAsyncStub
    from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceStub as WorkerPoolServiceAsyncStub

__all__ = [
    "AccountServiceAsyncStub",
    "AssetServiceAsyncStub",
    "ContentServiceAsyncStub",
    "NotificationServiceAsyncStub",
    "ScheduleServiceAsyncStub",
    "SystemServiceAsyncStub",
    "TaskServiceAsyncStub",
    "WebhookServiceAsyncStub",
    "WorkerPoolServiceAsyncStub",
]
