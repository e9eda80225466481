//! The members of all collections that a pattern matches, page by page.
//!
//! `SCAN` finds the keys, `SSCAN` or `ZSCAN` their members: Redis promises to show each that is there from the first page to the last. Lists
//! have no such command, and their elements shift while they are walked over, so each is read in one piece.

use std::collections::VecDeque;

use bytes::Bytes;
use redis::{Cmd, cmd};

use super::connect::PAGE;
use super::home::Home;
use super::reply::Reply;
use super::{DocumentKeys, ValueKind, error, member};
use crate::project::key::MEMBER;
use crate::sink::{KeyPage, SinkError};

/// So many listings may be under way at once: a verification's, a sweep's.
const WALKS_MAX: usize = 4;

/// Listings under way, by number.
#[derive(Debug, Default)]
pub(super) struct Walks {
    walks: VecDeque<(u64, Walk)>,
    last: u64,
}

#[derive(Debug, Default)]
struct Walk {
    /// The cursor of `SCAN`; `None` once it is through.
    scan: Option<u64>,
    /// Keys that have been found, the one that is being read first, and the cursor in it.
    found: Vec<Bytes>,
    inside: u64,
}

impl Walks {
    /// See [`crate::sink::Sink::keys`].
    pub(super) async fn page(
        &mut self,
        kind: ValueKind,
        keys: &DocumentKeys,
        from: Option<u64>,
        target: &str,
        home: &mut Home,
    ) -> Result<KeyPage, SinkError> {
        let mut walk = match from {
            None => Walk { scan: Some(0), ..Walk::default() },
            Some(number) => {
                let found = self.walks.iter().position(|(known, _)| *known == number);
                let detail = || "the listing of its members was given up for others".to_owned();
                let lost = || SinkError::Unavailable { target: target.to_owned(), detail: detail() };
                found.and_then(|at| self.walks.remove(at)).ok_or_else(lost)?.1
            }
        };
        let found = match (walk.found.last().cloned(), walk.scan) {
            (Some(key), _) => walk.read_members(kind, &key, target, home).await?,
            (None, Some(cursor)) => {
                walk.find_keys(keys, cursor, home).await?;
                Vec::new()
            }
            (None, None) => Vec::new(),
        };
        let keys = found.into_iter().filter(|key| (keys.matches)(&key.0)).collect();
        let is_over = walk.found.is_empty() && walk.scan.is_none();
        let next = (!is_over).then(|| self.keep(walk));
        Ok(KeyPage { keys, next })
    }

    fn keep(&mut self, walk: Walk) -> u64 {
        self.last = self.last.wrapping_add(1);
        self.walks.push_back((self.last, walk));
        if self.walks.len() > WALKS_MAX {
            self.walks.pop_front();
        }
        self.last
    }
}

impl Walk {
    async fn find_keys(&mut self, keys: &DocumentKeys, cursor: u64, home: &mut Home) -> Result<(), SinkError> {
        // Of the pattern of whole names the part that is the key's.
        let glob = keys.glob.split(|&byte| byte == MEMBER).next().unwrap_or(&keys.glob);
        let (next, found) = home.scan(cursor, glob).await?;
        self.scan = next;
        self.found = found.into_iter().map(Bytes::from).collect();
        self.inside = 0;
        Ok(())
    }

    async fn read_members(
        &mut self,
        kind: ValueKind,
        key: &Bytes,
        target: &str,
        home: &mut Home,
    ) -> Result<Vec<crate::project::mutation::Key>, SinkError> {
        let (next, members) = match kind {
            ValueKind::List => {
                let mut range = cmd("LRANGE");
                range.arg(key.as_ref()).arg(0).arg(-1);
                match home.ask_one(range).await? {
                    Reply::Refused(refusal) if refusal.code() == "WRONGTYPE" => (0, Vec::new()),
                    reply => (0, reply.accepted(target, "LRANGE")?.strings().unwrap_or_default()),
                }
            }
            _ => {
                let name = if kind == ValueKind::SortedSet { "ZSCAN" } else { "SSCAN" };
                let mut scan = cmd(name);
                scan.arg(key.as_ref()).arg(self.inside).arg("COUNT").arg(PAGE);
                scanned(scan, target, name, home).await?.unwrap_or_default()
            }
        };
        self.inside = next;
        if next == 0 {
            self.found.pop();
        }
        // Each member has its score behind it.
        let step = if kind == ValueKind::SortedSet { 2 } else { 1 };
        Ok(members.iter().step_by(step).filter_map(|found| member::join(key, found)).collect())
    }
}

/// The next cursor, and what was found; `None` where there is something else.
async fn scanned(
    scan: Cmd,
    target: &str,
    name: &str,
    home: &mut Home,
) -> Result<Option<(u64, Vec<Vec<u8>>)>, SinkError> {
    let reply = match home.ask_one(scan).await? {
        Reply::Refused(refusal) if refusal.code() == "WRONGTYPE" => return Ok(None),
        reply => reply.accepted(target, name)?,
    };
    reply.scanned().map(Some).ok_or_else(|| error::strange(target, name))
}
