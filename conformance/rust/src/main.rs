//! twilight-gateway under the conformance suite: unmodified, given the simulator as its gateway proxy.
//!
//! `conformance/README.md` has the format of what bots of all languages say and hear.

use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use twilight_gateway::{ConfigBuilder, EventTypeFlags, Intents, Message, MessageSender, Shard, ShardId};
use twilight_gateway_queue::InMemoryQueue;

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    gateway: String,
    token: String,
    max_concurrency: u16,
    bots: Vec<Bot>,
}

#[derive(Deserialize)]
struct Bot {
    shards: Vec<u32>,
    count: u32,
}

/// A request for members, as it comes on the standard input.
#[derive(Deserialize)]
struct Request {
    bot: usize,
    guild: String,
    nonce: String,
    query: String,
    limit: u64,
}

#[derive(Deserialize)]
struct Payload {
    op: u8,
    t: Option<String>,
    s: Option<u64>,
    #[serde(default)]
    d: Value,
}

/// The sender of one shard, and where it belongs.
struct Running {
    bot: usize,
    shard: u32,
    count: u32,
    sender: MessageSender,
}

fn say(line: &Value) {
    println!("{line}");
}

fn say_dispatch(bot: usize, shard: u32, payload: &Payload) {
    let ready = payload.t.as_deref() == Some("READY");
    say(&json!({
        "bot": bot,
        "shard": shard,
        "name": payload.t,
        "sequence": payload.s,
        "session": if ready { payload.d.get("session_id") } else { None },
        "id": payload.d.get("id"),
        "nonce": payload.d.get("nonce"),
    }));
}

/// Live as one shard until it may not go on.
async fn live(bot: usize, mut shard: Shard) {
    let mut code = None;
    while let Some(item) = shard.next().await {
        match item {
            Ok(Message::Close(frame)) => code = frame.map(|frame| frame.code),
            Ok(Message::Text(text)) => {
                let payload: Payload = serde_json::from_str(&text).expect("the library has parsed it before");
                if payload.op == 0 {
                    say_dispatch(bot, shard.id().number(), &payload);
                }
                if let Err(problem) = twilight_gateway::parse(text, EventTypeFlags::all()) {
                    say(&json!({"log": format!("{problem:?}"), "level": "ERROR"}));
                }
            }
            Err(problem) => say(&json!({"log": format!("{problem:?}"), "level": "WARNING"})),
        }
    }
    say(&json!({"bot": bot, "stopped": "closed for good", "code": code}));
}

fn ask_members(running: &[Running], request: &Request) {
    let guild: u64 = request.guild.parse().expect("guilds are numbers");
    let asked = running
        .iter()
        .find(|one| one.bot == request.bot && (guild >> 22) % u64::from(one.count) == u64::from(one.shard))
        .expect("the bot has the guild's shard");
    let d = json!({
        "guild_id": request.guild, "query": request.query, "limit": request.limit, "nonce": request.nonce,
    });
    asked.sender.send(json!({"op": 8, "d": d}).to_string()).expect("the shard lives");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let argument = std::env::args().nth(1).expect("one argument");
    let arguments: Arguments = serde_json::from_str(&argument).expect("the argument is as the README says");
    let queue = InMemoryQueue::new(arguments.max_concurrency, 1000, DAY, 1000);
    let config = ConfigBuilder::new(arguments.token, Intents::all())
        .proxy_url(arguments.gateway.trim_end_matches('/').to_owned())
        .queue(queue)
        .build();
    let mut running = Vec::new();
    for (number, bot) in arguments.bots.iter().enumerate() {
        for &id in &bot.shards {
            let shard = Shard::with_config(ShardId::new(id, bot.count), config.clone());
            running.push(Running { bot: number, shard: id, count: bot.count, sender: shard.sender() });
            tokio::spawn(live(number, shard));
        }
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("the standard input can be read") {
        ask_members(&running, &serde_json::from_str(&line).expect("a request is as the README says"));
    }
    std::process::exit(0);
}
