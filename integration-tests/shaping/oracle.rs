//! PostgreSQL evaluates each expression for each row, and so do we: the same type, the same text to the byte, the same errors.

use walbridge::event::{Cell, Column, Relation, ReplicaIdentity, Row, RowBuilder, Shape, TableName};
use walbridge::project::sql::{Expression, Fault};

use super::generate::{COLUMNS, Generator};
use crate::support::{PgOptions, Postgres};

const ROWS: usize = 30;

/// Rows, and a function that evaluates text.
fn database(generator: &mut Generator) -> String {
    let columns: Vec<String> = COLUMNS.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
    let rows: Vec<String> = (0..ROWS).map(|row| format!("({row}, {})", generator.row())).collect();
    format!(
        "SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET extra_float_digits = 3; SET bytea_output = 'hex'; SET client_min_messages = warning;
         CREATE TYPE mood AS ENUM ('sad', 'very happy'); CREATE TABLE rows (row int, {});
         INSERT INTO rows VALUES {};
         CREATE FUNCTION shown(value text) RETURNS text LANGUAGE sql AS $$ SELECT encode(convert_to(value, 'UTF8'), 'hex') $$;
         CREATE FUNCTION try(expression text, of int) RETURNS text LANGUAGE plpgsql AS $$
           DECLARE answer text;
           BEGIN
             EXECUTE format('SELECT pg_typeof(v)::oid || CASE WHEN v IS NULL THEN '':null'' ELSE '':='' || shown(format(''%%s'', v)) END
                             FROM (SELECT (%s) AS v FROM rows WHERE row = %s) s', expression, of) INTO answer;
             RETURN answer;
           EXCEPTION WHEN OTHERS THEN RETURN '!' || SQLSTATE || ':' || shown(SQLERRM); END $$;\n",
        columns.join(", "),
        rows.join(", ")
    )
}

/// The table as its stream would announce it.
fn relation(answer: &str) -> Relation {
    let column = |line: &str| {
        let (name, oid) = line.split_once('|').expect("a name and a type");
        let type_oid = oid.parse().expect("an OID");
        let shape = walbridge::decode::shape::builtin(type_oid).unwrap_or(Shape::TEXT);
        Column { name: name.to_owned(), type_oid, type_modifier: -1, shape }
    };
    Relation {
        oid: 1,
        name: TableName { schema: "public".into(), table: "rows".into() },
        identity: ReplicaIdentity::Default,
        columns: answer.lines().map(column).collect(),
        key: vec![0],
    }
}

fn unhex(text: &str) -> String {
    let bytes = (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"));
    String::from_utf8(bytes.collect()).expect("UTF-8")
}

fn rows(answer: &str) -> Vec<Row> {
    let row = |line: &str| {
        let mut builder = RowBuilder::default();
        for cell in line.split('|') {
            match cell.strip_prefix('=') {
                Some(text) => builder.push(Cell::Text(unhex(text).as_bytes())),
                None => builder.push(Cell::Null),
            }
        }
        builder.finish()
    };
    answer.lines().map(row).collect()
}

/// What PostgreSQL says of an expression and a row.
#[derive(Clone, Debug, PartialEq)]
enum Word {
    Value { type_oid: u32, text: Option<String> },
    Error { state: String, message: String },
}

fn word(answer: &str) -> Word {
    if let Some((state, message)) = answer.strip_prefix('!').and_then(|error| error.split_once(':')) {
        return Word::Error { state: state.to_owned(), message: unhex(message) };
    }
    let (oid, value) = answer.split_once(':').expect("a type and a value");
    Word::Value { type_oid: oid.parse().expect("an OID"), text: value.strip_prefix('=').map(unhex) }
}

/// Ours.
fn ours(expression: &Expression, relation: &Relation, row: &Row) -> Word {
    let program = match expression.bind(relation) {
        Ok(program) => program,
        Err(mistake) => return Word::Error { state: "bind".to_owned(), message: mistake.message },
    };
    match program.text_of(row) {
        Ok(text) => Word::Value { type_oid: program.column(String::new()).type_oid, text },
        Err(Fault::Refused { state, message }) => Word::Error { state: state.to_owned(), message },
        Err(Fault::Absent) => panic!("every value is there"),
    }
}

/// Whether both say the same. What is wrong with constants, or with types, is found before there is a row.
fn agree(theirs: &Word, ours: &Word) -> bool {
    match (theirs, ours) {
        (Word::Value { type_oid, text }, Word::Value { type_oid: our_type, text: our_text }) => {
            (type_oid == our_type || (*type_oid == 1043 && *our_type == 25)) && text == our_text
        }
        (Word::Error { .. }, Word::Error { state, .. }) if state == "bind" => true,
        (Word::Error { state: theirs, .. }, Word::Error { state: ours, .. }) => theirs == ours,
        _ => false,
    }
}

/// The table, its rows, and PostgreSQL's word on each expression and row.
fn ask(generator: &mut Generator, expressions: &[String], seed: f64) -> (Relation, Vec<Row>, Vec<Word>) {
    let set_up = database(generator);
    let names = || std::iter::once("row").chain(COLUMNS.iter().map(|(name, ..)| *name));
    let cell = |name: &str| format!("CASE WHEN {name} IS NULL THEN '' ELSE '=' || shown(format('%s', {name})) END");
    let cells: Vec<String> = names().map(cell).collect();
    let values: Vec<String> = expressions.iter().enumerate().map(|(n, text)| format!("({n}, $e${text}$e$)")).collect();
    let script = format!(
        "{set_up}SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 'rows'::regclass AND attnum > 0 ORDER BY attnum;
         SELECT '#'; SELECT {} FROM rows ORDER BY row; SELECT '#';
         SELECT try(v.expression, rows.row) FROM (VALUES {}) v(number, expression), rows ORDER BY v.number, rows.row;",
        cells.join(" || '|' || "),
        values.join(", ")
    );
    let postgres = Postgres::start(PgOptions::default());
    let answer = postgres.try_psql(&script).unwrap_or_else(|error| panic!("TEST_SEED={seed}: {error}"));
    let parts: Vec<&str> = answer.split("#\n").collect();
    let &[columns, row_text, words] = &parts[..] else { panic!("three parts: {answer}") };
    let columns: Vec<&str> = columns.lines().filter(|line| line.contains('|')).collect();
    (relation(&columns.join("\n")), rows(row_text), words.lines().map(word).collect())
}

/// How it went with an expression.
#[derive(Default)]
struct Outcome {
    evaluated: usize,
    /// PostgreSQL takes it, and we do not.
    refused: Option<String>,
    differs: Option<String>,
}

fn compare(text: &str, relation: &Relation, rows: &[Row], words: &[Word]) -> Outcome {
    let mut outcome = Outcome::default();
    let expression = match Expression::parse(text) {
        Ok(expression) => expression,
        Err(mistake) => {
            let is_value = |word: &Word| matches!(word, Word::Value { .. });
            outcome.refused = words.iter().any(is_value).then(|| format!("{text}\n  refused: {}", mistake.message));
            return outcome;
        }
    };
    for (row, theirs) in rows.iter().zip(words) {
        let ours = ours(&expression, relation, row);
        if matches!(&ours, Word::Error { state, .. } if state == "bind") && matches!(theirs, Word::Value { .. }) {
            outcome.refused = Some(format!("{text}\n  {ours:?}"));
            return outcome;
        }
        outcome.evaluated += usize::from(matches!(ours, Word::Value { .. }));
        if !agree(theirs, &ours) {
            let shown = |(column, cell): (&Column, Cell<'_>)| match cell {
                Cell::Text(text) => format!("{}={:?}", column.name, String::from_utf8_lossy(text)),
                _ => format!("{}=NULL", column.name),
            };
            let cells: Vec<String> = relation.columns.iter().zip(row.cells()).map(shown).collect();
            let cells = cells.join(" ");
            outcome.differs = Some(format!("{text}\n  PostgreSQL {theirs:?}\n  ours       {ours:?}\n  {cells}"));
            return outcome;
        }
    }
    outcome
}

#[test]
fn expressions_have_the_values_and_errors_that_postgresql_gives_them() {
    let seed = crate::values::seed();
    let count: usize = std::env::var("EXPRESSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let mut generator = Generator::new(seed.to_bits());
    let expressions: Vec<String> = (0..count).map(|_| generator.expression()).collect();
    let (relation, rows, words) = ask(&mut generator, &expressions, seed);
    assert_eq!((rows.len(), words.len()), (ROWS, ROWS * count));
    let outcomes: Vec<Outcome> = expressions
        .iter()
        .zip(words.chunks(ROWS))
        .map(|(text, words)| compare(text, &relation, &rows, words))
        .collect();
    let differing: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.differs.as_deref()).collect();
    let refused: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.refused.as_deref()).collect();
    let evaluated: usize = outcomes.iter().map(|outcome| outcome.evaluated).sum();
    println!(
        "{evaluated} values agree; {} expressions that PostgreSQL takes were refused:\n{}",
        refused.len(),
        refused.join("\n")
    );
    assert!(differing.is_empty(), "TEST_SEED={seed}: {} of {count} differ\n{}", differing.len(), differing.join("\n"));
    // Without parentheses an operator may get operands that we do not take.
    assert!(refused.len() * 20 < count, "TEST_SEED={seed}: {} of {count} were refused", refused.len());
    assert!(evaluated > ROWS * count / 3, "only {evaluated} values compared");
}
