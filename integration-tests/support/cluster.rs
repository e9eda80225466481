//! A Redis cluster: three masters that share the slots, and nodes besides that have none.

use std::time::Duration;

use redis::{FromRedisValue, ToRedisArgs};

use super::wait::eventually_sync;
use super::{Redis, ports};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster. Dropping it ends its nodes.
pub(crate) struct Cluster {
    /// The masters first.
    pub(crate) nodes: Vec<Redis>,
    /// The slot of the keys that a test writes, and the number of the node that has it.
    pub(crate) slot: u16,
    pub(crate) owner: usize,
}

impl Cluster {
    /// With so many nodes besides the masters. `tag` is what the keys have in braces.
    pub(crate) fn start(tag: &str, besides: usize, arguments: &[&str]) -> Cluster {
        let start = |_| {
            let bus = ports::free().to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
            Redis::start(&[&own[..], arguments].concat())
        };
        let mut cluster = Cluster { nodes: (0..3 + besides).map(start).collect(), slot: 0, owner: 0 };
        for node in cluster.nodes.iter().skip(1) {
            let bus: Vec<String> = ask(node, "CONFIG", ("GET", "cluster-port"));
            let _: String = ask(cluster.node(0), "CLUSTER", ("MEET", "127.0.0.1", node.port, bus.last()));
        }
        for (node, range) in cluster.nodes.iter().zip([(0, 5460), (5461, 10_922), (10_923, 16_383)]) {
            let _: String = ask(node, "CLUSTER", ("ADDSLOTSRANGE", range.0, range.1));
        }
        cluster.slot = ask(cluster.node(0), "CLUSTER", ("KEYSLOT", format!("{{{tag}}}")));
        cluster.owner = usize::from(cluster.slot / 5461);
        cluster.settled();
        cluster
    }

    /// Waits until all nodes know of all slots.
    pub(crate) fn settled(&self) {
        for node in &self.nodes {
            eventually_sync(PATIENCE, || {
                let info: String = ask(node, "CLUSTER", "INFO");
                let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
                if info.contains("cluster_state:ok") && info.contains(&known) { Ok(()) } else { Err(info) }
            });
        }
    }

    /// `redis-cluster://` with the masters.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().take(3).map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }

    /// The node that has the slot.
    pub(crate) fn at_slot(&self) -> &Redis {
        self.node(self.owner)
    }

    /// Ends it with SIGKILL, and starts it again with what it had.
    pub(crate) fn restart_at_slot(&mut self) {
        let node = self.nodes.get_mut(self.owner).expect("there is such a node");
        node.kill9();
        node.start_again();
        self.settled();
    }

    fn node(&self, number: usize) -> &Redis {
        self.nodes.get(number).expect("there is such a node")
    }
}

/// Asks one node.
pub(crate) fn ask<T: FromRedisValue>(node: &Redis, command: &str, arguments: impl ToRedisArgs) -> T {
    let client = redis::Client::open(node.url()).expect("a url");
    let mut connection = client.get_connection().expect("a node");
    redis::cmd(command).arg(arguments).query(&mut connection).expect("an answer")
}
