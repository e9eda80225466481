//! An index that may be older than the configuration, and the configuration. Nothing is mixed: a term is looked for as it was made.

use std::collections::BTreeMap;
use std::path::Path;

use tantivy::Index;

use super::Options;
use super::error::REBUILD;
use super::fields::{self, Fields, Kind};
use crate::sink::SinkError;
use crate::sink::disk::unusable;

/// The fields of an index that is there. What it lacks stays unindexed; what it has as something else makes it useless. `plan` is what
/// the tables call for, where that is known.
pub(super) fn fields(
    index: &Index,
    plan: Option<&BTreeMap<String, Kind>>,
    options: &Options,
) -> Result<Fields, SinkError> {
    let path = &options.path;
    let mut fields = fields::read(&index.schema())
        .ok_or_else(|| unusable(path, "it holds an index that walbridge did not make", REBUILD))?;
    match plan {
        Some(plan) => {
            for (name, kind) in plan {
                agree_on(name, *kind, &fields, options)?;
            }
            fields.columns.retain(|name, _| plan.contains_key(name));
        }
        None => only_configured(&mut fields, options)?,
    }
    for (name, (_, found)) in &fields.columns {
        let wanted = found.analyzed(name, &options.analysis);
        if *found != wanted {
            return Err(other_kind(name, *found, &format!("the configuration calls for {wanted}"), options));
        }
    }
    let kind_of = |name: &str| fields.columns.get(name).map(|(_, kind)| *kind);
    fields::check(&options.analysis, kind_of).map_err(|detail| correct(path, &detail))?;
    Ok(fields)
}

/// A configuration that fits no table.
pub(super) fn correct(path: &Path, detail: &str) -> SinkError {
    unusable(path, detail, "Correct `fields`, `analyzers` or `facets` in the configuration")
}

fn agree_on(name: &str, kind: Kind, fields: &Fields, options: &Options) -> Result<(), SinkError> {
    match fields.columns.get(name) {
        Some((_, found)) if *found == kind => {}
        Some((_, found)) => {
            let wanted = format!("the tables and the configuration now call for {kind}");
            return Err(other_kind(name, *found, &wanted, options));
        }
        None if options.fields.is_some() => return Err(made_without(name, options)),
        None => tracing::warn!(sink = %options.name, column = %name,
            "this column came after the index was made: it is in the documents but not searchable; \
             `walbridge rebuild` has the index built anew"),
    }
    Ok(())
}

/// Of an index's own fields those that are configured, if any are.
fn only_configured(fields: &mut Fields, options: &Options) -> Result<(), SinkError> {
    let Some(only) = &options.fields else { return Ok(()) };
    if let Some(name) = only.iter().find(|name| !fields.columns.contains_key(*name)) {
        return Err(made_without(name, options));
    }
    fields.columns.retain(|name, _| only.contains(name));
    Ok(())
}

fn made_without(name: &str, options: &Options) -> SinkError {
    let detail = format!("the index was made without column `{name}`, which `fields` names");
    unusable(&options.path, &detail, &rebuild(options))
}

fn other_kind(name: &str, found: Kind, wanted: &str, options: &Options) -> SinkError {
    let detail = format!("the index has column `{name}` as {found}, and {wanted}");
    unusable(&options.path, &detail, &rebuild(options))
}

fn rebuild(options: &Options) -> String {
    format!("Run `walbridge rebuild {}`, which builds the index anew, or put the configuration back", options.name)
}
