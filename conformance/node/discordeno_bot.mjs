// @discordeno/gateway under the conformance suite: unmodified, given the simulator's address as its documentation says.

import { createGatewayManager, ShardState, TransportCompression } from "@discordeno/gateway";

import { ALL_INTENTS, args, memberRequest, obey, say, sayDispatch, sayLog, shardOf } from "./bot_lines.mjs";

// It ends a shard that may not reconnect by an exception in its socket's handler.
process.on("unhandledRejection", (problem) => sayLog("ERROR", problem));

const logger = {
  debug() {},
  info() {},
  warn: (...parts) => sayLog("WARNING", ...parts),
  error: (...parts) => sayLog("ERROR", ...parts),
  fatal: (...parts) => sayLog("ERROR", ...parts),
};
const answer = await fetch(`${args.api}/gateway/bot`, { headers: { authorization: `Bot ${args.token}` } });
const { url, shards: recommended, session_start_limit: limit } = await answer.json();
let ending = false;

const bots = args.bots.map(({ shards, count }, bot) => {
  const gateway = createGatewayManager({
    token: args.token,
    intents: ALL_INTENTS,
    url,
    connection: {
      url,
      shards: recommended,
      sessionStartLimit: {
        total: limit.total,
        remaining: limit.remaining,
        resetAfter: limit.reset_after,
        maxConcurrency: limit.max_concurrency,
      },
    },
    totalShards: count,
    firstShardId: shards[0],
    lastShardId: shards.at(-1),
    spawnShardDelay: 0,
    compress: args.compression === "payload",
    transportCompression:
      { "zlib-stream": TransportCompression.zlib, "zstd-stream": TransportCompression.zstd }[args.compression] ?? null,
    resharding: { enabled: false },
    logger,
    events: {
      message: (shard, payload) => {
        if (payload.op === 0) sayDispatch({ bot, shard: shard.id, payload, keys: { session: "sessionId" } });
      },
      disconnected: (shard) => {
        if (shard.state === ShardState.Offline && !ending) say({ bot, stopped: "disconnected for good", code: null });
      },
    },
  });
  return { gateway, count };
});

await Promise.all(bots.map(({ gateway }) => gateway.spawnShards()));
await obey(async ({ bot, ...wanted }) => {
  const { gateway, count } = bots[bot];
  await gateway.sendPayload(shardOf(wanted.guild, count), memberRequest(wanted));
});
ending = true;
await Promise.all(bots.map(({ gateway }) => gateway.shutdown(1000, "the end")));
process.exit(0);
