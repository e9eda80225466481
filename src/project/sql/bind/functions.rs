//! Functions, and the constructs that the parser knows by name.

use std::ops::Range;

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, TrimWhereField};

use super::{Binder, Bound};
use crate::project::sql::cast::Cast;
use crate::project::sql::evaluate::Node;
use crate::project::sql::moment::Unit;
use crate::project::sql::op::Op;
use crate::project::sql::place::Mistake;
use crate::project::sql::types::Type;
use crate::project::sql::value::Value;

/// Functions that have another value each time, or in each session.
const VOLATILE: [&str; 18] = [
    "now",
    "current_timestamp",
    "current_date",
    "current_time",
    "localtime",
    "localtimestamp",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "age",
    "random",
    "gen_random_uuid",
    "uuid_generate_v4",
    "nextval",
    "current_user",
    "session_user",
    "current_setting",
];

impl Binder<'_> {
    /// What is none of the operators.
    pub(super) fn call(&mut self, of: &Expr, at: Range<usize>) -> Result<Bound, Mistake> {
        match of {
            Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                if VOLATILE.contains(&name.as_str()) {
                    let help = "what is derived from a row must be the same in every replay, so an expression has no clock, no chance and no session; \
                                keep the moment in a column";
                    return Err(Mistake::new(at, format!("{name} has another value each time")).help(help));
                }
                let FunctionArguments::List(list) = &function.args else {
                    return Err(self.unknown(at, &format!("the function {name}")));
                };
                let mut arguments = Vec::with_capacity(list.args.len());
                for argument in &list.args {
                    let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument else {
                        return Err(self.unknown(at, &format!("such an argument of {name}")));
                    };
                    arguments.push(expr);
                }
                let is_plain = function.over.is_none()
                    && function.filter.is_none()
                    && function.within_group.is_empty()
                    && list.duplicate_treatment.is_none()
                    && list.clauses.is_empty();
                if !is_plain {
                    return Err(self.unknown(at, "an aggregate or window function"));
                }
                self.function(&name, &arguments, at)
            }
            Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                let Some(start) = substring_from else { return Err(self.unknown(at, "substring without a start")) };
                let mut parts: Vec<&Expr> = vec![expr, start];
                parts.extend(substring_for.as_deref());
                self.function("substring", &parts, at)
            }
            Expr::Trim { expr, trim_where, trim_what, trim_characters } => {
                let mut parts: Vec<&Expr> = vec![expr];
                parts.extend(trim_what.as_deref());
                parts.extend(trim_characters.iter().flatten());
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                self.function(name, &parts, at)
            }
            Expr::Position { expr, r#in } => self.function("strpos", &[r#in, expr], at),
            Expr::Extract { field, expr, .. } => self.extract(&field.to_string(), expr, at),
            other => Err(self.unknown(at, &format!("`{other}`"))),
        }
    }

    fn function(&mut self, name: &str, arguments: &[&Expr], at: Range<usize>) -> Result<Bound, Mistake> {
        let mut bound = Vec::with_capacity(arguments.len());
        for argument in arguments {
            bound.push(self.bind(argument)?);
        }
        let ascii = bound.iter().any(|argument| argument.ascii);
        let wanted = match name {
            "coalesce" | "greatest" | "least" | "concat" => 1..=usize::MAX,
            "concat_ws" => 2..=usize::MAX,
            "nullif" | "left" | "right" | "strpos" | "starts_with" | "date_trunc" | "encode" => 2..=2,
            "lower" | "upper" | "length" | "char_length" | "character_length" | "octet_length" | "md5" | "abs" => 1..=1,
            "btrim" | "ltrim" | "rtrim" => 1..=2,
            "substring" | "substr" => 2..=3,
            "replace" | "split_part" => 3..=3,
            _ => return Err(self.unknown(at, &format!("the function {name}"))),
        };
        if !wanted.contains(&bound.len()) {
            return Err(Mistake::new(at, format!("{name} does not take {} arguments", bound.len())));
        }
        let texts = |count: usize| std::iter::repeat_n(Type::Text, count);
        let (op, kinds, result): (Op, Vec<Type>, Type) = match name {
            "coalesce" | "greatest" | "least" => return self.choice(name, bound, at),
            "nullif" => return self.null_if(bound, at),
            "concat" | "concat_ws" => return self.concat(name == "concat_ws", bound, at),
            "date_trunc" => return self.truncate(bound, at),
            "encode" => return self.encode(bound, at),
            "abs" => return self.absolute(bound, at),
            "lower" => (Op::Case { upper: false, ascii }, texts(1).collect(), Type::Text),
            "upper" => (Op::Case { upper: true, ascii }, texts(1).collect(), Type::Text),
            "octet_length" => (Op::Bytes, texts(1).collect(), Type::Int4),
            "md5" => (Op::Md5, texts(1).collect(), Type::Text),
            "left" => (Op::Left, vec![Type::Text, Type::Int4], Type::Text),
            "right" => (Op::Right, vec![Type::Text, Type::Int4], Type::Text),
            "strpos" => (Op::Position, texts(2).collect(), Type::Int4),
            "starts_with" => (Op::StartsWith, texts(2).collect(), Type::Boolean),
            "btrim" => (Op::Trim { start: true, end: true }, texts(bound.len()).collect(), Type::Text),
            "ltrim" => (Op::Trim { start: true, end: false }, texts(bound.len()).collect(), Type::Text),
            "rtrim" => (Op::Trim { start: false, end: true }, texts(bound.len()).collect(), Type::Text),
            "replace" => (Op::Replace, texts(3).collect(), Type::Text),
            "split_part" => (Op::SplitPart, vec![Type::Text, Type::Text, Type::Int4], Type::Text),
            "substring" | "substr" => {
                if let Some(start) = bound.get(1).filter(|start| start.kind == Type::Unknown) {
                    return Err(Mistake::new(start.at.clone(), "substring by a pattern is not known here".to_owned()));
                }
                let kinds = [Type::Text, Type::Int4, Type::Int4].into_iter().take(bound.len()).collect();
                (Op::Substring, kinds, Type::Text)
            }
            _ => (Op::Length, texts(1).collect(), Type::Int4),
        };
        let mut nodes = Vec::with_capacity(bound.len());
        for (argument, kind) in bound.into_iter().zip(kinds) {
            nodes.push(match kind {
                Type::Text => self.text_argument(argument, name)?,
                kind => self.coerce(argument, kind)?,
            });
        }
        Ok(Bound { ascii, ..self.strict(op, nodes, result, at)? })
    }

    /// `coalesce`, `greatest`, `least`
    fn choice(&mut self, name: &str, parts: Vec<Bound>, at: Range<usize>) -> Result<Bound, Mistake> {
        let whose = name.to_uppercase();
        let (nodes, kind, ascii) = self.of_one_type(parts, &whose, &at)?;
        let node = match name {
            "coalesce" => Node::Coalesce(nodes),
            _ if kind == Type::Text && !ascii => {
                let help = "the order of texts is the database's own matter; say which: greatest(a COLLATE \"C\", b)";
                return Err(Mistake::new(at, format!("{whose} does not take text")).help(help));
            }
            _ if kind == Type::Jsonb => return Err(Mistake::new(at, format!("{whose} does not take jsonb"))),
            _ => Node::Extreme { of: nodes, greatest: name == "greatest" },
        };
        Ok(Bound { ascii, ..self.folded(node, kind, at)? })
    }

    fn null_if(&mut self, parts: Vec<Bound>, at: Range<usize>) -> Result<Bound, Mistake> {
        let Ok([left, right]) = <[Bound; 2]>::try_from(parts) else { return Err(self.unknown(at, "such a nullif")) };
        // Its type is the left operand's, as the comparison takes it: some are compared with others of their family as they are.
        let family = |kind: Type| (kind.is_integer(), matches!(kind, Type::Float4 | Type::Float8), kind.is_moment());
        let is_one_family = family(left.kind) == family(right.kind) && family(left.kind) != (false, false, false);
        let kind = match Type::of_operands(left.kind, right.kind) {
            Some(Type::Unknown) => Type::Text,
            Some(kind) if !is_one_family => kind,
            _ => left.kind,
        };
        let (ascii, place) = (left.ascii, left.at.clone());
        let value = self.coerce(Bound { ascii, ..Bound::new(left.node.clone(), left.kind, place) }, kind)?;
        let [left, right] = self.alike(left, right, false, at.clone())?.map(Box::new);
        Ok(Bound { ascii, ..self.folded(Node::NullIf { value: Box::new(value), left, right }, kind, at)? })
    }

    fn concat(&mut self, separated: bool, parts: Vec<Bound>, at: Range<usize>) -> Result<Bound, Mistake> {
        let mut parts = parts.into_iter();
        let separator = if separated { parts.next() } else { None };
        let separator =
            separator.map(|separator| self.text_argument(separator, "concat_ws").map(Box::new)).transpose()?;
        let mut of = Vec::new();
        for part in parts {
            if part.kind == Type::Blank {
                return Err(
                    Mistake::new(part.at, "concat does not take character".to_owned()).help("write ::text behind it")
                );
            }
            let kind = if part.kind.is_open() { Type::Text } else { part.kind };
            of.push((part.node, kind));
        }
        Ok(Bound::new(Node::Concat { separator, of }, Type::Text, at))
    }

    fn truncate(&mut self, parts: Vec<Bound>, at: Range<usize>) -> Result<Bound, Mistake> {
        let Ok([unit, moment]) = <[Bound; 2]>::try_from(parts) else {
            return Err(self.unknown(at, "such a date_trunc"));
        };
        let Node::Constant(Value::Text(word)) = &unit.node else {
            return Err(Mistake::new(unit.at, "date_trunc takes its unit in quotes".to_owned()));
        };
        let Some(found) = Unit::of(word).filter(|unit| unit.is_whole()) else {
            let message = format!("`{word}` is not a unit that date_trunc knows here");
            return Err(Mistake::new(unit.at, message).help(format!("it knows {}", Unit::WHOLE)));
        };
        // Of a date it makes a timestamp with time zone, which is the preferred type.
        let kind = match moment.kind {
            Type::Timestamp => Type::Timestamp,
            Type::Date | Type::TimestampTz | Type::Any => Type::TimestampTz,
            other => return Err(Mistake::new(moment.at, format!("date_trunc takes a timestamp, and this is {other}"))),
        };
        let node = self.coerce(moment, kind)?;
        self.strict(Op::Truncate(found), vec![node], kind, at)
    }

    fn extract(&mut self, field: &str, expr: &Expr, at: Range<usize>) -> Result<Bound, Mistake> {
        let moment = self.bind(expr)?;
        let word = field.trim_matches('\'');
        let Some(unit) = Unit::of(word) else {
            let message = format!("`{word}` is not a part that extract knows here");
            return Err(Mistake::new(at, message).help(format!("it knows {}", Unit::PARTS)));
        };
        if !moment.kind.is_moment() && moment.kind != Type::Any {
            return Err(Mistake::new(at, format!("extract takes a date or a timestamp, and this is {}", moment.kind)));
        }
        if moment.kind == Type::Date && unit.is_of_time() {
            return Err(Mistake::new(at, format!("a date has no {word}")));
        }
        self.strict(Op::Extract(unit), vec![moment.node], Type::Numeric, at)
    }

    fn encode(&mut self, parts: Vec<Bound>, at: Range<usize>) -> Result<Bound, Mistake> {
        let Ok([bytes, format]) = <[Bound; 2]>::try_from(parts) else { return Err(self.unknown(at, "such an encode")) };
        let is_hex = matches!(&format.node, Node::Constant(Value::Text(word)) if word == "hex");
        if !is_hex || !matches!(bytes.kind, Type::Bytea | Type::Any) {
            return Err(self.unknown(at, "encode of anything but bytea, or to anything but 'hex',"));
        }
        self.strict(Op::Hex, vec![bytes.node], Type::Text, at)
    }

    fn absolute(&mut self, parts: Vec<Bound>, at: Range<usize>) -> Result<Bound, Mistake> {
        let Ok([number]) = <[Bound; 1]>::try_from(parts) else { return Err(self.unknown(at, "such an abs")) };
        let kind = number.kind;
        if !kind.is_number() && kind != Type::Any {
            let cast = Cast::plain(kind, Type::Numeric);
            let help = if cast.exists() { "cast it to a number" } else { "it takes numbers" };
            return Err(Mistake::new(at, format!("abs takes a number, and this is {kind}")).help(help));
        }
        self.strict(Op::Absolute(kind), vec![number.node], kind, at)
    }
}
