//! What a sink makes of a table's rows before they become documents: which rows it has, which columns, under which names, computed,
//! masked, hashed. Pure.
//!
//! It stands between the log's events and [`super::Projection`]: an event goes in, and out comes an event of a *derived* table, or
//! nothing. So every sink, key and format knows one kind of event. A rule is bound to each version of a table once ([`Plan`]).
//!
//! What holds: a row that is not the sink's is never put; one that ceases to be is deleted, even where it is not known whether it ever
//! was; and nothing is guessed about a column that is not in the event (`Fault::Absent`).

mod change;
mod plan;
mod protect;
mod written;

use crate::event::{Relation, TableFilter, TableName};

pub use self::plan::Plan;
pub use self::protect::Protection;
pub use self::written::Written;
use super::sql::Expression;

/// The rules of a sink.
#[derive(Clone, Default)]
pub struct Shaping {
    rules: Vec<(TableFilter, Rule)>,
}

/// What is made of the rows of some tables.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// The rows that the sink has. One that names `old` or `new` chooses changes instead, of a sink that keeps history.
    pub filter: Option<Written<Expression>>,
    /// Rows of which this is true count as deleted.
    pub deleted: Option<Written<Expression>>,
    /// The columns, in order; `None`: all as they are.
    pub columns: Option<Vec<Item>>,
    /// Columns whose values are not shown as they are.
    pub protected: Vec<(Written<String>, Protection)>,
}

/// An element of `columns`.
#[derive(Clone, Debug)]
pub enum Item {
    /// `*`: all columns that no other element names.
    All,
    /// `!name`: not this one.
    Except(Written<String>),
    /// An expression, with the name of the column that it makes.
    Made(Box<Written<Expression>>),
}

/// A rule that does not fit a table as it is now: what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub(crate) String);

impl Shaping {
    /// Of each table the first rule counts that means it.
    #[must_use]
    pub fn new(rules: Vec<(TableFilter, Rule)>) -> Self {
        Shaping { rules }
    }

    /// Whether a rule means this table.
    #[must_use]
    pub fn means(&self, table: &TableName) -> bool {
        self.rules.iter().any(|(tables, _)| tables(table))
    }

    /// The plan for a version of a table; `None`: its rows stay as they are.
    ///
    /// # Errors
    /// The rule does not fit it.
    pub fn plan(&self, relation: &Relation) -> Result<Option<Plan>, ShapeError> {
        let rule = self.rules.iter().find(|(tables, _)| tables(&relation.name));
        rule.map(|(_, rule)| Plan::new(rule, relation)).transpose()
    }
}
