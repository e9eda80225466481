//! A rule bound to one version of a table.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Item, Protection, Rule, ShapeError, Written};
use crate::event::{Column, Relation, ReplicaIdentity, Shape};
use crate::project::sql::{Expression, Mistake, Program};

/// How the events of one version of a table become those of the derived one.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) derived: Arc<Relation>,
    pub(super) cells: Vec<Made>,
    /// Rows that are the sink's.
    pub(super) filter: Option<Program>,
    /// Changes that are the sink's.
    pub(super) of_changes: Option<Program>,
    pub(super) deleted: Option<Program>,
    /// The source's key.
    pub(super) key: Vec<usize>,
    determined: Vec<String>,
}

/// How a cell of the derived row is made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) from: From,
    pub(super) protection: Option<Protection>,
    /// The key alone tells it.
    pub(super) of_key: bool,
}

/// What it is made of.
#[derive(Clone, Debug)]
pub(super) enum From {
    /// The column with this index.
    Copy(usize),
    /// An expression, and the columns in it.
    Compute(Program, BTreeSet<usize>),
}

impl Plan {
    /// # Errors
    /// The rule does not fit the table.
    pub(super) fn new(rule: &Rule, relation: &Relation) -> Result<Self, ShapeError> {
        let condition = |written: &Written<Expression>| bound(written, Expression::bind_condition, relation);
        let filter = rule.filter.as_ref().map(condition).transpose()?;
        let deleted = rule.deleted.as_ref().map(condition).transpose()?;
        let of_changes = rule.filter.as_ref().is_some_and(|written| written.value.compares_rows());
        if let (Some(written), Some(program)) = (&rule.filter, &filter)
            && let Some(column) = program.old_columns().first().and_then(|&index| relation.columns.get(index))
            && relation.identity != ReplicaIdentity::Full
        {
            let message = format!(
                "old.{} is not sent for table {}: give it whole old rows, ALTER TABLE {} REPLICA IDENTITY FULL",
                column.name, relation.name, relation.name
            );
            return Err(ShapeError(written.at(&message)));
        }
        let mut columns = chosen(rule, relation)?;
        for (name, protection) in &rule.protected {
            let known: Vec<&str> = columns.iter().map(|(column, _)| column.name.as_str()).collect();
            let (known, missing) = (known.join(", "), format!("`{}` to {}", name.value, protection.word()));
            let Some((column, made)) = columns.iter_mut().find(|(column, _)| column.name == name.value) else {
                let message =
                    format!("there is no column {missing} in table {}: its columns are {known}", relation.name);
                return Err(ShapeError(name.at(&message)));
            };
            (column.type_oid, column.type_modifier, column.shape) = (25, -1, Shape::TEXT);
            made.protection = Some(protection.clone());
        }
        let key = derived_key(relation, &columns)?;
        let (columns, cells): (Vec<Column>, Vec<Made>) = columns.into_iter().unzip();
        let whole_rows = relation.identity == ReplicaIdentity::Full;
        let determined = columns.iter().zip(&cells).filter(|(_, made)| made.of_key || whole_rows);
        let determined = determined.map(|(column, _)| column.name.clone()).collect();
        let derived = Arc::new(Relation { columns, key, ..relation.clone() });
        let (filter, of_changes) = if of_changes { (None, filter) } else { (filter, None) };
        Ok(Plan { derived, cells, filter, of_changes, deleted, key: relation.key.clone(), determined })
    }

    /// The table that sinks are told of.
    #[must_use]
    pub fn relation(&self) -> &Arc<Relation> {
        &self.derived
    }

    /// The derived columns whose values are known of a row that was deleted: they can be part of its document's name.
    #[must_use]
    pub fn determined(&self) -> &[String] {
        &self.determined
    }
}

fn bound(
    written: &Written<Expression>,
    bind: impl Fn(&Expression, &Relation) -> Result<Program, Mistake>,
    relation: &Relation,
) -> Result<Program, ShapeError> {
    bind(&written.value, relation).map_err(|mistake| ShapeError(written.explain(written.value.text(), &mistake)))
}

type Columns = Vec<(Column, Made)>;

/// The derived table's columns, before any is protected.
fn chosen(rule: &Rule, relation: &Relation) -> Result<Columns, ShapeError> {
    let of_key = |indexes: &BTreeSet<usize>| indexes.iter().all(|index| relation.key.contains(index));
    let copy = |index: usize, column: &Column, name: String| {
        let made = Made { from: From::Copy(index), protection: None, of_key: relation.key.contains(&index) };
        (Column { name, ..column.clone() }, made)
    };
    let all = [Item::All];
    let items = rule.columns.as_deref().unwrap_or(&all);
    let mut named: BTreeSet<String> = BTreeSet::new();
    for item in items {
        match item {
            Item::All => {}
            Item::Made(written) => named.extend(written.value.as_column()),
            Item::Except(name) if relation.column_index(&name.value).is_none() => {
                let message = format!("table {} has no column `{}` to leave out", relation.name, name.value);
                return Err(ShapeError(name.at(&message)));
            }
            Item::Except(name) => _ = named.insert(name.value.clone()),
        }
    }
    let mut columns = Columns::new();
    for item in items {
        match item {
            Item::Except(_) => {}
            Item::All => {
                let rest = relation.columns.iter().enumerate().filter(|(_, column)| !named.contains(&column.name));
                columns.extend(rest.map(|(index, column)| copy(index, column, column.name.clone())));
            }
            Item::Made(written) => {
                let program = bound(written, Expression::bind, relation)?;
                let name = written.value.alias().map(str::to_owned).or_else(|| written.value.as_column());
                let name = name.ok_or_else(|| ShapeError(written.at("a computed column needs a name: add AS name")))?;
                let source = written.value.as_column().and_then(|name| relation.column_index(&name));
                columns.push(match source.and_then(|index| Some((index, relation.columns.get(index)?))) {
                    Some((index, column)) => copy(index, column, name),
                    None => {
                        let inputs = program.columns();
                        let of_key = of_key(&inputs);
                        let column = program.column(name);
                        (column, Made { from: From::Compute(program, inputs), protection: None, of_key })
                    }
                });
            }
        }
        let last = columns.last().map(|(column, _)| column.name.clone());
        if let (Item::Made(written), Some(name)) = (item, last)
            && columns.iter().filter(|(column, _)| column.name == name).count() > 1
        {
            return Err(ShapeError(
                written.at(&format!("two columns are called `{name}`; name one of them otherwise, with AS")),
            ));
        }
    }
    Ok(columns)
}

/// Where the source's key stands among the derived columns.
fn derived_key(relation: &Relation, columns: &Columns) -> Result<Vec<usize>, ShapeError> {
    let is_whole = relation.identity == ReplicaIdentity::Full && relation.key.len() == relation.columns.len();
    let mut key = Vec::with_capacity(relation.key.len());
    for &index in &relation.key {
        let found = columns.iter().position(|(_, made)| {
            let stays = made.protection.as_ref().is_none_or(Protection::tells_apart);
            stays && matches!(made.from, From::Copy(from) if from == index)
        });
        let Some(at) = found else {
            let name = relation.columns.get(index).map_or("", |column| column.name.as_str());
            return Err(ShapeError(format!(
                "column `{name}` is part of the key of table {}, and is not among the sink's columns as something that tells rows apart: choose it, \
                 under its own name or another, or hash it; it cannot be left out, masked or redacted",
                relation.name
            )));
        };
        key.push(at);
    }
    // Without a key of its own a row is named by all that it has.
    Ok(if is_whole { (0..columns.len()).collect() } else { key })
}
