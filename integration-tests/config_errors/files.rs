//! Mistakes in the keys of `file` sinks.

use expect_test::expect;

use super::{check, with};

/// What belongs to files in a directory, and a layout that a Parquet file cannot have.
#[test]
fn files_in_a_directory_need_a_layout_that_fits() {
    let sink =
        |name: &str, more: &str| format!("[sinks.{name}]\nkind = 'file'\npath = '{name}'\nfrom = 'public.*'\n{more}\n");
    check(
        &with(
            &[
                sink("a", "format = 'parquet'"),
                sink("b", "format = 'parquet'\nlayout = 'date={date}'"),
                sink("c", "layout = '../{table}'"),
                sink("d", "layout = '{day}'\ncompression = 'lz4'"),
            ]
            .concat(),
        ),
        &expect![[r#"
            walbridge.toml:10:10: error: `sinks.a.format` is for files in a directory, and without `layout` there is one file
             10 | format = 'parquet'
                |          ^^^^^^^^^
               = add layout, and path is a directory: layout = "{schema}/{table}/date={date}"

            walbridge.toml:16:10: error: a Parquet file has one table's columns, and `layout` is without {schema} or {table}
             16 | layout = 'date={date}'
                |          ^^^^^^^^^^^^^
               = put both into it: layout = "{schema}/{table}/date={date}"

            walbridge.toml:21:10: error: `../{table}` cannot be a layout
             21 | layout = '../{table}'
                |          ^^^^^^^^^^^^
               = it is a path below the sink's: no / at its ends, no empty name, and no name that begins with a dot

            walbridge.toml:26:10: error: `{day}` cannot be a layout
             26 | layout = '{day}'
                |          ^^^^^^^
               = there is no {day}: write {source}, {schema}, {table}, {date} or {hour}

            walbridge.toml:27:15: error: `lz4` is not a choice for `sinks.d.compression`
             27 | compression = 'lz4'
                |               ^^^^^
               = known here: none, gzip, zstd

            5 mistakes in walbridge.toml
        "#]],
    );
}
