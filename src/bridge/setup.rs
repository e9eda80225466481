//! `walbridge setup`: what an administrator of each source's database has to run, found out without changing anything.

use super::resolve;
use crate::capture::CaptureError;
use crate::capture::setup::{Plan, Statement, statements};
use crate::config;
use crate::postgres::address::{Address, AddressError};
use crate::postgres::connection::{Connection, Purpose};

/// What one source needs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name.
    pub source: String,
    /// Where to run it.
    pub database: String,
    /// The role that walbridge will connect as.
    pub role: String,
    /// What to run there.
    pub statements: Vec<Statement>,
}

/// How to look at a database whose walbridge role is not there yet.
#[derive(Clone, Debug)]
pub struct Administrator(pub(super) Address);

impl std::str::FromStr for Administrator {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Address::parse(url).map(Administrator)
    }
}

/// Looks at a source's database as `administrator`, or as the role in its url where that can connect already.
///
/// # Errors
/// The database cannot be looked at.
pub async fn setup(source: &config::Source, administrator: Option<&Administrator>) -> Result<Setup, CaptureError> {
    let source = resolve(source);
    let address = administrator.map_or(&source.address, |Administrator(address)| address);
    let mut connection = Connection::open(address, Purpose::Query).await?;
    let plan = Plan {
        role: &source.address.user,
        tables: &source.tables,
        publication: &source.publication,
        snapshot: source.snapshot,
    };
    let statements = statements(&mut connection, &plan).await?;
    connection.close().await;
    Ok(Setup {
        source: source.name,
        database: source.address.to_string(),
        role: source.address.user.clone(),
        statements,
    })
}
