//! The masters of a cluster, each with a connection, and which slots they have.

use futures_util::future::try_join_all;
use redis::{Arg, Cmd, Pipeline};

use super::super::Target;
use super::super::connect::Connection;
use super::super::place::Slots;
use super::super::reply::Reply;
use super::super::{error, slot};
use crate::sink::SinkError;

/// See the module.
pub(super) struct Nodes {
    layout: Vec<Slots>,
    nodes: Vec<Node>,
    /// The number of the node that has a slot.
    of_slot: Vec<usize>,
}

struct Node {
    host: String,
    /// The first of its slots.
    slot: u16,
    connection: Connection,
}

/// A cursor of `SCAN` is a node's; above it stands the node's number. In a cluster a cursor has 14 bits for the slot and as many as the largest slot's table.
const CURSOR_BITS: u32 = 54;

impl Nodes {
    /// Connects to all.
    pub(super) async fn open(target: &Target) -> Result<Self, SinkError> {
        let masters = target.address.masters().await?;
        let mut of_slot = vec![None; usize::from(slot::SLOTS)];
        let mut nodes: Vec<Node> = Vec::new();
        for (Slots { slots, host }, info) in &masters {
            let number = match nodes.iter().position(|node| node.host == *host) {
                Some(number) => number,
                None => {
                    let connection = target.address.connect_to(info.clone()).await?;
                    nodes.push(Node { host: host.clone(), slot: *slots.start(), connection });
                    nodes.len().saturating_sub(1)
                }
            };
            let range = usize::from(*slots.start())..=usize::from(*slots.end());
            of_slot.get_mut(range).into_iter().flatten().for_each(|of| *of = Some(number));
        }
        let of_slot = (0_u16..).zip(of_slot).map(|(slot, of)| of.ok_or_else(|| target.address.homeless(slot)));
        let of_slot = of_slot.collect::<Result<_, _>>()?;
        Ok(Nodes { layout: masters.into_iter().map(|(slots, _)| slots).collect(), nodes, of_slot })
    }

    /// Sends each command to the master of its slot; the replies are in the order of the commands.
    pub(super) async fn send(&mut self, commands: Vec<(u16, Cmd)>) -> Result<Vec<Reply>, SinkError> {
        let mut shares: Vec<(Pipeline, Vec<usize>)> = vec![Default::default(); self.nodes.len()];
        let count = commands.len();
        for (at, (slot, command)) in commands.into_iter().enumerate() {
            let of = self.of_slot.get(usize::from(slot)).and_then(|&of| shares.get_mut(of));
            if let Some((pipeline, places)) = of {
                pipeline.add_command(command);
                places.push(at);
            }
        }
        let asked = self.nodes.iter_mut().zip(&shares).map(|(node, (pipeline, _))| node.connection.ask(pipeline));
        let mut replies = vec![Reply::Other; count];
        for ((_, places), answers) in shares.iter().zip(try_join_all(asked).await?) {
            for (&at, answer) in places.iter().zip(answers) {
                if let Some(reply) = replies.get_mut(at) {
                    *reply = answer;
                }
            }
        }
        Ok(replies)
    }

    /// The same, where each command tells its slot.
    pub(super) async fn ask(&mut self, commands: &Pipeline) -> Result<Vec<Reply>, SinkError> {
        let routed = commands.cmd_iter().map(|command| (slot::of(key_of(command)), command.clone()));
        self.send(routed.collect()).await
    }

    /// Asks every master; what, depends on which slots it has.
    pub(super) async fn ask_each(
        &mut self,
        commands: impl Fn(u16, &dyn Fn(u16) -> bool) -> Pipeline,
    ) -> Result<Vec<(Pipeline, Vec<Reply>)>, SinkError> {
        let of_slot = &self.of_slot;
        let asked = self.nodes.iter_mut().enumerate().map(|(number, node)| {
            let pipeline = commands(node.slot, &|slot| of_slot.get(usize::from(slot)) == Some(&number));
            async move {
                let replies = node.connection.ask(&pipeline).await?;
                Ok((pipeline, replies))
            }
        });
        try_join_all(asked).await
    }

    /// What every master says to the same command.
    pub(super) async fn told(&mut self, target: &Target, doing: &str, command: &Cmd) -> Result<Vec<String>, SinkError> {
        let shown = target.address.shown();
        let mut pipeline = Pipeline::new();
        pipeline.add_command(command.clone());
        let replies = self.ask_each(|_, _| pipeline.clone()).await?;
        let text = |reply: Reply| match reply.accepted(shown, doing)? {
            Reply::Bytes(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            _ => Err(error::strange(shown, doing)),
        };
        replies.into_iter().flat_map(|(_, replies)| replies).map(text).collect()
    }

    /// Some of the keys that a pattern matches, master by master; see [`Connection::scan`]. A key that moves to another master might be missed, so
    /// none may move meanwhile.
    pub(super) async fn scan(
        &mut self,
        target: &Target,
        from: u64,
        glob: &[u8],
    ) -> Result<(Option<u64>, Vec<Vec<u8>>), SinkError> {
        if from == 0 {
            self.hold_still(target).await?;
        }
        let number = from >> CURSOR_BITS;
        let node = usize::try_from(number).ok().and_then(|number| self.nodes.get_mut(number));
        let node = node.ok_or_else(|| error::strange(target.address.shown(), "SCAN"))?;
        let (next, found) = node.connection.scan(from & ((1 << CURSOR_BITS) - 1), glob).await?;
        let next = match next {
            Some(cursor) if cursor >> CURSOR_BITS == 0 => Some(number << CURSOR_BITS | cursor),
            Some(_) => return Err(error::strange(target.address.shown(), "SCAN")),
            None if number.saturating_add(1) < u64::try_from(self.nodes.len()).unwrap_or_default() => {
                Some(number.saturating_add(1) << CURSOR_BITS)
            }
            None => None,
        };
        if next.is_none() {
            self.hold_still(target).await?;
        }
        Ok((next, found))
    }

    /// Whether every slot is where it was when we connected, and none is on its way.
    async fn hold_still(&mut self, target: &Target) -> Result<(), SinkError> {
        let now: Vec<Slots> = target.address.masters().await?.into_iter().map(|(slots, _)| slots).collect();
        let has_moved = !now.iter().all(|slots| self.layout.contains(slots)) || now.len() != self.layout.len();
        let mut command = redis::cmd("CLUSTER");
        command.arg("NODES");
        let told = self.told(target, "CLUSTER NODES", &command).await?;
        if !has_moved && !told.iter().any(|nodes| is_moving(nodes)) {
            return Ok(());
        }
        let detail =
            "slots are on their way from node to node: what it has is listed when they have arrived".to_owned();
        Err(SinkError::Unavailable { target: target.address.shown().to_owned(), detail })
    }
}

/// What stands behind a command's name, or behind the word that follows it.
fn key_of(command: &Cmd) -> &[u8] {
    let words = |at: usize| match command.args_iter().nth(at) {
        Some(Arg::Simple(word)) => word,
        _ => b"",
    };
    words(if words(0) == b"XINFO" { 2 } else { 1 })
}

/// Whether a node says that it hands a slot over, or takes one: `[slot->-node]`, `[slot-<-node]` behind its slots.
fn is_moving(nodes: &str) -> bool {
    let own = nodes.lines().find(|line| line.split(' ').nth(2).is_some_and(|flags| flags.contains("myself")));
    own.is_some_and(|line| line.split(' ').skip(8).any(|slots| slots.starts_with('[')))
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;

    #[test]
    fn a_command_tells_its_key() {
        let command = |words: &[&str]| {
            let mut command = cmd(words[0]);
            words.iter().skip(1).for_each(|word| _ = command.arg(word));
            key_of(&command).to_vec()
        };
        assert_eq!(command(&["GET", "k"]), b"k");
        assert_eq!(command(&["ZSCORE", "k", "m"]), b"k");
        assert_eq!(command(&["XINFO", "STREAM", "k"]), b"k");
        assert_eq!(command(&["PING"]), b"");
    }

    #[test]
    fn a_node_that_hands_a_slot_over_says_so_in_its_own_line() {
        let line =
            |flags: &str, slots: &str| format!("07c3 127.0.0.1:30004@31004 {flags} - 0 142 4 connected {slots}\n");
        let told = |own: &str| [line("master", "0-5460 [93->-29f0]"), line("myself,master", own)].concat();
        assert!(!is_moving(&told("5461-10922")));
        assert!(is_moving(&told("5461-10922 [93->-292f]")));
        assert!(is_moving(&told("5461-10922 [77-<-e7d1]")));
    }
}
