//! Operators and the constructs that look like them.

use std::ops::Range;

use sqlparser::ast::{BinaryOperator, CaseWhen, Expr};

use super::{Binder, Bound};
use crate::project::sql::arithmetic::Arithmetic;
use crate::project::sql::cast::Cast;
use crate::project::sql::evaluate::Node;
use crate::project::sql::op::{Comparison, Op};
use crate::project::sql::place::Mistake;
use crate::project::sql::types::Type;
use crate::project::sql::value::Value;

impl Binder<'_> {
    /// `AND`, `OR`: a run of one of them is one node, however long.
    pub(super) fn connective(
        &mut self,
        op: &BinaryOperator,
        left: &Expr,
        right: &Expr,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let (mut parts, mut rest) = (vec![self.condition(right)?], left);
        while let Expr::BinaryOp { left, op: next, right } = rest {
            if next != op {
                break;
            }
            parts.push(self.condition(right)?);
            rest = left;
        }
        parts.push(self.condition(rest)?);
        parts.reverse();
        let node = if *op == BinaryOperator::And { Node::And(parts) } else { Node::Or(parts) };
        self.folded(node, Type::Boolean, at)
    }

    pub(super) fn compare(
        &mut self,
        comparison: Comparison,
        left: &Expr,
        right: &Expr,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let (left, right) = (self.bind(left)?, self.bind(right)?);
        self.compare_bound(comparison, left, right, at)
    }

    fn compare_bound(
        &mut self,
        comparison: Comparison,
        left: Bound,
        right: Bound,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let [left, right] = self.alike(left, right, comparison.orders(), at.clone())?;
        self.strict(Op::Compare(comparison), vec![left, right], Type::Boolean, at)
    }

    /// Both as values that can be compared; `ordered`: not only for being equal.
    pub(super) fn alike(
        &mut self,
        left: Bound,
        right: Bound,
        ordered: bool,
        at: Range<usize>,
    ) -> Result<[Node; 2], Mistake> {
        let Some(kind) = Type::of_operands(left.kind, right.kind) else {
            let message = format!("{} cannot be compared with {}", left.kind, right.kind);
            return Err(Mistake::new(at, message).help("cast one of them to the other's type"));
        };
        let help = match kind {
            Type::Other => Some(
                "compare its text: write ::text behind the column (an enum, a domain, an array, a type of an extension)",
            ),
            Type::Blank => Some("compare its text: write ::text behind the column of type character"),
            Type::Jsonb => Some("take a value out of it: column ->> 'member'"),
            Type::Text if ordered && !left.ascii && !right.ascii => {
                Some("the order of texts is the database's own matter; say which: name COLLATE \"C\" < 'm'")
            }
            _ => None,
        };
        if let Some(help) = help {
            return Err(Mistake::new(at, format!("values of {kind} are not compared here")).help(help));
        }
        let mixed = kind.is_moment() && left.kind != right.kind && !left.kind.is_open() && !right.kind.is_open();
        if mixed {
            let widen =
                |bound: Bound| self.strict(Op::Widen, vec![bound.node], Type::TimestampTz, bound.at).map(|b| b.node);
            return Ok([widen(left)?, widen(right)?]);
        }
        let kind = if kind == Type::Unknown { Type::Text } else { kind };
        Ok([self.coerce(left, kind)?, self.coerce(right, kind)?])
    }

    pub(super) fn distinct(
        &mut self,
        left: &Expr,
        right: &Expr,
        negated: bool,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let (left, right) = (self.bind(left)?, self.bind(right)?);
        let [left, right] = self.alike(left, right, false, at.clone())?.map(Box::new);
        self.folded(Node::Distinct { left, right, negated }, Type::Boolean, at)
    }

    /// One comparison for each element, in a chain.
    pub(super) fn in_list(
        &mut self,
        expr: &Expr,
        list: &[Expr],
        negated: bool,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let mut bound = Vec::with_capacity(list.len());
        for element in list {
            let element = self.bind(element)?;
            if !matches!(element.node, Node::Constant(_)) {
                let help = "compare with other columns by = and OR";
                return Err(Mistake::new(element.at, "IN takes constants".to_owned()).help(help));
            }
            bound.push(element);
        }
        let first = self.bind(expr)?;
        // All of them have one type, as PostgreSQL has it: that decides how numbers are compared.
        let kinds = std::iter::once(first.kind).chain(bound.iter().map(|element| element.kind));
        let kind = Type::common(kinds)
            .map_err(|(one, other)| Mistake::new(at.clone(), format!("{one} cannot be compared with {other}")))?;
        let comparison = if negated { Comparison::NotEqual } else { Comparison::Equal };
        let mut parts = Vec::with_capacity(bound.len());
        for element in bound {
            let kind = if element.kind == Type::Unknown { Type::Unknown } else { kind };
            let place = element.at.clone();
            let element = Bound::new(self.coerce(element, kind)?, kind, place);
            let value = self.bind(expr)?;
            parts.push(self.compare_bound(comparison, value, element, at.clone())?.node);
        }
        let node = if negated { Node::And(parts) } else { Node::Or(parts) };
        self.folded(node, Type::Boolean, at)
    }

    pub(super) fn between(
        &mut self,
        expr: &Expr,
        low: &Expr,
        high: &Expr,
        negated: bool,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let (above, below) = if negated {
            (Comparison::Less, Comparison::Greater)
        } else {
            (Comparison::GreaterOrEqual, Comparison::LessOrEqual)
        };
        let parts =
            vec![self.compare(above, expr, low, at.clone())?.node, self.compare(below, expr, high, at.clone())?.node];
        let node = if negated { Node::Or(parts) } else { Node::And(parts) };
        self.folded(node, Type::Boolean, at)
    }

    pub(super) fn arithmetic(
        &mut self,
        operator: Arithmetic,
        left: &Expr,
        right: &Expr,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let (left, right) = (self.bind(left)?, self.bind(right)?);
        match (left.kind, operator, right.kind) {
            (Type::Date, Arithmetic::Plus, Type::Int2 | Type::Int4) => {
                return self.strict(Op::PlusDays { back: false }, vec![left.node, right.node], Type::Date, at);
            }
            (Type::Int2 | Type::Int4, Arithmetic::Plus, Type::Date) => {
                return self.strict(Op::PlusDays { back: false }, vec![right.node, left.node], Type::Date, at);
            }
            (Type::Date, Arithmetic::Minus, Type::Int2 | Type::Int4) => {
                return self.strict(Op::PlusDays { back: true }, vec![left.node, right.node], Type::Date, at);
            }
            (Type::Date, Arithmetic::Minus, Type::Date) => {
                return self.strict(Op::DaysBetween, vec![left.node, right.node], Type::Int4, at);
            }
            _ => {}
        }
        let kind = Type::of_operands(left.kind, right.kind)
            .filter(|kind| kind.is_number() || *kind == Type::Any)
            .filter(|kind| operator != Arithmetic::Modulo || !matches!(kind, Type::Float4 | Type::Float8));
        let Some(kind) = kind else {
            let message = format!("there is no such arithmetic on {} and {}", left.kind, right.kind);
            return Err(Mistake::new(at, message)
                .help("numbers are computed with, and days added to a date; cast what is text"));
        };
        let arguments = vec![self.coerce(left, kind)?, self.coerce(right, kind)?];
        if kind == Type::Any {
            // Never evaluated; it keeps the columns.
            return Ok(Bound::new(Node::Coalesce(arguments), Type::Any, at));
        }
        self.strict(Op::Arithmetic(operator, kind), arguments, kind, at)
    }

    /// `||`: of two texts, or of a text and anything else that has one.
    pub(super) fn join(&mut self, left: &Expr, right: &Expr, at: Range<usize>) -> Result<Bound, Mistake> {
        let (left, right) = (self.bind(left)?, self.bind(right)?);
        let is_text = |kind: Type| matches!(kind, Type::Text | Type::Unknown | Type::Blank | Type::Any);
        let has_none = |kind: Type| matches!(kind, Type::Other | Type::Jsonb | Type::Bytea);
        if !(is_text(left.kind) || is_text(right.kind)) || has_none(left.kind) || has_none(right.kind) {
            let message = format!("{} and {} are not joined here", left.kind, right.kind);
            return Err(Mistake::new(at, message).help("write ::text behind what is no text"));
        }
        let ascii = left.ascii || right.ascii;
        let arguments = vec![self.as_text(left)?, self.as_text(right)?];
        Ok(Bound { ascii, ..self.strict(Op::Join, arguments, Type::Text, at)? })
    }

    fn as_text(&self, bound: Bound) -> Result<Node, Mistake> {
        if bound.kind.is_open() || bound.kind == Type::Text {
            return self.coerce(bound, Type::Text);
        }
        let cast = Cast::plain(bound.kind, Type::Text);
        Ok(self.strict(Op::Cast(cast), vec![bound.node], Type::Text, bound.at)?.node)
    }

    /// `->`, `->>`
    pub(super) fn json(
        &mut self,
        left: &Expr,
        right: &Expr,
        as_text: bool,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let (left, right) = (self.bind(left)?, self.bind(right)?);
        if !matches!(left.kind, Type::Jsonb | Type::Any) {
            let message = format!("a value is taken out of jsonb, and this is {}", left.kind);
            return Err(Mistake::new(left.at, message)
                .help("of a json column the text is kept as it was written; make it jsonb"));
        }
        let step = match right.kind {
            Type::Int2 | Type::Int4 | Type::Any => right.node,
            _ => self.coerce(right, Type::Text)?,
        };
        let kind = if as_text { Type::Text } else { Type::Jsonb };
        self.strict(Op::Json { as_text }, vec![left.node, step], kind, at)
    }

    pub(super) fn like(
        &mut self,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        negated: bool,
        folds: bool,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let (text, pattern) = (self.bind(expr)?, self.bind(pattern)?);
        let folded = folds.then_some(text.ascii || pattern.ascii);
        let escape = match escape {
            None => Some('\\'),
            Some(expr) => match self.bind(expr)? {
                Bound { node: Node::Constant(Value::Text(text)), .. } if text.chars().count() <= 1 => {
                    text.chars().next()
                }
                other => return Err(Mistake::new(other.at, "ESCAPE takes one character in quotes".to_owned())),
            },
        };
        let arguments = vec![self.text_argument(text, "LIKE")?, self.text_argument(pattern, "LIKE")?];
        self.strict(Op::Like { negated, folded, escape }, arguments, Type::Boolean, at)
    }

    /// An argument that is a text, for whoever it is.
    pub(super) fn text_argument(&self, bound: Bound, whose: &str) -> Result<Node, Mistake> {
        if matches!(bound.kind, Type::Text | Type::Unknown | Type::Any) {
            return self.coerce(bound, Type::Text);
        }
        let message = format!("{whose} takes text, and this is {}", bound.kind);
        Err(Mistake::new(bound.at, message).help("write ::text behind it"))
    }

    pub(super) fn collate(&mut self, expr: &Expr, collation: &str, at: Range<usize>) -> Result<Bound, Mistake> {
        let inner = self.bind(expr)?;
        if !matches!(collation, "\"C\"" | "\"POSIX\"") {
            let help = "COLLATE \"C\" compares bytes, the same everywhere; what other collations do differs from machine to machine";
            return Err(Mistake::new(at, format!("the collation {collation} is not known here")).help(help));
        }
        let node = self.text_argument(inner, "COLLATE")?;
        Ok(Bound { ascii: true, ..Bound::new(node, Type::Text, at) })
    }

    pub(super) fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        at: Range<usize>,
    ) -> Result<Bound, Mistake> {
        let (mut whens, mut results) = (Vec::new(), Vec::new());
        for CaseWhen { condition, result } in conditions {
            whens.push(match operand {
                None => self.condition(condition)?,
                Some(operand) => self.compare(Comparison::Equal, operand, condition, at.clone())?.node,
            });
            results.push(self.bind(result)?);
        }
        results.push(match otherwise {
            None => Bound::new(Node::Constant(Value::Null), Type::Unknown, at.clone()),
            Some(otherwise) => self.bind(otherwise)?,
        });
        let (mut nodes, kind, ascii) = self.of_one_type(results, "CASE", &at)?;
        let otherwise = Box::new(nodes.pop().unwrap_or(Node::Constant(Value::Null)));
        let node = Node::Case { arms: whens.into_iter().zip(nodes).collect(), otherwise };
        Ok(Bound { ascii, ..self.folded(node, kind, at)? })
    }

    /// All of one type, which is told with them.
    pub(super) fn of_one_type(
        &self,
        parts: Vec<Bound>,
        whose: &str,
        at: &Range<usize>,
    ) -> Result<(Vec<Node>, Type, bool), Mistake> {
        let kind = Type::common(parts.iter().map(|part| part.kind)).map_err(|(one, other)| {
            let message = format!("{whose} types {one} and {other} cannot be matched");
            Mistake::new(at.clone(), message).help("cast one of them to the other's type")
        })?;
        if kind == Type::Other || kind == Type::Blank {
            let help = "write ::text behind the column";
            return Err(Mistake::new(at.clone(), format!("{whose} does not take {kind}")).help(help));
        }
        let kind = if kind == Type::Unknown { Type::Text } else { kind };
        let ascii = parts.iter().any(|part| part.ascii);
        let nodes = parts.into_iter().map(|part| self.coerce(part, kind)).collect::<Result<_, _>>()?;
        Ok((nodes, kind, ascii))
    }
}
