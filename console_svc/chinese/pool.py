"""The Chinese texts of `pages.pool`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "Publish pool": "发布池",
    "publishing": "发布中",
    "published": "已发布",
    "View": "视图",
    "List": "列表",
    "Month": "月",
    "Week": "周",
    "From day": "开始日期",
    "To day": "结束日期",
    "Reset": "重置",
    "A day such as 2030-01-31.": "应为日期，例如 2030-01-31。",
    "The number of an account.": "应为账号的编号。",
    "In the order of claims: the highest priority first, then the oldest content. Not due: passed over.": (
        "按领取顺序排列：优先级高的在前，相同时旧的在前；未到时间的会跳过。"
    ),
    "Content": "内容",
    "Not before": "最早时间",
    "Attempts": "尝试次数",
    "Actions": "操作",
    "due": "可领取",
    "at once": "立即",
    "next attempt": "下次尝试",
    "{publisher}, until": "{publisher} 已领取，有效至",
    "Attempts of entry {content_id}": "条目 {content_id} 的发布尝试",
    "No entry is like that.": "没有符合条件的条目。",
    "An approved content comes here by itself, until a publisher claims and publishes it.": (
        "内容审核通过后会自动进入发布池，由发布者领取并发布。"
    ),
    "Previous page": "上一页",
    "Page {n}": "第 {n} 页",
    "Next page": "下一页",
    "Change entry {content_id}": "修改条目 {content_id}",
    "Empty: at once.": "不填：立即。",
    "Times are in {zone}.": "时间所在时区：{zone}。",
    "Save": "保存",
    "Publish again": "重新发布",
    "Remove": "移除",
    "Remove it from the pool? Its content stays approved.": "从发布池移除？内容仍为已通过。",
    "Close": "关闭",
    "January": "1月",
    "February": "2月",
    "March": "3月",
    "April": "4月",
    "May": "5月",
    "June": "6月",
    "July": "7月",
    "August": "8月",
    "September": "9月",
    "October": "10月",
    "November": "11月",
    "December": "12月",
    "Monday": "星期一",
    "Tuesday": "星期二",
    "Wednesday": "星期三",
    "Thursday": "星期四",
    "Friday": "星期五",
    "Saturday": "星期六",
    "Sunday": "星期日",
    "{month} {year}": "{year}年{month}",
    "Earlier": "更早",
    "Later": "更晚",
    "Today": "今天",
    "Only {n} entries are shown, those of the highest priority. Filter to see others.": (
        "只显示优先级最高的 {n} 个条目，请用筛选查看其他条目。"
    ),
    "Drag an entry to another day or priority, or open it by ✎.": "把条目拖到另一天或另一优先级，或点 ✎ 修改。",
    "By keys: Shift and ← → for a day, ↑ ↓ for the priority.": "键盘：Shift 加 ← → 改日期，加 ↑ ↓ 改优先级。",
    "{n} entries": "{n} 个条目",
    "{n} more": "还有 {n} 个",
    "Nothing is scheduled here. Open an entry of the list by ✎, and give it a time.": (
        "这段时间没有排期。可在列表中点 ✎ 为条目设置时间。"
    ),
    "This form is not whole. Load the page anew.": "表单不完整，请重新加载页面。",
    "Changed entry {content_id}.": "已修改条目 {content_id}。",
    "Entry {content_id} will be published again.": "条目 {content_id} 将重新发布。",
    "Removed entry {content_id} from the pool. Its content stays approved.": (
        "已从发布池移除条目 {content_id}，内容仍为已通过。"
    ),
    "Entry {content_id} is as it was.": "条目 {content_id} 已恢复原样。",
    "Publish it at once?": "立即发布？",
    "{when} ({zone}) is past: a publisher may take the entry as soon as it is moved there.": (
        "{when}（{zone}）已经过去：移动后发布方可立即取走该条目。"
    ),
    "Move it there": "仍然移动",
    "Entry {content_id} is not in the pool.": "条目 {content_id} 不在发布池中。",
    "Attempts to publish": "发布尝试",
    "Outcome": "结果",
    "Number": "序号",
    "Publisher": "发布者",
    "Claimed": "领取时间",
    "Reported": "上报时间",
    "Only the first {n} are shown.": "只显示前 {n} 条。",
    "No publisher has reported an attempt yet.": "还没有发布者上报过尝试。",
}
