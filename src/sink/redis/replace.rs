//! Keys that were built beside take the place of those that readers have.
//!
//! Which names differ is found out before, while the readers' loop holds still, and noted in a list, the *plan*. Then one `EXEC` makes each of them
//! what it is beside, and the checkpoint with them: readers have the keys of before or those of after. They wait for as many as differ, not for all
//! that there are. What is beside is copied and not moved, so however often that is done it comes to the same, and the identity of what was
//! built, which stands beside the checkpoint, tells whoever was cut short that it has been done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, cmd};

use super::checkpoint::OwnKeys;
use super::connect::Connection;
use super::fence::Fence;
use super::one;
use super::reply::{self, Reply};
use super::session::Session;
use super::{Target, ValueKind, error, member, write};
use crate::event::TableName;
use crate::sink::{Old, SinkError};

/// What the scripts know. `ARGV`: what stands before names beside; the type that is ours where another is somebody else's, or nothing; of hashes that others
/// have fields in, the field that says which are ours, or nothing.
const KNOWN: &str = "\
local before, wanted, field = ARGV[1], ARGV[2], ARGV[3]
local function is_theirs(live)
  if wanted == '' then return false end
  local found = redis.call('TYPE', live).ok
  return found ~= 'none' and found ~= wanted
end
local function differ(built, live)
  if field == '' then return redis.call('DUMP', built) ~= redis.call('DUMP', live) end
  local fields = redis.call('HGETALL', built)
  if #fields == 0 then return redis.call('HEXISTS', live, field) == 1 end
  for i = 1, #fields, 2 do
    if redis.call('HGET', live, fields[i]) ~= fields[i + 1] then return true end
  end
  return false
end
";

/// `KEYS`: the plan. `ARGV`: besides those, the names. Notes which of them are other than what is beside.
const PLAN: &str = "\
for i = 4, #ARGV do
  local live = ARGV[i]
  if not is_theirs(live) and differ(before .. live, live) then redis.call('RPUSH', KEYS[1], live) end
end
return redis.status_reply('OK')";

/// `KEYS`: the guard, the plan. `ARGV`: besides those, how many steps came before, from where to where in the plan, the channel or nothing.
const STEP: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[4] then return redis.error_reply('ERR an earlier part failed') end
for _, live in ipairs(redis.call('LRANGE', KEYS[2], ARGV[5], ARGV[6])) do
  if not is_theirs(live) then
    local built = before .. live
    if field ~= '' then
      local well, names = pcall(cjson.decode, redis.call('HGET', live, field) or '[]')
      redis.call('HDEL', live, field, unpack(well and type(names) == 'table' and names or {}))
      local fields = redis.call('HGETALL', built)
      if #fields > 0 then redis.call('HSET', live, unpack(fields)) end
    elseif redis.call('EXISTS', built) == 1 then redis.call('COPY', built, live, 'REPLACE')
    else redis.call('UNLINK', live) end
    if ARGV[7] ~= '' then redis.call('PUBLISH', ARGV[7], live) end
  end
end
return redis.call('SET', KEYS[1], ARGV[4] + 1)";

/// `ARGV`: what stands before names that are kept; names. Keeps what is not kept yet.
const KEEP: &str = "\
for i = 2, #ARGV do redis.call('COPY', ARGV[i], ARGV[1] .. ARGV[i]) end
return redis.status_reply('OK')";

/// So many names are looked at, or written, by a call. Redis answers nobody else meanwhile.
const NAMES_TOGETHER: usize = 1000;
/// What writing them may take, large values among them.
const STEP_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection, and what both sides are called.
struct Replacing<'t> {
    readers: &'t Target,
    beside: OwnKeys,
    connection: Connection,
}

/// Notes what is to become what it is beside, with this sink's tables being those; returns a new identity of what was built. See
/// [`crate::sink::Replaceable::identity`].
pub(super) async fn plan(readers: &Arc<Target>, tables: &[TableName]) -> Result<String, SinkError> {
    let mut planning = Replacing::open(readers).await?;
    let mut forget = cmd("UNLINK");
    forget.arg(&planning.beside.plan).arg(&planning.beside.identity);
    planning.ask("UNLINK", forget).await?;
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        let (next, names) = planning.built(from).await?;
        planning.note(&names).await?;
        cursor = next;
    }
    // What is not beside is among what the sink's tables have there.
    let mut session = Session::open(Arc::clone(readers)).await?;
    for table in tables {
        let mut from = None;
        loop {
            let page = session.keys(table, from).await?;
            let names: BTreeSet<Vec<u8>> =
                page.keys.iter().map(|name| member::redis_key(readers.form.value, &name.0).to_vec()).collect();
            let gone = planning.not_built(names).await?;
            planning.note(&gone).await?;
            from = page.next;
            if from.is_none() {
                break;
            }
        }
    }
    let identity = format!("{:032x}", rand::random::<u128>());
    let mut name = cmd("SET");
    name.arg(&planning.beside.identity).arg(&identity);
    planning.ask("SET", name).await?;
    Ok(identity)
}

/// See [`crate::sink::Replaceable::replace`].
pub(super) async fn replace(readers: &Target, by: &str, old: Old) -> Result<(), SinkError> {
    let mut replacing = Replacing::open(readers).await?;
    let Some(checkpoint) = replacing.watch(by).await? else { return replacing.remove().await };
    if old == Old::Kept {
        replacing.keep(by).await?;
    }
    replacing.swap(by, &checkpoint).await?;
    tracing::info!(target = replacing.shown(), sink = %readers.own.name, "the keys were replaced");
    replacing.remove().await
}

/// See [`crate::sink::Replaceable::remove`].
pub(super) async fn remove(readers: &Target) -> Result<(), SinkError> {
    Replacing::open(readers).await?.remove().await
}

impl<'t> Replacing<'t> {
    async fn open(readers: &'t Target) -> Result<Self, SinkError> {
        let connection = readers.address.connect().await?;
        Ok(Replacing { readers, beside: readers.own.beside(), connection })
    }

    /// Watches both sides. The checkpoint of what was built; `None` if that has taken its place before.
    async fn watch(&mut self, by: &str) -> Result<Option<Vec<u8>>, SinkError> {
        let (live, beside) = (&self.readers.own, &self.beside);
        let keys = [&live.identity, &beside.identity, &beside.checkpoint, &live.checkpoint];
        let fence = Fence::around(keys.map(Clone::clone).to_vec());
        let texts = one::watch(self.readers, &fence, &mut self.connection, Pipeline::new()).await?;
        match texts.as_slice() {
            [Some(done), ..] if done == by.as_bytes() => Ok(None),
            [_, Some(built), Some(checkpoint), _] if built == by.as_bytes() => Ok(Some(checkpoint.clone())),
            _ => {
                let detail = format!("what was built to replace the keys of sink {} is gone", self.readers.own.name);
                Err(SinkError::Regressed { target: self.shown().to_owned(), detail })
            }
        }
    }

    /// Puts all names of the plan in their place, in one transaction; it does nothing if a side was touched since they were watched.
    async fn swap(&mut self, by: &str, checkpoint: &[u8]) -> Result<(), SinkError> {
        let (steps, pipeline) = self.transaction(by, checkpoint).await?;
        let patience = STEP_TIMEOUT.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        self.connection.set_response_timeout(self.readers.address.response_timeout().saturating_add(patience));
        let mut replies = self.connection.ask(&pipeline).await?;
        let executed = replies.pop();
        reply::queued(self.shown(), replies)?;
        if reply::executed(self.shown(), executed)? {
            return Ok(());
        }
        let detail = "a checkpoint was touched while the keys were replaced".to_owned();
        Err(SinkError::Unavailable { target: self.shown().to_owned(), detail })
    }

    async fn transaction(&mut self, by: &str, checkpoint: &[u8]) -> Result<(u64, Pipeline), SinkError> {
        let names = self.planned().await?;
        let (live, beside) = (&self.readers.own, &self.beside);
        let channel = self.readers.form.publish.as_deref().unwrap_or_default();
        let mut pipeline = Pipeline::new();
        write::begin(&self.readers.form, beside, &mut pipeline);
        // As the commands there: who may not, or has no room, is refused before anything is done.
        pipeline.cmd("COPY").arg(&beside.guard).arg(&beside.mark).arg("REPLACE");
        let mut steps = 0;
        for from in (0..names).step_by(NAMES_TOGETHER) {
            let upto = from.saturating_add(NAMES_TOGETHER).saturating_sub(1);
            let mut step = self.script(STEP, &[&beside.guard, &beside.plan]);
            step.arg(steps).arg(from).arg(upto).arg(channel);
            pipeline.add_command(step);
            steps += 1;
        }
        let last = [(&*live.checkpoint, checkpoint), (&*live.identity, by.as_bytes())];
        pipeline.add_command(write::finish(beside, steps, &last));
        pipeline.cmd("EXEC");
        Ok((steps, pipeline))
    }

    /// How many names are in the plan.
    async fn planned(&mut self) -> Result<usize, SinkError> {
        let mut length = cmd("LLEN");
        length.arg(&self.beside.plan);
        match self.ask("LLEN", length).await? {
            Reply::Number(names) => Ok(usize::try_from(names).unwrap_or_default()),
            _ => Err(error::strange(self.shown(), "LLEN")),
        }
    }

    /// Keeps what readers have under other names: what is beside, too, and what the plan takes away.
    async fn keep(&mut self, by: &str) -> Result<(), SinkError> {
        let kept = self.readers.own.kept(by);
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let (next, names) = self.built(from).await?;
            self.keep_these(&kept, &names).await?;
            cursor = next;
        }
        let mut from = 0_usize;
        loop {
            let mut range = cmd("LRANGE");
            range.arg(&self.beside.plan).arg(from).arg(from.saturating_add(NAMES_TOGETHER).saturating_sub(1));
            let names = self.ask("LRANGE", range).await?.strings().unwrap_or_default();
            if names.is_empty() {
                let kept = String::from_utf8_lossy(&kept).into_owned();
                tracing::info!(sink = %self.readers.own.name, %kept, "the keys of before are kept behind this");
                return Ok(());
            }
            self.keep_these(&kept, &names).await?;
            from = from.saturating_add(NAMES_TOGETHER);
        }
    }

    async fn keep_these(&mut self, kept: &[u8], names: &[Vec<u8>]) -> Result<(), SinkError> {
        for names in names.chunks(NAMES_TOGETHER) {
            let mut keep = cmd("EVAL");
            keep.arg(KEEP).arg(1).arg(&self.beside.plan).arg(kept).arg(names);
            self.ask("COPY", keep).await?;
        }
        Ok(())
    }

    /// Removes what is beside.
    async fn remove(&mut self) -> Result<(), SinkError> {
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let (next, names) = self.built(from).await?;
            if !names.is_empty() {
                let mut unlink = cmd("UNLINK");
                for name in &names {
                    unlink.arg([self.beside.before.bytes(), name].concat());
                }
                self.ask("UNLINK", unlink).await?;
            }
            cursor = next;
        }
        let OwnKeys { checkpoint, guard, mark, identity, plan, .. } = &self.beside;
        let mut unlink = cmd("UNLINK");
        unlink.arg(checkpoint).arg(guard).arg(mark).arg(identity).arg(plan);
        self.ask("UNLINK", unlink).await.map(drop)
    }

    /// Some of the names beside, as readers know them, and where the next are.
    async fn built(&mut self, from: u64) -> Result<(Option<u64>, Vec<Vec<u8>>), SinkError> {
        let (next, found) = self.connection.scan(from, &self.beside.before.glob()).await?;
        Ok((next, found.iter().map(|name| self.beside.before.take(name).to_vec()).collect()))
    }

    /// Those of these names that are not beside.
    async fn not_built(&mut self, names: BTreeSet<Vec<u8>>) -> Result<Vec<Vec<u8>>, SinkError> {
        let mut pipeline = Pipeline::new();
        for name in &names {
            pipeline.cmd("EXISTS").arg([self.beside.before.bytes(), name].concat());
        }
        let replies = self.connection.ask(&pipeline).await?;
        let mut gone = Vec::new();
        for (name, reply) in names.into_iter().zip(replies) {
            if reply.accepted(self.shown(), "EXISTS")? == Reply::Number(0) {
                gone.push(name);
            }
        }
        Ok(gone)
    }

    /// Notes which of these names are to be written.
    async fn note(&mut self, names: &[Vec<u8>]) -> Result<(), SinkError> {
        for names in names.chunks(NAMES_TOGETHER) {
            let mut plan = self.script(PLAN, &[&self.beside.plan]);
            plan.arg(names);
            self.ask("comparing keys", plan).await?;
        }
        Ok(())
    }

    /// A script that knows what there is to know.
    fn script(&self, text: &str, keys: &[&Vec<u8>]) -> Cmd {
        let value = self.readers.form.value;
        let field = if value == ValueKind::Fields { self.readers.own.field.as_slice() } else { b"" };
        let mut script = cmd("EVAL");
        script.arg(format!("{KNOWN}{text}")).arg(keys.len()).arg(keys);
        script.arg(self.beside.before.bytes()).arg(value.kept_type().unwrap_or_default()).arg(field);
        script
    }

    async fn ask(&mut self, doing: &str, command: Cmd) -> Result<Reply, SinkError> {
        self.connection.ask_one(command).await?.accepted(self.readers.address.shown(), doing)
    }

    fn shown(&self) -> &str {
        self.readers.address.shown()
    }
}
