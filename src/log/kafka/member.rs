//! A member of a consumer group: learns from the group which partitions are this process's.
//!
//! The group is believed in this and in nothing else. No record is read through it: its offsets expire, and they are not where the data
//! is. What was applied is committed to it all the same, so that the usual tools show a lag.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::OAuthToken;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::follow::Follower;
use crate::event::TableFilter;
use crate::kafka::KafkaError;
use crate::kafka::producer::Quiet;
use crate::log::share::{Part, Share};

/// How long a part that is taken away in good order may be finished with. Less than any session's time.
const HAND_OVER: Duration = Duration::from_secs(3);
/// How often it is looked whether there is something to be told or to be heard.
const TURN: Duration = Duration::from_millis(100);
/// What an operator may say otherwise: so long after its last sign of life a member is given up, and partitions that are added are found
/// within so long.
const DEFAULTS: [(&str, &str); 2] = [("session.timeout.ms", "10000"), ("topic.metadata.refresh.interval.ms", "10000")];

/// Starts a member of the group, which shares the topics of these tables.
///
/// # Errors
/// No thread can be had for it.
pub(super) fn start(
    follower: &Arc<Follower>,
    group: String,
    tables: TableFilter,
) -> Result<Arc<Share>, std::io::Error> {
    let share = Arc::new(Share::default());
    let (ours, follower) = (Arc::clone(&share), Arc::clone(follower));
    let body = move || {
        while !ours.is_over() {
            let member = Member { share: &ours, follower: &follower, group: &group, tables: &tables };
            if let Err(error) = member.run() {
                tracing::warn!(group, %error, "the group cannot be joined; trying again");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        ours.left();
    };
    std::thread::Builder::new().name("group".to_owned()).spawn(body)?;
    Ok(share)
}

struct Member<'m> {
    share: &'m Arc<Share>,
    follower: &'m Follower,
    group: &'m str,
    tables: &'m TableFilter,
}

impl Member<'_> {
    /// From joining until leaving.
    fn run(&self) -> Result<(), KafkaError> {
        let settings = &self.follower.options.settings;
        let mut config = settings.consumer()?;
        config.set("group.id", self.group).set("partition.assignment.strategy", "cooperative-sticky");
        for (name, value) in DEFAULTS {
            if !settings.properties.iter().any(|(given, _)| given == name) {
                config.set(name, value);
            }
        }
        let refused = |error: ClientError| KafkaError::Settings { detail: error.to_string() };
        let hand = Hand { share: Arc::clone(self.share), quiet: Quiet::new(settings) };
        let client: BaseConsumer<Hand> = config.create_with_context(hand).map_err(refused)?;
        let mut subscribed = BTreeSet::new();
        while !self.share.is_over() && !self.share.take_rejoin() {
            let topics = self.topics();
            if topics != subscribed {
                let names: Vec<&str> = topics.iter().map(String::as_str).collect();
                client.subscribe(&names).map_err(refused)?;
                subscribed = topics;
            }
            // Nothing comes but the group's word; what goes wrong with the brokers passes.
            if let Some(Err(error)) = client.poll(TURN) {
                tracing::debug!(group = self.group, %error, "group");
            }
            self.tell(&client);
        }
        Ok(())
    }

    /// The topics that have records, of the tables that are wanted.
    fn topics(&self) -> BTreeSet<String> {
        let options = &self.follower.options;
        let known = self.follower.known();
        let wanted = known.relations.values().filter(|relation| (self.tables)(&relation.name));
        let names = wanted.filter_map(|relation| options.settings.topic.of_table(&options.source, &relation.name).ok());
        names.filter(|name| known.topics.contains(name)).collect()
    }

    /// Tells the group how far the parts are. For people: nobody goes on from there.
    fn tell(&self, client: &BaseConsumer<Hand>) {
        let reached = self.share.take_report();
        if reached.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (Part { topic, number }, place) in reached {
            // A place is never negative.
            let _ = list.add_partition_offset(&topic, number, Offset::Offset(place));
        }
        if let Err(error) = client.commit(&list, CommitMode::Async) {
            tracing::debug!(group = self.group, %error, "the group was not told how far this is");
        }
    }
}

/// Hands parts on as the group gives and takes them. Called from within `poll`.
struct Hand {
    share: Arc<Share>,
    quiet: Quiet,
}

impl ClientContext for Hand {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = Quiet::ENABLE_REFRESH_OAUTH_TOKEN;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.quiet.generate_oauth_token(config)
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.quiet.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.quiet.error(error, reason);
    }
}

impl ConsumerContext for Hand {
    fn rebalance(&self, client: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let parts: Vec<Part> = list
            .elements()
            .iter()
            .map(|element| Part { topic: element.topic().into(), number: element.partition() })
            .collect();
        let names = parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            tracing::info!(parts = names, "partitions given");
            // Never fetched from: they are paused at once.
            let placed = list.set_all_offsets(Offset::End);
            let done = placed.and_then(|()| client.incremental_assign(list)).and_then(|()| client.pause(list));
            self.share.give(parts.into_iter());
            done
        } else {
            let lost = client.assignment_lost();
            tracing::info!(parts = names, lost, "partitions taken away");
            self.share.take_away(&parts, if lost { Duration::ZERO } else { HAND_OVER });
            client.incremental_unassign(list)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the group's client refuses its partitions");
        }
    }
}
