//! PostgreSQL's protocol as a client, for whoever speaks to a server: the source's capture and a target's sink. What a statement means, and
//! what an error of the server calls for, its caller knows.

pub mod address;
mod authenticate;
mod buffer;
pub mod connection;
mod copy_in;
mod error;
pub(crate) mod literal;
pub mod pace;
mod password;
mod tls;
mod transport;
mod url;

pub use error::{PostgresError, ServerError};
