//! Mistakes in what concerns Kafka: brokers, formats, schemas, sinks that are shared.

use expect_test::expect;

use super::{check, with};

#[test]
fn a_sink_that_cannot_be_shared_says_why() {
    let file = "[sinks.a]\nkind = 'file'\npath = 'a'\nfrom = 'public.*'\nshare = 'partitions'\n";
    let redis = "[sinks.b]\nkind = 'redis'\nurl = 'redis://localhost'\nfrom = 'public.*'\nshare = 'partitions'\n";
    check(
        &with(&format!("{file}{redis}")),
        &expect![[r#"
        walbridge.toml:10:1: error: unknown key `share`
         10 | share = 'partitions'
            | ^^^^^
           = only a redis sink can be shared: the others are local directories, which each process has for itself, or have one writer

        walbridge.toml:15:9: error: the embedded log belongs to one process, so there is nobody to share with
         15 | share = 'partitions'
            |         ^^^^^^^^^^^^
           = put the log into Kafka: [log] kind = "kafka"; or leave `share` away

        2 mistakes in walbridge.toml
    "#]],
    );
}

#[test]
fn what_kafka_cannot_be_told_says_why() {
    check(
        &with(
            "kind = 'kafka'\nbrokers = 'kafka-1'\ntopic = '{source}'\ntls = { certificate = 'a.pem' }\nretain = {}\n\
             properties = { acks = 1, \"socket.keepalive.enable\" = true }\ntopics = { \"retention.ms\" = 5 }\n\
             [sinks.a]\nkind = 'file'\npath = 'a'\nfrom = 'public.*'\n",
        ),
        &expect![[r#"
            walbridge.toml:7:11: error: `kafka-1` is not a list of host:port
             7 | brokers = 'kafka-1'
               |           ^^^^^^^^^
               = write "kafka-1:9092,kafka-2:9092"

            walbridge.toml:8:9: error: `{source}` cannot be a topic's name
             8 | topic = '{source}'
               |         ^^^^^^^^^^
               = without {table} all tables would share one topic, and rows of two tables may have the same key

            walbridge.toml:9:7: error: `log.tls` needs certificate and key, or neither
             9 | tls = { certificate = 'a.pem' }
               |       ^^^^^^^^^^^^^^^^^^^^^^^^^
               = give both

            walbridge.toml:10:1: error: unknown key `retain`
             10 | retain = {}
                | ^^^^^^
               = how long a topic keeps records is the topic's: topics = { config = { "retention.ms" = … } }

            walbridge.toml:11:23: error: `acks` cannot be given here
             11 | properties = { acks = 1, "socket.keepalive.enable" = true }
                |                       ^
               = a record counts as written when all replicas in sync have it, or not at all

            walbridge.toml:12:12: error: unknown key `retention.ms`
             12 | topics = { "retention.ms" = 5 }
                |            ^^^^^^^^^^^^^^
               = a topic's own settings stand in config: config = { "retention.ms" = … }

            6 mistakes in walbridge.toml
        "#]],
    );
}

#[test]
fn a_schema_registry_is_there_exactly_where_schemas_are() {
    let log = |rest: &str| {
        with(&format!(
            "kind = 'kafka'\nbrokers = 'kafka-1:9092'\n{rest}\n[sinks.a]\nkind = 'file'\npath = 'a'\nfrom = 'public.*'\n"
        ))
    };
    check(
        &log("format = 'protobuf'"),
        &expect![[r#"
        walbridge.toml:8:10: error: the format "protobuf" has its schemas in a registry, and none is named
         8 | format = 'protobuf'
           |          ^^^^^^^^^^
           = add schema_registry = { url = "http://registry:8081" }

        1 mistake in walbridge.toml
    "#]],
    );
    check(
        &log("schema_registry = { url = 'http://registry:8081' }"),
        &expect![[r#"
        walbridge.toml:8:19: error: the format "debezium" has no schemas, so `log.schema_registry` is for nothing
         8 | schema_registry = { url = 'http://registry:8081' }
           |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
           = leave it out, or choose format = "avro" or "protobuf"

        1 mistake in walbridge.toml
    "#]],
    );
    check(
        &log("format = 'avros'"),
        &expect![[r#"
        walbridge.toml:8:10: error: `avros` is not a choice for `log.format`
         8 | format = 'avros'
           |          ^^^^^^^
           = did you mean `avro`?

        1 mistake in walbridge.toml
    "#]],
    );
    check(
        &log("format = 'avro'\nschema_registry = { url = 'http://me:hunter2@registry', username = 'me', auto = 1 }"),
        &expect![[r#"
            walbridge.toml:9:19: error: `log.schema_registry` needs username and password, or neither
             9 | schema_registry = { url = 'http://me:***@registry', username = 'me', auto = 1 }
               |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               = give both

            walbridge.toml:9:27: error: `log.schema_registry.url` is not a registry's URL
             9 | schema_registry = { url = 'http://me:***@registry', username = 'me', auto = 1 }
               |                           ^^^^^^^^^^^^^^^^^^^^^^^^
               = write the name and the password as username and password

            walbridge.toml:9:74: error: unknown key `auto`
             9 | schema_registry = { url = 'http://me:***@registry', username = 'me', auto = 1 }
               |                                                                      ^^^^
               = known here: url, username, password, ca, auto_register

            3 mistakes in walbridge.toml
        "#]],
    );
}

#[test]
fn decimals_are_a_choice_of_one_format_only() {
    check(
        &with(
            "kind = 'kafka'\nbrokers = 'kafka-1:9092'\nformat = 'json'\ndecimals = 'string'\n[sinks.a]\nkind = 'file'\npath = 'a'\nfrom = 'public.*'\n",
        ),
        &expect![[r#"
        walbridge.toml:9:12: error: the format "json" has no choice of decimals
         9 | decimals = 'string'
           |            ^^^^^^^^
           = leave `decimals` out, or write format = "debezium"

        1 mistake in walbridge.toml
    "#]],
    );
}
