//! Bytes in, messages and values out. Pure: no I/O, no async, no clock.
//!
//! Whatever arrives is checked before it is believed: no count or length of the wire is used to allocate, a message
//! must end where its last field ends, and malformed bytes are an error that names the message and the byte, never a
//! panic.

pub(crate) mod array;
pub(crate) mod base64;
pub mod binary;
mod datetime;
mod document;
mod error;
pub mod json;
pub mod message;
pub mod pgoutput;
mod reader;
pub mod shape;
pub mod tuple;

pub use error::{DecodeError, Fault};
