//! A deliver loop without its clock: the events of a world go to a sink in runs, and are committed where a test says.

use std::time::Duration;

use walbridge::event::Cell;
use walbridge::project::coalesce::coalesce;
use walbridge::project::mutation::{Effect, Mutation};
use walbridge::project::{Kind, Projection};
use walbridge::sink::{Sink, SinkError};

use super::target::{AnySink, Target};
use super::world::World;
use crate::support::eventually;

/// A sink, and how far it has been fed.
pub(super) struct Delivery {
    pub(super) sink: AnySink,
    projection: Projection,
    /// Transactions staged.
    pub(super) at: usize,
    /// Events read at once.
    pub(super) run: usize,
    /// Rows completed from the source, because the target did not have what they lacked.
    pub(super) read_back: usize,
}

impl Delivery {
    /// Opens a sink on the target, which no other has open, and begins where it says.
    ///
    /// A lock may seem held for a moment after its file was closed: a process that another test starts has a copy of every
    /// descriptor from its fork to its exec.
    pub(super) async fn begin(target: &Target, world: &World) -> Result<Delivery, SinkError> {
        let waits = |outcome| match outcome {
            Err(SinkError::Fenced { detail, .. }) => Err(detail),
            other => Ok(other),
        };
        eventually(Duration::from_secs(10), || async { waits(Delivery::try_begin(target, world).await) }).await
    }

    /// The same, at once or not at all.
    pub(super) async fn try_begin(target: &Target, world: &World) -> Result<Delivery, SinkError> {
        let kind = if target.keeps_history() { Kind::History } else { Kind::State };
        let projection = Projection::new(kind, std::sync::Arc::new(|_| true), None);
        let mut delivery = Delivery { sink: target.open(world), projection, at: 0, run: 1000, read_back: 0 };
        delivery.resume(world).await?;
        Ok(delivery)
    }

    /// Asks the sink how far it is and goes on from there. Returns the number of transactions that it has.
    pub(super) async fn resume(&mut self, world: &World) -> Result<usize, SinkError> {
        self.at = world.transactions_before(self.sink.resume().await?);
        Ok(self.at)
    }

    /// Stages up to this many transactions.
    pub(super) async fn stage_to(&mut self, world: &World, transactions: usize) -> Result<(), SinkError> {
        let (from, to) = (world.offset(self.at), world.offset(transactions));
        for events in world.events[from..to].chunks(self.run) {
            let mut mutations = Vec::new();
            for event in events {
                self.projection.project(event, &mut mutations).expect("every row has a key");
            }
            self.stage(world, &coalesce(mutations)).await?;
        }
        self.at = transactions;
        Ok(())
    }

    /// Stages what is left, and commits.
    pub(super) async fn deliver_to(&mut self, world: &World, transactions: usize) -> Result<(), SinkError> {
        self.stage_to(world, transactions).await?;
        self.sink.commit(world.checkpoint(transactions)).await
    }

    /// Everything there is.
    pub(super) async fn deliver(&mut self, world: &World) -> Result<(), SinkError> {
        self.deliver_to(world, world.len()).await
    }

    /// Stages, and completes what comes back for lack of values from the source.
    async fn stage(&mut self, world: &World, mutations: &[Mutation]) -> Result<(), SinkError> {
        let staged = self.sink.stage(mutations).await?;
        assert!(staged.rejected.is_empty(), "{:?}", staged.rejected);
        let completed: Vec<Mutation> =
            staged.incomplete.iter().map(|&index| completed(world, &mutations[index])).collect();
        self.read_back += completed.len();
        if !completed.is_empty() {
            let staged = self.sink.stage(&completed).await?;
            assert!(staged.rejected.is_empty() && staged.incomplete.is_empty(), "{staged:?}");
        }
        Ok(())
    }
}

fn completed(world: &World, mutation: &Mutation) -> Mutation {
    let mut mutation = mutation.clone();
    let Effect::Put { document, moved_from } = &mut mutation.effect else { panic!("only rows lack values") };
    let Some(Cell::Text(id)) = document.row.cell(0) else { panic!("a row without its key") };
    match world.read_back(&document.relation, id) {
        Some(row) => (document.row, *moved_from) = (row, None),
        None => mutation.effect = Effect::Delete,
    }
    mutation
}
