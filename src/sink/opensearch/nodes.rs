//! The servers of one cluster, which take turns. One that cannot be reached is left out for a while, and then tried again.

use std::time::{Duration, Instant};

use crate::http;

/// How long one is left out after its first failure; after each further one twice as long.
const REST_MIN: Duration = Duration::from_secs(1);
/// And at most.
const REST_MAX: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    turn: usize,
}

/// A server.
pub(super) struct Node {
    pub(super) http: http::Client,
    /// The cluster it was found to be of (empty: it does not say), and nothing has gone wrong with it since; `None`: not asked yet.
    pub(super) cluster: Option<String>,
    rests_until: Option<Instant>,
    rest: Duration,
}

impl Nodes {
    pub(super) fn new(clients: Vec<http::Client>) -> Self {
        let node = |http| Node { http, cluster: None, rests_until: None, rest: REST_MIN };
        Nodes { nodes: clients.into_iter().map(node).collect(), turn: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The one whose turn it is; if all are left out, the one that will be tried again first.
    pub(super) fn now(&self, now: Instant) -> Option<usize> {
        let count = self.nodes.len();
        let begin = self.turn;
        let rest = |at: usize| self.nodes.get(at)?.rests_until.filter(|until| *until > now);
        (0..count).map(|step| begin.saturating_add(step) % count).min_by_key(|&at| rest(at))
    }

    /// The turn is the next one's.
    pub(super) fn turn(&mut self) {
        self.turn = self.turn.saturating_add(1) % self.nodes.len().max(1);
    }

    pub(super) fn get(&self, at: usize) -> Option<&Node> {
        self.nodes.get(at)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Node> {
        self.nodes.get_mut(at)
    }

    pub(super) fn has_failed(&mut self, at: usize, now: Instant) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.cluster = None;
            node.rests_until = now.checked_add(node.rest);
            node.rest = node.rest.saturating_mul(2).min(REST_MAX);
        }
    }

    /// It is there, and of this cluster.
    pub(super) fn is_proven(&mut self, at: usize, cluster: String) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.cluster = Some(cluster);
            node.rests_until = None;
            node.rest = REST_MIN;
        }
    }

    /// A server whose cluster is another than this, and that is not left out: its address, and the cluster.
    pub(super) fn of_another(&self, cluster: &str) -> Option<(String, String)> {
        let other = |node: &Node| {
            let theirs = node.cluster.as_ref().filter(|theirs| !theirs.is_empty() && *theirs != cluster)?;
            Some((node.http.address().to_string(), theirs.clone()))
        };
        self.nodes.iter().find_map(other).filter(|_| !cluster.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Address, Limits, Reach};

    #[test]
    fn servers_take_turns_and_one_that_failed_is_left_out_for_a_while() {
        let limits = Limits { time: Duration::from_secs(1), answer_bytes: 1 };
        let client = |port: u16| {
            let address = Address::parse(&format!("http://node:{port}")).expect("an address");
            http::Client::new(address, Reach::Anywhere, None, limits).expect("a client")
        };
        let mut nodes = Nodes::new(vec![client(1), client(2), client(3)]);
        let now = Instant::now();
        let turns = |nodes: &mut Nodes, now| [0; 4].map(|_| (nodes.now(now), nodes.turn()).0.expect("a server"));
        assert_eq!(turns(&mut nodes, now), [0, 1, 2, 0]);
        nodes.has_failed(1, now);
        assert_eq!(turns(&mut nodes, now), [2, 2, 0, 2]);
        let later = now + REST_MIN;
        assert_eq!(turns(&mut nodes, later), [2, 0, 1, 2]);
        // It fails again, for twice as long, and then all do: whoever is first to be tried again is tried at once.
        for at in [1, 2, 0] {
            nodes.has_failed(at, later);
        }
        assert_eq!(turns(&mut nodes, later), [0, 2, 2, 0]);
        nodes.is_proven(1, "cluster".to_owned());
        assert_eq!(turns(&mut nodes, later), [1; 4]);
        assert_eq!(nodes.of_another("cluster"), None);
        assert!(nodes.of_another("other").is_some_and(|(address, _)| address.contains(":2")));
    }
}
