"""The Chinese texts of `pages.webhooks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Webhooks": "Webhook",
    "New webhook": "新建 Webhook",
    "Webhook {webhook_id}": "Webhook {webhook_id}",
    "There is no such webhook.": "没有该 Webhook。",
    "There is no webhook here. One tells an address of yours, by a signed POST, what happens to tasks and contents.": (
        "这里没有 Webhook。它通过带签名的 POST 把任务和内容的变化通知到您的地址。"
    ),
    "Address": "地址",
    "Events": "事件",
    "Event": "事件类型",
    "all": "全部",
    "https, or http to a network that the operators of the schedulers allow.": (
        "https；或 http，限调度器运维人员允许的网络。"
    ),
    "a task has ended": "任务结束",
    "a content waits for its review": "内容等待审核",
    "a content is approved": "内容通过审核",
    "a content is rejected": "内容被驳回",
    "a content is published": "内容已发布",
    "publishing a content has failed": "内容发布失败",
    "Choose at least one.": "请至少选择一个。",
    "Empty: the events of all accounts.": "留空：所有账号的事件。",
    "The secret of the webhook": "Webhook 的密钥",
    "Copy it now: it is not shown again. The receiver checks the signature of each delivery by it.": (
        "请立即复制：以后不再显示。接收方用它校验每次投递的签名。"
    ),
    "The secret before it is valid until": "旧密钥有效至",
    "To the webhook": "查看该 Webhook",
    "Send a ping": "发送测试",
    "Delete this webhook with all its deliveries, delivered or not?": "删除该 Webhook 及其所有投递（无论是否送达）？",
    "Old secret": "旧密钥",
    "valid until": "有效至",
    "New secret": "更换密钥",
    "Make a new secret? The receiver has to learn it.": "更换密钥？接收方需要换用新密钥。",
    "The present one stays valid for": "当前密钥继续有效",
    "1 day": "1 天",
    "1 hour": "1 小时",
    "7 days": "7 天",
    "no time": "不再有效",
    "Deliveries": "投递记录",
    "delivered": "已送达",
    "exhausted": "已放弃",
    "Tries": "次数",
    "Answer": "响应",
    "Happened": "发生时间",
    "Data": "数据",
    "Send again": "重新投递",
    "Send now": "立即投递",
    "No delivery is like that.": "没有符合条件的投递。",
    "A ping makes one.": "发送测试即可产生一条。",
    "Changed webhook {webhook_id}.": "已修改 Webhook {webhook_id}。",
    "Webhook {webhook_id} is told of events again.": "Webhook {webhook_id} 已恢复接收事件。",
    "Webhook {webhook_id} is told of no events.": "Webhook {webhook_id} 已暂停接收事件。",
    "The receiver has answered with {status}.": "接收方返回 {status}。",
    "The ping has failed: {error}": "测试失败：{error}",
    "Deleted webhook {webhook_id} and its deliveries.": "已删除 Webhook {webhook_id} 及其投递记录。",
    "Delivery {delivery_id} is sent again.": "投递 {delivery_id} 将重新发送。",
}
