//! The commands that carry what was held back.
//!
//! `EXEC` has no rollback: a command that fails inside it leaves the ones before and after standing, the checkpoint among
//! them. Almost nothing can fail there: the values are written over whatever type the key has, memory, replicas and
//! permissions are checked when a command is queued, and a refused one makes `EXEC` refuse them all. Yet an administrator may
//! take a permission away in between. So each part of the writes is a script that raises a counter, the *guard*, as its last
//! act, or one `MSET` that leaves a *mark* and a script that raises the guard where it finds that; and the checkpoint is set by a
//! script that first looks whether the guard counted them all. Scripts also keep the
//! replies to `EXEC` few: one a part, not one a row.
//!
//! Commands inside a script are not checked when the script is queued, so before the parts the same commands are queued
//! plainly, on the guard itself ([`begin`]): a user without permission, a full memory or a read-only replica is refused there.

use redis::{Cmd, Pipeline, cmd};

use super::checkpoint::OwnKeys;
use super::form::Expiry;
use super::held::{Held, Write};
use super::merge::Content;
use super::{Form, Target, ValueKind, member};

/// A script that looks at its first key before it writes, and sets it last.
macro_rules! apply {
    ($begin:literal, $end:literal) => {
        concat!(
            $begin,
            "
local channel, most, at = ARGV[2], ARGV[3], 4
local function names_in(key, field)
  local well, names = pcall(cjson.decode, redis.call('HGET', key, field) or '[]')
  return well and type(names) == 'table' and names or {}
end
for i = 2, #KEYS do
  local key, kind = KEYS[i], ARGV[at]
  at = at + 1
  if kind == 'd' then
    redis.call('UNLINK', key)
  elseif kind == 'o' then
    if redis.call('TYPE', key).ok == 'hash' then
      redis.call('HDEL', key, ARGV[at], unpack(names_in(key, ARGV[at])))
    end
    at = at + 1
  elseif kind == 'f' then
    local last, stays = at + 2 + tonumber(ARGV[at + 2]), {}
    for j = at + 3, last, 2 do stays[ARGV[j]] = true end
    for _, name in ipairs(names_in(key, ARGV[at])) do
      if not stays[name] then redis.call('HDEL', key, name) end
    end
    redis.call('HSET', key, ARGV[at], ARGV[at + 1], unpack(ARGV, at + 3, last))
    at = last + 1
  elseif kind == 'r' then
    if ARGV[at] == 'LREM' then redis.call('LREM', key, 0, ARGV[at + 1]) else redis.call(ARGV[at], key, ARGV[at + 1]) end
    at = at + 2
  else
    local option, time = ARGV[at], ARGV[at + 1]
    at = at + 2
    if kind == 's' then
      if option == '' then redis.call('SET', key, ARGV[at]) else redis.call('SET', key, ARGV[at], option, time) end
      at = at + 1
    elseif kind == 'h' then
      redis.call('UNLINK', key)
      local last = at + tonumber(ARGV[at])
      if last > at then redis.call('HSET', key, unpack(ARGV, at + 1, last)) end
      at = last + 1
    elseif kind == 'm' then
      redis.call('SADD', key, ARGV[at])
      at = at + 1
    elseif kind == 'l' then
      if not redis.call('LPOS', key, ARGV[at]) then
        redis.call('LPUSH', key, ARGV[at])
        if most ~= '' then redis.call('LTRIM', key, 0, most - 1) end
      end
      at = at + 1
    elseif kind == 'z' then
      redis.call('ZADD', key, ARGV[at], ARGV[at + 1])
      if most ~= '' then redis.call('ZREMRANGEBYRANK', key, 0, -most - 1) end
      at = at + 2
    else
      if most == '' then redis.call('XADD', key, ARGV[at], 'event', ARGV[at + 1])
      else redis.call('XADD', key, 'MAXLEN', most, ARGV[at], 'event', ARGV[at + 1]) end
      at = at + 2
    end
    if kind ~= 's' and option ~= '' then
      if option == 'PX' then redis.call('PEXPIRE', key, time) else redis.call('PEXPIREAT', key, time) end
    end
  end
  if channel ~= '' then redis.call('PUBLISH', channel, key) end
end
",
            $end
        )
    };
}

/// `KEYS`: the guard, then a key for each write. `ARGV`: how many parts came before, the channel or nothing, the most entries or nothing, then for each
/// write
/// - `d`: the key goes;
/// - `r`, a command, a member: the member goes;
/// - `o`, a field: the fields named there go, and it;
/// - `f`, that field, its text, a count, and so many names and values in turn: of the fields named there before, those that are not among them go;
/// - a kind, `PX` or `PXAT` or nothing, milliseconds or nothing, and of the kind
///   - `s` a value; `h` a count, and so many names and values in turn;
///   - `m` a member of a set; `l` an element of a list; `z` a score and a member; `x` an id and an entry.
const APPLY: &str = apply!(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('ERR an earlier part failed') end",
    "return redis.call('SET', KEYS[1], ARGV[1] + 1)"
);

/// The same in one slot of many. `KEYS`: the slot's version in place of the guard. `ARGV`: its text, or nothing, as it was left; the channel and the most
/// entries; each write; and last the text that it gets. Where another text is found, that is the answer, and nothing is done.
pub(super) const APPLY_IN_SLOT: &str = apply!(
    "local found = redis.call('GET', KEYS[1]) or ''\nif found ~= ARGV[1] then return {found} end",
    "return redis.call('SET', KEYS[1], ARGV[#ARGV])"
);

/// `KEYS`: the guard, the mark, then those of the values that expire or are told. `ARGV`: how many parts came before, which is what the part left in
/// the mark; the channel or nothing; for each of the keys `PX` or `PXAT` or nothing, milliseconds or nothing.
const STEP: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[1] then return redis.error_reply('ERR an earlier part failed') end
for i = 3, #KEYS do
  local option, time = ARGV[2 * i - 3], ARGV[2 * i - 2]
  if option == 'PX' then redis.call('PEXPIRE', KEYS[i], time) end
  if option == 'PXAT' then redis.call('PEXPIREAT', KEYS[i], time) end
  if ARGV[2] ~= '' then redis.call('PUBLISH', ARGV[2], KEYS[i]) end
end
return redis.call('SET', KEYS[1], ARGV[1] + 1)";

/// `KEYS`: the guard, the mark, the checkpoints. `ARGV`: how many parts there were, the checkpoints' texts.
const FINISH: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('ERR a part failed') end
redis.call('UNLINK', KEYS[1], KEYS[2])
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[i - 1]) end
return redis.status_reply('OK')";

/// A script call takes no more than this, so that neither Lua's memory nor the number of arguments (Redis takes 1048576)
/// grows with the transaction.
const CALL_BYTES: usize = 512 << 10;
const CALL_ARGUMENTS: usize = 50_000;

/// As many values are worth two commands that are no script's.
const TOGETHER_MIN: usize = 4;

/// Opens the transaction.
pub(super) fn begin(form: &Form, own: &OwnKeys, out: &mut Pipeline) {
    let guard = &own.guard;
    out.cmd("MULTI");
    out.cmd("UNLINK").arg(guard).arg(&own.mark);
    match form.value {
        ValueKind::Json | ValueKind::Text | ValueKind::Invalidate => {}
        ValueKind::Hash => _ = out.cmd("HSET").arg(guard).arg("parts").arg(0),
        ValueKind::Fields => {
            out.cmd("TYPE").arg(guard);
            out.cmd("HSET").arg(guard).arg("parts").arg(0);
            out.cmd("HGET").arg(guard).arg("parts");
            out.cmd("HDEL").arg(guard).arg("parts");
        }
        ValueKind::Set => {
            out.cmd("SADD").arg(guard).arg("m");
            out.cmd("SREM").arg(guard).arg("m");
        }
        ValueKind::List => {
            out.cmd("LPUSH").arg(guard).arg("m");
            out.cmd("LPOS").arg(guard).arg("m");
            out.cmd("LTRIM").arg(guard).arg(0).arg(0);
            out.cmd("LREM").arg(guard).arg(0).arg("m");
        }
        ValueKind::SortedSet => {
            out.cmd("ZADD").arg(guard).arg(0).arg("m");
            out.cmd("ZREMRANGEBYRANK").arg(guard).arg(0).arg(-2);
            out.cmd("ZREM").arg(guard).arg("m");
        }
        ValueKind::Stream => _ = out.cmd("XADD").arg(guard).arg("1-1").arg("event").arg(""),
    }
    // Of a string `SET` does it.
    if form.ttl.is_some() || form.value == ValueKind::Hash {
        out.cmd("PEXPIRE").arg(guard).arg(60_000);
    }
    if form.ttl_column.is_some() {
        out.cmd("PEXPIREAT").arg(guard).arg(1_u64 << 50);
    }
    out.cmd("SET").arg(guard).arg(0);
}

/// The last command of the transaction.
pub(super) fn finish(own: &OwnKeys, parts: u64, checkpoints: &[(&[u8], &[u8])]) -> Cmd {
    let mut finish = cmd("EVAL");
    finish.arg(FINISH).arg(checkpoints.len().saturating_add(2)).arg(&own.guard).arg(&own.mark);
    checkpoints.iter().for_each(|(key, _)| _ = finish.arg(key));
    finish.arg(parts);
    checkpoints.iter().for_each(|(_, text)| _ = finish.arg(text));
    finish
}

/// Appends the calls that apply everything held, in order; `parts` counts them.
pub(super) fn apply(held: &Held, own: &OwnKeys, form: &Form, parts: &mut u64, out: &mut Pipeline) {
    let mut rest = held.writes();
    while !rest.is_empty() {
        let strings = rest.iter().take_while(|write| write.is_string()).count();
        let together = rest.get(..strings).filter(|_| strings >= TOGETHER_MIN);
        let (now, later) = rest.split_at(call_length(together.unwrap_or(rest)));
        match together {
            Some(_) => set_together(now, own, form, *parts, out),
            None => _ = out.add_command(apply_call(now, own, form, *parts)),
        }
        *parts = parts.saturating_add(1);
        rest = later;
    }
}

/// A part without a script: in one, each key and value would be copied into Lua and out again, which took most of the server's time. `MSET` sets all
/// or nothing, so that the mark among its keys tells whether it did.
fn set_together(writes: &[Write], own: &OwnKeys, form: &Form, earlier_parts: u64, out: &mut Pipeline) {
    let bytes = writes.iter().map(Write::bytes).sum::<usize>().saturating_add(own.mark.len()).saturating_add(32);
    let mut set = Cmd::with_capacity(writes.len().saturating_mul(2).saturating_add(3), bytes);
    set.arg("MSET");
    for write in writes {
        if let Some(Content::String(text)) = &write.content {
            set.arg(&*write.key).arg(text);
        }
    }
    set.arg(&own.mark).arg(earlier_parts);
    out.add_command(set);
    let more = if form.expires() || form.publish.is_some() { writes } else { &[] };
    let mut step = cmd("EVAL");
    step.arg(STEP).arg(more.len().saturating_add(2)).arg(&own.guard).arg(&own.mark);
    more.iter().for_each(|write| _ = step.arg(&*write.key));
    step.arg(earlier_parts).arg(form.publish.as_deref().unwrap_or_default());
    more.iter().for_each(|write| add_expiry(write.expiry, &mut step));
    out.add_command(step);
}

fn add_expiry(expiry: Expiry, call: &mut Cmd) {
    match expiry {
        Expiry::Never => call.arg("").arg(""),
        Expiry::After(milliseconds) => call.arg("PX").arg(milliseconds),
        Expiry::At(milliseconds) => call.arg("PXAT").arg(milliseconds),
    };
}

/// How many of the writes fit into one call: at least one.
pub(super) fn call_length<'w>(writes: impl IntoIterator<Item = &'w Write>) -> usize {
    let (mut bytes, mut arguments) = (0_usize, 0_usize);
    let fits = writes.into_iter().take_while(|write| {
        bytes = bytes.saturating_add(write.bytes());
        arguments = arguments.saturating_add(match &write.content {
            Some(Content::Fields(fields)) => fields.len().saturating_mul(2).saturating_add(6),
            Some(Content::String(_) | Content::Member(_) | Content::Entry(..)) => 6,
            None => 4,
        });
        bytes <= CALL_BYTES && arguments <= CALL_ARGUMENTS
    });
    fits.count().max(1)
}

fn apply_call(writes: &[Write], own: &OwnKeys, form: &Form, earlier_parts: u64) -> Cmd {
    let mut call = cmd("EVAL");
    call.arg(APPLY).arg(writes.len().saturating_add(1)).arg(&own.guard);
    add_writes(writes.iter(), earlier_parts.to_string().as_bytes(), own, form, &mut call);
    call
}

/// Some writes to one slot; see [`APPLY_IN_SLOT`]. `key`: the version's, which is `left` now and is to be `next`.
pub(super) fn in_slot(script: &str, key: &[u8], writes: &[&Write], target: &Target, left: &[u8], next: &[u8]) -> Cmd {
    let mut call = cmd("EVALSHA");
    call.arg(script).arg(writes.len().saturating_add(1)).arg(key);
    add_writes(writes.iter().copied(), left, &target.own, &target.form, &mut call);
    call.arg(next);
    call
}

/// The keys, and what is to be done with each. `known`: what the script compares its first key with.
fn add_writes<'w>(
    writes: impl Iterator<Item = &'w Write> + Clone,
    known: &[u8],
    own: &OwnKeys,
    form: &Form,
    call: &mut Cmd,
) {
    writes.clone().for_each(|write| _ = call.arg(&*member::redis_key(form.value, &write.key)));
    call.arg(known).arg(form.publish.as_deref().unwrap_or_default());
    call.arg(form.entries_max.map(|most| most.to_string()).unwrap_or_default());
    writes.for_each(|write| add_write(write, form.value, own, call));
}

fn add_write(write: &Write, kind: ValueKind, own: &OwnKeys, call: &mut Cmd) {
    let member = || member::split(&write.key).map_or(&[][..], |(_, member)| member);
    let Some(content) = &write.content else {
        match kind {
            ValueKind::Set => call.arg("r").arg("SREM").arg(member()),
            ValueKind::List => call.arg("r").arg("LREM").arg(member()),
            ValueKind::SortedSet => call.arg("r").arg("ZREM").arg(member()),
            ValueKind::Fields => call.arg("o").arg(&own.field),
            ValueKind::Json | ValueKind::Text | ValueKind::Hash | ValueKind::Invalidate | ValueKind::Stream => {
                call.arg("d")
            }
        };
        return;
    };
    if let (Content::Fields(fields), ValueKind::Fields) = (content, kind) {
        call.arg("f").arg(&own.field).arg(names_of(fields)).arg(fields.len().saturating_mul(2));
        fields.iter().for_each(|(name, value)| _ = call.arg(name).arg(value));
        return;
    }
    call.arg(match (content, kind) {
        (Content::String(_), _) => "s",
        (Content::Fields(_), _) => "h",
        (Content::Member(Some(_)), _) => "z",
        (Content::Member(None), ValueKind::List) => "l",
        (Content::Member(None), _) => "m",
        (Content::Entry(..), _) => "x",
    });
    add_expiry(write.expiry, call);
    match content {
        Content::String(text) => _ = call.arg(text),
        Content::Fields(fields) => {
            call.arg(fields.len().saturating_mul(2));
            fields.iter().for_each(|(name, value)| _ = call.arg(name).arg(value));
        }
        Content::Member(score) => {
            score.iter().for_each(|score| _ = call.arg(score));
            call.arg(member());
        }
        Content::Entry((milliseconds, sequence), line) => {
            call.arg(format!("{milliseconds}-{sequence}")).arg(line);
        }
    }
}

/// As a JSON array.
fn names_of(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let names: Vec<_> = fields.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    // Texts always have a JSON form.
    serde_json::to_vec(&names).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn put(held: &mut Held, key: &str, text: &str) {
        held.push(Bytes::from(key.to_owned()), Content::String(text.as_bytes().to_vec()), Expiry::Never);
    }

    #[test]
    fn a_large_batch_is_split_and_a_large_value_is_a_call_of_its_own() {
        let mut held = Held::default();
        put(&mut held, "a", &"x".repeat(CALL_BYTES + 1));
        (0..1000).for_each(|n| put(&mut held, &format!("k{n}"), &"x".repeat(1000)));
        let (mut parts, mut pipeline) = (0, Pipeline::new());
        apply(&held, &OwnKeys::new("s", None), &Form::of(ValueKind::Json), &mut parts, &mut pipeline);
        // Each with the step that counts it.
        assert_eq!((parts, pipeline.len()), (3, 6));
    }
}
