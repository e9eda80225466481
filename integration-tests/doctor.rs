//! `walbridge doctor`: what is well is said to be well, and what is not by the item that it is.

use serde_json::Value;

use crate::support::{PgOptions, Postgres, Redis, Walbridge};

/// The exit code, and each item as `subject/check verdict`.
fn diagnose(walbridge: &Walbridge) -> (Option<i32>, Vec<(String, String)>) {
    let output = walbridge.run(&["doctor", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let items: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let text = |item: &Value, name: &str| item[name].as_str().expect("text").to_owned();
    let told = items.iter().map(|item| {
        let about = format!("{}/{} {}", text(item, "subject"), text(item, "check"), text(item, "verdict"));
        (about, format!("{} | {}", text(item, "message"), text(item, "remedy")))
    });
    (output.status.code(), told.collect())
}

/// The items that are not ok.
fn complaints(items: &[(String, String)]) -> Vec<&str> {
    items.iter().map(|(about, _)| about.as_str()).filter(|about| !about.ends_with(" ok")).collect()
}

fn message<'a>(items: &'a [(String, String)], about: &str) -> &'a str {
    let found = items.iter().find(|(found, _)| found == about);
    found.map_or_else(|| panic!("{about} is not in {items:#?}"), |(_, message)| message)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_is_said_to_be_well_and_nothing_is_changed() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let redis = Redis::start(&["--maxmemory", "100mb", "--maxmemory-policy", "noeviction", "--appendonly", "yes"]);
    let walbridge = Walbridge::configured(&format!(
        "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\nwal_budget = \"1GiB\"\n[log]\npath = \"log\"\nretain = {{ size = \"1MiB\" }}\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.t\"\n[sinks.lines]\nkind = \"file\"\npath = \"x.jsonl\"\nfrom = \"public.t\"\n",
        postgres.superuser_url(),
        redis.url()
    ));
    let (code, items) = diagnose(&walbridge);
    assert_eq!((complaints(&items), code), (vec![], Some(0)), "{items:#?}");
    for about in ["server", "wal_level", "role", "max_wal_senders", "tables", "publication", "slot"] {
        message(&items, &format!("source shop/{about} ok"));
    }
    for about in [
        "log/directory ok",
        "log/space ok",
        "sink cache/maxmemory ok",
        "sink cache/persistence ok",
        "sink lines/directory ok",
    ] {
        message(&items, about);
    }
    assert_eq!(postgres.psql("SELECT count(*) FROM pg_replication_slots"), "0");
    assert_eq!(postgres.psql("SELECT count(*) FROM pg_publication"), "0");
    assert!(!walbridge.directory().join("log").exists());
    let quiet = walbridge.run(&["doctor", "--quiet"]);
    assert_eq!(String::from_utf8_lossy(&quiet.stdout), "all is well\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_told_by_its_item_with_what_to_do() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(
        "CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO walbridge;
         SELECT pg_create_physical_replication_slot('s' || i) FROM generate_series(1, current_setting('max_replication_slots')::int) i",
    );
    postgres.set("max_slot_wal_keep_size", "1MB");
    let redis = Redis::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let walbridge = Walbridge::configured(&format!(
        "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\nwal_budget = \"1GiB\"\n[log]\npath = \"log\"\nretain = {{ size = \"900TiB\" }}\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.nothing\"\n\
         [sinks.lines]\nkind = \"file\"\npath = \"not/there/x.jsonl\"\nfrom = \"public.t\"\n",
        postgres.url(),
        redis.url()
    ));
    let (code, items) = diagnose(&walbridge);
    assert_eq!(code, Some(3), "{items:#?}");
    assert_eq!(
        complaints(&items),
        [
            "log/space warning",
            "sink lines/directory failure",
            "source shop/publication failure",
            "source shop/slot failure",
            "source shop/max_slot_wal_keep_size warning",
            "sink cache/tables warning",
            "sink cache/maxmemory warning",
            "sink cache/persistence warning",
        ],
        "{items:#?}"
    );
    assert!(message(&items, "source shop/publication failure").contains("walbridge setup --print-sql"));
    assert!(message(&items, "source shop/slot failure").contains("max_replication_slots"));
    postgres.psql("ALTER ROLE walbridge NOREPLICATION");
    let (_, items) = diagnose(&walbridge);
    message(&items, "source shop/role failure");
    let mut connection = redis.connection().await;
    let _ok: String =
        redis::cmd("ACL").arg(&["SETUSER", "default", "-eval"]).query_async(&mut connection).await.expect("a user");
    let (_, items) = diagnose(&walbridge);
    let denied = message(&items, "sink cache/target failure");
    assert!(denied.contains("EVAL: NOPERM") && denied.contains("ACL SETUSER"), "{denied}");
    drop(redis);
    let (_, items) = diagnose(&walbridge);
    message(&items, "sink cache/target failure");
}

#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn a_clusters_rights_and_topics_are_looked_at() {
    use crate::support::Kafka;

    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)");
    let (kafka, port) = Kafka::guarded();
    let mut walbridge = Walbridge::configured("[sources.none]\n");
    let mut configure = |user: &str, password: &str, more: &str| {
        walbridge.configure(&format!(
            "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\nwal_budget = \"1GiB\"\n[log]\nkind = \"kafka\"\npath = \"log\"\nbrokers = \"127.0.0.1:{port}\"\n\
             sasl = {{ mechanism = \"PLAIN\", username = \"{user}\", password = \"{password}\" }}\n{more}\n",
            postgres.superuser_url()
        ));
        diagnose(&walbridge)
    };
    let (code, items) = configure("walbridge", "not-the-right-one", "");
    assert_eq!((complaints(&items), code), (vec!["log shop/brokers failure"], Some(3)), "{items:#?}");
    assert!(!format!("{items:?}").contains("not-the-right-one"), "{items:#?}");

    // Nothing is allowed, and nothing is there.
    let (code, items) = configure("stranger", "right", "");
    assert_eq!(code, Some(3));
    let denied = complaints(&items).iter().filter(|about| **about == "log shop/topic failure").count();
    assert_eq!(denied, 3, "{items:#?}");

    // All is allowed: topics are made with their first record, and are none of a broker alone.
    kafka.allow_all("walbridge", "shop");
    let (code, items) = configure("walbridge", "right", "");
    assert_eq!((complaints(&items), code), (vec![], Some(0)), "{items:#?}");
    assert!(kafka.topics().is_empty(), "nothing is made");

    // Topics that are there: of others' making, with other rights.
    kafka.create_topic("shop.public.t", 3, &[("min.insync.replicas", "2")]).await;
    kafka.create_topic("shop.public.u", 1, &[]).await;
    kafka.create_topic("shop.walbridge", 1, &[("cleanup.policy", "delete")]).await;
    kafka.allow("stranger", &["Describe", "DescribeConfigs"], &["--topic", "shop."]);
    let (code, items) = configure("stranger", "right", "topics = { partitions = 1 }");
    assert_eq!(code, Some(3));
    assert!(message(&items, "log shop/topic failure").contains("compact"), "{items:#?}");
    assert!(format!("{items:?}").contains("it has 3 partitions, and the configuration says 1"), "{items:#?}");
    assert!(message(&items, "log shop/rights failure").contains("lacks Write"), "{items:#?}");
    assert!(message(&items, "log shop/replicas warning").contains("one replica"), "{items:#?}");
    let (_, items) = configure("walbridge", "right", "");
    assert!(message(&items, "log shop/replicas failure").contains("it takes nothing"), "{items:#?}");
    message(&items, "log shop/rights ok");
    groups_and_a_registry_are_looked_at(&kafka, |more| configure("walbridge", "right", more).1).await;
}

/// Sinks read in consumer groups: one of all, and one that is a shared sink's own. And schemas are in a registry.
#[cfg(feature = "kafka")]
async fn groups_and_a_registry_are_looked_at(
    kafka: &crate::support::Kafka,
    mut configure: impl FnMut(&str) -> Vec<(String, String)>,
) {
    use crate::support::{Registry, ports};
    let redis = Redis::start(&[]);
    let registry = Registry::shared().await;
    let sinks = format!(
        "[sinks.lines]\nkind = \"file\"\npath = \"x.jsonl\"\nfrom = \"public.t\"\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.t\"\nshare = \"partitions\"\n",
        redis.url()
    );
    let with = |registry: &str| format!("format = \"avro\"\nschema_registry = {registry}\n{sinks}");
    let items = configure(&with(&format!("{{ url = \"{}\" }}", registry.url())));
    assert!(message(&items, "log shop/group ok").contains("group walbridge may be joined"), "{items:#?}");
    let refused = message(&items, "log shop/group failure");
    assert!(refused.contains("on group walbridge.shop.cache this principal lacks Read"), "{refused}");
    assert!(refused.contains("kafka-acls --add"), "{refused}");
    assert!(message(&items, "log shop/schema_registry ok").contains("none yet"), "{items:#?}");
    kafka.allow("walbridge", &["Read"], &["--group", "walbridge.shop.cache"]);
    let unregistered = with(&format!("{{ url = \"{}\", auto_register = false }}", registry.url()));
    let items = configure(&unregistered);
    assert!(complaints(&items).iter().all(|about| !about.contains("group")), "{items:#?}");
    let missing = message(&items, "log shop/schema_registry failure");
    assert!(missing.contains("shop.public.t-value") && missing.contains("auto_register = true"), "{missing}");
    let nobody = format!("{{ url = \"http://127.0.0.1:{}\" }}", ports::free());
    let items = configure(&with(&nobody));
    message(&items, "log shop/schema_registry failure");
}
