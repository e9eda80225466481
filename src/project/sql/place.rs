//! What is wrong with an expression, and where.

use std::ops::Range;

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Location, Span};

/// A mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The bytes of the expression that are meant.
    pub at: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Mistake {
    pub(super) fn new(at: Range<usize>, message: String) -> Self {
        Mistake { at, message, help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The parser's error, whose place stands at the end of its words.
pub(super) fn syntax(text: &str, error: &ParserError) -> Mistake {
    let words = match error {
        ParserError::TokenizerError(words) | ParserError::ParserError(words) => words.as_str(),
        ParserError::RecursionLimitExceeded => "it is nested too deeply",
    };
    let (words, place) = words.split_once(" at Line: ").unwrap_or((words, ""));
    let (line, column) = place.split_once(", Column: ").unwrap_or_default();
    let at = match (line.parse(), column.parse()) {
        (Ok(line), Ok(column)) => {
            let start = offset(text, Location { line, column });
            start..end_of_word(text, start)
        }
        _ => 0..text.len(),
    };
    let words = words.strip_prefix("sql parser error: ").unwrap_or(words);
    Mistake::new(at, format!("syntax error: {words}"))
}

/// The bytes that a span of the parser's means; all of them if it means nothing.
pub(super) fn range(text: &str, span: Span) -> Range<usize> {
    if span.start.line == 0 {
        return 0..text.len();
    }
    let start = offset(text, span.start);
    let end = offset(text, span.end).max(start);
    start..end
}

fn offset(text: &str, location: Location) -> usize {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
    let line_start: usize = text.split_inclusive('\n').take(number(location.line)).map(str::len).sum();
    let line = text.get(line_start..).unwrap_or_default();
    line_start + line.chars().take(number(location.column)).map(char::len_utf8).sum::<usize>()
}

fn end_of_word(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let word = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
    let one = rest.chars().next().map_or(0, char::len_utf8);
    start + word.max(one)
}
