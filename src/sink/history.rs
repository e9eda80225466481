//! Targets that keep what happened, event by event, and not the rows as they are: a file, Kafka. Each is an engine of blocking calls, and
//! this is what stands around it.

use super::blocking::Blocking;
use super::{Checkpoint, KeyPage, Sink, SinkError, Staged};
use crate::event::TableName;
use crate::project::mutation::Mutation;

/// The calls of [`Sink`], blocking.
pub trait Engine: Send + 'static {
    /// See [`Sink::resume`].
    ///
    /// # Errors
    /// As there.
    fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError>;

    /// See [`Sink::stage`].
    ///
    /// # Errors
    /// As there.
    fn stage(&mut self, mutations: Vec<Mutation>) -> Result<Staged, SinkError>;

    /// See [`Sink::commit`].
    ///
    /// # Errors
    /// As there.
    fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError>;

    /// See [`Sink::probe`].
    ///
    /// # Errors
    /// As there.
    fn probe(&mut self) -> Result<(), SinkError>;
}

/// See the module.
pub struct History<E> {
    engine: Blocking<E>,
}

impl<E: Engine> History<E> {
    /// Around an engine that has done nothing yet. `target` is for messages.
    pub(super) fn around(target: String, engine: E) -> Self {
        History { engine: Blocking::new(target, engine) }
    }
}

impl<E: Engine> Sink for History<E> {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        self.engine.run(E::resume).await
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        // Copies no row data.
        let mutations = mutations.to_vec();
        self.engine.run(move |engine| engine.stage(mutations)).await
    }

    /// A history ends right by what it has been told.
    async fn keys(&mut self, _table: &TableName, _from: Option<u64>) -> Result<KeyPage, SinkError> {
        Ok(KeyPage::default())
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        self.engine.run(move |engine| engine.commit(upto)).await
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        self.engine.run(E::probe).await
    }
}
