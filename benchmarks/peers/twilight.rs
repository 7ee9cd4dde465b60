//! twilight-gateway side by side with the runtime: receives, and forwards if asked to; `benchmarks/peers.py` has what
//! it is told and says. Raw messages, which the library offers for load balancers and microservices.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::{
        Mutex as AsyncMutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
};
use twilight_gateway::{ConfigBuilder, Intents, Message, Session, Shard, ShardId};
use twilight_gateway_queue::InMemoryQueue;
use twilight_model::gateway::event::GatewayEventDeserializer;

const DAY: Duration = Duration::from_secs(86_400);
const LANES_SINGLE: usize = 16;
const LANES_BATCH: usize = 4;
const BATCH_EVENTS: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    gateway: String,
    token: String,
    intents: u64,
    shards: Vec<u32>,
    count: u32,
    max_concurrency: u16,
    mode: String,
    receiver: String,
    /// How many events to receive before saying so.
    events: u64,
    /// File that keeps the sessions of one run for the next; empty for none.
    sessions: String,
}

struct Event {
    shard: u32,
    session: String,
    payload: String,
}

/// Sessions by shard: id, sequence, resume URL.
type Sessions = Arc<Mutex<HashMap<u32, (String, u64, Option<String>)>>>;

/// One connection to the receiver, opened when it is needed.
struct Poster {
    host: String,
    path: String,
    stream: Option<TcpStream>,
}

impl Poster {
    fn new(url: &str) -> Self {
        let rest = url.strip_prefix("http://").expect("the receiver's URL is http");
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Self { host: host.to_owned(), path: format!("/{path}"), stream: None }
    }

    async fn post(&mut self, headers: &str, body: &str) -> io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.host).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.path,
            self.host,
            body.len(),
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if !answer.starts_with(b"HTTP/1.1 2") {
            return Err(io::Error::other("not accepted"));
        }
        self.stream = Some(stream);
        Ok(())
    }
}

/// Sends what is queued; what the receiver does not take is lost, as with a plain HTTP call in a handler.
async fn forward(queue: Arc<AsyncMutex<UnboundedReceiver<Event>>>, url: String, batch: bool) {
    let mut poster = Poster::new(&url);
    let mut events = Vec::with_capacity(BATCH_EVENTS);
    let most = if batch { BATCH_EVENTS } else { 1 };
    while queue.lock().await.recv_many(&mut events, most).await > 0 {
        let mut headers = format!("X-Gateway-Events: {}\r\n", events.len());
        let body = if batch {
            let entries: Vec<String> = events
                .iter()
                .map(|e| format!(r#"{{"shard":{},"session":"{}","payload":{}}}"#, e.shard, e.session, e.payload))
                .collect();
            format!("[{}]", entries.join(","))
        } else {
            let one = &events[0];
            headers += &format!("X-Gateway-Shard: {}\r\nX-Gateway-Session: {}\r\n", one.shard, one.session);
            std::mem::take(&mut events[0].payload)
        };
        events.clear();
        let _ = poster.post(&headers, &body).await;
    }
}

async fn live(mut shard: Shard, wanted: u64, seen: Arc<AtomicU64>, sink: Option<UnboundedSender<Event>>, kept: Sessions) {
    let number = shard.id().number();
    while let Some(item) = shard.next().await {
        let Ok(Message::Text(text)) = item else { continue };
        let Some(envelope) = GatewayEventDeserializer::from_json(&text) else { continue };
        if envelope.op() != 0 || matches!(envelope.event_type(), Some("READY" | "RESUMED")) {
            continue;
        }
        if let (Some(sink), Some(session)) = (&sink, shard.session()) {
            let session = session.id().to_owned();
            let _ = sink.send(Event { shard: number, session, payload: text });
        }
        if let Some(session) = shard.session()
            && let Ok(mut kept) = kept.lock()
        {
            let entry = kept.entry(number).or_insert_with(|| (String::new(), 0, None));
            if entry.0 != session.id() {
                entry.0 = session.id().to_owned();
                entry.2 = shard.resume_url().map(str::to_owned);
            }
            entry.1 = session.sequence();
        }
        if seen.fetch_add(1, Ordering::Relaxed) + 1 == wanted {
            println!("{}", json!({ "received": wanted }));
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let argument = std::env::args().nth(1).expect("one argument");
    let arguments: Arguments = serde_json::from_str(&argument).expect("the argument is as peers.py has it");
    let queue = InMemoryQueue::new(arguments.max_concurrency, 1000, DAY, 1000);
    let kept: HashMap<u32, (String, u64, Option<String>)> = std::fs::read_to_string(&arguments.sessions)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let sink = (arguments.mode != "receive").then(|| {
        let (sender, receiver) = unbounded_channel();
        let receiver = Arc::new(AsyncMutex::new(receiver));
        let batch = arguments.mode == "batch";
        for _ in 0..if batch { LANES_BATCH } else { LANES_SINGLE } {
            tokio::spawn(forward(receiver.clone(), arguments.receiver.clone(), batch));
        }
        sender
    });
    let intents = Intents::from_bits_truncate(arguments.intents);
    let seen = Arc::new(AtomicU64::new(0));
    let sessions: Sessions = Arc::new(Mutex::new(HashMap::new()));
    for &id in &arguments.shards {
        let mut builder = ConfigBuilder::new(arguments.token.clone(), intents)
            .proxy_url(arguments.gateway.trim_end_matches('/').to_owned())
            .queue(queue.clone());
        if let Some((session, sequence, resume_url)) = kept.get(&id) {
            builder = builder.session(Session::new(*sequence, session.clone()));
            if let Some(url) = resume_url {
                builder = builder.resume_url(url.clone());
            }
        }
        let shard = Shard::with_config(ShardId::new(id, arguments.count), builder.build());
        tokio::spawn(live(shard, arguments.events, seen.clone(), sink.clone(), sessions.clone()));
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await.expect("the standard input can be read").is_some() {}
    if !arguments.sessions.is_empty() {
        let kept = sessions.lock().expect("nobody panicked").clone();
        std::fs::write(&arguments.sessions, json!(kept).to_string()).expect("the file can be written");
    }
    std::process::exit(0);
}
