//! Who we are.

use secrecy::SecretString;

/// How we say who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A name and its password.
    Basic(String, SecretString),
    /// An API key, encoded.
    ApiKey(SecretString),
}
