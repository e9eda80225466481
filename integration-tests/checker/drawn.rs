//! Sinks that a run has or has not, as its seed draws them, and what they hold that `SELECT` does not.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
#[cfg(feature = "kafka")]
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::checks::{State, differences, replay};
use super::feed::{Event, event_of};
use super::sinks::{Document, SEARCHED, as_document, compare};
use super::workload::TABLES;
#[cfg(feature = "kafka")]
use crate::support::Kafka;
use crate::support::{Postgres, Receiver, Redis, eventually, store};

const PATIENCE: Duration = Duration::from_secs(60);
/// Python would tell its `numeric` in other digits.
const NOT_FOR_PYTHON: &str = "typed";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/exec.py");

/// What was drawn.
pub(super) struct Drawn {
    #[cfg(feature = "kafka")]
    seed: u64,
    /// A store of files in this form, and its configuration.
    store: Option<(Form, &'static str)>,
    program: bool,
    scores: bool,
    /// One for each suffix.
    receivers: Option<[(&'static str, Receiver); 2]>,
    #[cfg(feature = "kafka")]
    kafka: Option<Arc<Kafka>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Lines,
    Parquet,
}

const STORES: [(Form, &str); 3] = [
    (Form::Lines, "compression = \"zstd\""),
    (Form::Lines, "compression = \"gzip\""),
    (Form::Parquet, "format = \"parquet\""),
];

impl Drawn {
    /// Each of them in some runs; Kafka, which takes long to start, in every fourth.
    pub(super) fn of(seed: u64) -> Drawn {
        // The schedule of harms is drawn from the seed itself.
        let mut random = StdRng::seed_from_u64(!seed);
        let store = STORES.get(random.random_range(0..4)).copied();
        let [program, scores, hook] = [(); 3].map(|()| random.random_bool(0.6));
        let topics = random.random_bool(0.25);
        let receivers = hook.then(|| ["", "-again"].map(|suffix| (suffix, Receiver::start())));
        println!("drawn: store {store:?}, program {program}, scores {scores}, hook {hook}, topics {topics}");
        Drawn {
            #[cfg(feature = "kafka")]
            seed,
            store,
            program,
            scores,
            receivers,
            #[cfg(feature = "kafka")]
            kafka: topics.then(Kafka::shared),
        }
    }

    /// How many of them `walbridge verify` has a word about.
    pub(super) fn verifiable(&self) -> usize {
        usize::from(self.scores)
    }

    /// Those of a suffix; the one in Redis has this database.
    pub(super) fn config(&self, suffix: &str, (redis, database): (&Redis, u32), directory: &Path) -> String {
        let mut config = String::new();
        if let Some((_, form)) = self.store {
            config += &format!(
                "[sinks.store{suffix}]\nkind = \"file\"\npath = \"store{suffix}\"\nfrom = \"public.*\"\n\
                 layout = \"{{schema}}/{{table}}\"\nrotate_bytes = \"64KiB\"\nrotate_after = \"500ms\"\n{form}\n"
            );
        }
        if self.program {
            let rows = directory.join(format!("rows{suffix}.sqlite"));
            let tables: Vec<String> = programmed().map(|table| format!("'public.\"{table}\"'")).collect();
            config += &format!(
                "[sinks.program{suffix}]\nkind = \"exec\"\nfrom = [{}]\ncheckpoint = \"rows{suffix}.checkpoint\"\n\
                 command = [\"python3\", \"{PROGRAM}\", \"{}\"]\n",
                tables.join(", "),
                rows.display()
            );
        }
        if self.scores {
            config += &format!(
                "[sinks.scores{suffix}]\nkind = \"redis\"\nurl = \"{}/{database}\"\nfrom = \"public.churn\"\n\
                 value = \"sorted_set\"\nkey = \"scores\"\nmember = \"{{k}}\"\nscore = \"v\"\n",
                redis.url()
            );
        }
        if let Some(receiver) = self.receiver(suffix) {
            config += &format!(
                "[sinks.hook{suffix}]\nkind = \"webhook\"\nurl = \"{}\"\nallow_private = true\nfrom = \"public.*\"\n\
                 checkpoint = \"hook{suffix}.checkpoint\"\n",
                receiver.url()
            );
        }
        #[cfg(feature = "kafka")]
        if let Some(kafka) = &self.kafka {
            config += &format!(
                "[sinks.topics{suffix}]\nkind = \"kafka\"\nbrokers = \"{}\"\nfrom = \"public.reg\"\n\
                 topic = \"{}\"\ntopics = {{ partitions = 2 }}\n\
                 shape = {{ where = \"ver % 2 = 0\", columns = [\"k\", \"ver\", \"coalesce(writer, -1) AS who\"] }}\n",
                kafka.brokers(),
                self.topic(suffix)
            );
        }
        config
    }

    fn receiver(&self, suffix: &str) -> Option<&Receiver> {
        let mut receivers = self.receivers.iter().flatten();
        receivers.find(|(of, _)| *of == suffix).map(|(_, receiver)| receiver)
    }

    #[cfg(feature = "kafka")]
    fn topic(&self, suffix: &str) -> String {
        format!("checker-{}{suffix}.{{table}}", self.seed)
    }

    /// What those of a suffix hold that `SELECT` does not, and the other way round.
    pub(super) async fn wrong(
        &self,
        suffix: &str,
        (redis, database): (&Redis, u32),
        directory: &Path,
        postgres: &Postgres,
        selected: &State,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some((form, _)) = self.store {
            let root = directory.join(format!("store{suffix}"));
            let events = stored(form, &root).await;
            wrong.extend(differences(&format!("C1 store{suffix}"), &replay(&events), selected));
        }
        if self.program {
            program(&format!("program{suffix}"), postgres, &directory.join(format!("rows{suffix}.sqlite")), &mut wrong)
                .await;
        }
        if self.scores {
            scores(&format!("scores{suffix}"), postgres, &format!("{}/{database}", redis.url()), &mut wrong).await;
        }
        if let Some(receiver) = self.receiver(suffix) {
            let events = told_once(&format!("hook{suffix}"), &receiver.events(), &mut wrong);
            wrong.extend(differences(&format!("C1 hook{suffix}"), &replay(&events), selected));
        }
        #[cfg(feature = "kafka")]
        if let Some(kafka) = &self.kafka {
            let topic = self.topic(suffix).replace("{table}", "reg");
            records(&format!("topics{suffix}"), postgres, kafka, &topic, &mut wrong);
        }
        wrong
    }
}

fn programmed() -> impl Iterator<Item = &'static str> {
    SEARCHED.iter().copied().filter(|table| *table != NOT_FOR_PYTHON)
}

/// The events of a store, in their order, once nothing is left to be finished: a file that is finished while it is read would be read nowhere.
async fn stored(form: Form, root: &Path) -> Vec<Event> {
    eventually(PATIENCE, || async {
        let left = store::finished(&root.join(".walbridge/unfinished"));
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let found = match form {
        Form::Lines => store::lines(root).into_values().flatten().collect(),
        Form::Parquet => store::parquet(root).into_iter().map(as_line).collect::<Vec<_>>(),
    };
    let mut events: Vec<Event> = found.iter().filter_map(event_of).collect();
    events.sort_by_key(|event| event.position);
    events
}

/// An event of Parquet as a line of JSON has it.
fn as_line(mut event: Value) -> Value {
    let lsn = event["commit_lsn"].as_u64().expect("a number");
    let lsn = format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff);
    event["position"] = serde_json::json!({ "epoch": event["epoch"], "commit_lsn": lsn, "ordinal": event["ordinal"] });
    if event["unchanged"].is_null() {
        event["unchanged"] = Value::Array(Vec::new());
    }
    // Arrays and the like are JSON in a text.
    let types = event["types"].take();
    for column in types.as_object().into_iter().flatten().filter(|(_, kind)| *kind == "JSON").map(|(column, _)| column)
    {
        for group in ["before", "after"] {
            if let Some(text) = event[group][column].as_str() {
                event[group][column] = serde_json::from_str(text).expect("JSON");
            }
        }
    }
    event
}

/// What a receiver makes of it that drops what it has had: the order is that of the first time.
fn told_once(what: &str, told: &[Value], wrong: &mut Vec<String>) -> Vec<Event> {
    let mut last = None;
    let mut events = Vec::new();
    let mut seen: BTreeMap<_, &Value> = BTreeMap::new();
    for line in told {
        let Some(event) = event_of(line) else { continue };
        if let Some(earlier) = seen.insert(event.position, line) {
            if earlier != line {
                wrong.push(format!("C5 {what}: {:?} was told twice, and differs", event.position));
            }
            continue;
        }
        if Some(event.position) < last {
            wrong.push(format!("C5 {what}: {:?} after {last:?}", event.position));
        }
        last = Some(event.position);
        events.push(event);
    }
    events
}

/// The rows that a program keeps in an SQLite file.
async fn program(what: &str, postgres: &Postgres, database: &Path, wrong: &mut Vec<String>) {
    let script = "import json, sqlite3, sys\n\
        for name, key, row in sqlite3.connect(sys.argv[1]).execute('SELECT name, key, row FROM docs'):\n    \
            print(json.dumps([name, json.loads(key), json.loads(row)]))";
    let output = Command::new("python3").args(["-c", script]).arg(database).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let (name, key, row): (String, Vec<Value>, Value) = serde_json::from_str(line).expect("a row");
        let key: Vec<String> =
            key.iter().map(|value| value.as_str().map_or(value.to_string(), str::to_owned)).collect();
        found.insert(format!("{name}:{}", key.join(":")), as_document(row));
    }
    let mut expected = BTreeMap::new();
    for table in TABLES.iter().filter(|table| programmed().any(|name| name == table.name)) {
        expected.extend(table.expected(postgres, false).await);
    }
    compare(what, &expected, &found, wrong);
}

/// The sorted set of `churn`.
async fn scores(what: &str, postgres: &Postgres, url: &str, wrong: &mut Vec<String>) {
    let mut connection = crate::support::redis::connection(url).await;
    let found: Vec<(String, f64)> = redis::cmd("ZRANGE")
        .arg("scores")
        .arg(0)
        .arg(-1)
        .arg("WITHSCORES")
        .query_async(&mut connection)
        .await
        .expect("Redis answers");
    let document = |score: Value| Document::from_iter([("v".to_owned(), score)]);
    let found: BTreeMap<String, Document> =
        found.into_iter().map(|(member, score)| (member, document(score.to_string().into()))).collect();
    let told = postgres.psql("SELECT k || '=' || v FROM churn");
    let expected = told.lines().filter_map(|row| row.split_once('='));
    let expected = expected.map(|(member, score)| (member.to_owned(), document(score.into()))).collect();
    compare(what, &expected, &found, wrong);
}

/// The last record of each key, of the rows that pass the filter.
#[cfg(feature = "kafka")]
fn records(what: &str, postgres: &Postgres, kafka: &Kafka, topic: &str, wrong: &mut Vec<String>) {
    let mut found = BTreeMap::new();
    for record in kafka.read_settled(topic) {
        let after = record.value.is_some().then(|| record.json()["after"].clone());
        match after.filter(Value::is_object) {
            Some(after) => _ = found.insert(record.key_text(), as_document(after)),
            None => _ = found.remove(&record.key_text()),
        }
    }
    let found = found.into_values().map(|row| (row["k"].as_str().unwrap_or_default().to_owned(), row)).collect();
    let sql = "SELECT json_build_object('k', k, 'ver', ver, 'who', coalesce(writer, -1)) FROM reg WHERE ver % 2 = 0";
    let told = postgres.psql(sql);
    let rows = told.lines().map(|line| as_document(serde_json::from_str(line).expect("a row")));
    let expected = rows.map(|row| (row["k"].as_str().unwrap_or_default().to_owned(), row)).collect();
    compare(what, &expected, &found, wrong);
}
