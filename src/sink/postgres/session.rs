//! From one look at the checkpoint until something goes wrong.

use super::apply::Writer;
use super::ledger::{Found, Ledger};
use super::reader::Reader;
use super::tables::Tables;
use super::{Options, REST_MAX, error};
use crate::event::TableName;
use crate::postgres::PostgresError;
use crate::postgres::connection::{Connection, Purpose};
use crate::project::coalesce::coalesce;
use crate::project::mutation::{Effect, Key, Mutation};
use crate::sink::{Checkpoint, Image, KeyPage, Rejection, SinkError, Staged};

/// Mutations are held here up to this size, and beyond it written ahead of the commit.
const HELD_BYTES_MAX: usize = 16 << 20;

/// See the module.
pub(super) struct Session {
    connection: Connection,
    target: String,
    ledger: Ledger,
    tables: Tables,
    held: Vec<Mutation>,
    held_bytes: usize,
    /// Of what was written ahead of a commit; the next flush tells of them.
    refused: Vec<Rejection>,
    /// A transaction is open.
    writes: bool,
    reader: Reader,
}

impl Session {
    pub(super) async fn open(options: &Options) -> Result<Self, SinkError> {
        let target = options.address.to_string();
        let judge = |cause| error::judge(&target, cause);
        let mut connection = Connection::open(&options.address, Purpose::Write).await.map_err(judge)?;
        connection.query("setting how long a transaction may rest", REST_MAX).await.map_err(judge)?;
        Ledger::prepare(&mut connection).await.map_err(judge)?;
        let ledger = Ledger::read(&mut connection, &options.noted_as()).await.map_err(judge)?;
        let tables = Tables::read(&mut connection, &ledger, options, &target).await?;
        Ok(Session {
            connection,
            target,
            ledger,
            tables,
            held: Vec::new(),
            held_bytes: 0,
            refused: Vec::new(),
            writes: false,
            reader: Reader::default(),
        })
    }

    pub(super) fn belief(&self) -> Option<Checkpoint> {
        self.ledger.checkpoint()
    }

    pub(super) async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        let before = self.belief().and_then(|belief| belief.position);
        let mut wanted = Vec::with_capacity(mutations.len());
        for mutation in mutations {
            let is_state = !matches!(mutation.effect, Effect::Sweep { .. } | Effect::Append(_));
            wanted.push(is_state && before.is_none_or(|before| mutation.position > before));
            if !is_state {
                let reason = "a table keeps rows, not their history".to_owned();
                staged.rejected.push(Rejection { mutation: mutation.clone(), reason });
            }
        }
        if mutations.iter().any(lacks_values) {
            // Only the target can tell whether it has what they lack.
            self.write_held().await?;
            let written = self.write(mutations, &wanted).await?;
            staged.rejected.extend(written.rejected);
            staged.incomplete = written.incomplete;
            return Ok(staged);
        }
        for (mutation, _) in mutations.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
            self.held_bytes = self.held_bytes.saturating_add(bytes(mutation));
            self.held.push(mutation.clone());
        }
        if self.held_bytes > HELD_BYTES_MAX {
            self.write_held().await?;
        }
        Ok(staged)
    }

    /// See [`crate::sink::Sink::flush`].
    pub(super) async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        self.write_held().await?;
        Ok(std::mem::take(&mut self.refused))
    }

    async fn write_held(&mut self) -> Result<(), SinkError> {
        self.held_bytes = 0;
        let held = coalesce(std::mem::take(&mut self.held));
        if held.is_empty() {
            return Ok(());
        }
        let written = self.write(&held, &vec![true; held.len()]).await?;
        debug_assert!(written.incomplete.is_empty(), "what is held lacks nothing");
        self.refused.extend(written.rejected);
        Ok(())
    }

    async fn write(&mut self, run: &[Mutation], wanted: &[bool]) -> Result<Staged, SinkError> {
        self.begin().await?;
        let Session { connection, ledger, tables, target, .. } = self;
        Writer { connection, ledger, tables, target }.run(run, wanted).await
    }

    async fn begin(&mut self) -> Result<(), SinkError> {
        if self.writes {
            return Ok(());
        }
        let begun = self.ledger.begin(&mut self.connection).await;
        self.agrees(begun)?;
        self.writes = true;
        Ok(())
    }

    fn agrees(&self, looked: Result<Result<(), Found>, PostgresError>) -> Result<(), SinkError> {
        let looked = looked.map_err(|cause| error::judge(&self.target, cause))?;
        looked.map_err(|found| self.ledger.judge(&self.target, &found))
    }

    /// See [`crate::sink::Sink::keys`].
    pub(super) async fn keys(
        &mut self,
        options: &Options,
        name: &TableName,
        from: Option<u64>,
    ) -> Result<KeyPage, SinkError> {
        match self.tables.written(&mut self.connection, name, &self.target).await? {
            Some(table) => self.reader.keys(options, &table, from, &self.target).await,
            None => Ok(KeyPage::default()),
        }
    }

    /// See [`crate::sink::Sink::read`].
    pub(super) async fn read(&mut self, options: &Options, keys: &[Key]) -> Result<Vec<Option<Image>>, SinkError> {
        self.reader.rows(options, &mut self.tables, keys, &self.target).await
    }

    /// See [`crate::sink::Sink::commit`].
    pub(super) async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        if let Some(first) = self.flush().await?.into_iter().next() {
            // The loop has flushed before it.
            let detail = format!("it refuses the row with key {}: {}", first.mutation.key, first.reason);
            let remedy = "Mend the row, or what refuses it".to_owned();
            return Err(SinkError::Unusable { target: self.target.clone(), detail, remedy });
        }
        self.begin().await?;
        let committed = self.ledger.commit(&mut self.connection, upto).await;
        committed.map_err(|cause| match cause {
            // Of two that found none, one was first.
            PostgresError::Server { source, .. } if source.sqlstate == "23505" => {
                let detail = format!("its checkpoint was written just now ({source})");
                SinkError::Fenced { target: self.target.clone(), detail }
            }
            cause => error::judge(&self.target, cause),
        })?;
        self.writes = false;
        Ok(())
    }

    /// Where we left the checkpoint.
    pub(super) fn into_ledger(self) -> Ledger {
        self.ledger
    }

    /// Whether the checkpoint is where we left it.
    pub(super) async fn check(&mut self) -> Result<(), SinkError> {
        let looked = self.ledger.look(&mut self.connection).await;
        self.agrees(looked)
    }
}

fn lacks_values(mutation: &Mutation) -> bool {
    matches!(&mutation.effect, Effect::Put { document, .. } if document.row.lacks_values())
}

/// What it weighs, about.
fn bytes(mutation: &Mutation) -> usize {
    let row = match &mutation.effect {
        Effect::Put { document, .. } => document.row.as_bytes().len(),
        Effect::Delete | Effect::Clear(_) | Effect::Sweep { .. } | Effect::Append(_) => 0,
    };
    row.saturating_add(mutation.key.0.len()).saturating_add(200)
}
