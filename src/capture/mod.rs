//! The source's side: the connection, the slot, the stream, the snapshot. What comes out is appended to the log by
//! `ingest`; nothing here knows a log or a sink. The protocol's client is `postgres`.

pub mod catalog;
pub mod continuity;
mod error;
pub mod facts;
pub mod feedback;
pub mod publication;
pub mod readback;
pub mod schema;
pub mod setup;
pub mod slot;
pub mod snapshot;
pub mod stream;
pub mod types;

pub use error::{CaptureError, ServerError};
