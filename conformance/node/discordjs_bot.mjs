// @discordjs/ws under the conformance suite: unmodified, its REST client given the simulator's address.

import { REST } from "@discordjs/rest";
import { CompressionMethod, WebSocketManager, WebSocketShardEvents } from "@discordjs/ws";

import { ALL_INTENTS, args, memberRequest, obey, say, sayDispatch, sayLog, shardOf } from "./bot_lines.mjs";

process.on("unhandledRejection", (problem) => sayLog("ERROR", problem));

const rest = new REST({ api: args.api.replace(/\/v10$/, ""), version: "10" }).setToken(args.token);

const bots = args.bots.map(({ shards, count }, bot) => {
  const manager = new WebSocketManager({
    token: args.token,
    intents: ALL_INTENTS,
    rest,
    shardCount: count,
    shardIds: shards,
    compression: args.compression === "zlib-stream" ? CompressionMethod.ZlibNative : null,
    useIdentifyCompression: args.compression === "payload",
  });
  let code = null;
  manager.on(WebSocketShardEvents.Dispatch, (payload, shard) => sayDispatch({ bot, shard, payload }));
  manager.on(WebSocketShardEvents.Closed, (closed) => (code = closed));
  manager.on(WebSocketShardEvents.Error, (error) => say({ bot, stopped: String(error), code }));
  manager.on(WebSocketShardEvents.SocketError, (error) => sayLog("WARNING", error));
  return { manager, count };
});

await Promise.all(bots.map(({ manager }) => manager.connect()));
await obey(async ({ bot, ...wanted }) => {
  const { manager, count } = bots[bot];
  await manager.send(shardOf(wanted.guild, count), memberRequest(wanted));
});
await Promise.all(bots.map(({ manager }) => manager.destroy()));
process.exit(0);
