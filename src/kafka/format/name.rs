//! Names where only `[A-Za-z_][A-Za-z0-9_]*` may stand, as in Avro and Protobuf.
//!
//! Most names are such already and stay. Any other character becomes `_u` and four hex digits for each of its units in UTF-16, and so
//! does a digit in front. An underscore in front of what would then look like that is written so itself, hence two names never
//! become one, and each can be told from what it became.

/// What stands for a name.
pub(super) fn legal(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut units = [0; 2];
    for (at, letter) in name.char_indices() {
        let rest = name.get(at..).unwrap_or_default();
        let plain =
            letter == '_' && !looks_escaped(rest) || letter.is_ascii_alphabetic() || letter.is_ascii_digit() && at > 0;
        if plain {
            out.push(letter);
        } else {
            out.extend(letter.encode_utf16(&mut units).iter().map(|unit| format!("_u{unit:04x}")));
        }
    }
    out
}

/// `_u0020…`
fn looks_escaped(text: &str) -> bool {
    let digits = text.strip_prefix("_u").and_then(|digits| digits.as_bytes().first_chunk::<4>());
    digits.is_some_and(|digits| digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')))
}

/// A dotted name in which every part may stand: for a topic's, which nothing is told back from.
pub(super) fn dotted(name: &str) -> String {
    let part = |part: &str| {
        let legal: String = part.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if legal.starts_with(|c: char| c.is_ascii_digit()) || legal.is_empty() { format!("_{legal}") } else { legal }
    };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The inverse, for the proof that there is one.
    fn original(legal: &str) -> String {
        let mut units: Vec<u16> = Vec::new();
        let mut rest = legal;
        while let Some(letter) = rest.chars().next() {
            if looks_escaped(rest) {
                units.push(u16::from_str_radix(&rest[2..6], 16).expect("hex"));
                rest = &rest[6..];
            } else {
                units.push(u16::try_from(u32::from(letter)).expect("ASCII"));
                rest = &rest[1..];
            }
        }
        String::from_utf16(&units).expect("UTF-16")
    }

    #[test]
    fn usual_names_stay_and_others_are_spelt_out() {
        for (name, expected) in [
            ("user_id", "user_id"),
            ("_u", "_u"),
            ("a_u00", "a_u00"),
            ("a b", "a_u0020b"),
            ("a_u0020b", "a_u005fu0020b"),
            ("1st", "_u0031st"),
            ("größe", "gr_u00f6_u00dfe"),
            ("🦀", "_ud83e_udd80"),
        ] {
            assert_eq!(legal(name), expected, "{name}");
        }
        assert_eq!(dotted("my-shop.public.2fast"), "my_shop.public._2fast");
    }

    proptest! {
        #[test]
        fn a_name_can_be_told_from_what_it_became(name in prop_oneof!["[_u0-9a-f ]{1,12}", "\\PC{1,12}"]) {
            let legal = legal(&name);
            let first = legal.chars().next().expect("not empty");
            prop_assert!(first.is_ascii_alphabetic() || first == '_', "{}", legal);
            prop_assert!(legal.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{}", legal);
            prop_assert_eq!(original(&legal), name);
        }
    }
}
