//! Documents without a row: the sink's keys are listed once, and those that the source may not have are looked at, each once (`keys`).

use std::ops::RangeInclusive;

use super::VerifyError;
use super::keys::{Batch, SUSPECTS_SHARE, Suspects};
use super::walk::{Basis, Walk};
use crate::deliver::{Found, Subject};
use crate::log::Log;

/// Documents that are looked at together, and how many bytes of them are meant to be: how large they are is known only then, for no row tells it.
const TOGETHER: RangeInclusive<usize> = 1..=1000;
const TOGETHER_FIRST: usize = 125;
const BYTES_WANTED: usize = 1 << 20;
/// How far a table is when its rows have been compared, and when the sink's keys have been listed; of 1.
const COMPARED: f64 = 0.9;
const LISTED: f64 = 0.95;

impl<L: Log> Walk<'_, L> {
    /// All of them. All rows have been compared.
    pub(super) async fn extra(&mut self) -> Result<(), VerifyError> {
        let mut suspects = self.list().await?;
        let (mut turn, mut together) = (Some(0), TOGETHER_FIRST);
        while let Some(from) = turn {
            self.show(LISTED + (1.0 - LISTED) * share(from));
            self.roster.load(from).await.map_err(|error| self.no_room(error))?;
            let loaded = suspects.load(from..=self.roster.end(), &self.roster).await;
            let mut batch = loaded.map_err(|error| self.no_room(error))?;
            self.look_at(&mut batch, &mut together).await?;
            self.given.report.table(&self.table, |table| table.turns += 1);
            turn = batch.next_turn(&self.roster);
        }
        Ok(())
    }

    /// The sink's keys that the source may not have.
    async fn list(&mut self) -> Result<Suspects, VerifyError> {
        let memory_bytes = self.given.memory_bytes / SUSPECTS_SHARE;
        let mut suspects = Suspects::new(memory_bytes, self.given.verifier.directory.clone());
        let (mut page_number, mut count) = (None, 0_u64);
        // Without the source's keys there is nothing to compare them with, which `load` tells.
        while !self.roster.is_lost() {
            let subject = Subject::Keys(self.table.clone(), page_number);
            let sight = self.given.eye.look(&subject, self.at, self.given.connection).await?;
            self.advance(sight.checkpoint.offset).await?;
            let Found::Keys(page) = sight.found else { return Err(VerifyError::Ended) };
            count = count.saturating_add(page.keys.len() as u64);
            for key in page.keys {
                let hash = self.roster.hash(&key.0);
                if self.roster.may_lack(hash) {
                    suspects.add(hash, key);
                }
            }
            suspects.settle().await.map_err(|error| self.no_room(error))?;
            self.show_listed(count);
            page_number = page.next;
            if page_number.is_none() {
                break;
            }
        }
        Ok(suspects)
    }

    /// The suspects of one turn, so many together.
    async fn look_at(&mut self, batch: &mut Batch, together: &mut usize) -> Result<(), VerifyError> {
        loop {
            let keys = batch.next(*together, &mut self.roster);
            if keys.is_empty() {
                return Ok(());
            }
            let sight = self.look(Subject::Documents(keys.clone()), self.at).await?;
            *together = next_together(*together, &sight.found);
            let wrong = self.judge(&Basis::Keys, &keys, &sight)?.unwrap_or_default();
            self.tell(&Basis::Keys, wrong).await?;
        }
    }

    fn show_listed(&self, count: u64) {
        let mut rows = 0;
        self.given.report.table(&self.table, |table| {
            table.keys = count;
            rows = table.rows;
        });
        #[expect(clippy::cast_precision_loss, reason = "for the eye")]
        let listed = count as f64 / rows.max(count).max(1) as f64;
        self.show(COMPARED + (LISTED - COMPARED) * listed);
    }
}

/// How many are to be looked at next, when these were so large.
fn next_together(count: usize, found: &Found) -> usize {
    let Found::Documents(images) = found else { return count };
    let bytes: usize = images.iter().flatten().map(|image| image.text().len()).sum();
    let next = if bytes > BYTES_WANTED { count / 2 } else { count.saturating_mul(2) };
    next.clamp(*TOGETHER.start(), *TOGETHER.end())
}

/// How far a hash is among all.
#[expect(clippy::cast_precision_loss, reason = "for the eye")]
fn share(hash: u128) -> f64 {
    hash as f64 / u128::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Image;

    #[test]
    fn fewer_documents_are_looked_at_together_where_they_are_large() {
        let found = |bytes: usize| Found::Documents(vec![None, Some(Image::of_json("x".repeat(bytes)))]);
        assert_eq!((next_together(125, &found(10)), next_together(900, &found(10))), (250, 1000));
        assert_eq!((next_together(125, &found(BYTES_WANTED + 1)), next_together(1, &found(BYTES_WANTED + 1))), (62, 1));
    }
}
