//! Any of the sinks, as one.

use walbridge::event::TableName;
use walbridge::project::mutation::{Key, Mutation};
use walbridge::sink::exec::ExecSink;
use walbridge::sink::file::FileSink;
use walbridge::sink::opensearch::OpenSearchSink;
use walbridge::sink::postgres::PostgresSink;
use walbridge::sink::redis::RedisSink;
#[cfg(feature = "search")]
use walbridge::sink::tantivy::TantivySink;
use walbridge::sink::webhook::WebhookSink;
use walbridge::sink::{Checkpoint, Image, Imager, KeyPage, Rejection, Sink, SinkError, Staged};

/// Any of the sinks.
pub(super) enum AnySink {
    Redis(Box<RedisSink>),
    #[cfg(feature = "search")]
    Tantivy(TantivySink),
    OpenSearch(Box<OpenSearchSink>),
    Postgres(Box<PostgresSink>),
    Webhook(Box<WebhookSink>),
    Exec(Box<ExecSink>),
    File(FileSink),
}

impl Sink for AnySink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        match self {
            AnySink::Redis(sink) => sink.resume().await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.resume().await,
            AnySink::OpenSearch(sink) => sink.resume().await,
            AnySink::Postgres(sink) => sink.resume().await,
            AnySink::Webhook(sink) => sink.resume().await,
            AnySink::Exec(sink) => sink.resume().await,
            AnySink::File(sink) => sink.resume().await,
        }
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        match self {
            AnySink::Redis(sink) => sink.stage(mutations).await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.stage(mutations).await,
            AnySink::OpenSearch(sink) => sink.stage(mutations).await,
            AnySink::Postgres(sink) => sink.stage(mutations).await,
            AnySink::Webhook(sink) => sink.stage(mutations).await,
            AnySink::Exec(sink) => sink.stage(mutations).await,
            AnySink::File(sink) => sink.stage(mutations).await,
        }
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        match self {
            AnySink::Redis(sink) => sink.keys(table, from).await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.keys(table, from).await,
            AnySink::OpenSearch(sink) => sink.keys(table, from).await,
            AnySink::Postgres(sink) => sink.keys(table, from).await,
            AnySink::Webhook(sink) => sink.keys(table, from).await,
            AnySink::Exec(sink) => sink.keys(table, from).await,
            AnySink::File(sink) => sink.keys(table, from).await,
        }
    }

    async fn read(&mut self, keys: &[Key]) -> Result<Vec<Option<Image>>, SinkError> {
        match self {
            AnySink::Redis(sink) => sink.read(keys).await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.read(keys).await,
            AnySink::OpenSearch(sink) => sink.read(keys).await,
            AnySink::Postgres(sink) => sink.read(keys).await,
            AnySink::Webhook(sink) => sink.read(keys).await,
            AnySink::Exec(sink) => sink.read(keys).await,
            AnySink::File(sink) => sink.read(keys).await,
        }
    }

    fn imager(&self) -> Imager {
        match self {
            AnySink::Redis(sink) => sink.imager(),
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.imager(),
            AnySink::OpenSearch(sink) => sink.imager(),
            AnySink::Postgres(sink) => sink.imager(),
            AnySink::Webhook(sink) => sink.imager(),
            AnySink::Exec(sink) => sink.imager(),
            AnySink::File(sink) => sink.imager(),
        }
    }

    async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        match self {
            AnySink::Redis(sink) => sink.flush().await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.flush().await,
            AnySink::OpenSearch(sink) => sink.flush().await,
            AnySink::Postgres(sink) => sink.flush().await,
            AnySink::Webhook(sink) => sink.flush().await,
            AnySink::Exec(sink) => sink.flush().await,
            AnySink::File(sink) => sink.flush().await,
        }
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        match self {
            AnySink::Redis(sink) => sink.commit(upto).await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.commit(upto).await,
            AnySink::OpenSearch(sink) => sink.commit(upto).await,
            AnySink::Postgres(sink) => sink.commit(upto).await,
            AnySink::Webhook(sink) => sink.commit(upto).await,
            AnySink::Exec(sink) => sink.commit(upto).await,
            AnySink::File(sink) => sink.commit(upto).await,
        }
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        match self {
            AnySink::Redis(sink) => sink.probe().await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.probe().await,
            AnySink::OpenSearch(sink) => sink.probe().await,
            AnySink::Postgres(sink) => sink.probe().await,
            AnySink::Webhook(sink) => sink.probe().await,
            AnySink::Exec(sink) => sink.probe().await,
            AnySink::File(sink) => sink.probe().await,
        }
    }
}
