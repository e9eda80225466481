//! The keys that a transaction depends on: it does nothing if anybody has touched one since we left it.
//!
//! `WATCH` is set, and the values compared with what we left there, before each transaction begins. So whoever wants to keep another from
//! writing only has to write such a key.

use redis::Pipeline;

use super::error;
use super::reply::Reply;
use crate::sink::SinkError;

/// A key's value; `None`: there is none.
pub(super) type Text = Option<Vec<u8>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Fence {
    keys: Vec<Vec<u8>>,
    left: Vec<Text>,
}

impl Fence {
    /// Around these keys, which have not been read yet.
    pub(super) fn around(keys: Vec<Vec<u8>>) -> Self {
        let left = vec![None; keys.len()];
        Fence { keys, left }
    }

    /// The keys, and what we left there.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&Vec<u8>, &Text)> {
        self.keys.iter().zip(&self.left)
    }

    /// We know this to be there.
    pub(super) fn leave(&mut self, texts: Vec<Text>) {
        self.left = texts;
    }

    /// What is there once these are written.
    pub(super) fn behind(&self, writes: &[(usize, Vec<u8>)]) -> Vec<Text> {
        let mut texts = self.left.clone();
        for (number, text) in writes {
            if let Some(place) = texts.get_mut(*number) {
                *place = Some(text.clone());
            }
        }
        texts
    }

    /// Adds the commands; their replies are the last ones, [`Fence::replies`] in number.
    pub(super) fn add_watch(&self, pipeline: &mut Pipeline) {
        pipeline.cmd("WATCH").arg(&self.keys);
        self.add_reads(pipeline);
    }

    /// The same without watching.
    pub(super) fn add_reads(&self, pipeline: &mut Pipeline) {
        self.keys.iter().for_each(|key| _ = pipeline.cmd("GET").arg(key));
    }

    /// So many replies come to [`Fence::add_watch`].
    pub(super) fn replies(&self) -> usize {
        self.keys.len().saturating_add(1)
    }

    /// What was found under the keys.
    pub(super) fn read_watch(&self, target: &str, replies: Vec<Reply>) -> Result<Vec<Text>, SinkError> {
        let mut replies = replies.into_iter();
        let watched = replies.next().ok_or_else(|| error::strange(target, "WATCH"))?;
        watched.accepted(target, "WATCH")?;
        read(target, replies)
    }
}

/// What was found under some keys.
pub(super) fn read(target: &str, replies: impl Iterator<Item = Reply>) -> Result<Vec<Text>, SinkError> {
    let read = |reply: Reply| match reply.accepted(target, "GET")? {
        Reply::Nil => Ok(None),
        Reply::Bytes(text) => Ok(Some(text)),
        Reply::Ok | Reply::Queued | Reply::Array(_) | Reply::Refused(_) | Reply::Number(_) | Reply::Other => {
            Err(error::strange(target, "GET"))
        }
    };
    replies.map(read).collect()
}
