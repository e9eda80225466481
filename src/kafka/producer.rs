//! The producer: records out, in transactions or idempotently, with every failure as one of ours.
//!
//! It blocks, so it belongs on a thread of its own. After an error a producer is not used again: what became of the open
//! transaction is found out by the next one, whose `init` ends it.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as ErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig,
};

use super::error::KafkaError;
use super::settings::{Settings, TokenSource};
use super::{native, token};

/// How long one answer of the cluster may take before it counts as unavailable.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long the end of a transaction may go without an answer: less than the client waits (`socket.timeout.ms`) until it sends it again. The first
/// one may be on its way still; were it sent again, and answered, the late one would end the transaction after that (Jepsen, "Bufstream 0.1.0").
/// Whoever comes next begins with `init`, after which a late one counts for nothing.
const COMMIT_PATIENCE: Duration = Duration::from_secs(8);
/// How long to wait before looking whether something has failed.
const PAUSE: Duration = Duration::from_millis(100);
/// How long no broker at all may be reachable while something waits for it.
const ALONE_MAX: Duration = Duration::from_secs(5);

/// What a record and each of its headers take in a batch beside their own bytes, at the most.
const RECORD_BYTES: usize = 70;
const HEADER_BYTES: usize = 10;

/// A producer. Dropping it gives up what is not written.
///
/// It writes in strokes: no more is handed to the client than fits into one batch, and then that is written before more is. A client that
/// keeps order has one batch of a partition under way at a time, and while others wait behind it, its thread asks without a pause whether it
/// may send them: that took two thirds of all CPU time.
pub struct Producer {
    client: Arc<Client>,
    /// Tells the thread that listens to the client to end.
    dropped: Arc<AtomicBool>,
    listener: Option<thread::JoinHandle<()>>,
    brokers: String,
    transactional: bool,
    /// What one batch takes, and what has been handed over since all was written.
    stroke_bytes: usize,
    stroke: AtomicUsize,
}

type Client = BaseProducer<Watch, NoCustomPartitioner>;

/// How long the listening thread waits at once. The crate's last millisecond of waiting is none: it asks without a pause.
const LISTEN: Duration = Duration::from_millis(200);

/// A record on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; `None`: by the key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
}

/// Lets what the client's threads say be read where it is looked for: everything that matters comes as an error of a call.
pub(crate) struct Quiet {
    token: Option<TokenSource>,
}

impl Quiet {
    pub(crate) fn new(settings: &Settings) -> Self {
        Quiet { token: token::source(settings) }
    }
}

impl ClientContext for Quiet {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        fresh(self.token.as_ref())
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}

fn fresh(source: Option<&TokenSource>) -> Result<OAuthToken, Box<dyn Error>> {
    Ok(token::fetch(source.ok_or("no token was configured")?)?)
}

/// What the client tells from its own threads.
#[derive(Clone, Default)]
struct Watch {
    seen: Arc<Mutex<Seen>>,
    token: Option<TokenSource>,
}

#[derive(Default)]
struct Seen {
    /// The first record that was not written, by its topic and the reason.
    failed: Option<(String, ErrorCode)>,
    /// Since when no broker can be reached.
    alone_since: Option<Instant>,
    /// The last reason that was given for anything.
    last: Option<(Option<ErrorCode>, String)>,
}

impl Watch {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Watch {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        fresh(self.token.as_ref())
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: ClientError, reason: &str) {
        let code = error.rdkafka_error_code();
        let mut seen = self.seen();
        if code == Some(ErrorCode::AllBrokersDown) {
            // What made it so was told before.
            seen.alone_since.get_or_insert_with(Instant::now);
            return;
        }
        seen.last = Some((code, reason.to_owned()));
    }
}

impl ProducerContext for Watch {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let code = error.rdkafka_error_code().unwrap_or(ErrorCode::Unknown);
            // What is thrown away is so because of something else.
            if matches!(code, ErrorCode::PurgeQueue | ErrorCode::PurgeInflight) {
                return;
            }
            let topic = rdkafka::Message::topic(message).to_owned();
            self.seen().failed.get_or_insert((topic, code));
        }
    }
}

impl Producer {
    /// A producer, not connected yet: transactional under this id, or only idempotent. No batch has more bytes than this.
    ///
    /// # Errors
    /// The client refuses its settings.
    pub fn new(settings: &Settings, transactional_id: Option<&str>, batch_bytes_max: u64) -> Result<Self, KafkaError> {
        let config = settings.producer(transactional_id, batch_bytes_max)?;
        let watch = Watch { token: token::source(settings), ..Watch::default() };
        let client = Client::from_config_and_context(&config, watch)
            .map_err(|error| KafkaError::Settings { detail: error.to_string() })?;
        let mut producer = Producer {
            client: Arc::new(client),
            dropped: Arc::default(),
            listener: None,
            brokers: settings.brokers.clone(),
            transactional: transactional_id.is_some(),
            stroke_bytes: usize::try_from(settings.batch_bytes.min(batch_bytes_max)).unwrap_or(usize::MAX),
            stroke: AtomicUsize::new(0),
        };
        let (client, dropped) = (Arc::clone(&producer.client), Arc::clone(&producer.dropped));
        let listen = move || {
            while !dropped.load(Ordering::Relaxed) {
                client.poll(LISTEN);
            }
        };
        let thread = thread::Builder::new().name("kafka-listen".to_owned()).spawn(listen);
        let thread =
            thread.map_err(|error| KafkaError::Misuse(format!("no thread to listen to the client: {error}")))?;
        producer.listener = Some(thread);
        Ok(producer)
    }

    /// Fences whoever had the same transactional id, and ends what it had open.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub fn init(&self) -> Result<(), KafkaError> {
        if !self.transactional {
            return Ok(());
        }
        let started = Instant::now();
        loop {
            match self.client.init_transactions(Duration::from_secs(2)) {
                Ok(()) => return Ok(()),
                // Why brokers refuse us is told from their threads; the call itself only times out.
                Err(ClientError::Transaction(error))
                    if error.is_retriable() && started.elapsed() < PATIENCE && !self.is_refused() =>
                {
                    self.check(started)?;
                }
                Err(error) => return Err(self.explain(&error)),
            }
        }
    }

    /// Waits until a broker says that a topic has so many partitions; with 0 it need not be there.
    ///
    /// # Errors
    /// None does, or they refuse us.
    pub fn reach(&self, topic: &str, partitions: usize) -> Result<(), KafkaError> {
        let started = Instant::now();
        loop {
            match self.client.client().fetch_metadata(Some(topic), Duration::from_secs(1)) {
                Ok(found) if found.topics().first().map_or(0, |found| found.partitions().len()) >= partitions => {
                    return Ok(());
                }
                // Brokers hear of it one after the other.
                Ok(_) => {
                    self.check(started)?;
                    thread::sleep(PAUSE);
                }
                // Why brokers refuse us is told from their threads; the call itself only times out.
                Err(error) if self.is_refused() => return Err(self.explain(&error)),
                Err(_) => self.check(started)?,
            }
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// An earlier failure.
    pub fn begin(&self) -> Result<(), KafkaError> {
        if !self.transactional {
            return Ok(());
        }
        self.client.begin_transaction().map_err(|error| self.explain(&error))
    }

    /// Takes a record. Where it fits into no batch with those before, waits until those are written.
    ///
    /// # Errors
    /// The client refuses it, or the cluster takes nothing for too long.
    pub fn send<'h>(
        &self,
        outgoing: &Outgoing<'_>,
        headers: impl IntoIterator<Item = (&'static str, &'h [u8])>,
    ) -> Result<(), KafkaError> {
        let headers = headers.into_iter();
        let size = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let mut bytes = RECORD_BYTES + size(outgoing.key) + size(outgoing.value);
        let start = OwnedHeaders::new_with_capacity(headers.size_hint().0);
        let headers = headers.fold(start, |all, (key, value)| {
            bytes += HEADER_BYTES + key.len() + value.len();
            all.insert(Header { key, value: Some(value) })
        });
        let before = self.stroke.load(Ordering::Relaxed);
        if before > 0 && before.saturating_add(bytes) > self.stroke_bytes {
            self.flush()?;
        }
        self.stroke.fetch_add(bytes, Ordering::Relaxed);
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(outgoing.topic).timestamp(outgoing.timestamp_ms);
        record.headers = Some(headers);
        record.partition = outgoing.partition;
        record.key = outgoing.key;
        record.payload = outgoing.value;
        let mut refused_since = None;
        loop {
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((error, back)) if error.rdkafka_error_code() == Some(ErrorCode::QueueFull) => {
                    record = back;
                    self.check(*refused_since.get_or_insert_with(Instant::now))?;
                    thread::sleep(Duration::from_millis(1));
                }
                // Others have heard already that partitions were added.
                Err((error, back)) if error.rdkafka_error_code() == Some(ErrorCode::UnknownPartition) => {
                    record = back;
                    let partition = record.partition.and_then(|partition| usize::try_from(partition).ok());
                    self.reach(outgoing.topic, partition.map_or(0, |partition| partition + 1))?;
                    self.check(*refused_since.get_or_insert_with(Instant::now))?;
                }
                Err((error, _)) => return Err(self.explain(&error)),
            }
        }
    }

    /// Waits until everything taken is written, in all replicas in sync.
    ///
    /// # Errors
    /// It is not.
    pub fn flush(&self) -> Result<(), KafkaError> {
        let started = Instant::now();
        while !native::flush(self.client.client(), PAUSE) {
            self.check(started)?;
        }
        self.stroke.store(0, Ordering::Relaxed);
        self.check(started)
    }

    /// Commits the transaction: all of it is written, and `read_committed` readers see it. Where records are delivered at least
    /// once, waits until they are written.
    ///
    /// # Errors
    /// It is not known to be committed: whoever comes next has to find out.
    pub fn commit(&self) -> Result<(), KafkaError> {
        self.flush()?;
        if !self.transactional {
            return Ok(());
        }
        let started = Instant::now();
        loop {
            match self.client.commit_transaction(Duration::from_secs(1)) {
                Ok(()) => break,
                Err(ClientError::Transaction(error)) if error.is_retriable() && started.elapsed() < COMMIT_PATIENCE => {
                    self.check(started)?;
                }
                Err(error) => return Err(self.explain(&error)),
            }
        }
        self.seen().alone_since = None;
        Ok(())
    }

    fn is_refused(&self) -> bool {
        matches!(self.seen().last, Some((Some(ErrorCode::Authentication | ErrorCode::SSL), _)))
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.client.context().seen()
    }

    /// An error if something has failed, or what began at `started` takes too long.
    fn check(&self, started: Instant) -> Result<(), KafkaError> {
        if let Some((code, reason)) = self.client.client().fatal_error() {
            return Err(self.classify(code, &reason));
        }
        let mut seen = self.seen();
        if let Some((topic, code)) = seen.failed.clone() {
            drop(seen);
            return Err(self.classify_of(code, &format!("a record of topic {topic} was not written: {code}"), &topic));
        }
        let alone = seen.alone_since.is_some_and(|since| since.elapsed() > ALONE_MAX);
        if started.elapsed() > PATIENCE || (alone && started.elapsed() > ALONE_MAX) {
            let (code, reason) = seen.last.take().unwrap_or_default();
            drop(seen);
            let detail = if reason.is_empty() { "nothing was acknowledged in time".to_owned() } else { reason };
            return Err(self.classify(code.unwrap_or(ErrorCode::OperationTimedOut), &detail));
        }
        Ok(())
    }

    fn explain(&self, error: &ClientError) -> KafkaError {
        if let Some((code, reason)) = self.client.client().fatal_error() {
            return self.classify(code, &reason);
        }
        if let Some((topic, code)) = self.seen().failed.clone() {
            return self.classify_of(code, &format!("a record of topic {topic} was not written: {code}"), &topic);
        }
        let (code, detail) = match error {
            ClientError::Transaction(inner) => (Some(inner.code()), inner.string()),
            other => (other.rdkafka_error_code(), other.to_string()),
        };
        let code = code.unwrap_or(ErrorCode::Unknown);
        // "Timed out" is all that a call says where the reason was told elsewhere, or that no broker could be reached.
        let last = self.seen().last.clone();
        let says_nothing = matches!(code, ErrorCode::OperationTimedOut | ErrorCode::BrokerTransportFailure);
        match last {
            Some((Some(why), reason)) if says_nothing => self.classify(why, &reason),
            _ => self.classify(code, &detail),
        }
    }

    fn classify(&self, code: ErrorCode, detail: &str) -> KafkaError {
        self.classify_of(code, detail, "")
    }

    fn classify_of(&self, code: ErrorCode, detail: &str, topic: &str) -> KafkaError {
        classify(code, detail, topic, &self.brokers)
    }
}

/// Waits until the client has ended. One that lived on, and was still asking for its transactional id, fenced the producer that was made
/// after it: a source halted because of itself.
impl Drop for Producer {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
        self.client.purge(PurgeConfig::default().queue().inflight());
        if let Some(listener) = self.listener.take() {
            // A panic there has been reported by the thread itself.
            let _ = listener.join();
        }
    }
}

/// What a client's error calls for.
pub(crate) fn explain(error: &ClientError, topic: &str, brokers: &str) -> KafkaError {
    classify(error.rdkafka_error_code().unwrap_or(ErrorCode::Unknown), &error.to_string(), topic, brokers)
}

/// What an answer calls for.
pub(crate) fn classify(code: ErrorCode, detail: &str, topic: &str, brokers: &str) -> KafkaError {
    let (detail, topic) = (detail.to_owned(), topic.to_owned());
    match code {
        ErrorCode::ProducerFenced
        | ErrorCode::InvalidProducerEpoch
        | ErrorCode::Fenced
        | ErrorCode::TransactionCoordinatorFenced => KafkaError::Fenced { topic },
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed => KafkaError::Denied {
            detail,
            wanted: "Write, Create, Describe and DescribeConfigs on the source's topics, Read on its control topic, Write and \
                     Describe on its transactional id, and IdempotentWrite on the cluster",
        },
        ErrorCode::Authentication | ErrorCode::SaslAuthenticationFailed | ErrorCode::UnsupportedSASLMechanism => {
            KafkaError::Credentials { detail }
        }
        ErrorCode::SSL => KafkaError::Tls { detail },
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopic | ErrorCode::UnknownPartition => {
            KafkaError::Lost { topic, control: String::new(), detail }
        }
        ErrorCode::InvalidRecord | ErrorCode::PolicyViolation => KafkaError::Topic { topic, detail },
        ErrorCode::InvalidArgument | ErrorCode::InvalidConfig => KafkaError::Settings { detail },
        _ => KafkaError::Unavailable { brokers: brokers.to_owned(), detail },
    }
}
