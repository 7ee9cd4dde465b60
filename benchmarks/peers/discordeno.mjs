// @discordeno/gateway side by side with the runtime; reshards by the library's own means when it is told to.

import { createGatewayManager, TransportCompression } from "@discordeno/gateway";

import { args, obey, received, say } from "./lines.mjs";

process.on("unhandledRejection", (problem) => console.error(problem));

const quiet = { debug() {}, info() {}, warn: console.error, error: console.error, fatal: console.error };
const answer = await fetch(`${args.api}/gateway/bot`, { headers: { authorization: `Bot ${args.token}` } });
const { url, shards: recommended, session_start_limit: limit } = await answer.json();
const sessionStartLimit = {
  total: limit.total,
  remaining: limit.remaining,
  resetAfter: limit.reset_after,
  maxConcurrency: limit.max_concurrency,
};

const gateway = createGatewayManager({
  token: args.token,
  intents: args.intents,
  url,
  connection: { url, shards: recommended, sessionStartLimit },
  totalShards: args.count,
  firstShardId: args.shards[0],
  lastShardId: args.shards.at(-1),
  preferSnakeCase: true, // payloads as Discord sends them: less work than the library's own names
  transportCompression:
    { "zlib-stream": TransportCompression.zlib, "zstd-stream": TransportCompression.zstd }[args.compression] ?? null,
  resharding: { enabled: false },
  logger: quiet,
  events: { message: (shard, payload) => received(shard.id, payload, shard.sessionId) },
});

await gateway.spawnShards();
await obey(async ({ reshard }) => {
  await gateway.resharding.reshard({
    url,
    shards: reshard,
    sessionStartLimit,
    firstShardId: 0,
    lastShardId: reshard - 1,
  });
  const done = setInterval(() => {
    if (gateway.shards.size !== reshard || gateway.resharding.shards.size > 0) return;
    clearInterval(done);
    say({ resharded: reshard });
  }, 20);
});
await gateway.shutdown(1000, "the end");
process.exit(0);
