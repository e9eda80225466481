//! A Kafka cluster: whether it can be reached, what is allowed there, and what the topics are like.

use super::{Diagnosis, Report, registry};
use crate::event::TableName;
use crate::kafka::admin::{Admin, Topic};
use crate::kafka::producer::Producer;
use crate::kafka::rights::Operation;
use crate::kafka::topic::{self, Wanted};
use crate::kafka::{KafkaError, Settings};

/// Who uses it.
pub(super) enum Use<'a> {
    /// The log, and the consumer groups in which it is read.
    Log(Vec<String>),
    /// The sink of this name.
    Sink(&'a str),
}

/// What a topic is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Rows,
    Transactions,
    /// The log's or the sink's own state.
    State,
}

struct Look<'a> {
    report: Report,
    admin: Admin,
    settings: &'a Settings,
    brokers: usize,
}

/// Looks at it.
pub(super) async fn look(
    report: Report,
    by: Use<'_>,
    settings: &Settings,
    source: &str,
    tables: &[TableName],
) -> Vec<Diagnosis> {
    let mut report = report;
    let (own, groups) = match by {
        Use::Log(groups) => (topic::control(source), groups),
        Use::Sink(name) => (format!("{source}.{name}.walbridge"), Vec::new()),
    };
    let (admin, brokers) = match reach(settings, &own) {
        Ok(reached) => reached,
        Err(error) => {
            report.error("brokers", error.code(), &error);
            return report.found;
        }
    };
    report.ok("brokers", format!("{brokers} at {}", settings.brokers));
    let mut topics = vec![(own, Role::State)];
    if settings.transaction_metadata {
        topics.push((topic::transactions(source), Role::Transactions));
    }
    for table in tables {
        match settings.topic.of_table(source, table) {
            Ok(name) => topics.push((name, Role::Rows)),
            Err(why) => report.fail("topic", why, "Choose another `topic`"),
        }
    }
    let mut look = Look { report, admin, settings, brokers };
    for (name, role) in &topics {
        let outcome = look.topic(name, *role).await;
        if let Err(error) = outcome {
            look.report.error("topic", error.code(), &error);
        }
    }
    look.rights(&topics);
    for group in &groups {
        look.group(group);
    }
    if let Some(asked) = &settings.registry {
        let rows = topics.iter().filter(|(_, role)| *role == Role::Rows).map(|(name, _)| name.as_str());
        registry::look(&mut look.report, asked, settings.format, rows).await;
    }
    look.report.found
}

fn reach(settings: &Settings, own: &str) -> Result<(Admin, usize), KafkaError> {
    // A producer, because it hears why brokers refuse it.
    Producer::new(settings, None, 1024)?.reach(own, 0)?;
    let admin = Admin::new(settings)?;
    let (brokers, _) = admin.replicas(own)?;
    Ok((admin, brokers))
}

impl Look<'_> {
    async fn topic(&mut self, name: &str, role: Role) -> Result<(), KafkaError> {
        let wanted = self.wanted(role);
        let Some(found) = self.admin.find(name).await? else {
            self.admin.could_make(name, &wanted).await?;
            if self.settings.topics.replication == Some(1) && self.brokers > 1 {
                self.report.warn(
                    "topic",
                    format!("{name} is not there; it would be made with one replica, and go with one broker"),
                    "Say topics = { replication = 3 }",
                );
            } else {
                self.report.ok("topic", format!("{name} is not there; it is made with its first record"));
            }
            return Ok(());
        };
        if let Some(detail) = found.differs(&wanted) {
            self.report.fail("topic", format!("{name}: {detail}"), "");
            return Ok(());
        }
        if role == Role::State && !found.is_compacted() {
            let message = format!("{name} has cleanup.policy = {}: what it holds expires", found.cleanup_policy);
            self.report.fail("topic", message, "Set its cleanup.policy to compact");
            return Ok(());
        }
        let (_, replicas) = self.admin.replicas(name)?;
        self.replicas(name, &found, replicas);
        let kept = match (found.is_compacted(), found.kept) {
            (true, _) => "the last record of each key for ever".to_owned(),
            (false, None) => "all for ever".to_owned(),
            (false, Some(kept)) => format!("records for {} hours", kept.as_secs() / 3600),
        };
        let Topic { partitions, record_bytes_max, .. } = found;
        self.report.ok(
            "topic",
            format!("{name}: {partitions} partitions of {replicas} replicas, keeps {kept}, takes {record_bytes_max} bytes at once"),
        );
        Ok(())
    }

    fn wanted(&self, role: Role) -> Wanted {
        let topics = &self.settings.topics;
        match role {
            Role::Rows => topics.clone(),
            Role::Transactions => topics.of_transactions(),
            Role::State => topics.of_state(),
        }
    }

    fn replicas(&mut self, name: &str, found: &Topic, replicas: usize) {
        let Topic { in_sync_min, .. } = *found;
        if in_sync_min > replicas {
            let message =
                format!("{name} has {replicas} replicas and min.insync.replicas = {in_sync_min}: it takes nothing");
            self.report.fail("replicas", message, "Give it more replicas, or lower min.insync.replicas");
        } else if replicas == 1 {
            let message = format!("{name} has one replica: if its broker loses its disk, it is gone");
            self.report.warn("replicas", message, "Give it three replicas");
        } else if in_sync_min == replicas {
            let message =
                format!("{name} needs all its {replicas} replicas: while one broker is away, nothing is written");
            self.report.warn("replicas", message, format!("Set min.insync.replicas to {}", replicas.saturating_sub(1)));
        } else if in_sync_min == 1 {
            let message = format!("{name} has min.insync.replicas = 1: what only one broker has counts as written");
            self.report.warn("replicas", message, "Set min.insync.replicas to 2");
        }
    }

    /// What ACLs allow on the topics that are there. That one may be made was tried without making it. Of the transactional id no
    /// question tells anything: taking it would fence whoever writes.
    fn rights(&mut self, topics: &[(String, Role)]) {
        const CHECK: &str = "rights";
        let names: Vec<String> = topics.iter().map(|(name, _)| name.clone()).collect();
        let rights = match self.admin.rights(&names) {
            Ok(rights) => rights,
            Err(error) => return self.report.error(CHECK, error.code(), &error),
        };
        let mut sound = true;
        for (name, role) in topics {
            let Some(allowed) = rights.get(name) else { continue };
            let mut needed = vec![Operation::Describe, Operation::DescribeConfigs, Operation::Write];
            if *role == Role::State {
                needed.push(Operation::Read);
            }
            let missing: Vec<String> = needed
                .iter()
                .filter(|operation| !allowed.contains(operation))
                .map(|operation| format!("{operation:?}"))
                .collect();
            if !missing.is_empty() {
                sound = false;
                let options: Vec<String> = missing.iter().map(|operation| format!("--operation {operation}")).collect();
                let remedy = format!(
                    "kafka-acls --add --allow-principal User:… {} --topic {name}; docs/kafka.md has all that is needed",
                    options.join(" ")
                );
                self.report.fail(CHECK, format!("on {name} this principal lacks {}", missing.join(", ")), remedy);
            }
        }
        if sound {
            let own = topics.first().map_or("", |(name, _)| name.as_str());
            self.report.ok(
                CHECK,
                format!("all that is needed on {} topics that are there; on the transactional ids that begin with {own} Write and Describe are needed too", rights.len()),
            );
        }
    }

    /// What ACLs allow on a group. A sink that reads topics has one, which it never asks for a place.
    fn group(&mut self, group: &str) {
        const CHECK: &str = "group";
        match self.admin.group_rights(group) {
            Err(error) => self.report.error(CHECK, error.code(), &error),
            Ok(Some(allowed)) if !allowed.contains(&Operation::Read) => {
                let remedy = format!("kafka-acls --add --allow-principal User:… --operation Read --group {group}");
                self.report.fail(CHECK, format!("on group {group} this principal lacks Read"), remedy);
            }
            Ok(Some(_)) => self.report.ok(CHECK, format!("group {group} may be joined")),
            Ok(None) => {
                self.report.ok(
                    CHECK,
                    format!("the brokers say nothing of group {group}, which is not there yet; Read on it is needed"),
                );
            }
        }
    }
}
