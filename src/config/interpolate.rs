//! `${NAME}` in a string is the environment variable's value; `$$` is a dollar sign.

/// What is wrong with a string's placeholders.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InterpolateError {
    /// No such variable, or its value is not UTF-8.
    Missing(String),
    /// `${` without `}`, or something else than a name between.
    Malformed,
}

/// Puts the variables' values in. They are taken as they are: a `${` inside a value means nothing.
pub(super) fn interpolate(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, InterpolateError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (name, after) = after.split_once('}').ok_or(InterpolateError::Malformed)?;
            if !is_name(name) {
                return Err(InterpolateError::Malformed);
            }
            out.push_str(&variable(name).ok_or_else(|| InterpolateError::Missing(name.to_owned()))?);
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_a(text: &str) -> Result<String, InterpolateError> {
        interpolate(text, &|name| (name == "A").then(|| "${B}$$".to_owned()))
    }

    #[test]
    fn variables_are_put_in_once_and_dollars_can_be_written() {
        assert_eq!(with_a("x${A}y").as_deref(), Ok("x${B}$$y"));
        assert_eq!(with_a("$${A} costs 5$ or $5, $$").as_deref(), Ok("${A} costs 5$ or $5, $"));
        assert_eq!(with_a("").as_deref(), Ok(""));
    }

    #[test]
    fn a_missing_variable_is_named() {
        assert_eq!(with_a("${A}${NOPE}"), Err(InterpolateError::Missing("NOPE".to_owned())));
    }

    #[test]
    fn half_a_placeholder_is_refused() {
        for text in ["${", "${A", "${}", "${A B}", "${1A}", "${A:-x}"] {
            assert_eq!(with_a(text), Err(InterpolateError::Malformed), "{text}");
        }
    }
}
