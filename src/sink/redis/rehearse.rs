//! Whether the user may do all that the sink will do, asked without doing any of it.
//!
//! Redis checks a command's permission, its keys', and whether it takes writes at all, when the command is queued. So everything is queued
//! once, and discarded.

use bytes::Bytes;
use redis::Pipeline;

use super::checkpoint::OwnKeys;
use super::connect::Connection;
use super::reply::Reply;
use super::{ValueKind, error, member, stream, write};
use crate::sink::SinkError;
use crate::sink::redis::Target;

/// Asks about publishing only: in a script, where it is done, it would be refused too late.
///
/// # Errors
/// It would not be allowed.
pub(super) async fn publish(target: &Target, connection: &mut Connection) -> Result<(), SinkError> {
    let Some(channel) = &target.form.publish else { return Ok(()) };
    let mut pipeline = Pipeline::new();
    pipeline.cmd("MULTI");
    pipeline.cmd("PUBLISH").arg(channel).arg("");
    pipeline.cmd("DISCARD");
    for reply in connection.ask(&pipeline).await? {
        reply.accepted(target.address.shown(), "PUBLISH")?;
    }
    Ok(())
}

/// Asks, with keys such as documents have.
///
/// # Errors
/// What it would not be allowed, or why the server takes no writes now.
pub(super) async fn run(target: &Target, connection: &mut Connection, samples: &[Vec<u8>]) -> Result<(), SinkError> {
    let commands = commands(target, &target.own, samples);
    judge(target, &commands, &connection.ask(&commands).await?)
}

/// What is asked. `own`: names of ours that lie where the answer is.
pub(super) fn commands(target: &Target, own: &OwnKeys, samples: &[Vec<u8>]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    write::begin(&target.form, own, &mut pipeline);
    pipeline.cmd("GET").arg(&own.checkpoint);
    pipeline.cmd("SCAN").arg(0);
    for name in samples {
        let key = member::redis_key(target.form.value, &Bytes::copy_from_slice(name));
        match target.form.value {
            ValueKind::Hash | ValueKind::Fields => _ = pipeline.cmd("HGETALL").arg(&*key),
            ValueKind::Stream => stream::ask(&key, &mut pipeline),
            kind if kind.is_collection() => member::ask(kind, name, &mut pipeline),
            _ => _ = pipeline.cmd("GET").arg(&*key),
        }
        match target.form.value {
            ValueKind::Set => _ = pipeline.cmd("SSCAN").arg(&*key).arg(0),
            ValueKind::SortedSet => _ = pipeline.cmd("ZSCAN").arg(&*key).arg(0),
            ValueKind::List => _ = pipeline.cmd("LRANGE").arg(&*key).arg(0).arg(0),
            _ => {}
        }
        if matches!(target.form.value, ValueKind::Json | ValueKind::Text) && !target.is_spread {
            pipeline.cmd("MSET").arg(&*key).arg("");
        }
        if target.form.value.kept_type().is_some() {
            pipeline.cmd("TYPE").arg(&*key);
        }
        match target.is_spread {
            false => _ = pipeline.cmd("EVAL").arg("return 0").arg(1).arg(&*key),
            true => _ = pipeline.cmd("UNLINK").arg(&*key),
        }
    }
    if let Some(channel) = &target.form.publish {
        pipeline.cmd("PUBLISH").arg(channel).arg("");
    }
    match target.is_spread {
        false => _ = pipeline.add_command(write::finish(own, 0, &[(&own.checkpoint, b"")])),
        true => _ = pipeline.cmd("EVALSHA").arg("0").arg(1).arg(&own.guard),
    }
    pipeline.cmd("DISCARD");
    pipeline
}

/// What the answers mean.
///
/// # Errors
/// See [`run`].
pub(super) fn judge(target: &Target, commands: &Pipeline, replies: &[Reply]) -> Result<(), SinkError> {
    // The last refusal would be DISCARD's, or tell only that one came before.
    let names: Vec<String> = commands.cmd_iter().map(name).collect();
    for (reply, name) in replies.iter().zip(&names) {
        if let Some(refusal) = reply.refusal() {
            return Err(error::refused(target.address.shown(), name, refusal));
        }
    }
    Ok(())
}

fn name(command: &redis::Cmd) -> String {
    let first = command.args_iter().next();
    match first {
        Some(redis::Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    }
}
