//! Changes of a table as changes of the derived one.

use std::sync::Arc;

use super::plan::{From, Made, Plan};
use crate::event::{Cell, Change, OldRow, Row, RowBuilder};
use crate::project::sql::{Fault, Rows};

impl Plan {
    /// What the sink is told of a change; `None`: nothing.
    ///
    /// # Errors
    /// [`Fault::Absent`]: the row must be whole to tell. Any other: it has no derived row.
    pub fn change(&self, change: &Change) -> Result<Option<Change>, Fault> {
        let relation = || Arc::clone(&self.derived);
        if !self.takes(change)? {
            return Ok(None);
        }
        Ok(match change {
            Change::Insert { new, .. } => self.kept(new)?.map(|new| Change::Insert { relation: relation(), new }),
            Change::Read { row, .. } => self.kept(row)?.map(|row| Change::Read { relation: relation(), row }),
            Change::Update { old, new, .. } => self.update(old.as_ref(), new)?,
            Change::Delete { old, .. } => {
                let was_kept = self.was_kept(Some(old));
                (was_kept != Some(false)).then(|| Change::Delete { relation: relation(), old: self.old(old) })
            }
            Change::Truncate { .. } => Some(Change::Truncate { relation: relation() }),
            Change::CopyBegun { .. } => Some(Change::CopyBegun { relation: relation() }),
            Change::CopyDone { since, .. } => Some(Change::CopyDone { relation: relation(), since: *since }),
            Change::Message { .. } => Some(change.clone()),
        })
    }

    /// Deletes of whatever the sink may have of the rows of a change: of the old key first.
    #[must_use]
    pub fn forget(&self, change: &Change) -> Vec<Change> {
        let delete = |row: Row| Change::Delete { relation: Arc::clone(&self.derived), old: OldRow::Key(row) };
        match change {
            Change::Insert { new: row, .. } | Change::Read { row, .. } => vec![delete(self.key_row(row))],
            Change::Update { old, new, .. } => {
                let old_key = old.iter().map(|old| self.key_row(old.row()));
                old_key.chain([self.key_row(&completed(new, old.as_ref(), &self.key))]).map(delete).collect()
            }
            Change::Delete { .. }
            | Change::Truncate { .. }
            | Change::CopyBegun { .. }
            | Change::CopyDone { .. }
            | Change::Message { .. } => Vec::new(),
        }
    }

    /// What the sink has of a whole row; `None`: nothing.
    ///
    /// # Errors
    /// It has no derived row.
    pub fn whole(&self, row: &Row) -> Result<Option<Row>, Fault> {
        self.kept(row)
    }

    fn update(&self, old: Option<&OldRow>, new: &Row) -> Result<Option<Change>, Fault> {
        let relation = || Arc::clone(&self.derived);
        let new = completed(new, old, &self.key);
        let was_kept = self.was_kept(old);
        Ok(match (self.kept(&new)?, was_kept) {
            (Some(new), Some(false)) => Some(Change::Insert { relation: relation(), new }),
            (Some(new), Some(true) | None) => {
                Some(Change::Update { relation: relation(), old: old.map(|old| self.old(old)), new })
            }
            (None, Some(false)) => None,
            (None, Some(true) | None) => {
                let old = old.map_or_else(|| OldRow::Key(self.key_row(&new)), |old| self.old(old));
                Some(Change::Delete { relation: relation(), old })
            }
        })
    }

    /// Whether a filter of changes lets it pass.
    fn takes(&self, change: &Change) -> Result<bool, Fault> {
        let Some(filter) = &self.of_changes else { return Ok(true) };
        match change {
            Change::Insert { new: row, .. } | Change::Read { row, .. } => {
                let cells: Vec<_> = row.cells().collect();
                filter.holds(Rows { this: &cells, old: None, new: Some(&cells) })
            }
            Change::Update { old, new, .. } => {
                let new = completed(new, old.as_ref(), &self.key);
                let new: Vec<_> = new.cells().collect();
                let old: Option<Vec<_>> = old.as_ref().map(|old| old.row().cells().collect());
                filter.holds(Rows { this: &new, old: old.as_deref(), new: Some(&new) })
            }
            Change::Delete { old, .. } => {
                let old: Vec<_> = old.row().cells().collect();
                filter.holds(Rows { this: &old, old: Some(&old), new: None })
            }
            Change::Truncate { .. } | Change::CopyBegun { .. } | Change::CopyDone { .. } | Change::Message { .. } => {
                Ok(true)
            }
        }
    }

    /// The derived row, if the row is the sink's.
    fn kept(&self, row: &Row) -> Result<Option<Row>, Fault> {
        let cells: Vec<_> = row.cells().collect();
        if self.is_kept(&cells)? { self.row(&cells).map(Some) } else { Ok(None) }
    }

    /// Whether a row is the sink's. One condition that says no is enough, whatever the other needs.
    fn is_kept(&self, cells: &[Cell<'_>]) -> Result<bool, Fault> {
        let rows = Rows::of(cells);
        let passes = self.filter.as_ref().map_or(Ok(true), |filter| filter.holds(rows));
        if passes == Ok(false) {
            return Ok(false);
        }
        let deleted = self.deleted.as_ref().map_or(Ok(false), |deleted| deleted.holds(rows));
        if deleted == Ok(true) {
            return Ok(false);
        }
        Ok(passes? && !deleted?)
    }

    /// Whether the sink has the row as it was. `None`: it is not known, or there is nothing to go by.
    fn was_kept(&self, old: Option<&OldRow>) -> Option<bool> {
        match old {
            Some(OldRow::Full(row)) => self.is_kept(&row.cells().collect::<Vec<_>>()).ok(),
            Some(OldRow::Key(_)) | None => None,
        }
    }

    /// The derived old row, as far as it can be told.
    fn old(&self, old: &OldRow) -> OldRow {
        let whole = match old {
            OldRow::Full(row) => self.row(&row.cells().collect::<Vec<_>>()).ok(),
            OldRow::Key(_) => None,
        };
        whole.map_or_else(|| OldRow::Key(self.key_row(old.row())), OldRow::Full)
    }

    fn row(&self, cells: &[Cell<'_>]) -> Result<Row, Fault> {
        let mut builder = RowBuilder::default();
        self.cells.iter().try_for_each(|made| made.push(cells, &mut builder))?;
        Ok(builder.finish())
    }

    /// Of a row of which only the key may be trusted: what the key alone tells. All else is NULL, which means "not sent".
    fn key_row(&self, row: &Row) -> Row {
        let cells: Vec<_> = row.cells().collect();
        let mut builder = RowBuilder::default();
        for made in &self.cells {
            if !made.of_key || made.push(&cells, &mut builder).is_err() {
                builder.push(Cell::Null);
            }
        }
        builder.finish()
    }
}

impl Made {
    fn push(&self, cells: &[Cell<'_>], builder: &mut RowBuilder) -> Result<(), Fault> {
        let cell = match &self.from {
            From::Copy(index) => cells.get(*index).copied().unwrap_or(Cell::Null),
            From::Compute(program, inputs) => {
                match program.text(Rows::of(cells)) {
                    Ok(Some(text)) => self.show(Cell::Text(text.as_bytes()), builder),
                    Ok(None) => builder.push(Cell::Null),
                    // Of values that are all as they were it is as it was, too.
                    Err(Fault::Absent) if inputs.iter().all(|&input| cells.get(input) == Some(&Cell::Unchanged)) => {
                        builder.push(Cell::Unchanged);
                    }
                    Err(fault) => return Err(fault),
                }
                return Ok(());
            }
        };
        self.show(cell, builder);
        Ok(())
    }

    fn show(&self, cell: Cell<'_>, builder: &mut RowBuilder) {
        match (&self.protection, cell) {
            (Some(protection), Cell::Text(text) | Cell::Binary(text)) => {
                builder.push(Cell::Text(protection.apply(text).as_bytes()));
            }
            (_, cell) => builder.push(cell),
        }
    }
}

/// The new row with what is unchanged taken from the old one, as far as that has it.
fn completed(new: &Row, old: Option<&OldRow>, key: &[usize]) -> Row {
    let Some(old) = old.filter(|_| new.lacks_values()) else { return new.clone() };
    let is_known = |index: usize| matches!(old, OldRow::Full(_)) || key.contains(&index);
    let mut builder = RowBuilder::default();
    for ((index, cell), old) in new.cells().enumerate().zip(old.row().cells()) {
        builder.push(if cell == Cell::Unchanged && is_known(index) { old } else { cell });
    }
    builder.finish()
}
