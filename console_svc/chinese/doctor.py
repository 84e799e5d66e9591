"""The Chinese texts of `contentgen.doctor`, whose findings the overview shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    (
        "it takes no task: make space in its CONTENTGEN_DATA_DIR, and do not restart it before, since results may be in its"
        " memory only"
    ): "它不再接任务：请先在其 CONTENTGEN_DATA_DIR 中腾出空间，此前不要重启，因为结果可能只在内存里",
    (
        "{scheduler} has said nothing for {silence}: it was killed, is frozen, or does not reach the database"
    ): "{scheduler} 已 {silence} 没有消息：它被杀死、被冻结，或连不上数据库",
    "start it again": "请重新启动它",
    "What is wrong, and what to do": "问题与处理办法",
    "does not work": "无法工作",
    "should be looked at": "请留意",
    "Locks": "数据库锁",
    "Durability": "持久性",
    "PostgreSQL has {setting} off": "PostgreSQL 关闭了 {setting}",
    (
        "the schedulers' own sessions have it on; reset it for the server, the database and the role"
    ): "调度器自己的会话已打开它；请在服务器、数据库和角色上恢复默认值",
    (
        "a crash of its host may lose or damage acknowledged work: set it on, and reload PostgreSQL"
    ): "主机崩溃可能丢失或损坏已确认的工作：请打开它，并重新加载 PostgreSQL",
    "CLI": "CLI",
    "Queue": "队列",
    "Handed out": "已派发",
    "Refused options": "被拒绝的选项",
    "Publications": "发布",
    "{one}{between}{other}": "{one}{between}{other}",
    "this console": "本控制台",
    "{who} is {own}, {found}": "{who}是 {own}，{found}",
    "{who} is {own}, {compared}": "{who}是 {own}，{compared}",
    "schedulers are {versions}": "调度器是 {versions}",
    "workers are {versions}": "worker 是 {versions}",
    "bring all to one version, schedulers first": "请统一版本，先升级调度器",
    "as are the schedulers and the workers": "与调度器和 worker 一致",
    "as are the schedulers": "与调度器一致",
    "as are the workers; the schedulers' versions are not known": "与 worker 一致；调度器的版本未知",
    "and nothing is there to compare with; the schedulers' versions are not known": "没有可比较的；调度器的版本未知",
    "{n} take tasks, {busy} of {slots} slots are busy": "{n} 个在接收任务，{slots} 个槽位中 {busy} 个在用",
    "{message}; {n} more unhealthy": "{message}；另有 {n} 个故障",
    "all {n} are unhealthy: each tries one task at a time": "{n} 个全部故障：每个每次只试一个任务",
    "mend their CLIs": "请修复它们的 CLI",
    "all {n} are draining": "{n} 个全部在排空",
    "restart them, or start others: contentgen-worker": "请重启它们，或启动其他的：contentgen-worker",
    "none is connected": "没有 worker 连接",
    "start contentgen-worker, with CONTENTGEN_SCHEDULER set to this target": (
        "请启动 contentgen-worker，并把 CONTENTGEN_SCHEDULER 设为该地址"
    ),
    "{worker}: {error}": "{worker}：{error}",
    "look for what limits the size of requests between it and the scheduler (nginx: client_max_body_size); it tries"
    " again by itself, 5 min apart at most, and at once when it is restarted": (
        "请检查它与调度器之间限制请求大小的设置（nginx：client_max_body_size）；"
        "它会自动重试，间隔最长 5 分钟，重启后立即重试"
    ),
    "{workers} not heard of any more": "已收不到 {workers} 的心跳",
    "where that is not meant, look at its log": "如非有意停止，请查看其日志",
    "workers have different ones: {versions}": "各 worker 的版本不同：{versions}",
    "install the same one everywhere": "请处处安装同一版本",
    "{version} on all workers": "所有 worker 上都是 {version}",
    "{version} on the worker": "worker 上是 {version}",
    "that of {worker} fails at once or is gone": "{worker} 的 CLI 一启动就失败或不存在",
    "that of {worker} fails at once or is gone, for {age}": "{worker} 的 CLI 一启动就失败或不存在，已 {age}",
    "{broken}: {error}": "{broken}：{error}",
    "no reason is given": "未给出原因",
    "its host": "其主机",
    "look at CREATOR_CLI_PATH and what it needs on {host}; the worker tries one task at a time, 5 min apart at most,"
    " and takes all again once one completes, or once it is restarted": (
        "请检查 {host} 上的 CREATOR_CLI_PATH 及其依赖；"
        "worker 每次只试一个任务，间隔最长 5 分钟，成功一个或重启后恢复正常"
    ),
    "{names} and {n} more": "{names} 等，另有 {n} 个",
    "{pending} of {limit} pending, {due} due": "等待中 {pending}，上限 {limit}，可运行 {due}",
    "{state}, the oldest for {age}": "{state}，最久已等 {age}",
    "{message}, the oldest for {age}": "{message}，最久已等 {age}",
    "full, unless enough of it is scheduled: {state}": "已满（除非其中多为定时任务）：{state}",
    "what is scheduled for the day after tomorrow (UTC) or later does not count": "后天（UTC）及以后的定时任务不计入",
    "full: {state}": "已满：{state}",
    "start workers, or raise CONTENTGEN_MAX_QUEUE_SIZE of the schedulers": (
        "请启动更多 worker，或调高调度器的 CONTENTGEN_MAX_QUEUE_SIZE"
    ),
    "nearly full: {state}": "快满了：{state}",
    "start workers before submits are refused": "请在提交被拒绝前启动更多 worker",
    "paused: {what}": "已暂停：{what}",
    "everything": "全部",
    "account {ids}": "账号 {ids}",
    "accounts {ids}": "账号 {ids}",
    "{message}; the newest pending tasks wait for its end ({n})": "{message}；最新的等待任务在等它结束（{n} 个）",
    "`contentgen dispatch resume`, of the account or --all, hands tasks out again": (
        "用 `contentgen dispatch resume`（指定账号或 --all）恢复派发"
    ),
    "the newest pending tasks wait for {what}": "最新的等待任务在等：{what}",
    "{what} ({n})": "{what}（{n} 个）",
    "no task waits": "没有任务在等待",
    "the time before its next attempt (`contentgen task retry` takes the wait away)": (
        "下次尝试前的间隔（`contentgen task retry` 可立即重试）"
    ),
    "its schedule time": "计划时间",
    "another task of its account to end: as many run as the account may have at once": (
        "该账号的其他任务结束：同时运行数已达上限"
    ),
    "a minute to pass: as many attempts have started within it as its account may start": (
        "下一分钟：该账号每分钟的启动数已达上限"
    ),
    "`contentgen dispatch resume`: dispatch is paused": "`contentgen dispatch resume`：派发已暂停",
    "a free slot: no worker offers one": "空闲槽位：没有 worker 提供",
    "start contentgen-worker": "请启动 contentgen-worker",
    "{waits}, though {free} of {slots} slots are not busy": "{waits}，而 {slots} 个槽位中有 {free} 个空闲",
    "a worker offers no slot while its disk refuses or its results wait to be acknowledged: look at its log": (
        "worker 的磁盘拒绝写入，或其结果尚未被确认时，不提供槽位：请查看其日志"
    ),
    "the pool is starved, all {slots} slots are busy: {waits}": "worker 不足，{slots} 个槽位全忙：{waits}",
    "start workers, or give those that are there more slots: CONTENTGEN_SLOTS, `contentgen worker resize`": (
        "请启动更多 worker，或为现有的增加槽位：CONTENTGEN_SLOTS、`contentgen worker resize`"
    ),
    "{n} on their way to a CLI, none for longer than {age}": "{n} 个正在交给 CLI，均未超过 {age}",
    "{n} not started for {age}: {tasks}": "{n} 个任务已 {age} 未启动：{tasks}",
    "look at `contentgen task events ID` and the worker's log; `contentgen task cancel --force ID` ends one. Tasks"
    " ahead of a slot (CONTENTGEN_QUEUE_SIZE) wait rightly": (
        "请查看 `contentgen task events ID` 和 worker 的日志；`contentgen task cancel --force ID` 可结束任务。"
        "在槽位前排队的任务（CONTENTGEN_QUEUE_SIZE）属正常等待"
    ),
    "creator options that workers do not allow failed {count} within a day, the newest being {task}: {options}": (
        "一天内有 {count}因 worker 不允许的 CLI 选项而失败，最新的是 {task}：{options}"
    ),
    "1 task": "1 个任务",
    "{n} tasks": "{n} 个任务",
    "submit without them, or name them in CREATOR_OPTIONS_ALLOWED of all workers": (
        "提交时去掉这些选项，或写入所有 worker 的 CREATOR_OPTIONS_ALLOWED"
    ),
    "{count} in the publish pool stay failed, the first being {first}": (
        "发布池中有 {count} 篇停在失败状态，第一篇是{first}"
    ),
    "{n} or more": "{n}+",
    "content {content}": "内容 {content}",
    "{content}: {error}": "{content}：{error}",
    "`contentgen pool list --status failed` shows them, `contentgen pool retry` tries again": (
        "`contentgen pool list --status failed` 可列出，`contentgen pool retry` 可重试"
    ),
    "{n} of {n} serve, and {waits}": "{n}/{n} 个在服务，{waits}",
    "the oldest of the {lane} waits for {age}": "{lane} 最久已等 {age}",
    "{lane} for {age}": "{lane} 已等 {age}",
    "nothing": "无",
    "{scheduler} does not serve; waiting: {lanes}": "{scheduler} 未提供服务；在等待：{lanes}",
    "look at its log (action stall, lock, store or assets) and at PostgreSQL": (
        "请查看它的日志（action 为 stall、lock、store 或 assets）和 PostgreSQL"
    ),
    "{n} of the {lane} of {scheduler} wait for a lock, the oldest for {age}": (
        "{scheduler} 的 {lane} 有 {n} 项在等锁，最久 {age}"
    ),
    "it goes on by itself once the lock is free": "锁释放后会自动继续",
    "{session}, and {held}": "{session}，{held}",
    "session {pid} ({who})": "会话 {pid}（{who}）",
    "{session} is {state}": "{session}处于 {state}",
    "{session} is {state}, its transaction open for {age}": "{session}处于 {state}，事务已打开 {age}",
    "{session} is in a state that the schedulers' role may not see": "{session}的状态对调度器的角色不可见",
    "there": "连接中",
    "holds a lock of {tables} that others wait for": "持有其他会话在等的 {tables} 的锁",
    "holds a lock that others wait for": "持有其他会话在等的锁",
    "has locked rows of {tables}, or all": "锁住了 {tables} 的部分或全部行",
    "has locked rows, or all": "锁住了部分或全部行",
    "let it commit, or end it: SELECT pg_terminate_backend({pid})": (
        "让它提交，或结束它：SELECT pg_terminate_backend({pid})"
    ),
    "{end_it}; GRANT pg_read_all_stats TO the schedulers' role tells more of it": (
        "{end_it}；向调度器的角色 GRANT pg_read_all_stats 可看到更多"
    ),
    "Clocks": "时钟",
    "the clock of {scheduler} is {offset} ahead of the database's": "{scheduler} 的时钟比数据库快 {offset}",
    "the clock of {scheduler} is {offset} behind the database's": "{scheduler} 的时钟比数据库慢 {offset}",
    "set the wrong one of the two, by NTP": "请用 NTP 校准两者中错误的一个",
    "Settings": "设置",
    "{value} on {schedulers}": "{schedulers} 上为 {value}",
    "unset": "未设置",
    "{name} differs: {values}": "{name} 不一致：{values}",
    "give all schedulers the same: each works by its own, on what belongs to all": (
        "请让所有调度器一致：每个都按自己的值处理共有的数据"
    ),
    "Transactions": "事务",
    "{transaction} of database {database} has a transaction open for {age}: watches may wait for it, and vacuums": (
        "数据库 {database} 的{transaction}有事务已打开 {age}：订阅可能要等它，清理（vacuum）也要等它"
    ),
    "{name}, which is prepared,": "已准备的 {name} ",
    "{age} at least": "至少 {age}",
    "commit it, or roll it back: ROLLBACK PREPARED '{name}'": "提交它，或回滚它：ROLLBACK PREPARED '{name}'",
}
