//! The indexes of a sink: one, or one for each name that its rows give.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Options;
use super::client::Client;
use super::index::{self, Index};
use super::place::Whereabouts;
use crate::event::Relation;
use crate::sink::SinkError;

/// See the module.
pub(super) struct Indexes {
    options: Options,
    /// By their aliases.
    found: BTreeMap<String, Index>,
}

impl Indexes {
    /// Those that there are; the only one is made if it is not there.
    pub(super) async fn open(options: &Options, client: &mut Client) -> Result<Self, SinkError> {
        let found = if options.layout.by_index {
            index::find_all(options, client).await?
        } else {
            vec![Index::open(options, &options.index, client).await?]
        };
        let found = found.into_iter().map(|index| (index.alias.clone(), index)).collect();
        Ok(Indexes { options: options.clone(), found })
    }

    /// What tells these from any others, also of the same names.
    pub(super) fn uuids(&self) -> String {
        self.found.values().map(|index| index.uuid.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Whether all that a checkpoint speaks of are there.
    pub(super) fn cover(&self, uuids: &str) -> bool {
        let mut uuids = uuids.split(',').filter(|uuid| !uuid.is_empty());
        uuids.all(|uuid| self.found.values().any(|index| index.uuid == uuid))
    }

    /// The aliases that they are written and read by.
    pub(super) fn aliases(&self) -> Vec<String> {
        self.found.keys().cloned().collect()
    }

    /// The alias of the only one.
    pub(super) fn only(&self) -> Option<&str> {
        if self.options.layout.by_index { None } else { self.found.keys().next().map(String::as_str) }
    }

    /// Whether there is an index where this document would be.
    pub(super) fn have(&self, place: &Whereabouts) -> bool {
        place.alias.as_ref().is_none_or(|alias| self.found.contains_key(alias))
    }

    /// Makes the index where this document will be, if it is not there, and gives it the fields of a table's version.
    pub(super) async fn learn(
        &mut self,
        client: &mut Client,
        place: &Whereabouts,
        relation: &Arc<Relation>,
    ) -> Result<(), SinkError> {
        if let Some(alias) = &place.alias
            && !self.found.contains_key(alias)
        {
            let index = Index::open(&self.options, alias, client).await?;
            self.found.insert(alias.clone(), index);
        }
        let index = match &place.alias {
            Some(alias) => self.found.get_mut(alias),
            None => self.found.values_mut().next(),
        };
        match index {
            Some(index) => index.learn(client, relation).await,
            None => Ok(()),
        }
    }

    /// Whether they are where they were.
    pub(super) async fn check(&self, client: &mut Client) -> Result<(), SinkError> {
        if !self.options.layout.by_index {
            for index in self.found.values() {
                index.check(client).await?;
            }
            return Ok(());
        }
        let there = index::find_all(&self.options, client).await?;
        let lost = |ours: &&Index| !there.iter().any(|index| index.alias == ours.alias && index.uuid == ours.uuid);
        match self.found.values().find(lost) {
            None => Ok(()),
            Some(Index { alias, .. }) => {
                let detail = format!("`{alias}` is gone, or another index than before");
                Err(SinkError::Regressed { target: client.shown(), detail })
            }
        }
    }
}
