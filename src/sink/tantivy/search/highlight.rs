//! Where in a document's own text the words of a query are.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;
use tantivy::query::Query;
use tantivy::snippet::SnippetGenerator;
use tantivy::{Searcher, TantivyError};

use super::error::SearchError;
use crate::sink::tantivy::document::for_each_text;
use crate::sink::tantivy::fields::Fields;

/// A text is searched for its best passage no further than this.
const HIGHLIGHT_BYTES_MAX: usize = 256 << 10;

/// Finds the passages that matched.
pub(super) struct Highlighter {
    columns: Vec<(String, SnippetGenerator)>,
}

impl Highlighter {
    pub(super) fn new(searcher: &Searcher, query: &dyn Query, fields: &Fields) -> Result<Self, SearchError> {
        let texts = fields.columns.iter().filter(|(_, (_, kind))| kind.is_text());
        let generators =
            texts.map(|(name, (field, _))| Ok((name.clone(), SnippetGenerator::create(searcher, query, *field)?)));
        Ok(Highlighter { columns: generators.collect::<Result<_, TantivyError>>()? })
    }

    /// By column, the best passage as HTML.
    pub(super) fn highlight(&self, source: &str) -> BTreeMap<String, String> {
        let values: HashMap<String, &RawValue> = serde_json::from_str(source).unwrap_or_default();
        let mut highlights = BTreeMap::new();
        for (name, generator) in &self.columns {
            let mut text = String::new();
            if let Some(value) = values.get(name) {
                for_each_text(value.get(), &mut |part| {
                    let room = HIGHLIGHT_BYTES_MAX.saturating_sub(text.len());
                    text.push_str(part.get(..part.floor_char_boundary(room)).unwrap_or_default());
                    text.push(' ');
                });
            }
            let snippet = generator.snippet(text.trim_end());
            if !snippet.is_empty() {
                highlights.insert(name.clone(), snippet.to_html());
            }
        }
        highlights
    }
}
