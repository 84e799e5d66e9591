// Submits a task from Node, waits for its end, reads the article.
//
//   npm install --no-package-lock && node submit_and_wait.js [host:port]
//
// Needs the protos of this repository, which it loads as they are, and no generated code.

"use strict";

const { randomUUID } = require("node:crypto");
const path = require("node:path");
const { promisify } = require("node:util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const ACCOUNT = 1;
const LIMIT_S = 120;
const CALL_TIMEOUT_MS = 10_000;

// What only reads may be repeated, and so may a submit that carries a request_id.
const SERVICE_CONFIG = JSON.stringify({
  methodConfig: [
    {
      name: [
        { service: "contentgen.v1.TaskService", method: "SubmitTask" },
        { service: "contentgen.v1.TaskService", method: "WaitTask" },
        { service: "contentgen.v1.ContentService", method: "GetContent" },
      ],
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.2s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
});

function load() {
  const definition = protoLoader.loadSync(["contentgen/v1/task_service.proto", "contentgen/v1/content_service.proto"], {
    includeDirs: [path.join(__dirname, "../../protos")],
    keepCase: true,
    longs: String, // a 64-bit id fits no number of JavaScript's
    enums: String,
    defaults: true,
  });
  return grpc.loadPackageDefinition(definition).contentgen.v1;
}

function connect(Service, target) {
  const client = new Service(target, grpc.credentials.createInsecure(), { "grpc.service_config": SERVICE_CONFIG });
  const metadata = new grpc.Metadata();
  if (process.env.CONTENTGEN_TOKEN) {
    metadata.set("authorization", `Bearer ${process.env.CONTENTGEN_TOKEN}`);
  }
  return {
    // One call, with a deadline: that of every call, and what the scheduler is asked to wait.
    call: (method, request, waitsMs = 0) =>
      promisify(client[method].bind(client))(request, metadata, { deadline: Date.now() + CALL_TIMEOUT_MS + waitsMs }),
    close: () => client.close(),
  };
}

async function main(target) {
  const { TaskService, ContentService } = load();
  const tasks = connect(TaskService, target);
  const contents = connect(ContentService, target);
  try {
    const submitted = await tasks.call("SubmitTask", {
      account_id: ACCOUNT,
      topic: "人工智能的未来发展",
      tone: "专业",
      request_id: randomUUID(),
    });
    const task_id = submitted.task.task_id;
    console.log("submitted", task_id);
    const wait = { task_id, timeout: { seconds: LIMIT_S } };
    const { task } = await tasks.call("WaitTask", wait, LIMIT_S * 1_000);
    if (task.status !== "TASK_STATUS_COMPLETED") {
      throw new Error(`${task_id} is ${task.status}: ${task.error ? task.error.message : "it goes on"}`);
    }
    const { content } = await contents.call("GetContent", { content_id: task.content_id });
    console.log(`${content.title}: ${content.word_count} characters\n\n${content.summary}…`);
  } finally {
    tasks.close();
    contents.close();
  }
}

main(process.argv[2] || process.env.CONTENTGEN_SCHEDULER || "127.0.0.1:50051").catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
