//! Something of the configuration, with its place there, so that a mistake that shows only later can be found.

use crate::project::sql::Mistake;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What it is.
    pub value: T,
    /// The configuration's line and column where its text begins, from 1.
    pub line: usize,
    /// See `line`.
    pub column: usize,
    /// The text stands there letter for letter, so that places inside it can be told.
    pub verbatim: bool,
}

impl<T> Written<T> {
    /// A message with the place in front of it.
    pub(super) fn at(&self, message: &str) -> String {
        format!("line {}, column {} of the configuration: {message}", self.line, self.column)
    }

    /// A mistake in `text`, which is what is written there, with a caret under what is meant.
    pub(super) fn explain(&self, text: &str, mistake: &Mistake) -> String {
        let before = text.get(..mistake.at.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let (lines, column) = (before.matches('\n').count(), characters(before.get(line_start..)));
        let place = match (self.verbatim, lines) {
            (false, _) => (self.line, self.column),
            (true, 0) => (self.line, self.column + column),
            (true, lines) => (self.line + lines, column + 1),
        };
        let line = text.get(line_start..).unwrap_or_default().split('\n').next().unwrap_or_default();
        let width =
            characters(text.get(mistake.at.clone())).clamp(1, line.chars().count().saturating_sub(column).max(1));
        let help = mistake.help.as_ref().map(|help| format!("\n  = {help}")).unwrap_or_default();
        format!(
            "line {}, column {} of the configuration: {}\n  {line}\n  {}{}{help}",
            place.0,
            place.1,
            mistake.message,
            " ".repeat(column),
            "^".repeat(width)
        )
    }
}

fn characters(text: Option<&str>) -> usize {
    text.unwrap_or_default().chars().count()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_caret_stands_under_what_is_meant_and_the_place_is_the_files() {
        let text = "a = 1\n  AND wrong > 2";
        let mistake = Mistake { at: 12..17, message: "no such column".into(), help: Some("its columns are a".into()) };
        let written = Written { value: (), line: 7, column: 10, verbatim: true };
        expect![[r#"
            line 8, column 7 of the configuration: no such column
                AND wrong > 2
                    ^^^^^
              = its columns are a"#]]
        .assert_eq(&written.explain(text, &mistake));
        let first = Mistake { at: 0..1, message: "this".into(), help: None };
        assert!(written.explain(text, &first).starts_with("line 7, column 10 "));
    }
}
