// @discordjs/ws side by side with the runtime; keeps its sessions for the next run if it is given a file for them.

import { REST } from "@discordjs/rest";
import { CompressionMethod, WebSocketManager, WebSocketShardEvents } from "@discordjs/ws";

import { args, keepSessions, keptSessions, obey, received } from "./lines.mjs";

process.on("unhandledRejection", (problem) => console.error(problem));

const rest = new REST({ api: args.api.replace(/\/v10$/, ""), version: "10" }).setToken(args.token);
const kept = keptSessions();

const manager = new WebSocketManager({
  token: args.token,
  intents: args.intents,
  rest,
  shardCount: args.count,
  shardIds: args.shards,
  compression: args.compression === "zlib-stream" ? CompressionMethod.ZlibNative : null,
  retrieveSessionInfo: (shard) => kept.get(shard) ?? null,
  updateSessionInfo: (shard, session) => (session ? kept.set(shard, session) : kept.delete(shard)),
});
manager.on(WebSocketShardEvents.Dispatch, (payload, shard) => received(shard, payload, kept.get(shard)?.sessionId));
manager.on(WebSocketShardEvents.Error, (error) => console.error(error));

await manager.connect();
await obey();
if (args.sessions) keepSessions(kept);
else await manager.destroy();
process.exit(0);
