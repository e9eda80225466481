//! SQL expressions over one row, with PostgreSQL's types, values and errors: a chosen part of its language. What is not in it is
//! refused when the expression is read or bound, with its place; it is never evaluated otherwise. PostgreSQL itself is the oracle in
//! `integration-tests/shape/`.
//!
//! Two steps. [`Expression::parse`] needs no table: syntax, functions and operators are known to it. [`Expression::bind`] makes a tree
//! of places in a table's rows ([`Program`]), once for each version of the table. There is no clock and no chance in it, so a row has
//! the same values in each replay.

mod arithmetic;
mod bind;
mod cast;
mod evaluate;
mod fold;
mod json;
mod like;
mod moment;
mod numeric;
mod op;
mod place;
mod text;
mod types;
mod value;

use std::collections::BTreeSet;

use sqlparser::ast::Expr;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

pub(crate) use self::evaluate::Rows;
pub(crate) use self::op::hex;
pub use self::place::Mistake;
pub use self::value::Fault;

use self::bind::Binder;
use self::evaluate::{Node, Side};
use self::types::Type;
use self::value::Value;
use crate::event::{Column, Relation, Scalar};

/// Nobody writes so much into one line.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Parentheses, functions and operators inside each other.
const DEPTH_MAX: usize = 100;

/// An expression that has been read.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    tree: Expr,
    alias: Option<String>,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// Its syntax, or what is not of the part of SQL that is known here.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        Expression::read(text, false)
    }

    /// Reads an expression with a name behind it or not: `lower(email) AS email`.
    ///
    /// # Errors
    /// As [`Expression::parse`].
    pub fn parse_named(text: &str) -> Result<Self, Mistake> {
        Expression::read(text, true)
    }

    fn read(text: &str, named: bool) -> Result<Self, Mistake> {
        if text.len() > TEXT_BYTES_MAX {
            let help = format!("an expression has at most {TEXT_BYTES_MAX} bytes");
            return Err(Mistake::new(0..text.len(), "the expression is too long".to_owned()).help(help));
        }
        let syntax = |error| place::syntax(text, &error);
        let parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(DEPTH_MAX);
        let mut parser = parser.try_with_sql(text).map_err(syntax)?;
        let tree = parser.parse_expr().map_err(syntax)?;
        let alias = if named && parser.parse_keyword(Keyword::AS) {
            let name = parser.parse_identifier().map_err(syntax)?;
            Some(if name.quote_style.is_some() { name.value } else { name.value.to_lowercase() })
        } else {
            None
        };
        let rest = parser.peek_token();
        if rest.token != Token::EOF {
            let (at, found) = (place::range(text, rest.span), rest.token);
            return Err(Mistake::new(at, format!("`{found}` does not belong here")));
        }
        Binder::new(text, None, true).bind(&tree)?;
        Ok(Expression { text: text.to_owned(), tree, alias })
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name behind `AS`.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// The name of the column that it is, if it is nothing else.
    #[must_use]
    pub fn as_column(&self) -> Option<String> {
        match &self.tree {
            Expr::Identifier(name) => Some(bind::folded(name)),
            _ => None,
        }
    }

    /// Whether it names `old` or `new`.
    #[must_use]
    pub fn compares_rows(&self) -> bool {
        let mut binder = Binder::new(&self.text, None, true);
        let mut found = false;
        if let Ok(bound) = binder.bind(&self.tree) {
            bound.node.columns(&mut |_, side| found |= side != Side::This);
        }
        found
    }

    /// The places of its columns in a table's rows.
    ///
    /// # Errors
    /// A column that the table does not have, types that do not go together.
    pub fn bind(&self, relation: &Relation) -> Result<Program, Mistake> {
        let bound = Binder::new(&self.text, Some(relation), true).bind(&self.tree)?;
        Ok(Program { node: bound.node, kind: bound.kind })
    }

    /// The same of a condition.
    ///
    /// # Errors
    /// As [`Expression::bind`]; and if it is not true or false.
    pub fn bind_condition(&self, relation: &Relation) -> Result<Program, Mistake> {
        let mut binder = Binder::new(&self.text, Some(relation), true);
        let bound = binder.condition(&self.tree)?;
        Ok(Program { node: bound, kind: Type::Boolean })
    }
}

/// An expression that is bound to a version of a table.
#[derive(Clone, Debug)]
pub struct Program {
    node: Node,
    kind: Type,
}

impl Program {
    /// The indexes of the columns that it reads, of whichever row.
    #[must_use]
    pub fn columns(&self) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        self.node.columns(&mut |index, _| _ = found.insert(index));
        found
    }

    /// The indexes of the columns of the old row that it reads.
    #[must_use]
    pub fn old_columns(&self) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        self.node.columns(&mut |index, side| {
            if side == Side::Old {
                found.insert(index);
            }
        });
        found
    }

    /// The column that its values make.
    #[must_use]
    pub fn column(&self, name: String) -> Column {
        Column { name, type_oid: self.kind.oid(), type_modifier: -1, shape: self.kind.shape() }
    }

    /// Whether it is true of a row; NULL is not.
    ///
    /// # Errors
    /// The row has no value of it.
    pub(crate) fn holds(&self, rows: Rows<'_, '_>) -> Result<bool, Fault> {
        // The tree and the row are borrowed for the same time.
        Ok(self.node.evaluate(rows)?.as_boolean()? == Some(true))
    }

    /// Its value's text; `None` for NULL.
    ///
    /// # Errors
    /// The row has no value of it.
    pub(crate) fn text(&self, rows: Rows<'_, '_>) -> Result<Option<String>, Fault> {
        let value: Value<'_> = self.node.evaluate(rows)?;
        Ok(value.write(self.kind).map(std::borrow::Cow::into_owned))
    }

    /// Its value's text for one row.
    ///
    /// # Errors
    /// The row has no value of it.
    pub fn text_of(&self, row: &crate::event::Row) -> Result<Option<String>, Fault> {
        let cells: Vec<_> = row.cells().collect();
        self.text(Rows::of(&cells))
    }
}

/// A value of a column that holds points in time, in seconds since 1970 in UTC, as `extract(epoch from …)` counts them; `None` if it is none.
pub(crate) fn seconds_since_1970(scalar: Scalar, text: &str) -> Option<f64> {
    moment::seconds_since_1970(&moment::parse(text, Type::of_moment(scalar)?).ok()?)
}
