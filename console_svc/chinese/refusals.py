"""What the reasons of the schedulers' refusals mean in Chinese; a page has their English message below it.

A call that fails without a reason is found by its gRPC status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "INVALID_ARGUMENT": "请求内容有误。",
    "RESOURCE_NOT_FOUND": "找不到该对象，它可能已被删除。",
    "INVALID_STATE": "当前状态不允许此操作。",
    "ETAG_MISMATCH": "内容已被他人修改，请重新加载。",
    "ACCOUNT_INACTIVE": "该账号已停用，不接受提交。",
    "RETRIES_EXHAUSTED": "重试次数已用完。",
    "UNIQUE_KEY_IN_USE": "另一个任务正在使用同一唯一键。",
    "REQUEST_ID_CONFLICT": "该请求 ID 已用于另一次不同的提交。",
    "TOKEN_INVALID": "令牌无效或已被撤销。",
    "ROLE_FORBIDDEN": "您的角色无权执行此操作。",
    "ACCOUNT_FORBIDDEN": "您的令牌无权访问该账号。",
    "QUEUE_FULL": "队列已满，请稍后再试。",
    "ACCOUNT_QUEUE_FULL": "该账号等待中的任务已达上限，请稍后再试。",
    "TOO_MANY_SCHEDULES": "定时计划的数量已达上限。",
    "TOO_MANY_REVIEWS": "您占用的待审内容已达上限，请先审完或释放一些。",
    "ACCOUNT_ASSETS_FULL": "该账号的文件已达到存储上限。",
    "TOO_MANY_WEBHOOKS": "Webhook 的数量已达上限。",
    "TOO_MANY_CALLS": "请求过于频繁，请稍后再试。",
    "REQUEST_TOO_SLOW": "请求传输太慢，已被中断。",
    "STORE_UNAVAILABLE": "数据库暂不可用，请稍后再试。",
    "LOCK_TIMEOUT": "等待数据库锁超时，请稍后再试。",
    "STATEMENT_TIMEOUT": "数据库执行超时，请稍后再试。",
    "ASSET_STORE_UNAVAILABLE": "图片等文件的存储暂不可用，请稍后再试。",
    "SHUTTING_DOWN": "调度器正在关闭，请稍后再试。",
    "INTERNAL": "调度器内部出错，详见其日志。",
    "DEADLINE_EXCEEDED": "调度器没有及时响应，操作可能已完成，也可能未完成。",
}
