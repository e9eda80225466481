//! The forms of all sinks, and the promises that are tried on each.
//!
//! The first form of a sink is tried on everything that can hold for it. Another one is tried on what its form has a part in: what it shares with the first
//! (a fence, a checkpoint, the loop that feeds it) would cost the time once more and show nothing.

use walbridge::project::key::{KeyTemplate, MEMBER, Naming, Place};

use super::world::{Documents, Values};

/// A sink in one of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    RedisJson,
    /// The text of `amount`.
    RedisText,
    RedisHash,
    /// Fields of hashes in which others may have fields too.
    RedisFields,
    RedisSet,
    RedisList,
    /// Scored by `amount`.
    RedisSortedSet,
    RedisStream,
    /// As JSON, to expire on a day that no test sees, and published.
    RedisExpiring,
    /// As JSON, on the node of a cluster that has the slot.
    RedisCluster,
    /// The same without a tag, on all nodes.
    RedisSpread,
    #[cfg(feature = "search")]
    Tantivy,
    OpenSearch,
    /// Each row has a routing value.
    OpenSearchRouted,
    /// Each row tells its index.
    OpenSearchIndexes,
    Postgres,
    Webhook,
    Exec,
    File,
    /// A store of compressed files.
    Files,
    Parquet,
}

/// What a test asks of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// They end with what the source has, in whatever order and however often it comes.
    State,
    /// Values are kept to the byte, and those that a change left alone.
    Values,
    /// Keys can be listed, and documents read.
    Told,
    /// What was staged is gone with its session; one that is emptied is noticed.
    Loss,
    /// One that was killed tells the truth.
    Restart,
    /// Two writers are one too many.
    Fence,
    /// A reader sees whole transactions.
    Whole,
    /// Any schedule, in which they are killed and emptied.
    Random,
    /// A connection may break after any byte.
    Cut,
    /// A table copied again loses what is gone, and nothing else.
    Sweep,
    /// A sweep and a retry, cut short at any call.
    Kills,
    /// What was applied is applied again from any place.
    Replay,
    /// Another can be built beside it and take its place.
    Rebuild,
    /// What is refused is kept, waits and is told later.
    Letters,
    /// Filters, computed and protected columns.
    Shape,
}

use Promise::{
    Cut, Fence, Kills, Letters, Loss, Random, Rebuild, Replay, Restart, Shape, State, Sweep, Told, Values as Kept,
    Whole,
};

const FORMS: &[(Kind, &[Promise])] = &[
    (
        Kind::RedisJson,
        &[State, Kept, Told, Loss, Restart, Fence, Whole, Random, Cut, Sweep, Kills, Replay, Rebuild, Letters, Shape],
    ),
    (Kind::RedisText, &[State, Told, Random, Rebuild]),
    (Kind::RedisHash, &[State, Kept, Told, Whole, Random, Rebuild, Shape]),
    (Kind::RedisFields, &[State, Kept, Told, Whole, Random, Sweep, Rebuild, Shape]),
    (Kind::RedisSet, &[State, Told, Loss, Random, Sweep, Rebuild]),
    (Kind::RedisList, &[State, Told, Random, Sweep, Rebuild]),
    (Kind::RedisSortedSet, &[State, Told, Loss, Whole, Random, Cut, Sweep, Replay, Rebuild, Letters]),
    (Kind::RedisStream, &[State, Kept, Loss, Restart, Fence, Random, Cut, Sweep, Kills, Letters, Shape]),
    (Kind::RedisExpiring, &[State, Kept, Loss, Random, Rebuild]),
    (Kind::RedisCluster, &[State, Told, Loss, Fence, Whole, Sweep, Rebuild]),
    (Kind::RedisSpread, &[State, Kept, Told, Loss, Restart, Fence, Random, Sweep, Kills, Replay, Letters, Shape]),
    #[cfg(feature = "search")]
    (
        Kind::Tantivy,
        &[State, Kept, Told, Loss, Restart, Fence, Whole, Random, Sweep, Kills, Replay, Rebuild, Letters, Shape],
    ),
    (Kind::OpenSearch, &[State, Kept, Told, Loss, Fence, Random, Cut, Sweep, Kills, Replay, Rebuild, Letters, Shape]),
    (Kind::OpenSearchRouted, &[State, Kept, Told, Random, Sweep, Rebuild]),
    (Kind::OpenSearchIndexes, &[State, Kept, Told, Loss, Fence, Random, Sweep, Letters]),
    (
        Kind::Postgres,
        &[State, Kept, Told, Loss, Restart, Fence, Whole, Random, Cut, Sweep, Kills, Replay, Rebuild, Letters, Shape],
    ),
    (Kind::Webhook, &[State, Kept, Loss, Fence, Random, Cut, Sweep, Kills, Letters, Shape]),
    (Kind::Exec, &[State, Kept, Loss, Fence, Random, Cut, Sweep, Kills, Letters, Shape]),
    (Kind::File, &[State, Kept, Loss, Fence, Random, Sweep, Kills, Letters, Shape]),
    (Kind::Files, &[State, Kept, Loss, Fence, Random, Sweep, Letters]),
    (Kind::Parquet, &[State, Kept, Loss, Random, Sweep]),
];

/// The tag that the keys in a cluster have.
pub(super) const TAG: &str = "t";

impl Kind {
    /// Those that a promise is tried on.
    pub(super) fn of(promise: Promise) -> Vec<Kind> {
        FORMS.iter().filter(|(_, promises)| promises.contains(&promise)).map(|(kind, _)| *kind).collect()
    }

    /// The first form of its sink, or one that is fed in another way.
    pub(super) fn is_first(self) -> bool {
        FORMS.iter().any(|(kind, promises)| *kind == self && promises.contains(&Kills))
    }

    pub(super) fn keeps_history(self) -> bool {
        matches!(self, Kind::RedisStream | Kind::File | Kind::Files | Kind::Parquet | Kind::Webhook | Kind::Exec)
    }

    pub(super) fn is_redis(self) -> bool {
        matches!(
            self,
            Kind::RedisJson
                | Kind::RedisText
                | Kind::RedisHash
                | Kind::RedisFields
                | Kind::RedisSet
                | Kind::RedisList
                | Kind::RedisSortedSet
                | Kind::RedisStream
                | Kind::RedisExpiring
                | Kind::RedisCluster
                | Kind::RedisSpread
        )
    }

    pub(super) fn is_opensearch(self) -> bool {
        matches!(self, Kind::OpenSearch | Kind::OpenSearchRouted | Kind::OpenSearchIndexes)
    }

    /// Rows are members of a collection for each table.
    pub(super) fn is_collection(self) -> bool {
        matches!(self, Kind::RedisSet | Kind::RedisList | Kind::RedisSortedSet)
    }

    /// Its rows tell where they are.
    pub(super) fn is_placed(self) -> bool {
        matches!(self, Kind::OpenSearchRouted | Kind::OpenSearchIndexes)
    }

    /// What its documents are called. `index`: the template of its indexes.
    pub(super) fn naming(self, index: &str) -> Naming {
        let template = |text: &str| Naming::from(Some(KeyTemplate::parse(text).expect("a template")));
        let place =
            |name, text: &str| Naming { template: None, places: vec![Place::parse(name, text).expect("a template")] };
        match self {
            _ if self.is_collection() => template(&format!("{{table}}{}{{id}}", char::from(MEMBER))),
            Kind::RedisCluster => template(&format!("{{{{{TAG}}}}}:{{table}}:{{id}}")),
            Kind::OpenSearchRouted => place("routing", "{part}"),
            Kind::OpenSearchIndexes => place("index", index),
            _ => Naming::default(),
        }
    }

    /// A document's name, as it is shown, as the world has it.
    pub(super) fn plain(self, name: &str) -> String {
        match self {
            _ if self.is_collection() => name.replace(" ∋ ", ":"),
            Kind::RedisCluster => name.trim_start_matches(&format!("{{{TAG}}}:")).to_owned(),
            _ if self.is_placed() => name.split_once('/').map_or(name, |(_, name)| name).to_owned(),
            _ => name.to_owned(),
        }
    }

    /// What of the world's documents is in a target.
    pub(super) fn kept(self, documents: &Documents) -> Documents {
        let kept = |values: &Values| match self {
            Kind::RedisSet | Kind::RedisList => Values::new(),
            // NULL is nothing.
            Kind::RedisText => [("amount".to_owned(), Some(values["amount"].clone().unwrap_or_default()))].into(),
            Kind::RedisSortedSet => [("amount".to_owned(), values["amount"].clone())].into(),
            _ => values.clone(),
        };
        documents.iter().map(|(key, values)| (key.clone(), kept(values))).collect()
    }
}
