//! The fields that a message had in the version before, out of the text that a registry has of it.
//!
//! Registries keep the text, or write it anew in a form of their own: it is read word by word. Fields of types that are none of ours
//! are somebody else's and not followed.

use super::schema::is_kind;

/// A field that was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) number: u32,
    pub(super) kind: String,
    pub(super) name: String,
}

/// The fields of a message of this name at the top of a file.
pub(super) fn fields(text: &str, message: &str) -> Vec<Known> {
    let mut fields = Vec::new();
    // How many braces are open; those of the message itself if it is the one.
    let (mut depth, mut inside) = (0_usize, false);
    let mut statement: Vec<&str> = Vec::new();
    for word in Words(text) {
        match word {
            "{" => {
                inside |= depth == 0 && statement == ["message", message];
                depth = depth.saturating_add(1);
                statement.clear();
            }
            "}" => {
                depth = depth.saturating_sub(1);
                inside &= depth > 0;
                statement.clear();
            }
            ";" => {
                if inside && depth == 1 {
                    fields.extend(field(&statement));
                }
                statement.clear();
            }
            word => statement.push(word),
        }
    }
    fields
}

/// `optional int64 id = 7 [deprecated = true]`
fn field(statement: &[&str]) -> Option<Known> {
    let equals = statement.iter().position(|word| *word == "=")?;
    let (before, after) = statement.split_at_checked(equals)?;
    let [.., kind, name] = before else { return None };
    let kind = kind.rsplit('.').next().filter(|kind| is_kind(kind))?;
    let number = after.get(1)?.parse().ok()?;
    Some(Known { number, kind: kind.to_owned(), name: (*name).to_owned() })
}

/// The words of a text and the signs between them; comments are left out.
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.0 = self.0.trim_start();
            let ends = if self.0.starts_with("//") {
                self.0.find('\n')
            } else if self.0.starts_with("/*") {
                self.0.find("*/").map(|at| at.saturating_add(2))
            } else {
                break;
            };
            self.0 = ends.and_then(|at| self.0.get(at..)).unwrap_or_default();
        }
        let first = self.0.chars().next()?;
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
        let length = match first {
            '"' | '\'' => quoted(self.0, first),
            _ if is_word(first) => self.0.find(|letter| !is_word(letter)).unwrap_or(self.0.len()),
            _ => first.len_utf8(),
        };
        let (word, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(word)
    }
}

/// How long the string at the front is, with both quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at.saturating_add(1),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_however_they_are_written() {
        let text = "syntax='proto3';package a.b; /* message Value { int64 x = 1; } */
            message Envelope { Value before = 1; int64 op = 2; }
            message Value { // int64 no = 3;
              optional int64 id=536870911[deprecated=true,json_name=\"a;}\\\"\"]; .a.b.Int64Array tags = 5;
              message Nested { int64 no = 4; } oneof one { int64 no = 6; }
              reserved 7, 8; reserved 'gone'; option deprecated = true; google.protobuf.Timestamp other = 9;
              optional\n string\n n // why\n = 10; }
            message Key { int64 no = 11; } message Other { message Value { int64 no = 12; } }";
        let found: Vec<_> =
            fields(text, "Value").into_iter().map(|field| (field.number, field.kind, field.name)).collect();
        let expected = [(536_870_911, "int64", "id"), (5, "Int64Array", "tags"), (10, "string", "n")];
        assert_eq!(found, expected.map(|(number, kind, name)| (number, kind.to_owned(), name.to_owned())));
        assert_eq!(fields("", "Value"), []);
        assert_eq!(fields("message Value { int64 id = ", "Value"), []);
    }
}
