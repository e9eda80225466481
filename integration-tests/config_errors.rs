//! Mistakes made on purpose, and the whole report for each: what an operator reads at the first start.

mod files;
#[cfg(feature = "kafka")]
mod kafka;
mod redis;
#[cfg(feature = "search")]
mod search;

use std::path::Path;

use expect_test::{Expect, expect, expect_file};
use walbridge::config::{self, Config, ConfigErrors};

fn read(source: &str) -> Result<Config, ConfigErrors> {
    let environment = |name: &str| match name {
        "PG" => Some("postgres://walbridge@localhost/shop".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    config::parse(source, Path::new("walbridge.toml"), &environment)
}

fn check(source: &str, report: &Expect) {
    match read(source) {
        Ok(_) => report.assert_eq("no mistake\n"),
        Err(errors) => report.assert_eq(&errors.render(false)),
    }
}

/// A configuration without a mistake, to which one is added.
fn with(rest: &str) -> String {
    format!("[sources.shop]\nurl = '${{PG}}'\ntables = 'public.*'\n[log]\npath = 'log'\n{rest}")
}

#[test]
fn an_empty_file_is_told_what_it_needs() {
    check(
        "",
        &expect![[r#"
        walbridge.toml: error: there is no source
           = add [sources.NAME] with url and tables

        walbridge.toml: error: there is no [log]
           = add [log] with path = "/var/lib/walbridge"

        2 mistakes in walbridge.toml
    "#]],
    );
}

/// The report for `fixtures/many_mistakes.toml` is beside it.
#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let errors = read(include_str!("fixtures/many_mistakes.toml")).expect_err("mistakes");
    expect_file!["./fixtures/many_mistakes.txt"].assert_eq(&errors.render(false));
}

#[test]
fn syntax_errors_have_their_place_too() {
    check(
        "[sources.shop]\nurl = \"postgres://u:hunter2@localhost/x\ntables = [\"a.b\"]\nurl = 1\n[log]\n[log]\n",
        &expect![[r#"
            walbridge.toml:2:40: error: invalid basic string, expected `"`
             2 | url = "postgres://u:***@localhost/x
               |                                    ^

            walbridge.toml:4:1: error: duplicate key
             4 | url = 1
               | ^^^

            walbridge.toml:6:2: error: duplicate key
             6 | [log]
               |  ^^^

            3 mistakes in walbridge.toml
        "#]],
    );
}

#[test]
fn a_key_of_another_kind_is_sent_home() {
    check(
        &with("[sinks.a]\nkind = 'file'\npath = 'a'\nfrom = 'public.*'\nttl = '1d'\nfields = 'a'\n"),
        &expect![[r#"
        walbridge.toml:10:1: error: unknown key `ttl`
         10 | ttl = '1d'
            | ^^^
           = `ttl` is a key of kind redis

        walbridge.toml:11:1: error: unknown key `fields`
         11 | fields = 'a'
            | ^^^^^^
           = `fields` is a key of kind tantivy

        2 mistakes in walbridge.toml
    "#]],
    );
}

#[test]
fn a_sink_that_waits_for_tables_nobody_captures_is_refused() {
    check(
        "[sources.shop]\nurl = '${PG}'\ntables = ['public.users', 'sales.*', '!sales.audit']\n[log]\npath = 'log'\n\
         [sinks.a]\nkind = 'file'\npath = 'a'\nfrom = ['public.user', 'sales.orders', 'sales.audit', 'priv*.x', '!public.users']\n",
        &expect![[r#"
            walbridge.toml:9:9: error: source `shop` does not capture `public.user`
             9 | from = ['public.user', 'sales.orders', 'sales.audit', 'priv*.x', '!public.users']
               |         ^^^^^^^^^^^^^
               = did you mean `public.users`? Otherwise add it to `tables` of [sources.shop]

            walbridge.toml:9:40: error: source `shop` does not capture `sales.audit`
             9 | from = ['public.user', 'sales.orders', 'sales.audit', 'priv*.x', '!public.users']
               |                                        ^^^^^^^^^^^^^
               = add it to `tables` of [sources.shop]

            walbridge.toml:9:55: error: source `shop` does not capture `priv*.x`
             9 | from = ['public.user', 'sales.orders', 'sales.audit', 'priv*.x', '!public.users']
               |                                                       ^^^^^^^^^
               = add it to `tables` of [sources.shop]

            3 mistakes in walbridge.toml
        "#]],
    );
}

#[test]
fn with_two_sources_a_sink_says_which() {
    check(
        "[sources.shop]\nurl = '${PG}'\ntables = 'public.*'\n[sources.crm]\nurl = '${PG}'\ntables = 'public.*'\nslot = 'walbridge_shop'\n\
         [log]\npath = 'log'\n[sinks.a]\nkind = 'file'\npath = 'a'\nfrom = 'public.*'\n\
         [sinks.b]\nkind = 'file'\npath = 'b'\nfrom = 'public.*'\nsource = 'shp'\n",
        &expect![[r#"
            walbridge.toml:4:10: error: source `shop` has the slot `walbridge_shop` on this server already
             4 | [sources.crm]
               |          ^^^
               = give each source a slot of its own: slot = "…"

            walbridge.toml:10:8: error: with several sources, a sink says which one feeds it
             10 | [sinks.a]
                |        ^
               = add source = one of shop, crm

            walbridge.toml:18:10: error: there is no source `shp`
             18 | source = 'shp'
                |          ^^^^^
               = did you mean `shop`?

            3 mistakes in walbridge.toml
        "#]],
    );
}

/// Such a sink was let through, and a `TRUNCATE` of one of its tables removed the documents of all.
#[test]
fn one_key_for_several_tables_needs_the_table_in_it() {
    let sinks = "[sinks.a]\nkind = 'redis'\nurl = 'redis://c'\nkey = 'a:{id}'\nfrom = 'public.*'\n\
         [sinks.b]\nkind = 'redis'\nurl = 'redis://c'\nkey = 'b:{table}:{id}'\nfrom = 'public.*'\n\
         [sinks.c]\nkind = 'redis'\nurl = 'redis://c'\nkey = 'c:{id}'\nfrom = 'public.c'\n\
         [sinks.d]\nkind = 'tantivy'\npath = 'd'\nkey = '{id}'\nfrom = ['public.a', 'public.b']\n";
    check(
        &with(sinks),
        &expect![[r#"
        walbridge.toml:9:7: error: one key for several tables: their rows would share documents
         9 | key = 'a:{id}'
           |       ^^^^^^^^
           = put the table into it: key = "{table}:a:{id}", or have a sink for each table, with `from` naming it and a key of its own; without `key`, documents are named after table and row

        walbridge.toml:24:7: error: one key for several tables: their rows would share documents
         24 | key = '{id}'
            |       ^^^^^^
           = put the table into it: key = "{table}:{id}", or have a sink for each table, with `from` naming it and a key of its own; without `key`, documents are named after table and row

        2 mistakes in walbridge.toml
    "#]],
    );
}

#[test]
fn no_two_write_to_the_same_place() {
    check(
        &with(
            "[sinks.a]\nkind = 'file'\npath = 'out/a'\nfrom = 'public.*'\n\
             [sinks.b]\nkind = 'file'\npath = 'x/../out/./a'\nfrom = 'public.*'\n\
             [sinks.c]\nkind = 'tantivy'\npath = 'log/index'\nfrom = 'public.*'\n\
             [sinks.d]\nkind = 'redis'\nurl = 'redis://c'\nkey = 'k:{id}'\nfrom = 'public.a'\n\
             [sinks.e]\nkind = 'redis'\nurl = 'redis://c'\nkey = 'k:{id}'\nfrom = 'public.b'\n\
             [sinks.f]\nkind = 'exec'\ncommand = ['rows']\ncheckpoint = 'out/a'\nfrom = 'public.*'\n",
        ),
        &expect![[r#"
            walbridge.toml:12:8: error: sink `a` writes there already
             12 | path = 'x/../out/./a'
                |        ^^^^^^^^^^^^^^
               = give it a path of its own, outside the others' directories

            walbridge.toml:23:8: error: sink `d` writes the same keys to the same server
             23 | [sinks.e]
                |        ^
               = give each a key of its own: key = "prefix:{id}"

            walbridge.toml:31:14: error: sink `a` writes there already
             31 | checkpoint = 'out/a'
                |              ^^^^^^^
               = give it a path of its own, outside the others' directories

            3 mistakes in walbridge.toml
        "#]],
    );
}

/// Scenario 173: these names go into replication commands and SQL.
#[test]
fn names_with_quotes_in_them_get_no_further_than_here() {
    check(
        r#"
[sources."x\"; drop table y"]
url = "${PG}"
tables = "public.*"
[sources.b]
url = "${PG}"
tables = "public.*"
slot = "s\" (SNAPSHOT 'nothing')"
publication = "p\u0007"
[sources.c]
url = "${PG}"
tables = ["public.*\u0000"]
slot = "Capital"
[log]
path = "log"
"#,
        &expect![[r#"
            walbridge.toml:2:10: error: `x"; drop table y` cannot be a name
             2 | [sources."x\"; drop table y"]
               |          ^^^^^^^^^^^^^^^^^^^
               = a name has 1 to 63 lower-case letters, digits, - and _, a letter first; and it is not dead-letters

            walbridge.toml:8:8: error: `s" (SNAPSHOT 'nothing')` cannot be the name of a slot
             8 | slot = "s\" (SNAPSHOT 'nothing')"
               |        ^^^^^^^^^^^^^^^^^^^^^^^^^^
               = 1 to 63 lower-case letters, digits and _

            walbridge.toml:9:15: error: `p·` cannot be the name of a publication
             9 | publication = "p\u0007"
               |               ^^^^^^^^^
               = 1 to 63 bytes without control characters

            walbridge.toml:12:11: error: `public.*·` is not a table
             12 | tables = ["public.*\u0000"]
                |           ^^^^^^^^^^^^^^^^
               = a name with a space or the like in it goes in double quotes: `public."My table"`

            walbridge.toml:13:8: error: `Capital` cannot be the name of a slot
             13 | slot = "Capital"
                |        ^^^^^^^^^
               = 1 to 63 lower-case letters, digits and _

            5 mistakes in walbridge.toml
        "#]],
    );
}

#[test]
fn placeholders_say_what_is_wrong_with_them() {
    check(
        "[sources.shop]\nurl = '${PG_URL}'\ntables = '${EMPTY}'\n[log]\npath = \"cost: $$5 ${\"\n",
        &expect![[r#"
        walbridge.toml:2:8: error: the environment variable PG_URL is not set
         2 | url = '${PG_URL}'
           |        ^^^^^^^^^
           = set it: export PG_URL=…; a dollar sign itself is written $$

        walbridge.toml:3:10: error: `sources.shop.tables` is empty; the environment variable is empty
         3 | tables = '${EMPTY}'
           |          ^^^^^^^^^^

        walbridge.toml:5:19: error: half a placeholder
         5 | path = "cost: $$5 ${"
           |                   ^^
           = write ${NAME} with letters, digits and _; a dollar sign itself is written $$

        3 mistakes in walbridge.toml
    "#]],
    );
}

#[test]
fn a_token_must_be_worth_its_name() {
    check(
        &with("[admin]\ntoken = 'short'\ntoken_file = 'x'\n"),
        &expect![[r#"
        walbridge.toml:8:14: error: there is a `token` already
         8 | token_file = 'x'
           |              ^^^
           = keep one of the two

        1 mistake in walbridge.toml
    "#]],
    );
    check(
        &with("[admin]\ntoken = 'short'\nlisten = 'localhost:0'\n"),
        &expect![[r#"
        walbridge.toml:7:9: error: the token is too short, or has a character that cannot be sent
         7 | token = ***
           |         ^^^
           = 16 or more visible ASCII characters; openssl rand -hex 32 makes a good one

        walbridge.toml:8:10: error: `localhost:0` is not an IP address and a port
         8 | listen = 'localhost:0'
           |          ^^^^^^^^^^^^^
           = write "127.0.0.1:7431", or "[::1]:7431"

        2 mistakes in walbridge.toml
    "#]],
    );
    check(
        &with("[admin]\nlisten = 'localhost:7431'\n"),
        &expect![[r#"
        no mistake
    "#]],
    );
}

#[test]
fn values_of_the_wrong_type_say_what_is_wanted() {
    check(
        "sources = 1\nlog = []\n[sinks]\na = 'x'\n[sinks.b]\nkind = 1\nfrom = []\nbatch = { rows = 0, bytes = '8', linger = 5, more = 1 }\n",
        &expect![[r#"
            walbridge.toml:1:11: error: `sources` is a table
             1 | sources = 1
               |           ^
               = write [sources], and its keys below

            walbridge.toml:2:7: error: `log` is a table
             2 | log = []
               |       ^^
               = write [log], and its keys below

            walbridge.toml:4:5: error: `sinks.a` is a table
             4 | a = 'x'
               |     ^^^
               = write [sinks.a], and its keys below

            walbridge.toml:6:8: error: `sinks.b.kind` is a word, in quotes
             6 | kind = 1
               |        ^

            walbridge.toml:7:8: error: `sinks.b.from` names no table
             7 | from = []
               |        ^^
               = name at least one to take: ["public.*", "!public.audit"]

            walbridge.toml:8:18: error: `sinks.b.batch.rows` is a whole number from 1 on, without quotes
             8 | batch = { rows = 0, bytes = '8', linger = 5, more = 1 }
               |                  ^

            walbridge.toml:8:29: error: `8` is not a size
             8 | batch = { rows = 0, bytes = '8', linger = 5, more = 1 }
               |                             ^^^
               = a whole number and B, KiB, MiB, GiB, TiB, KB, MB, GB or TB: "50GiB"

            walbridge.toml:8:43: error: `sinks.b.batch.linger` is a duration such as "10s", in quotes
             8 | batch = { rows = 0, bytes = '8', linger = 5, more = 1 }
               |                                           ^

            walbridge.toml:8:46: error: unknown key `more`
             8 | batch = { rows = 0, bytes = '8', linger = 5, more = 1 }
               |                                              ^^^^
               = known here: rows, bytes, linger

            9 mistakes in walbridge.toml
        "#]],
    );
    check(
        "[[sinks]]\nkind = 'file'\n",
        &expect![[r#"
        walbridge.toml: error: there is no source
           = add [sources.NAME] with url and tables

        walbridge.toml: error: there is no [log]
           = add [log] with path = "/var/lib/walbridge"

        walbridge.toml:1:1: error: `sinks` is a table
         1 | [[sinks]]
           | ^^^^^^^^^
           = write [sinks], and its keys below

        3 mistakes in walbridge.toml
    "#]],
    );
}

#[test]
fn the_report_for_programs_has_the_same_places() {
    let errors = read(&with("[sinks.a]\nkind = 'fil'\n")).expect_err("mistakes");
    let json = errors.to_json();
    assert_eq!(json["ok"], false);
    let first = &json["mistakes"][0];
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(6), Some(8)), "{json}");
    assert_eq!(first["key"], "sinks.a.from");
}

#[test]
fn mistakes_in_expressions_have_their_place_inside_the_text() {
    let sink = "[sinks.c]\nkind = 'redis'\nurl = 'redis://localhost'\nfrom = 'public.users'\n";
    check(
        &with(&format!(
            "{sink}[sinks.c.shape]\nwhere = \"a = 1 AND created > now()\"\ndeleted = 'old.gone IS NOT NULL'\ncolumns = [\"id\", \"!password\", \"lower(email)\", \"nam e\"]\nhash = \"email\"\nhash_key = \"short\"\n"
        )),
        &expect![[r#"
            walbridge.toml:11:30: error: now has another value each time
             11 | where = "a = 1 AND created > now()"
                |                              ^^^
               = what is derived from a row must be the same in every replay, so an expression has no clock, no chance and no session; keep the moment in a column

            walbridge.toml:12:11: error: this is about one row
             12 | deleted = 'old.gone IS NOT NULL'
                |           ^^^^^^^^^^^^^^^^^^^^^^
               = name the column alone; `old.` and `new.` tell the rows of a change apart in `where` of a file or kafka sink

            walbridge.toml:13:31: error: a computed column needs a name
             13 | columns = ["id", "!password", "lower(email)", "nam e"]
                |                               ^^^^^^^^^^^^^^
               = give it one: "lower(email) AS name"

            walbridge.toml:13:52: error: `e` does not belong here
             13 | columns = ["id", "!password", "lower(email)", "nam e"]
                |                                                    ^

            walbridge.toml:15:12: error: a key has at least 16 bytes
             15 | hash_key = ***
                |            ^^^
               = make one: openssl rand -hex 32

            5 mistakes in walbridge.toml
        "#]],
    );
    check(
        &with(&format!(
            "{sink}[[sinks.c.shape]]\ntables = 'public.posts'\nwhere = 'old.a <> new.a'\n[[sinks.c.shape]]\nhash = 'email'\n"
        )),
        &expect![[r#"
            walbridge.toml:13:1: error: `hash` needs a key
             13 | [[sinks.c.shape]]
                | ^^^^^^^^^^^^^^^^^
               = add hash_key = "${HASH_KEY}": without a key everyone can try which value a hash is of

            1 mistake in walbridge.toml
        "#]],
    );
    check(
        &with(&format!("{sink}[sinks.c.shape]\ntables = 'public.posts'\nwhere = 'old.a <> new.a'\n")),
        &expect![[r#"
            walbridge.toml:10:1: error: `where` chooses changes (line 12), and this sink keeps rows
             10 | [sinks.c.shape]
                | ^^^^^^^^^^^^^^^
               = name the column alone: the row is there as long as it is true of it. Changes are chosen by `old.` and `new.` where each is kept: in webhook, exec, file and kafka sinks

            walbridge.toml:11:10: error: the sink does not take `public.posts`
             11 | tables = 'public.posts'
                |          ^^^^^^^^^^^^^^
               = add it to `from`

            2 mistakes in walbridge.toml
        "#]],
    );
}
