//! OpenSearch as a target: one node for all tests, and indexes of each target's own.

use std::sync::Arc;

use reqwest::Method;
use serde_json::Value;
use walbridge::http::Address;
use walbridge::project::shape::{Item, Rule, Shaping, Written};
use walbridge::project::sql::Expression;
use walbridge::sink::opensearch::{BULK_BYTES_MAX, Layout, Options};

use super::history::values_of;
use super::kind::Kind;
use super::world::Documents;
use crate::support::OpenSearch;

/// See the module.
pub(super) struct Index {
    kind: Kind,
    node: Arc<OpenSearch>,
    /// What the names of its indexes begin with.
    begin: String,
    /// The alias, or the template of aliases.
    pub(super) name: String,
}

/// Of rows that tell where they are: one of these names is theirs, and another when their key changes.
pub(super) fn placed() -> Arc<Shaping> {
    let part = Expression::parse_named("id % 3 AS part").expect("an expression");
    let part = Item::Made(Box::new(Written { value: part, line: 1, column: 1, verbatim: true }));
    let rule = Rule { filter: None, deleted: None, columns: Some(vec![Item::All, part]), protected: Vec::new() };
    Arc::new(Shaping::new(vec![(Arc::new(|_| true), rule)]))
}

impl Index {
    pub(super) fn on(node: Arc<OpenSearch>, kind: Kind) -> Index {
        let begin = OpenSearch::name();
        let name = if kind == Kind::OpenSearchIndexes { format!("{begin}-{{part}}") } else { begin.clone() };
        Index { kind, node, begin, name }
    }

    pub(super) fn port(&self) -> u16 {
        self.node.port
    }

    /// For a sink of it, by way of this port.
    pub(super) fn options(&self, port: u16) -> Options {
        let mut settings = serde_json::Map::new();
        if self.kind == Kind::OpenSearchRouted {
            settings.insert("number_of_shards".to_owned(), 2.into());
        }
        Options {
            addresses: vec![Address::parse(&format!("http://127.0.0.1:{port}")).expect("a URL")],
            credentials: None,
            ca: None,
            index: self.name.clone(),
            layout: Layout {
                by_index: self.kind == Kind::OpenSearchIndexes,
                by_routing: self.kind == Kind::OpenSearchRouted,
            },
            pipeline: None,
            is_beside: false,
            mapping: serde_json::Map::new(),
            settings,
            bulk_bytes_max: BULK_BYTES_MAX,
        }
    }

    /// What a pattern of its own matches.
    fn pattern(&self) -> String {
        if self.kind == Kind::OpenSearchIndexes { format!("{}-*", self.begin) } else { self.begin.clone() }
    }

    /// Each document once, and where its row says.
    pub(super) async fn documents(&self) -> Documents {
        let pattern = self.pattern();
        self.node.ask(Method::POST, &format!("/{pattern}/_refresh"), None).await;
        let (_, found) = self.node.ask(Method::GET, &format!("/{pattern}/_search?size=10000"), None).await;
        let hits = found.pointer("/hits/hits").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut documents = Documents::new();
        for hit in hits {
            let (id, mut document) = (hit["_id"].as_str().expect("an id").to_owned(), hit["_source"].clone());
            let fields = document.as_object_mut().expect("a document");
            let own = fields.remove("_walbridge").expect("what is ours");
            assert_eq!(own["table"].as_str(), id.rsplit_once(':').map(|(table, _)| table));
            if self.kind.is_placed() {
                let part = fields.remove("part").expect("its part").to_string();
                if self.kind == Kind::OpenSearchRouted {
                    assert_eq!(hit["_routing"].as_str(), Some(&*part), "{id}");
                } else {
                    assert_eq!(hit["_index"].as_str(), Some(&*format!("{}-{part}-1", self.begin)), "{id}");
                }
            }
            assert!(documents.insert(id.clone(), values_of(&document)).is_none(), "{id} is there twice");
        }
        documents
    }

    /// Takes everything away, behind the back of whoever has it open.
    pub(super) async fn empty(&self) {
        let path = format!("/_cat/indices/{}-*?format=json&h=index", self.begin);
        let (_, found) = self.node.ask(Method::GET, &path, None).await;
        for index in found.as_array().into_iter().flatten().filter_map(|found| found["index"].as_str()) {
            self.node.ask(Method::DELETE, &format!("/{index}"), None).await;
        }
        let checkpoint = self.name.replace('{', "%7B").replace('}', "%7D");
        self.node.ask(Method::DELETE, &format!("/.walbridge/_doc/{checkpoint}"), None).await;
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.node.forget(&format!("{}-", self.begin));
    }
}
