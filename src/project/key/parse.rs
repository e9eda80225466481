//! The text of a template, taken apart.

use super::{KeyTemplate, Part, TABLE, TemplateError};

impl KeyTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// Says where it is wrong.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let parts = parts(text, true)?;
        if !parts.iter().any(|part| matches!(part, Part::Column(_))) {
            return Err(TemplateError::NoColumn);
        }
        Ok(KeyTemplate { parts, whole_row: None, places: Vec::new() })
    }
}

/// Literals and placeholders, in order. `apart`: values must be told apart again.
pub(super) fn parts(text: &str, apart: bool) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut last_end = None;
    let mut characters = text.chars().zip(1..).peekable();
    while let Some((character, at)) = characters.next() {
        let doubled = characters.peek().is_some_and(|(next, _)| *next == character);
        match character {
            '{' | '}' if doubled => {
                literal.push(character);
                characters.next();
            }
            '{' => {
                if let Some(at) = last_end.filter(|_| apart && !separates(&literal)) {
                    return Err(TemplateError::Separator { at });
                }
                let mut column = String::new();
                loop {
                    match characters.next() {
                        Some(('}', end)) if !column.is_empty() => {
                            last_end = Some(end);
                            break;
                        }
                        Some((inner, _)) if inner != '{' && inner != '}' => column.push(inner),
                        _ => return Err(TemplateError::Brace { at }),
                    }
                }
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(if column == TABLE { Part::Table } else { Part::Column(column) });
            }
            '}' => return Err(TemplateError::Brace { at }),
            other => literal.push(other),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// Whether a value before this literal can be told from it.
fn separates(literal: &str) -> bool {
    literal.bytes().next().is_some_and(|first| !matches!(first, b'%' | b'0'..=b'9' | b'A'..=b'F'))
}
