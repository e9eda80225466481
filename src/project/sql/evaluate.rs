//! A bound expression, and its value for a row.

use super::op::Op;
use super::types::Type;
use super::value::{Evaluated, Fault, Value};
use crate::event::Cell;

/// Which row a column is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The row as it is now; of a delete, as it was.
    This,
    /// `old.column`
    Old,
    /// `new.column`
    New,
}

/// A tree whose columns are places in a row.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Constant(Value<'static>),
    Column {
        index: usize,
        kind: Type,
        side: Side,
    },
    /// NULL if an argument is.
    Strict(Op, Vec<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    IsNull {
        of: Box<Node>,
        negated: bool,
    },
    /// `IS TRUE`, `IS FALSE`.
    Is {
        of: Box<Node>,
        value: bool,
        negated: bool,
    },
    /// `IS DISTINCT FROM`.
    Distinct {
        left: Box<Node>,
        right: Box<Node>,
        negated: bool,
    },
    /// The first whose condition is true.
    Case {
        arms: Vec<(Node, Node)>,
        otherwise: Box<Node>,
    },
    /// The first that is not NULL.
    Coalesce(Vec<Node>),
    NullIf {
        value: Box<Node>,
        left: Box<Node>,
        right: Box<Node>,
    },
    /// `GREATEST`, `LEAST`: of those that are not NULL.
    Extreme {
        of: Vec<Node>,
        greatest: bool,
    },
    /// `concat`, which takes NULL for nothing; with a separator it is `concat_ws`.
    Concat {
        separator: Option<Box<Node>>,
        of: Vec<(Node, Type)>,
    },
}

/// The rows of one change, cell by cell. `None`: there is no such row, and all of its columns are NULL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'s, 'r> {
    pub(crate) this: &'s [Cell<'r>],
    pub(crate) old: Option<&'s [Cell<'r>]>,
    pub(crate) new: Option<&'s [Cell<'r>]>,
}

impl<'s, 'r> Rows<'s, 'r> {
    /// One row, where no other is asked for.
    pub(crate) fn of(this: &'s [Cell<'r>]) -> Self {
        Rows { this, old: None, new: Some(this) }
    }
}

impl Node {
    /// Its value.
    pub(super) fn evaluate<'r>(&'r self, rows: Rows<'_, 'r>) -> Evaluated<'r> {
        match self {
            Node::Constant(value) => Ok(value.clone()),
            Node::Column { index, kind, side } => {
                let row = match side {
                    Side::This => Some(rows.this),
                    Side::Old => rows.old,
                    Side::New => rows.new,
                };
                match row.and_then(|row| row.get(*index)) {
                    None | Some(Cell::Null) => Ok(Value::Null),
                    Some(Cell::Unchanged) => Err(Fault::Absent),
                    Some(Cell::Text(text)) => Value::read(*kind, text),
                    Some(Cell::Binary(_)) => Err(Fault::confused()),
                }
            }
            Node::Strict(op, arguments) => {
                let values = arguments.iter().map(|node| node.evaluate(rows)).collect::<Result<Vec<_>, _>>()?;
                if values.contains(&Value::Null) { Ok(Value::Null) } else { op.apply(values) }
            }
            Node::And(parts) => all(parts, rows, false),
            Node::Or(parts) => all(parts, rows, true),
            Node::IsNull { of, negated } => Ok(Value::Boolean((of.evaluate(rows)? == Value::Null) != *negated)),
            Node::Is { of, value, negated } => {
                Ok(Value::Boolean((of.evaluate(rows)?.as_boolean()? == Some(*value)) != *negated))
            }
            Node::Distinct { left, right, negated } => {
                Ok(Value::Boolean(same(&left.evaluate(rows)?, &right.evaluate(rows)?)? == *negated))
            }
            Node::Case { arms, otherwise } => {
                for (condition, result) in arms {
                    if condition.evaluate(rows)?.as_boolean()? == Some(true) {
                        return result.evaluate(rows);
                    }
                }
                otherwise.evaluate(rows)
            }
            Node::Coalesce(parts) => {
                for part in parts {
                    let value = part.evaluate(rows)?;
                    if value != Value::Null {
                        return Ok(value);
                    }
                }
                Ok(Value::Null)
            }
            Node::NullIf { value, left, right } => {
                let (left, right) = (left.evaluate(rows)?, right.evaluate(rows)?);
                let equal = left != Value::Null && right != Value::Null && left.compare(&right)?.is_eq();
                if equal { Ok(Value::Null) } else { value.evaluate(rows) }
            }
            Node::Extreme { of, greatest } => extreme(of, *greatest, rows),
            Node::Concat { separator, of } => concat(separator.as_deref(), of, rows),
        }
    }

    /// Calls with every column in it.
    pub(super) fn columns(&self, found: &mut impl FnMut(usize, Side)) {
        match self {
            Node::Constant(_) => {}
            Node::Column { index, side, .. } => found(*index, *side),
            Node::Strict(_, parts) | Node::And(parts) | Node::Or(parts) | Node::Coalesce(parts) => {
                parts.iter().for_each(|part| part.columns(found));
            }
            Node::Extreme { of, .. } => of.iter().for_each(|part| part.columns(found)),
            Node::IsNull { of, .. } | Node::Is { of, .. } => of.columns(found),
            Node::Distinct { left, right, .. } => [left, right].iter().for_each(|part| part.columns(found)),
            Node::NullIf { value, left, right } => [value, left, right].iter().for_each(|part| part.columns(found)),
            Node::Case { arms, otherwise } => {
                arms.iter().for_each(|(condition, result)| {
                    condition.columns(found);
                    result.columns(found);
                });
                otherwise.columns(found);
            }
            Node::Concat { separator, of } => {
                separator.iter().for_each(|part| part.columns(found));
                of.iter().for_each(|(part, _)| part.columns(found));
            }
        }
    }
}

/// `AND`, or with `decides` true `OR`: from left to right until one decides; NULL if none does and one is NULL.
fn all<'r>(parts: &'r [Node], rows: Rows<'_, 'r>, decides: bool) -> Evaluated<'r> {
    let mut has_null = false;
    for part in parts {
        match part.evaluate(rows)?.as_boolean()? {
            Some(value) if value == decides => return Ok(Value::Boolean(decides)),
            Some(_) => {}
            None => has_null = true,
        }
    }
    Ok(if has_null { Value::Null } else { Value::Boolean(!decides) })
}

/// Two NULLs are the same, too.
fn same(left: &Value<'_>, right: &Value<'_>) -> Result<bool, Fault> {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(true),
        (Value::Null, _) | (_, Value::Null) => Ok(false),
        (left, right) => Ok(left.compare(right)?.is_eq()),
    }
}

fn extreme<'r>(of: &'r [Node], greatest: bool, rows: Rows<'_, 'r>) -> Evaluated<'r> {
    let mut found = Value::Null;
    for part in of {
        let value = part.evaluate(rows)?;
        if value == Value::Null {
            continue;
        }
        let wins = found == Value::Null || {
            let order = value.compare(&found)?;
            if greatest { order.is_gt() } else { order.is_lt() }
        };
        if wins {
            found = value;
        }
    }
    Ok(found)
}

fn concat<'r>(separator: Option<&'r Node>, of: &'r [(Node, Type)], rows: Rows<'_, 'r>) -> Evaluated<'r> {
    let separator = separator.map(|separator| separator.evaluate(rows)).transpose()?;
    // All of them are evaluated, whatever becomes of them.
    let values = of.iter().map(|(part, kind)| Ok((part.evaluate(rows)?, *kind))).collect::<Result<Vec<_>, Fault>>()?;
    let between = match &separator {
        None => "",
        Some(Value::Null) => return Ok(Value::Null),
        Some(separator) => separator.as_text()?,
    };
    let texts: Vec<_> = values.iter().filter_map(|(value, kind)| value.write(*kind)).collect();
    Ok(Value::text(texts.join(between)))
}
