//! HTTP/1.1 as a client, over TCP or TLS: for a schema registry and for search servers. Redirects are not followed: what a
//! server answers is what is told.

mod address;
mod connection;
mod credentials;
mod tls;

pub use self::address::Address;
pub(crate) use self::connection::{Answer, Failed, Sender, exchange, open};
pub use self::credentials::Credentials;
pub(crate) use self::tls::connector;
