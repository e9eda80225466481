//! Where a registry is, and how it is used.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::http::Address;

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is.
    pub address: Address,
    /// Who we are (HTTP's basic authentication).
    pub credentials: Option<(String, SecretString)>,
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// A schema that is not there is registered. Else it must be.
    pub auto_register: bool,
}
