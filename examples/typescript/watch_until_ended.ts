// Submits tasks from TypeScript, by Connect, and follows them until all of them have ended.
//
//   npm install --no-package-lock && npm run build && npm start [http://host:port]

import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { Code, ConnectError, createClient, type Client, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { TaskStatus } from "./gen/contentgen/v1/task_pb.js";
import { TaskService, type TaskChange } from "./gen/contentgen/v1/task_service_pb.js";

const ACCOUNT = 1n;
const TOPICS = ["春天的第一杯咖啡", "Working well from home"];
const CALL_TIMEOUT_MS = 10_000;
const STREAM_TIMEOUT_MS = 300_000; // a stream that stands still is followed by the next
const MAX_FAILURES = 10; // in a row, before the watch gives up
const PASSING = [Code.Unavailable, Code.DeadlineExceeded, Code.Canceled];

const authorize: Interceptor = (next) => (request) => {
  if (process.env.CONTENTGEN_TOKEN) {
    request.header.set("authorization", `Bearer ${process.env.CONTENTGEN_TOKEN}`);
  }
  return next(request);
};

// Yields each move of the tasks once and in order, over as many streams as it takes, until all of them have ended.
async function* watchUntilEnded(tasks: Client<typeof TaskService>, taskIds: string[]): AsyncGenerator<TaskChange> {
  const running = new Set(taskIds);
  let resumeToken = "";
  for (let failures = 0; running.size > 0; ) {
    const end = new AbortController();
    const options = { timeoutMs: STREAM_TIMEOUT_MS, signal: end.signal };
    try {
      for await (const { event } of tasks.watchTasks({ taskIds, resumeToken }, options)) {
        if (!event?.task) continue;
        failures = 0;
        resumeToken = event.resumeToken;
        // A task that is retried after its end runs again.
        event.task.endTime ? running.delete(event.task.taskId) : running.add(event.task.taskId);
        yield event;
        if (running.size === 0) end.abort();
      }
    } catch (error) {
      if (running.size === 0) return;
      if (!PASSING.includes(ConnectError.from(error).code) || failures === MAX_FAILURES) throw error;
    }
    await pause(Math.random() * Math.min(200 * 2 ** failures++, 5_000));
  }
}

async function main(baseUrl: string): Promise<void> {
  const sessionManager = new Http2SessionManager(baseUrl);
  const tasks = createClient(TaskService, createGrpcTransport({ baseUrl, sessionManager, interceptors: [authorize] }));
  const requests = TOPICS.map((topic) => ({ accountId: ACCOUNT, topic, requestId: randomUUID() }));
  const submitted = await tasks.batchSubmitTasks({ requests }, { timeoutMs: CALL_TIMEOUT_MS });
  for await (const { task, previousStatus } of watchUntilEnded(tasks, submitted.tasks.map((task) => task.taskId))) {
    console.log(task?.taskId, TaskStatus[previousStatus], "→", TaskStatus[task?.status ?? 0]);
    if (task?.endTime && task.status !== TaskStatus.COMPLETED) process.exitCode = 1;
  }
  sessionManager.abort(); // else the open connection keeps the program alive
}

const target = process.argv[2] ?? process.env.CONTENTGEN_SCHEDULER ?? "127.0.0.1:50051";
await main(target.includes("://") ? target : `http://${target}`);
