//! The topic that tells how transactions begin and end.
//!
//! The beginning goes into the Kafka transaction of the unit's first event, the end into that of the log's state behind its last one: so
//! each is told once, also of a unit that is cut, and of one that comes again after a crash. What is in the log already of such a one is
//! only counted again: the events behind it, and the end, tell how many there are.

use std::sync::Arc;

use super::{Open, relation_record, too_long, unreadable};
use crate::event::{Op, Relation};
use crate::kafka::format::{Records, Unit};
use crate::log::LogError;
use crate::log::kafka::group::Meta;

impl Open {
    /// Before the open unit's next event.
    #[inline]
    pub(super) fn tell_begin(&mut self) {
        if !self.told_begin && self.unit.format.tells() {
            self.tell(Unit::begun);
        }
        self.told_begin = true;
    }

    /// Behind the open unit's last event.
    pub(super) fn tell_end(&mut self) {
        if self.told_begin && self.unit.format.tells() {
            self.tell(Unit::ended);
        }
    }

    /// Counts a change that is in the log already.
    pub(super) fn recount(&mut self, op: Op, relation: &Arc<Relation>, body: &[u8]) -> Result<(), LogError> {
        if !self.unit.format.tells() {
            return Ok(());
        }
        let (version, new) = self.tables.version(relation)?;
        if new {
            self.group.versions.push(relation_record(version.id, relation).map_err(|_| too_long())?);
        }
        self.scratch.clear();
        // How many events it makes is known by who writes them: a row that gets another key counts as two.
        let encoded = version.encoder.change(&mut self.unit.format, 0, op, body, &mut self.scratch);
        encoded.map_err(|error| unreadable(relation, &error))
    }

    /// Counts a message that is in the log already.
    pub(super) fn recount_message(&mut self, prefix: &str, content: &[u8]) {
        self.scratch.clear();
        self.format.message(&mut self.unit.format, 0, prefix, content, &mut self.scratch);
    }

    /// Adds a record that is no event.
    fn tell(&mut self, write: impl FnOnce(&Unit, &mut Records)) {
        let topic = self.tables.transactions();
        let before = self.group.records.len();
        write(&self.unit.format, &mut self.group.records);
        let meta = Meta {
            schemas: None,
            topic,
            first_partition: false,
            dropped: false,
            timestamp_ms: self.unit.timestamp_ms,
            offset: 0..0,
            position: 0..0,
            unit: 0..0,
        };
        self.group.metas.extend((before..self.group.records.len()).map(|_| meta.clone()));
    }
}
