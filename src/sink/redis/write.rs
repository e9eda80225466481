//! Writes held back on our side, and the commands that carry them.
//!
//! `EXEC` has no rollback: a command that fails inside it leaves the ones before and after standing, the checkpoint among
//! them. Almost nothing can fail there: the values are written over whatever type the key has, memory, replicas and
//! permissions are checked when a command is queued, and a refused one makes `EXEC` refuse them all. Yet an administrator may
//! take a permission away in between. So each part of the writes is a script that raises a counter, the *guard*, as its last
//! act, and the checkpoint is set by a script that first looks whether the guard counted them all. Scripts also keep the
//! replies to `EXEC` few: one a part, not one a row.
//!
//! Commands inside a script are not checked when the script is queued, so before the parts the same commands are queued
//! plainly, on the guard itself ([`begin`]): a user without permission, a full memory or a read-only replica is refused there.

use std::collections::HashMap;

use bytes::Bytes;
use redis::{Cmd, Pipeline, cmd};

use super::ValueKind;
use super::checkpoint::OwnKeys;
use super::merge::Content;

/// `KEYS`: the guard, then a key for each write. `ARGV`: how many parts came before, the TTL in milliseconds or nothing, then
/// for each write `d`, or `s` and a value, or `h`, a count, and so many names and values in turn.
const APPLY: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('ERR an earlier part failed') end
local ttl, at = ARGV[2], 3
for i = 2, #KEYS do
  local key, kind = KEYS[i], ARGV[at]
  at = at + 1
  if kind == 's' then
    if ttl == '' then redis.call('SET', key, ARGV[at]) else redis.call('SET', key, ARGV[at], 'PX', ttl) end
    at = at + 1
  else
    redis.call('UNLINK', key)
    if kind == 'h' then
      local last = at + tonumber(ARGV[at])
      if last > at then
        redis.call('HSET', key, unpack(ARGV, at + 1, last))
        if ttl ~= '' then redis.call('PEXPIRE', key, ttl) end
      end
      at = last + 1
    end
  end
end
return redis.call('SET', KEYS[1], ARGV[1] + 1)";

/// `KEYS`: the guard, the checkpoints. `ARGV`: how many parts there were, the checkpoints' texts.
const FINISH: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('ERR a part failed') end
redis.call('UNLINK', KEYS[1])
for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i]) end
return redis.status_reply('OK')";

/// A script call takes no more than this, so that neither Lua's memory nor the number of arguments (Redis takes 1048576)
/// grows with the transaction.
const CALL_BYTES: usize = 512 << 10;
const CALL_ARGUMENTS: usize = 50_000;

/// One key's write; `None` removes it.
#[derive(Debug)]
struct Write {
    key: Bytes,
    content: Option<Content>,
    /// The run it came with.
    run: u64,
}

/// What writes held back say of a key, as of the beginning of the current run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before<'h> {
    /// Nothing: what the target has holds.
    Untouched,
    /// It will be removed.
    Removed,
    /// It will be this.
    Content(&'h Content),
}

/// Staged writes that have not been sent.
#[derive(Debug, Default)]
pub(super) struct Held {
    writes: Vec<Write>,
    places: HashMap<Bytes, Place>,
    bytes: usize,
    run: u64,
}

/// Where a key's last write stands in `writes`, and its last one before that write's run.
#[derive(Debug)]
struct Place {
    at: usize,
    run: u64,
    earlier: Option<usize>,
}

impl Held {
    /// A run begins. Its rows lack values that stood in the target before it, so they are not looked for in it.
    pub(super) fn begin_run(&mut self) {
        self.run = self.run.wrapping_add(1);
    }

    pub(super) fn push(&mut self, key: Bytes, content: Option<Content>) {
        self.add(Write { key, content, run: self.run });
    }

    fn add(&mut self, write: Write) {
        let (at, run) = (self.writes.len(), write.run);
        let last = self.places.get(&write.key);
        let earlier = last.and_then(|place| if place.run == run { place.earlier } else { Some(place.at) });
        self.places.insert(write.key.clone(), Place { at, run, earlier });
        // The fixed part is about what the bookkeeping of a small write weighs.
        let weight =
            write.content.as_ref().map_or(0, Content::bytes).saturating_add(write.key.len()).saturating_add(64);
        self.bytes = self.bytes.saturating_add(weight);
        self.writes.push(write);
    }

    /// A key as it stood when the run began.
    pub(super) fn before_run(&self, key: &[u8]) -> Before<'_> {
        let place = self.places.get(key);
        let at = place.and_then(|place| if place.run == self.run { place.earlier } else { Some(place.at) });
        match at.and_then(|at| self.writes.get(at)) {
            None => Before::Untouched,
            Some(Write { content: None, .. }) => Before::Removed,
            Some(Write { content: Some(content), .. }) => Before::Content(content),
        }
    }

    /// Drops the writes to some keys, as if they had never been staged.
    pub(super) fn forget(&mut self, gone: impl Fn(&[u8]) -> bool) {
        let before = std::mem::take(self);
        self.run = before.run;
        before.writes.into_iter().filter(|write| !gone(&write.key)).for_each(|write| self.add(write));
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.writes.iter().map(|write| &write.key)
    }

    /// Appends the calls that apply everything held, in order; `parts` counts them.
    pub(super) fn apply(&self, own: &OwnKeys, ttl_ms: Option<u64>, parts: &mut u64, out: &mut Pipeline) {
        let mut rest = self.writes.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(call_length(rest));
            out.add_command(apply_call(now, own, ttl_ms, *parts));
            *parts = parts.saturating_add(1);
            rest = later;
        }
    }
}

/// Opens the transaction.
pub(super) fn begin(kind: ValueKind, own: &OwnKeys, out: &mut Pipeline) {
    out.cmd("MULTI");
    out.cmd("UNLINK").arg(&own.guard);
    if kind == ValueKind::Hash {
        out.cmd("HSET").arg(&own.guard).arg("parts").arg(0);
        out.cmd("PEXPIRE").arg(&own.guard).arg(60_000);
    }
    out.cmd("SET").arg(&own.guard).arg(0);
}

/// The last command of the transaction.
pub(super) fn finish(own: &OwnKeys, parts: u64, checkpoints: &[(&[u8], &[u8])]) -> Cmd {
    let mut finish = cmd("EVAL");
    finish.arg(FINISH).arg(checkpoints.len().saturating_add(1)).arg(&own.guard);
    checkpoints.iter().for_each(|(key, _)| _ = finish.arg(key));
    finish.arg(parts);
    checkpoints.iter().for_each(|(_, text)| _ = finish.arg(text));
    finish
}

/// How many of the writes fit into one call: at least one.
fn call_length(writes: &[Write]) -> usize {
    let (mut bytes, mut arguments) = (0_usize, 0_usize);
    let fits = writes.iter().take_while(|write| {
        let content = write.content.as_ref();
        bytes = bytes.saturating_add(write.key.len()).saturating_add(content.map_or(0, Content::bytes));
        arguments = arguments.saturating_add(match content {
            Some(Content::Fields(fields)) => fields.len().saturating_mul(2).saturating_add(3),
            Some(Content::Json(_)) => 3,
            None => 2,
        });
        bytes <= CALL_BYTES && arguments <= CALL_ARGUMENTS
    });
    fits.count().max(1)
}

fn apply_call(writes: &[Write], own: &OwnKeys, ttl_ms: Option<u64>, earlier_parts: u64) -> Cmd {
    let mut call = cmd("EVAL");
    call.arg(APPLY).arg(writes.len().saturating_add(1)).arg(&own.guard);
    for write in writes {
        call.arg(write.key.as_ref());
    }
    call.arg(earlier_parts).arg(ttl_ms.map(|ttl| ttl.to_string()).unwrap_or_default());
    for write in writes {
        match &write.content {
            None => {
                call.arg("d");
            }
            Some(Content::Json(text)) => {
                call.arg("s").arg(text);
            }
            Some(Content::Fields(fields)) => {
                call.arg("h").arg(fields.len().saturating_mul(2));
                for (name, value) in fields {
                    call.arg(name).arg(value);
                }
            }
        }
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<Content> {
        Some(Content::Json(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_key_is_seen_as_it_stood_before_the_run() {
        let mut held = Held::default();
        held.begin_run();
        held.push("a".into(), json("1"));
        assert_eq!(held.before_run(b"a"), Before::Untouched);
        held.begin_run();
        assert_eq!(held.before_run(b"a"), Before::Content(&Content::Json(b"1".to_vec())));
        held.push("a".into(), None);
        held.push("a".into(), json("2"));
        assert_eq!(held.before_run(b"a"), Before::Content(&Content::Json(b"1".to_vec())));
        held.begin_run();
        held.push("b".into(), None);
        held.begin_run();
        assert_eq!(held.before_run(b"a"), Before::Content(&Content::Json(b"2".to_vec())));
        assert_eq!(held.before_run(b"b"), Before::Removed);
        held.push("c".into(), json("3"));
        held.forget(|key| key == b"a");
        assert_eq!(held.before_run(b"a"), Before::Untouched);
        assert_eq!(held.before_run(b"c"), Before::Untouched);
        assert_eq!(held.before_run(b"b"), Before::Removed);
    }

    #[test]
    fn a_large_batch_is_split_and_a_large_value_is_a_call_of_its_own() {
        let mut held = Held::default();
        held.push("a".into(), json(&"x".repeat(CALL_BYTES + 1)));
        (0..1000).for_each(|n| held.push(format!("k{n}").into(), json(&"x".repeat(1000))));
        let (mut parts, mut pipeline) = (0, Pipeline::new());
        held.apply(&OwnKeys::new("s"), None, &mut parts, &mut pipeline);
        assert_eq!((parts, pipeline.len()), (3, 3));
    }
}
