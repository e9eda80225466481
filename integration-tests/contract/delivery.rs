//! A deliver loop without its clock: the events of a world go to a sink in runs, and are committed where a test says.

use std::time::Duration;

use walbridge::event::{Cell, Change, Event};
use walbridge::project::coalesce::{coalesce, take_deletes_of_returned};
use walbridge::project::mutation::{Effect, Key, Mutation};
use walbridge::project::{ProjectError, Projection};
use walbridge::sink::{Image, Sink, SinkError};

use super::any::AnySink;
use super::target::Target;
use super::world::{Table, World, empty};
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
        let projection = target.projection(&world.shaping);
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
                self.project(world, event, &mut mutations);
            }
            let mut mutations = coalesce(mutations);
            let returned = take_deletes_of_returned(&mut mutations);
            self.stage(world, events, &returned).await?;
            self.stage(world, events, &mutations).await?;
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

    /// What a row's document is called, whether there is one or not.
    pub(super) fn key(&mut self, world: &World, table: Table, id: i64) -> Key {
        let document = self.projection.document(world.relation(table), &empty(id)).expect("a whole row");
        document.expect("the sink's").0
    }

    /// What the sink says that a put of a row leaves.
    pub(super) fn image(&mut self, world: &World, table: Table, id: i64) -> Option<Image> {
        let relation = world.relation(table);
        let row = world.read_back(relation, id.to_string().as_bytes())?;
        let (_, document) = self.projection.document(relation, &row).expect("a whole row").expect("the sink's");
        Some((self.sink.imager())(&document).expect("a whole row"))
    }

    /// Projects an event; one that needs a value which was not sent has its row read from the source.
    fn project(&mut self, world: &World, event: &Event, out: &mut Vec<Mutation>) {
        match (self.projection.project(event, out), &event.change) {
            (Ok(()), _) => {}
            (Err(ProjectError::Incomplete(_)), Change::Update { relation, old, new }) => {
                self.read_back += 1;
                let Some(Cell::Text(id)) = new.cell(0) else { panic!("a row without its key") };
                let Some(new) = world.read_back(relation, id) else {
                    return self.projection.forget_rows(event, out).expect("a key");
                };
                let change = Change::Update { relation: relation.clone(), old: old.clone(), new };
                self.projection.project(&Event { change, ..event.clone() }, out).expect("a whole row");
            }
            (other, _) => panic!("every row has a document: {other:?}"),
        }
    }

    /// Stages, and completes what comes back for lack of values from the source.
    async fn stage(&mut self, world: &World, events: &[Event], mutations: &[Mutation]) -> Result<(), SinkError> {
        let staged = self.sink.stage(mutations).await?;
        assert!(staged.rejected.is_empty(), "{:?}", staged.rejected);
        let completed: Vec<Mutation> = staged
            .incomplete
            .iter()
            .map(|&index| completed(&mut self.projection, world, events, &mutations[index]))
            .collect();
        self.read_back += completed.len();
        if !completed.is_empty() {
            let staged = self.sink.stage(&completed).await?;
            assert!(staged.rejected.is_empty() && staged.incomplete.is_empty(), "{staged:?}");
        }
        Ok(())
    }
}

fn completed(projection: &mut Projection, world: &World, events: &[Event], mutation: &Mutation) -> Mutation {
    let mut mutation = mutation.clone();
    let Effect::Put { document, moved_from } = &mut mutation.effect else { panic!("only rows lack values") };
    let event = events.iter().find(|event| event.position() == mutation.position).expect("what it came of");
    let Change::Update { relation, new, .. } = &event.change else { panic!("only updates lack values") };
    let Some(Cell::Text(id)) = new.cell(0) else { panic!("a row without its key") };
    let row = world.read_back(relation, id);
    match row.and_then(|row| projection.document(relation, &row).expect("a whole row")) {
        Some((_, whole)) => (*document, *moved_from) = (whole, None),
        None => mutation.effect = Effect::Delete,
    }
    mutation
}
