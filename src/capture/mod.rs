//! The source's side: the connection, the slot, the stream, the snapshot. What comes out is appended to the log by
//! `ingest`; nothing here knows a log or a sink.

pub mod address;
mod authenticate;
mod buffer;
pub mod catalog;
pub mod connection;
pub mod continuity;
mod error;
pub mod facts;
pub mod feedback;
mod literal;
pub mod pace;
mod password;
pub mod publication;
pub mod readback;
pub mod schema;
pub mod setup;
pub mod slot;
pub mod snapshot;
pub mod stream;
mod tls;
mod transport;
pub mod types;
mod url;

pub use error::{CaptureError, ServerError};
