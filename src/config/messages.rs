//! `messages`: which logical messages are wanted, by the prefix that they were emitted with.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::key::Value;
use super::reader::Item;
use crate::event::MessageFilter;

/// Which messages become events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Messages {
    /// All.
    All,
    /// None.
    Never,
    /// Those with one of these prefixes; a `*` at the end stands for any further characters.
    Of(Vec<String>),
}

impl Messages {
    /// As a filter; `None` if the server need not send any.
    #[must_use]
    pub fn filter(&self) -> Option<MessageFilter> {
        match self.clone() {
            Messages::All => Some(Arc::new(|_: &str| true)),
            Messages::Never => None,
            Messages::Of(patterns) => {
                Some(Arc::new(move |prefix: &str| patterns.iter().any(|pattern| covers(pattern, prefix))))
            }
        }
    }
}

fn covers(pattern: &str, prefix: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == prefix, |start| prefix.starts_with(start))
}

impl Value for Messages {
    fn read(item: &Item<'_>) -> Option<Self> {
        if let Some(all) = item.value.get_ref().as_bool() {
            return Some(if all { Messages::All } else { Messages::Never });
        }
        let elements = item.one_or_many();
        if elements.is_empty() {
            let help = "write false to take none".to_owned();
            item.complain(format!("`{}` is an empty list", item.path), Some(help));
            return None;
        }
        let read = |element: &Item<'_>| {
            let pattern = element.text("true, false, or a list of prefixes such as \"outbox\" or \"audit.*\"")?;
            if pattern.trim_end_matches('*').contains('*') || pattern.ends_with("**") {
                let help = "a `*` stands at the end: \"audit.*\"".to_owned();
                element.complain(format!("`{}` is not a prefix", element.written()), Some(help));
                return None;
            }
            Some(pattern)
        };
        let patterns: Vec<String> = elements.iter().filter_map(read).collect();
        (patterns.len() == elements.len()).then_some(Messages::Of(patterns))
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "boolean" },
            { "type": "string", "minLength": 1 },
            { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 },
        ] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_compared_whole_unless_it_ends_with_a_star() {
        let wanted = Messages::Of(vec!["outbox".to_owned(), "audit.*".to_owned()]).filter().expect("some");
        for (prefix, taken) in [("outbox", true), ("outbox2", false), ("audit.login", true), ("audit", false)] {
            assert_eq!(wanted(prefix), taken, "{prefix}");
        }
        let all = Messages::Of(vec!["*".to_owned()]).filter().expect("some");
        assert!(all("") && all("anything"));
        assert!(Messages::Never.filter().is_none());
    }
}
