//! Where the stream and the tables' definitions meet: announced tables are completed from the catalog, and what the watcher
//! found out takes its place in the log once the stream has passed it.

use crate::capture::catalog::{self, About};
use crate::event::{Op, Relation, ReplicaIdentity};
use crate::log::{Entry, LogWriter};

use super::IngestError;
use super::flow::{Flow, talking};
use super::watch::News;

impl<W: LogWriter> Flow<'_, W> {
    /// Completes an announced relation with what only the catalog knows, or has its rows left out.
    pub(super) async fn describe(&mut self, mut relation: Relation) -> Result<(), IngestError> {
        self.hints.announced.notify_one();
        let asked = catalog::about(&mut self.catalog, relation.oid);
        let about = talking(&mut self.stream, &mut self.feedback, asked).await??;
        if let Some(root) = self.comes_under_another_name(&about, relation.oid) {
            self.transactions.relations().misname(relation.oid, root);
            return Ok(());
        }
        if matches!(relation.identity, ReplicaIdentity::Full) || relation.key.is_empty() {
            let indexes: Option<Vec<usize>> =
                about.primary_key.iter().map(|name| relation.column_index(name)).collect();
            let indexes = indexes.filter(|indexes| !indexes.is_empty());
            let by_whole_row = self.whole_rows && relation.identity == ReplicaIdentity::Full;
            match indexes {
                Some(indexes) => relation.key = indexes,
                None if by_whole_row => {}
                None => {
                    // Its rows are left out, and there is an alarm for it.
                    return Ok(());
                }
            }
        }
        let resolved = self.types.resolve(&mut self.catalog, &mut relation);
        talking(&mut self.stream, &mut self.feedback, resolved).await??;
        if self.binary
            && let Some(column) = self.types.text_only(&relation)
        {
            let (table, column) = (relation.name.to_string(), column.name.clone());
            return Err(IngestError::TextNeeded { table, column });
        }
        self.transactions.learn(relation);
        Ok(())
    }

    /// `publish_via_partition_root` was changed by somebody: rows of a partitioned table come as its partitions', or the other
    /// way round. Both would make two documents of each.
    fn comes_under_another_name(&mut self, about: &About, oid: u32) -> Option<u32> {
        match (self.via_root, about.root) {
            (true, Some(root)) if !self.transactions.relations().has_captured(oid) => Some(root),
            (false, _) if about.partitioned => Some(oid),
            _ => None,
        }
    }

    /// Does what the watcher has asked for, if the stream stands between two transactions and behind all the watcher saw.
    pub(super) async fn redefine(&mut self) -> Result<(), IngestError> {
        if self.is_inside_unit() {
            return Ok(());
        }
        loop {
            match self.heard.front() {
                Some(News::Passed { seen_upto, .. }) if self.passed < *seen_upto => {
                    self.feedback.ask();
                    return Ok(());
                }
                Some(_) => {}
                None => return Ok(()),
            }
            match self.heard.pop_front() {
                Some(News::Passed { emptied, gone, at, done, .. }) => {
                    for oid in gone {
                        self.append_gone(oid)?;
                    }
                    if !emptied.is_empty() {
                        self.writer.append(Entry::Begin(&self.transactions.chunk_unit(at)))?;
                        for relation in &emptied {
                            self.writer.append(Entry::Change { op: Op::Truncate, relation, body: &[] })?;
                        }
                        self.writer.append(Entry::Commit { end_lsn: self.logged })?;
                        self.count_unit(u64::try_from(emptied.len()).unwrap_or(u64::MAX));
                    }
                    self.writer.sync().await?;
                    // If the watcher has gone, so will the loop soon.
                    let _ = done.send(());
                }
                Some(News::Stop(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }
}
