//! Redis as a target, in all its forms: one server for all of a test's, each in a database of its own, and a cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde_json::Value;
use walbridge::event::TableName;
use walbridge::project::key::TextTemplate;
use walbridge::project::known::KnownTables;
use walbridge::sink::redis::{DocumentKeys, Form, Options, RedisSink, Server, ValueKind};

use super::history::{self, values_of};
use super::kind::{Kind, TAG};
use super::world::{Documents, Values, World};
use crate::support::Redis;
use crate::support::cluster::Cluster;
use crate::support::redis::connection;

/// What serves it.
enum Place {
    /// A database of a server that others have databases of, too.
    Database(Arc<Mutex<Redis>>, u32),
    Cluster(Cluster),
}

/// See the module.
pub(super) struct Cache {
    kind: Kind,
    place: Place,
}

/// Durable: what was answered is there after a kill.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
const STREAM: &str = "changes";
/// So far away that it never comes.
const TTL: Duration = Duration::from_secs(86_400);

/// Members of all collections, at one moment.
const MEMBERS: &str = "local found = {}
    for _, key in ipairs(redis.call('KEYS', 'public.*')) do
      local kind = redis.call('TYPE', key).ok
      local members
      if kind == 'set' then members = redis.call('SMEMBERS', key)
      elseif kind == 'list' then members = redis.call('LRANGE', key, 0, -1)
      else members = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
      found[#found + 1] = {key, members}
    end
    return found";

impl Cache {
    /// The server of a test, for all of its targets.
    pub(super) fn server() -> Arc<Mutex<Redis>> {
        Arc::new(Mutex::new(Redis::start(&DURABLE)))
    }

    /// A target on it, in a database of its kind.
    pub(super) fn on(server: Arc<Mutex<Redis>>, kind: Kind) -> Cache {
        Cache { kind, place: Place::Database(server, kind as u32) }
    }

    /// A target in a cluster of its own.
    pub(super) fn in_cluster(kind: Kind) -> Cache {
        Cache { kind, place: Place::Cluster(Cluster::start(TAG, 0, &DURABLE)) }
    }

    /// Where a proxy would go on to; a cluster tells its nodes' own.
    pub(super) fn port(&self) -> u16 {
        match &self.place {
            Place::Database(server, _) => lock(server).port,
            Place::Cluster(cluster) => cluster.at_slot().port,
        }
    }

    /// A sink of it, by way of this port.
    pub(super) fn sink(&self, world: &World, port: u16) -> RedisSink {
        RedisSink::new(self.options(world, port)).expect("an address")
    }

    /// What it is made from.
    pub(super) fn options(&self, world: &World, port: u16) -> Options {
        let known = Arc::new(KnownTables::new(self.kind.naming("")));
        world.derived().iter().for_each(|relation| _ = known.learn(relation, &[]).expect("it fits"));
        let tables = Arc::clone(&known);
        let keys_of = move |table: &TableName| {
            let (known, name) = (Arc::clone(&known), table.clone());
            let glob = known.glob(table);
            DocumentKeys { glob, matches: Arc::new(move |key: &[u8]| known.may_be_ours(&name, key)), all: false }
        };
        let (url, hash_tag) = match &self.place {
            Place::Database(_, number) => (format!("redis://127.0.0.1:{port}/{number}"), None),
            Place::Cluster(cluster) => (cluster.url(), (self.kind == Kind::RedisCluster).then(|| TAG.to_owned())),
        };
        Options {
            name: "contract".to_owned(),
            server: Server::at(url),
            form: self.form(world),
            hash_tag,
            keys_of: Arc::new(keys_of),
            tables: Arc::new(move || tables.tables()),
            is_beside: false,
            response_timeout: Duration::from_secs(20),
        }
    }

    fn form(&self, world: &World) -> Form {
        match self.kind {
            Kind::RedisText => {
                let text = TextTemplate::parse("{amount}").expect("a template");
                Form { text: Some(text), ..Form::of(ValueKind::Text) }
            }
            Kind::RedisHash => Form::of(ValueKind::Hash),
            Kind::RedisFields => Form::of(ValueKind::Fields),
            Kind::RedisSet => Form::of(ValueKind::Set),
            Kind::RedisList => Form::of(ValueKind::List),
            Kind::RedisSortedSet => Form { score: Some("amount".to_owned()), ..Form::of(ValueKind::SortedSet) },
            Kind::RedisStream => {
                let source = world.relations()[0].name.schema.clone();
                Form { stream: Some((STREAM.to_owned(), source)), ..Form::of(ValueKind::Stream) }
            }
            Kind::RedisExpiring => {
                let publish = Some("changed".to_owned());
                Form { ttl: Some(TTL), ttl_jitter: Some(TTL), publish, ..Form::of(ValueKind::Json) }
            }
            _ => Form::of(ValueKind::Json),
        }
    }

    /// A reader, who is no proxy's.
    pub(super) async fn connection(&self) -> MultiplexedConnection {
        let url = match &self.place {
            Place::Database(server, number) => format!("{}/{number}", lock(server).url()),
            Place::Cluster(cluster) => cluster.at_slot().url(),
        };
        connection(&url).await
    }

    /// Readers of all nodes that keys are on.
    async fn connections(&self) -> Vec<MultiplexedConnection> {
        match &self.place {
            Place::Cluster(cluster) if self.kind == Kind::RedisSpread => {
                let mut connections = Vec::new();
                for node in &cluster.nodes {
                    connections.push(node.connection().await);
                }
                connections
            }
            _ => vec![self.connection().await],
        }
    }

    /// Everything in it.
    pub(super) async fn documents(&self, columns: &[String], has_retries: bool) -> Documents {
        let mut connection = self.connection().await;
        if self.kind == Kind::RedisStream {
            type Entry = (String, HashMap<String, String>);
            let mut range = redis::cmd("XRANGE");
            let entries: Vec<Entry> =
                range.arg(STREAM).arg("-").arg("+").query_async(&mut connection).await.expect("entries");
            let event = |(_, fields): Entry| serde_json::from_str(&fields["event"]).expect("a line of JSON");
            return history::documents(entries.into_iter().map(event), has_retries);
        }
        if self.kind.is_collection() {
            return members(&mut connection, self.kind).await;
        }
        let mut documents = Documents::new();
        for mut connection in self.connections().await {
            for key in keys(&mut connection).await {
                let values = self.values(&mut connection, &key, columns).await;
                documents.insert(self.kind.plain(&key), values);
            }
        }
        documents
    }

    async fn values(&self, connection: &mut MultiplexedConnection, key: &str, columns: &[String]) -> Values {
        if matches!(self.kind, Kind::RedisHash | Kind::RedisFields) {
            let fields: BTreeMap<String, String> =
                redis::cmd("HGETALL").arg(key).query_async(connection).await.expect("HGETALL");
            return columns.iter().map(|column| (column.clone(), fields.get(column).cloned())).collect();
        }
        if self.kind == Kind::RedisExpiring {
            let left: i64 = redis::cmd("TTL").arg(key).query_async(connection).await.expect("TTL");
            assert!(left > 0, "{key} expires in {left}");
        }
        let json: String = redis::cmd("GET").arg(key).query_async(connection).await.expect("GET");
        if self.kind == Kind::RedisText {
            return [("amount".to_owned(), Some(json))].into();
        }
        values_of(&serde_json::from_str(&json).expect("a JSON document"))
    }

    /// The keys of all documents at one moment; `None`: it keeps none.
    pub(super) async fn keys_seen(&self, connection: &MultiplexedConnection) -> Option<BTreeSet<String>> {
        let mut connection = connection.clone();
        match self.kind {
            Kind::RedisStream => None,
            kind if kind.is_collection() => Some(members(&mut connection, kind).await.into_keys().collect()),
            Kind::RedisSpread => {
                let mut seen = BTreeSet::new();
                for mut connection in self.connections().await {
                    seen.extend(keys(&mut connection).await);
                }
                Some(seen)
            }
            kind => Some(keys(&mut connection).await.iter().map(|key| kind.plain(key)).collect()),
        }
    }

    /// The amounts of two rows of `items` at one moment.
    pub(super) async fn two_amounts(&self, connection: &MultiplexedConnection, ids: [i64; 2]) -> Option<[i64; 2]> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for id in ids {
            match self.kind {
                Kind::RedisHash | Kind::RedisFields => {
                    pipeline.cmd("HGET").arg(format!("public.items:{id}")).arg("amount")
                }
                Kind::RedisSortedSet => pipeline.cmd("ZSCORE").arg("public.items").arg(id),
                Kind::RedisCluster => pipeline.cmd("GET").arg(format!("{{{TAG}}}:public.items:{id}")),
                _ => pipeline.cmd("GET").arg(format!("public.items:{id}")),
            };
        }
        let found: [Option<String>; 2] =
            pipeline.query_async(&mut connection.clone()).await.expect("a transaction of reads");
        let amount = |text: Option<String>| match serde_json::from_str(&text?).ok()? {
            Value::Object(document) => document["amount"].as_i64(),
            amount => amount.as_i64(),
        };
        let [one, other] = found.map(amount);
        Some([one?, other?])
    }

    /// Takes everything away.
    pub(super) async fn empty(&self) {
        for mut connection in self.connections().await {
            let () = redis::cmd("FLUSHDB").query_async(&mut connection).await.expect("FLUSHDB");
        }
    }

    /// Ends it with SIGKILL, and starts it again.
    pub(super) fn restart(&mut self) {
        match &mut self.place {
            Place::Database(server, _) => {
                let mut server = lock(server);
                server.kill9();
                server.start_again();
            }
            Place::Cluster(cluster) => cluster.restart_at_slot(),
        }
    }
}

fn lock(server: &Mutex<Redis>) -> MutexGuard<'_, Redis> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn keys(connection: &mut MultiplexedConnection) -> Vec<String> {
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*public.*").query_async(connection).await.expect("KEYS");
    // What is built beside, or kept, is nothing that readers know.
    keys.retain(|key| !key.starts_with("walbridge:"));
    keys
}

async fn members(connection: &mut MultiplexedConnection, kind: Kind) -> Documents {
    let found: Vec<(String, Vec<String>)> =
        redis::cmd("EVAL").arg(MEMBERS).arg(0).query_async(connection).await.expect("all members");
    let mut documents = Documents::new();
    for (key, members) in found {
        let step = if kind == Kind::RedisSortedSet { 2 } else { 1 };
        for member in members.chunks(step) {
            let values = member.get(1).map(|score| ("amount".to_owned(), Some(score.clone())));
            let before = documents.insert(format!("{key}:{}", member[0]), values.into_iter().collect());
            assert!(before.is_none(), "{} is in {key} twice", member[0]);
        }
    }
    documents
}
