//! What can only be checked when all tables have been read: who feeds whom, and who would be in whose way.

use std::path::{Component, Path, PathBuf};

use secrecy::ExposeSecret as _;

use super::Named;
use super::key::did_you_mean;
use super::log::Log;
use super::pattern::{Pattern, TablePatterns};
use super::redis::{Redis, RedisValue};
use super::sink::{RawSink, Sink, Target};
use super::source::Source;
use super::value::Patterns;
use crate::kafka::Settings;
use crate::project::key::{KeyTemplate, MEMBER};

type Sources<'a> = [Named<'a, Source>];

/// Completes the sinks. `None` if any is mistaken.
pub(super) fn check(log: &Option<Log>, sources: &Sources<'_>, sinks: Vec<Named<'_, RawSink>>) -> Option<Vec<Sink>> {
    refuse_shared_slots(sources);
    refuse_shared_paths(log.as_ref(), sources, &sinks);
    refuse_shared_keys(&sinks);
    refuse_shared_topics(log.as_ref(), &sinks);
    sinks.iter().for_each(refuse_one_key_for_many_tables);
    sinks.iter().for_each(refuse_strange_shapes);
    sinks.iter().for_each(|sink| refuse_sharing_one_log(log.as_ref(), sink));
    let mut complete = Vec::with_capacity(sinks.len());
    let mut whole = true;
    for Named { section, value, .. } in sinks {
        let resolved = value.and_then(|raw| {
            let source = source_of(&raw, sources, &section)?;
            if let Some(tables) = source.value.as_ref().map(|source| &source.tables) {
                refuse_uncovered(&raw, source.name, tables, &section);
            }
            refuse_own_tables(&raw, source, &section);
            Some(Sink {
                name: raw.name,
                source: source.name.to_owned(),
                tables: raw.from.0.into_iter().map(|(pattern, _)| pattern).collect(),
                on_reject: raw.on_reject,
                dead_letters_max: raw.dead_letters_max,
                row_bytes_max: raw.row_bytes_max,
                batch: raw.batch,
                shapes: raw.shapes.0.into_iter().map(|(shape, _)| shape).collect(),
                target: raw.target,
            })
        });
        whole &= resolved.is_some();
        complete.extend(resolved);
    }
    whole.then_some(complete)
}

/// A shape of tables that the sink does not take would shape nothing; and changes are only chosen where each is kept.
fn refuse_strange_shapes(sink: &Named<'_, RawSink>) {
    let Some(raw) = &sink.value else { return };
    let Some(item) = sink.section.item("shape") else { return };
    let taken: TablePatterns = raw.from.0.iter().map(|(pattern, _)| pattern.clone()).collect();
    let keeps_history = raw.target.keeps_history();
    for (shape, tables) in &raw.shapes.0 {
        let patterns = tables.iter().flat_map(|tables| &tables.0).filter(|(pattern, _)| !pattern.excludes());
        for (pattern, span) in patterns.filter(|(pattern, _)| !may_be_covered(pattern, &taken)) {
            let message = format!("the sink does not take `{pattern}`");
            item.reader.complain(&item.path, Some(span.clone()), message, Some("add it to `from`".to_owned()));
        }
        if let Some(filter) = shape.rule.filter.as_ref().filter(|filter| filter.value.compares_rows() && !keeps_history)
        {
            let help = "name the column alone: the row is there as long as it is true of it. Changes are chosen by `old.` and `new.` where each is kept: in webhook, exec, file and kafka sinks";
            let message = format!("`where` chooses changes (line {}), and this sink keeps rows", filter.line);
            item.complain(message, Some(help.to_owned()));
        }
    }
}

/// Only a log that several processes read can be shared among them.
fn refuse_sharing_one_log(log: Option<&Log>, sink: &Named<'_, RawSink>) {
    let shared = sink.value.as_ref().is_some_and(|raw| raw.target.is_shared());
    if let (true, Some(log), Some(item)) = (shared, log, sink.section.item("share"))
        && log.kafka.is_none()
    {
        let help = "put the log into Kafka: [log] kind = \"kafka\"; or leave `share` away".to_owned();
        item.complain(
            "the embedded log belongs to one process, so there is nobody to share with".to_owned(),
            Some(help),
        );
    }
}

/// A sink that wrote the tables that it is fed from would be fed by what it writes, for ever.
fn refuse_own_tables(raw: &RawSink, source: &Named<'_, Source>, section: &super::Section<'_>) {
    let (Target::Postgres(target), Some(own)) = (&raw.target, &source.value) else { return };
    let (there, here) = (&target.address, &own.address);
    if there.database == here.database && there.hosts.iter().any(|host| here.hosts.contains(host)) {
        let help = "give the url of another database".to_owned();
        section.complain(
            format!("its database is the one of source `{}`, whose tables it would write", source.name),
            help,
        );
    }
}

/// The source that feeds the sink: the one it names, or the only one.
fn source_of<'s, 'a>(
    raw: &RawSink,
    sources: &'s Sources<'a>,
    section: &super::Section<'_>,
) -> Option<&'s Named<'a, Source>> {
    let names = || sources.iter().map(|source| source.name);
    match (&raw.source, sources) {
        (Some(wanted), _) => {
            let found = sources.iter().find(|source| source.name == wanted);
            if let (None, Some(item)) = (found, section.item("source")) {
                let message = format!("there is no source `{}`", item.written());
                item.complain(message, Some(did_you_mean(wanted, names())));
            }
            found
        }
        (None, [only]) => Some(only),
        // That there is no source has been said.
        (None, []) => None,
        (None, _) => {
            let help = format!("add source = one of {}", names().collect::<Vec<_>>().join(", "));
            section.complain("with several sources, a sink says which one feeds it".to_owned(), help);
            None
        }
    }
}

/// A sink that waits for tables which its source does not capture would wait for ever.
fn refuse_uncovered(raw: &RawSink, source: &str, tables: &TablePatterns, section: &super::Section<'_>) {
    let Some(item) = section.item("from") else { return };
    for (pattern, span) in raw.from.0.iter().filter(|(pattern, _)| !pattern.excludes()) {
        if may_be_covered(pattern, tables) {
            continue;
        }
        let literal = tables.patterns().iter().filter(|known| !known.excludes()).map(ToString::to_string);
        let nearest = nearest(&pattern.to_string(), literal.collect());
        let add = format!("add it to `tables` of [sources.{source}]");
        let help = nearest.map_or_else(|| add.clone(), |nearest| format!("did you mean `{nearest}`? Otherwise {add}"));
        let message = format!("source `{source}` does not capture `{pattern}`");
        item.reader.complain(&item.path, Some(span.clone()), message, Some(help));
    }
}

/// `false` only if it is certain that no table fits both.
fn may_be_covered(pattern: &Pattern, tables: &TablePatterns) -> bool {
    let mut included = tables.patterns().iter().filter(|known| !known.excludes());
    match pattern.table_name() {
        Some(name) => tables.matches(&name),
        None => included.any(|known| {
            let excluded = known.table_name().is_some_and(|name| !tables.matches(&name));
            known.may_overlap(pattern) && !excluded
        }),
    }
}

fn nearest(wanted: &str, known: Vec<String>) -> Option<String> {
    let distance = |candidate: &String| strsim::damerau_levenshtein(wanted, candidate);
    known
        .into_iter()
        .map(|candidate| (distance(&candidate), candidate))
        .filter(|(far, _)| *far <= 3)
        .min()
        .map(|(_, near)| near)
}

/// A slot is read by one; two would take turns at losing changes.
fn refuse_shared_slots(sources: &Sources<'_>) {
    for (index, later) in sources.iter().enumerate() {
        let Some(own) = &later.value else { continue };
        let same = |earlier: &&Named<'_, Source>| {
            earlier
                .value
                .as_ref()
                .is_some_and(|other| other.slot == own.slot && other.address.hosts == own.address.hosts)
        };
        if let Some(earlier) = sources.iter().take(index).find(same) {
            let message = format!("source `{}` has the slot `{}` on this server already", earlier.name, own.slot);
            later.section.complain(message, "give each source a slot of its own: slot = \"…\"".to_owned());
        }
    }
}

/// What a sink writes on the local disk.
fn local_path(target: &Target) -> Option<&Path> {
    match target {
        Target::Tantivy(index) => Some(&index.path),
        Target::File(file) => Some(&file.path),
        Target::Webhook(hook) => Some(&hook.checkpoint),
        Target::Exec(program) => Some(&program.checkpoint),
        Target::Redis(_) | Target::OpenSearch(_) | Target::Postgres(_) | Target::Kafka(_) => None,
    }
}

/// Under which of its keys that stands.
fn local_path_key(target: &Target) -> &'static str {
    if matches!(target, Target::Webhook(_) | Target::Exec(_)) { "checkpoint" } else { "path" }
}

/// No two write the same file, or one inside the other's directory.
fn refuse_shared_paths(log: Option<&Log>, sources: &Sources<'_>, sinks: &[Named<'_, RawSink>]) {
    let mut taken = Vec::new();
    if let Some(log) = log {
        let logs = sources.iter().map(|source| (format!("source `{}`", source.name), log.path_of(source.name)));
        let logs = logs.chain([("the store of dead letters".to_owned(), log.dead_letters())]);
        taken.extend(logs.map(|(owner, path)| (owner, plain(&path))));
    }
    for sink in sinks {
        let Some(raw) = &sink.value else { continue };
        let Some(path) = local_path(&raw.target).map(plain) else { continue };
        let clash = taken.iter().find(|(_, other)| path.starts_with(other) || other.starts_with(&path));
        if let (Some((owner, _)), Some(item)) = (clash, sink.section.item(local_path_key(&raw.target))) {
            let help = "give it a path of its own, outside the others' directories".to_owned();
            item.complain(format!("{owner} writes there already"), Some(help));
        }
        taken.push((format!("sink `{}`", sink.name), path));
    }
}

/// The path without `.` and `..`, and without symbolic links as far as it exists.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                out.push(component);
                out = std::fs::canonicalize(&out).unwrap_or(out);
            }
        }
    }
    out
}

/// Rows of two tables would share documents, and a `TRUNCATE` of one, or the end of a copy of it, would take the other's.
fn refuse_one_key_for_many_tables(sink: &Named<'_, RawSink>) {
    let Some(raw) = &sink.value else { return };
    let (Some(key), Some(item)) = (raw.target.key(), sink.section.item("key")) else { return };
    // Without the member behind it.
    let own = key.split(char::from(MEMBER)).next().unwrap_or(key);
    let patterns: Vec<&Pattern> = raw.from.0.iter().map(|(pattern, _)| pattern).filter(|p| !p.excludes()).collect();
    let is_one = matches!(patterns[..], [pattern] if pattern.table_name().is_some());
    if is_one || tells_tables_apart(key) {
        return;
    }
    let help = format!(
        "put the table into it: key = \"{{table}}:{own}\", or have a sink for each table, with `from` naming it and a key of its own; \
         without `key`, documents are named after table and row"
    );
    item.complain("one key for several tables: their rows would share documents".to_owned(), Some(help));
}

fn tells_tables_apart(key: &str) -> bool {
    KeyTemplate::parse(key).is_ok_and(|template| template.tells_tables_apart())
}

/// Two that write the same topics of one cluster would have each event there twice.
fn refuse_shared_topics(log: Option<&Log>, sinks: &[Named<'_, RawSink>]) {
    let mut taken: Vec<(String, Option<&str>, &Settings, Option<&Patterns>)> = Vec::new();
    let log = log.and_then(|log| log.kafka.as_ref());
    taken.extend(log.map(|settings| ("the log".to_owned(), None, settings, None)));
    for sink in sinks {
        let Some(raw) = &sink.value else { continue };
        let Target::Kafka(settings) = &raw.target else { continue };
        let source = raw.source.as_deref();
        let clash = taken.iter().find(|(_, other, theirs, from)| {
            let sources = source.is_none() || other.is_none() || *other == source;
            let tables = from.is_none_or(|from| from.0 == raw.from.0);
            sources && tables && (&theirs.brokers, &theirs.topic) == (&settings.brokers, &settings.topic)
        });
        if let Some((owner, ..)) = clash {
            let help =
                "give it topics of its own: topic = \"{source}.other.{schema}.{table}\", or leave one of the two out";
            sink.section.complain(format!("{owner} writes the same topics of this cluster"), help.to_owned());
        }
        taken.push((format!("sink `{}`", sink.name), source, settings, Some(&raw.from)));
    }
}

/// Two sinks under the same keys of one server would overwrite each other's documents, unless each has fields of its own there.
fn refuse_shared_keys(sinks: &[Named<'_, RawSink>]) {
    let place = |sink: &Named<'_, RawSink>| match sink.value.as_ref().map(|raw| (&raw.target, &raw.from)) {
        Some((Target::Redis(redis), from)) => {
            let Redis { server, key, form, .. } = &**redis;
            // With the table's name in the key only the same tables meet.
            let tables = key
                .as_deref()
                .is_none_or(tells_tables_apart)
                .then(|| from.0.iter().map(|(pattern, _)| pattern.to_string()).collect::<Vec<_>>());
            Some(((server.url.expose_secret().to_owned(), key.clone(), tables), form.value == RedisValue::Fields))
        }
        _ => None,
    };
    for (index, later) in sinks.iter().enumerate() {
        let Some((own, has_fields)) = place(later) else { continue };
        let meets = |(other, has_fields_too)| other == own && !(has_fields && has_fields_too);
        if let Some(earlier) = sinks.iter().take(index).find(|earlier| place(earlier).is_some_and(meets)) {
            let help = "give each a key of its own: key = \"prefix:{id}\"".to_owned();
            let message = format!("sink `{}` writes the same keys to the same server", earlier.name);
            later.section.complain(message, help);
        }
    }
}
