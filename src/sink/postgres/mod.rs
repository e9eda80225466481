//! Rows in the tables of another PostgreSQL database.
//!
//! - **What is kept.** Each row under its own columns and key, in a table of the same name, which is made if it is not there. A table that somebody has made is
//!   taken as it is if it can hold the rows (`plan`).
//! - **Transactions.** What is staged is written in one transaction of the target, together with the checkpoint: readers see whole transactions of the source, or
//!   none of them.
//! - **Checkpoint.** A row of a table of our own in the schema `walbridge` (`ledger`). Each transaction locks it first and finds it as it was left, or
//!   does nothing: of two writers one is refused, and a transaction whose end we were not told of is waited for.
//! - **Refused rows.** A savepoint stands before each statement; a statement that is refused for a row's sake is tried again in halves (`write`).
//! - **New rows**, of a table's first copy above all, go by `COPY` (`load`).
//! - **Values left alone.** A large value that an `UPDATE` left alone is not touched in the target either.

mod apply;
mod error;
mod found;
mod ledger;
mod load;
mod place;
mod plan;
mod reader;
mod replace;
mod session;
mod sql;
mod tables;
mod types;
mod write;

use std::sync::Arc;

use self::ledger::Ledger;
use self::session::Session;
use self::tables::Tables;
use super::{Checkpoint, Image, Imager, KeyPage, Old, Rejection, Replaceable, Sink, SinkError, Staged};
use crate::event::{Relation, TableName};
use crate::postgres::address::Address;
use crate::postgres::connection::{Connection, Purpose};
use crate::project::mutation::{Key, Mutation};

/// A transaction may rest so long: the log may be read meanwhile. Beyond it the server ends the session, and with it the locks of a client that is
/// gone.
const REST_MAX: &str = "SET idle_in_transaction_session_timeout = '15min'";

/// Which database, and what may be done there.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sink's name, under which its checkpoint is kept.
    pub name: String,
    /// The database.
    pub address: Address,
    /// Tables may be made and altered.
    pub ddl: bool,
    /// It is built beside the one of that name, in tables of its own (`place`).
    pub is_beside: bool,
}

impl Options {
    /// Of what is built beside.
    #[must_use]
    pub fn beside(&self) -> Options {
        Options { is_beside: true, ..self.clone() }
    }
}

/// See the module.
pub struct PostgresSink {
    options: Options,
    session: Option<Session>,
}

impl PostgresSink {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        PostgresSink { options, session: None }
    }

    /// Whether a sink could write these tables there. Changes nothing.
    ///
    /// # Errors
    /// Why not.
    pub async fn look(&self, relations: &[Arc<Relation>]) -> Result<(), SinkError> {
        let target = self.options.address.to_string();
        let judge = |cause| error::judge(&target, cause);
        let mut connection = Connection::open(&self.options.address, Purpose::Write).await.map_err(judge)?;
        if let Some(detail) = Ledger::rights(&mut connection).await.map_err(judge)? {
            let remedy = "Then restart walbridge".to_owned();
            return Err(SinkError::Unusable { target, detail, remedy });
        }
        let tables = Tables::look(&mut connection, &self.options, &target).await?;
        for relation in relations {
            tables.allowed(&mut connection, relation, &target).await?;
        }
        connection.close().await;
        Ok(())
    }

    fn session(&mut self) -> Result<&mut Session, SinkError> {
        let detail = "it has not been asked where it is".to_owned();
        let target = self.options.address.to_string();
        self.session.as_mut().ok_or(SinkError::Unavailable { target, detail })
    }
}

impl Sink for PostgresSink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        // With its connection goes the transaction that it may have open.
        self.session = None;
        let session = Session::open(&self.options).await?;
        Ok(self.session.insert(session).belief())
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        self.session()?.stage(mutations).await
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        let options = self.options.clone();
        self.session()?.keys(&options, table, from).await
    }

    async fn read(&mut self, keys: &[Key]) -> Result<Vec<Option<Image>>, SinkError> {
        let options = self.options.clone();
        self.session()?.read(&options, keys).await
    }

    fn imager(&self) -> Imager {
        Arc::new(reader::image)
    }

    async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        self.session()?.flush().await
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.session()?.commit(upto).await
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        self.session()?.check().await
    }
}

impl Replaceable for PostgresSink {
    async fn identity(&mut self) -> Result<String, SinkError> {
        // A loop that was told to stop may have left its connection in the middle of an answer.
        replace::identity(&self.options).await
    }

    async fn replace(&mut self, by: &str, old: Old) -> Result<(), SinkError> {
        let left = self.session.take().map(Session::into_ledger);
        // Large: a transaction is prepared inside it.
        Box::pin(replace::replace(&self.options, left.as_ref(), by, old)).await
    }

    async fn remove(&mut self) -> Result<(), SinkError> {
        self.session = None;
        replace::remove(&self.options).await
    }
}
