//! What is known without a row, as PostgreSQL's planner has it before it sees one: constants are computed, branches that cannot be taken go,
//! and an operator one of whose arguments is always NULL is not asked for the others. Their errors go with them.

use super::evaluate::{Node, Rows};
use super::value::{Fault, Value};

/// The same, with less to do for each row.
///
/// # Errors
/// A constant part has no value.
pub(super) fn fold(node: Node) -> Result<Node, Fault> {
    let folded = match node {
        Node::Strict(_, arguments) if arguments.iter().any(is_null) => Node::Constant(Value::Null),
        Node::And(parts) => connective(parts, false),
        Node::Or(parts) => connective(parts, true),
        Node::NullIf { value, left, right } if is_null(&left) || is_null(&right) => *value,
        Node::Coalesce(parts) => coalesce(parts),
        Node::Case { arms, otherwise } => case(arms, otherwise),
        other => other,
    };
    if matches!(folded, Node::Constant(_) | Node::Column { .. }) || !is_constant(&folded) {
        return Ok(folded);
    }
    let value = folded.evaluate(Rows::of(&[]))?;
    Ok(Node::Constant(owned(value)))
}

/// Whether all that it is made of is constant.
fn is_constant(node: &Node) -> bool {
    let mut all = true;
    node.columns(&mut |_, _| all = false);
    all
}

fn is_null(node: &Node) -> bool {
    matches!(node, Node::Constant(Value::Null))
}

fn boolean(node: &Node) -> Option<bool> {
    if let Node::Constant(Value::Boolean(value)) = node { Some(*value) } else { None }
}

/// One that decides is all of it; those that do not go.
fn connective(parts: Vec<Node>, decides: bool) -> Node {
    if parts.iter().any(|part| boolean(part) == Some(decides)) {
        return Node::Constant(Value::Boolean(decides));
    }
    let rest: Vec<Node> = parts.into_iter().filter(|part| boolean(part).is_none()).collect();
    match (rest.is_empty(), decides) {
        (true, _) => Node::Constant(Value::Boolean(!decides)),
        (false, true) => Node::Or(rest),
        (false, false) => Node::And(rest),
    }
}

fn coalesce(parts: Vec<Node>) -> Node {
    let mut rest: Vec<Node> = Vec::new();
    for part in parts.into_iter().filter(|part| !is_null(part)) {
        let decides = matches!(part, Node::Constant(_));
        rest.push(part);
        if decides {
            break;
        }
    }
    match rest.len() {
        0 => Node::Constant(Value::Null),
        1 => rest.pop().unwrap_or(Node::Constant(Value::Null)),
        _ => Node::Coalesce(rest),
    }
}

fn case(arms: Vec<(Node, Node)>, otherwise: Box<Node>) -> Node {
    let mut rest: Vec<(Node, Node)> = Vec::new();
    for (condition, result) in arms {
        match boolean(&condition) {
            Some(true) if rest.is_empty() => return result,
            Some(true) => return Node::Case { arms: rest, otherwise: Box::new(result) },
            Some(false) => {}
            None if is_null(&condition) => {}
            None => rest.push((condition, result)),
        }
    }
    if rest.is_empty() { *otherwise } else { Node::Case { arms: rest, otherwise } }
}

fn owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Null => Value::Null,
        Value::Boolean(value) => Value::Boolean(value),
        Value::Integer(number) => Value::Integer(number),
        Value::Float(number) => Value::Float(number),
        Value::Numeric(number) => Value::Numeric(number),
        Value::Text(text) => Value::text(text.into_owned()),
        Value::Bytes(bytes) => Value::Bytes(bytes),
        Value::Date(days) => Value::Date(days),
        Value::Moment(micros) => Value::Moment(micros),
    }
}
