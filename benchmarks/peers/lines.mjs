// What the Node programs of the benchmark share: what they are told and say (benchmarks/peers.py has it), and how they
// forward: plain HTTP calls over kept connections, so many at a time. What the receiver does not take is lost.

import { readFileSync, writeFileSync, writeSync } from "node:fs";
import { Agent, request } from "node:http";
import { createInterface } from "node:readline";

export const args = JSON.parse(process.argv[2]);

const BATCH_EVENTS = 256;
const LANES = { single: 16, batch: 4 };

export function say(line) {
  writeSync(1, JSON.stringify(line) + "\n");
}

let queue = [];
let inFlight = 0;
let seen = 0;

// Count one payload as the library gives it, and forward it if that is wanted.
export function received(shard, payload, session) {
  if (payload.op !== 0 || payload.t === "READY" || payload.t === "RESUMED") return;
  if (args.mode !== "receive") queue.push({ shard, session, payload });
  if (queue.length > 0) forward();
  if (++seen === args.events) say({ received: seen });
}

// --- Forwarding

const agent = new Agent({ keepAlive: true, maxSockets: LANES[args.mode] ?? 1 });

function forward() {
  while (queue.length > 0 && inFlight < LANES[args.mode]) {
    const events = queue.splice(0, args.mode === "batch" ? BATCH_EVENTS : 1);
    const headers = { "content-type": "application/json", "x-gateway-events": String(events.length) };
    let body;
    if (args.mode === "batch") {
      body = JSON.stringify(events);
    } else {
      headers["x-gateway-shard"] = String(events[0].shard);
      headers["x-gateway-session"] = events[0].session;
      body = JSON.stringify(events[0].payload);
    }
    headers["content-length"] = String(Buffer.byteLength(body));
    inFlight += 1;
    const done = () => {
      inFlight -= 1;
      forward();
    };
    const call = request(args.receiver, { method: "POST", agent, headers }, (answer) => {
      answer.resume();
      answer.once("close", done);
    });
    call.once("error", done);
    call.end(body);
  }
}

// --- Sessions of one run for the next

export function keptSessions() {
  try {
    return new Map(JSON.parse(readFileSync(args.sessions, "utf8")));
  } catch {
    return new Map();
  }
}

export function keepSessions(kept) {
  if (args.sessions) writeFileSync(args.sessions, JSON.stringify([...kept]));
}

// Hand every line of the standard input to `command`; resolves when it ends.
export async function obey(command = () => {}) {
  for await (const line of createInterface({ input: process.stdin })) await command(JSON.parse(line));
}
