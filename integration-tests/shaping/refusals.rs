//! What is not evaluated is refused when it is read, with its place.

use walbridge::project::sql::Expression;

#[test]
fn what_is_not_known_is_refused_where_it_stands() {
    for (text, marked, message) in [
        ("a > now()", "now", "now has another value each time"),
        ("current_timestamp > a", "current_timestamp", "current_timestamp has another value each time"),
        ("b AND random() < 0.5", "random", "random has another value each time"),
        ("a = 1 AND", "", "syntax error"),
        ("a == ", "", "syntax error"),
        ("lower(a", "", "syntax error"),
        ("a IN (SELECT 1)", "a IN (SELECT 1", "is not known here"),
        ("sum(a) > 1", "sum", "the function sum is not known here"),
        ("a ~ 'x'", "a ~ 'x'", "the operator ~ is not known here"),
        ("a = 1 = b", "a = 1 = b", "comparisons cannot be chained"),
        ("'x' + 1 = 2", "'x'", "invalid input syntax for type integer: \"x\""),
        ("1 / 0 = 1", "1 / 0", "division by zero"),
        ("x.y = 1", "x.y", "this is no column of the row"),
        ("a = 1; DROP TABLE t", ";", "`;` does not belong here"),
        ("date_trunc('fortnight', a) = b", "'fortnight'", "`fortnight` is not a unit that date_trunc knows here"),
        ("name < 'm'::text COLLATE \"de_DE\"", "'m'", "the collation \"de_DE\" is not known here"),
    ] {
        let mistake = Expression::parse(text).expect_err(text);
        assert!(mistake.message.contains(message), "{text}: {}", mistake.message);
        let found = text.get(mistake.at.clone()).unwrap_or_else(|| panic!("{text}: {:?}", mistake.at));
        assert!(marked.is_empty() || found.starts_with(marked), "{text}: {found} is marked, not {marked}");
    }
}
