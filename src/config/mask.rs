//! Takes secrets out of a line before it is shown.
//!
//! This goes by what the text looks like, not by which key it belongs to, so that it also holds for lines with a syntax error and
//! for keys that do not exist. It masks too much rather than too little.

use std::ops::Range;

const STARS: &str = "***";

/// Words that, in a key's name, say that its value is secret.
const SECRET_WORDS: [&str; 8] = ["pass", "pasw", "pwd", "secret", "token", "credential", "apikey", "hash_key"];

/// The line with `***` for each secret, and the marked characters where they are now.
pub(super) fn mask_line(line: &str, marked: Range<usize>) -> (String, Range<usize>) {
    let characters: Vec<char> = line.chars().collect();
    let mut hidden = vec![false; characters.len()];
    hide_values_of_secret_keys(&characters, &mut hidden);
    hide_logins(&characters, &mut hidden);
    let mut out = String::new();
    // Where each character is now; one more for the end.
    let mut places = Vec::with_capacity(characters.len() + 1);
    let mut previous = false;
    for (&character, &hide) in characters.iter().zip(&hidden) {
        places.push(out.chars().count());
        match (hide, previous) {
            (false, _) => out.push(character),
            (true, false) => out.push_str(STARS),
            (true, true) => {}
        }
        previous = hide;
    }
    let end = out.chars().count();
    places.push(end);
    let place = |index: usize| places.get(index).copied().unwrap_or(end);
    let marked = place(marked.start)..place(marked.end);
    (out, marked)
}

/// `token = …`, `?password=…`: all behind the sign, up to the end of the line, or of the parameter.
fn hide_values_of_secret_keys(characters: &[char], hidden: &mut [bool]) {
    for (index, _) in characters.iter().enumerate().filter(|(_, character)| **character == '=') {
        let before = characters.get(..index).unwrap_or_default();
        let name: String = before
            .iter()
            .rev()
            .skip_while(|character| character.is_whitespace() || **character == '"')
            .take_while(|character| character.is_alphanumeric() || matches!(character, '_' | '-'))
            .collect();
        let name: String = name.chars().rev().collect::<String>().to_lowercase();
        let names_a_file = name.ends_with("_file") || name == "passfile";
        if names_a_file || !SECRET_WORDS.iter().any(|word| name.contains(word)) {
            continue;
        }
        let in_url = before.iter().rev().take_while(|c| !c.is_whitespace()).any(|c| matches!(c, '?' | '&'));
        for (at, hide) in hidden.iter_mut().enumerate().skip(index + 1) {
            match characters.get(at) {
                Some('&' | '"' | '\'') if in_url => break,
                Some(' ') if at == index + 1 => {}
                _ => *hide = true,
            }
        }
    }
}

/// `//user:password@host`: all between the colon and the last `@`, because a password may have one in it.
fn hide_logins(characters: &[char], hidden: &mut [bool]) {
    for (index, _) in characters.windows(3).enumerate().filter(|(_, window)| *window == [':', '/', '/']) {
        let login = index + 3;
        let Some(end) = characters.iter().rposition(|&character| character == '@').filter(|&end| end >= login) else {
            continue;
        };
        let colon =
            characters.iter().enumerate().skip(login).take(end - login).find(|(_, character)| **character == ':');
        let Some((colon, _)) = colon else { continue };
        hidden.iter_mut().take(end).skip(colon + 1).for_each(|hide| *hide = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_wherever_a_line_has_them() {
        let cases = [
            ("url = \"postgres://u:pa@ss/w@db/x\"", "url = \"postgres://u:***@db/x\""),
            (
                "url = \"postgres://u@db/x?password=hunter2&sslmode=disable\"",
                "url = \"postgres://u@db/x?password=***&sslmode=disable\"",
            ),
            ("url = \"redis://:hunter2@cache:6379", "url = \"redis://:***@cache:6379"),
            ("token = \"hunter2\"", "token = ***"),
            ("pasword='hunter2' # hunter2", "pasword=***"),
            ("x = { secret-key = \"hunter2\" }", "x = { secret-key = ***"),
            ("\"api_token\" = \"hunter2\"", "\"api_token\" = ***"),
            ("shape = { hash = \"email\", hash_key = \"hunter2\" }", "shape = { hash = \"email\", hash_key = ***"),
            ("password_file = \"/run/pw\"", "password_file = \"/run/pw\""),
            ("key = \"user:{id}\"", "key = \"user:{id}\""),
            ("url = \"redis://cache:6379\"", "url = \"redis://cache:6379\""),
        ];
        for (line, wanted) in cases {
            let (masked, _) = mask_line(line, 0..0);
            assert_eq!(masked, wanted, "{line}");
        }
    }

    #[test]
    fn marks_move_with_the_text() {
        let line = "url = \"redis://:longpassword@c\" x";
        let at = line.find(" x").expect("there") + 1;
        let (masked, marked) = mask_line(line, at..at + 1);
        assert_eq!(masked.get(marked), Some("x"));
    }
}
