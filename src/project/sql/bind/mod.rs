//! From the parser's tree to ours: names become places, each operator gets its types, and what is not known here is refused.

mod functions;
mod literal;
mod operators;

use std::ops::Range;

use sqlparser::ast::{BinaryOperator, Expr, Ident, InTarget, Spanned as _, UnaryOperator};

use super::DEPTH_MAX;
use super::arithmetic::Arithmetic;
use super::cast::Cast;
use super::evaluate::{Node, Side};
use super::fold::fold;
use super::op::{Comparison, Op};
use super::place::{self, Mistake};
use super::types::Type;
use super::value::{Fault, Value};
use crate::event::Relation;

/// Binds one expression.
pub(super) struct Binder<'a> {
    text: &'a str,
    /// `None`: there is no table yet, and a column can be of any type.
    relation: Option<&'a Relation>,
    /// `old.column` and `new.column` may be named.
    sides: bool,
    depth: usize,
}

/// A part of it.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) node: Node,
    pub(super) kind: Type,
    /// Its text is compared, and its letters changed, as collation `C` has it.
    ascii: bool,
    at: Range<usize>,
}

impl Bound {
    fn new(node: Node, kind: Type, at: Range<usize>) -> Self {
        Bound { node, kind, ascii: false, at }
    }
}

/// A name as SQL has it: in lower case, unless it is quoted.
pub(super) fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

impl<'a> Binder<'a> {
    pub(super) fn new(text: &'a str, relation: Option<&'a Relation>, sides: bool) -> Self {
        Binder { text, relation, sides, depth: 0 }
    }

    /// An expression that is true or false.
    pub(super) fn condition(&mut self, of: &Expr) -> Result<Node, Mistake> {
        let bound = self.bind(of)?;
        let kind = bound.kind;
        self.coerce(bound, Type::Boolean).map_err(|mistake| Mistake {
            message: format!("a condition is true or false, and this is {kind}"),
            ..mistake
        })
    }

    pub(super) fn bind(&mut self, of: &Expr) -> Result<Bound, Mistake> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Mistake::new(self.range(of), "it is nested too deeply".to_owned()));
        }
        let bound = self.bind_one(of);
        self.depth -= 1;
        bound
    }

    fn bind_one(&mut self, of: &Expr) -> Result<Bound, Mistake> {
        let at = self.range(of);
        match of {
            Expr::Identifier(name) => self.column(&folded(name), Side::This, at),
            Expr::CompoundIdentifier(names) => self.column_of_row(names, at),
            Expr::Nested(inner) => self.bind(inner),
            Expr::Value(value) => self.literal(&value.value, at),
            Expr::TypedString(typed) => self.typed_string(typed, at),
            Expr::Cast { kind, expr, data_type, .. } => self.cast(kind, expr, data_type, at),
            Expr::UnaryOp { op, expr } => self.unary(op, expr, at),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, at),
            Expr::IsNull(inner) => self.is_null(inner, false, at),
            Expr::IsNotNull(inner) => self.is_null(inner, true, at),
            Expr::IsTrue(inner) => self.is(inner, true, false, at),
            Expr::IsNotTrue(inner) => self.is(inner, true, true, at),
            Expr::IsFalse(inner) => self.is(inner, false, false, at),
            Expr::IsNotFalse(inner) => self.is(inner, false, true, at),
            Expr::IsUnknown(inner) => self.is_unknown(inner, false, at),
            Expr::IsNotUnknown(inner) => self.is_unknown(inner, true, at),
            Expr::IsDistinctFrom(left, right) => self.distinct(left, right, false, at),
            Expr::IsNotDistinctFrom(left, right) => self.distinct(left, right, true, at),
            Expr::In { expr, target: InTarget::List(list), negated, global: false } => {
                self.in_list(expr, list, *negated, at)
            }
            Expr::Between { expr, negated, low, high } => self.between(expr, low, high, *negated, at),
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), *negated, false, at)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(expr, pattern, escape_char.as_deref(), *negated, true, at)
            }
            Expr::Collate { expr, collation } => self.collate(expr, &collation.to_string(), at),
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), at)
            }
            other => self.call(other, at),
        }
    }

    fn column_of_row(&self, names: &[Ident], at: Range<usize>) -> Result<Bound, Mistake> {
        if let [row, name] = names {
            let side = match folded(row).as_str() {
                "old" => Some(Side::Old),
                "new" => Some(Side::New),
                _ => None,
            };
            if let Some(side) = side.filter(|_| self.sides) {
                return self.column(&folded(name), side, at);
            }
        }
        let help = "a column stands by its name; in `where` of a file or kafka sink `old.` and `new.` tell the rows of a change apart";
        Err(Mistake::new(at, "this is no column of the row".to_owned()).help(help))
    }

    fn column(&self, name: &str, side: Side, at: Range<usize>) -> Result<Bound, Mistake> {
        let Some(relation) = self.relation else {
            return Ok(Bound::new(Node::Column { index: 0, kind: Type::Any, side }, Type::Any, at));
        };
        let Some((index, column)) = relation.columns.iter().enumerate().find(|(_, column)| column.name == name) else {
            let known: Vec<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
            let message = format!("table {} has no column \"{name}\"", relation.name);
            return Err(Mistake::new(at, message).help(format!("its columns are {}", known.join(", "))));
        };
        let kind = Type::of(column);
        Ok(Bound::new(Node::Column { index, kind, side }, kind, at))
    }

    fn is_null(&mut self, inner: &Expr, negated: bool, at: Range<usize>) -> Result<Bound, Mistake> {
        let of = Box::new(self.bind(inner)?.node);
        self.folded(Node::IsNull { of, negated }, Type::Boolean, at)
    }

    fn is(&mut self, inner: &Expr, value: bool, negated: bool, at: Range<usize>) -> Result<Bound, Mistake> {
        let of = Box::new(self.condition(inner)?);
        self.folded(Node::Is { of, value, negated }, Type::Boolean, at)
    }

    fn is_unknown(&mut self, inner: &Expr, negated: bool, at: Range<usize>) -> Result<Bound, Mistake> {
        let of = Box::new(self.condition(inner)?);
        self.folded(Node::IsNull { of, negated }, Type::Boolean, at)
    }

    fn unary(&mut self, op: &UnaryOperator, expr: &Expr, at: Range<usize>) -> Result<Bound, Mistake> {
        match op {
            UnaryOperator::Not => {
                let inner = self.condition(expr)?;
                self.strict(Op::Not, vec![inner], Type::Boolean, at)
            }
            UnaryOperator::Minus | UnaryOperator::Plus => {
                let inner = self.bind(expr)?;
                if !inner.kind.is_number() && inner.kind != Type::Any {
                    return Err(Mistake::new(at, format!("operator does not exist: {op} {}", inner.kind)));
                }
                let kind = inner.kind;
                if *op == UnaryOperator::Plus {
                    return Ok(inner);
                }
                self.strict(Op::Negate(kind), vec![inner.node], kind, at)
            }
            other => Err(self.unknown(at, &format!("the operator {other}"))),
        }
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr, at: Range<usize>) -> Result<Bound, Mistake> {
        let comparison = |op: &BinaryOperator| {
            Some(match op {
                BinaryOperator::Eq => Comparison::Equal,
                BinaryOperator::NotEq => Comparison::NotEqual,
                BinaryOperator::Lt => Comparison::Less,
                BinaryOperator::LtEq => Comparison::LessOrEqual,
                BinaryOperator::Gt => Comparison::Greater,
                BinaryOperator::GtEq => Comparison::GreaterOrEqual,
                _ => return None,
            })
        };
        if let Some(found) = comparison(op) {
            let chained = |side: &Expr| matches!(side, Expr::BinaryOp { op, .. } if comparison(op).is_some());
            if chained(left) || chained(right) {
                let help = "put one of them in parentheses, or join them by AND";
                return Err(Mistake::new(at, "comparisons cannot be chained".to_owned()).help(help));
            }
            return self.compare(found, left, right, at);
        }
        let arithmetic = match op {
            BinaryOperator::Plus => Arithmetic::Plus,
            BinaryOperator::Minus => Arithmetic::Minus,
            BinaryOperator::Multiply => Arithmetic::Times,
            BinaryOperator::Divide => Arithmetic::Divide,
            BinaryOperator::Modulo => Arithmetic::Modulo,
            BinaryOperator::And | BinaryOperator::Or => return self.connective(op, left, right, at),
            BinaryOperator::StringConcat => return self.join(left, right, at),
            BinaryOperator::Arrow => return self.json(left, right, false, at),
            BinaryOperator::LongArrow => return self.json(left, right, true, at),
            other => return Err(self.unknown(at, &format!("the operator {other}"))),
        };
        self.arithmetic(arithmetic, left, right, at)
    }

    /// A part, with what is known without a row; what is wrong with constants is found now.
    fn folded(&self, node: Node, kind: Type, at: Range<usize>) -> Result<Bound, Mistake> {
        let node = fold(node).map_err(|fault| self.fault(fault, at.clone()))?;
        Ok(Bound::new(node, kind, at))
    }

    /// A node that is NULL if an argument is.
    fn strict(&self, op: Op, arguments: Vec<Node>, kind: Type, at: Range<usize>) -> Result<Bound, Mistake> {
        self.folded(Node::Strict(op, arguments), kind, at)
    }

    /// The value as one of this type, if PostgreSQL casts it without being asked.
    fn coerce(&self, bound: Bound, to: Type) -> Result<Node, Mistake> {
        let Bound { node, kind, at, .. } = bound;
        if kind == to || kind == Type::Any || to.is_open() {
            return Ok(node);
        }
        if kind == Type::Unknown {
            return match node {
                Node::Constant(Value::Null) => Ok(node),
                Node::Constant(Value::Text(_)) if Cast::plain(Type::Text, to).exists() => {
                    Ok(self.strict(Op::Cast(Cast::plain(Type::Text, to)), vec![node], to, at)?.node)
                }
                _ => Err(Mistake::new(at, format!("this cannot be {to}"))),
            };
        }
        if to.takes(kind) {
            return Ok(self.strict(Op::Cast(Cast::plain(kind, to)), vec![node], to, at)?.node);
        }
        let help = format!("cast it: (…)::{to}");
        Err(Mistake::new(at, format!("this is {kind}, and {to} is needed")).help(help))
    }

    fn fault(&self, fault: Fault, at: Range<usize>) -> Mistake {
        match fault {
            Fault::Refused { message, .. } => Mistake::new(at, message),
            Fault::Absent => Mistake::new(at, "it has no value".to_owned()),
        }
    }

    /// What is not of the part of SQL that is known here.
    fn unknown(&self, at: Range<usize>, what: &str) -> Mistake {
        Mistake::new(at, format!("{what} is not known here"))
            .help("docs/shaping.md lists what expressions can be made of")
    }

    fn range(&self, of: &Expr) -> Range<usize> {
        place::range(self.text, of.span())
    }
}
