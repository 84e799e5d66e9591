// Loaded into llm-content-creator by its tests (NODE_OPTIONS=--require): its search has a fixed https address.
'use strict';
const http = require('node:http');
const https = require('node:https');
const net = require('node:net');

const stub = new URL(process.env.STUB_ENDPOINTS);

// All https goes to the stub, whatever its host: what the stub does not expect, it counts.
https.request = (options, answered) =>
  http.request({ ...options, protocol: 'http:', host: stub.hostname, hostname: stub.hostname, port: stub.port, agent: undefined }, answered);

// Nothing else leaves the machine.
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  const { host } = args.flat()[0];
  if (host !== stub.hostname) throw new Error(`a test may not reach ${host}`);
  return connect.apply(this, args);
};

// Its waits before it asks a model again are 2, 4 and 8 s.
const { setTimeout: later } = globalThis;
const sooner = (call, ms, ...args) => later(call, [2000, 4000, 8000].includes(ms) ? ms / 100 : ms, ...args);
globalThis.setTimeout = Object.defineProperties(sooner, Object.getOwnPropertyDescriptors(later));
