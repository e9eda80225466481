//! A social network at work, with walbridge beside it: what the demo shows and what the kill test tortures.

pub(crate) mod compare;
pub(crate) mod sinks;
pub(crate) mod stage;
pub(crate) mod writers;
