// What every bot of the conformance suite says on its standard output, and hears on its standard input: one JSON object
// a line. conformance/README.md has the format, which bots of all languages share.

import { writeSync } from "node:fs";
import { createInterface } from "node:readline";

export const args = JSON.parse(process.argv[2]);

export const ALL_INTENTS = 53608447;

export function say(line) {
  const bytes = Buffer.from(JSON.stringify(line) + "\n");
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(1, bytes, written);
    } catch (problem) {
      if (problem.code !== "EAGAIN") throw problem;
    }
  }
}

// Report one dispatch; `keys` are the names that the library gives to the body's keys.
export function sayDispatch({ bot, shard, payload, keys = { session: "session_id" } }) {
  const body = payload.d ?? {};
  say({
    bot,
    shard,
    name: payload.t,
    sequence: payload.s,
    session: payload.t === "READY" ? body[keys.session] : null,
    id: body.id === undefined ? null : String(body.id),
    nonce: body.nonce ?? null,
  });
}

export function sayLog(level, ...parts) {
  say({ log: parts.map((part) => part?.stack ?? String(part)).join(" "), level });
}

// Hands every line of the standard input to `command`; resolves when it ends.
export async function obey(command) {
  for await (const line of createInterface({ input: process.stdin })) await command(JSON.parse(line));
}

export function memberRequest({ guild, nonce, query, limit }) {
  return { op: 8, d: { guild_id: guild, query, limit, nonce } };
}

export function shardOf(guild, count) {
  return Number((BigInt(guild) >> 22n) % BigInt(count));
}
