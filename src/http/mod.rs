//! HTTP/1.1 as a client, over TCP or TLS: for a schema registry, search servers and webhooks. Redirects are not followed: what a
//! server answers is what is told.

mod address;
mod client;
mod connection;
mod credentials;
mod escape;
mod reach;
mod sigv4;
mod tls;

pub use self::address::Address;
pub(crate) use self::client::{Client, Limits};
pub(crate) use self::connection::Answer;
pub use self::credentials::{AwsSecret, Credentials};
pub(crate) use self::escape::{hex, percent_encoded};
pub use self::reach::Reach;
pub use self::sigv4::{AwsKeys, AwsScope};
pub(crate) use self::sigv4::{Signed, sign};
pub(crate) use self::tls::connector;
