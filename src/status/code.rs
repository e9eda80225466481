//! States, codes, exit codes.

use std::fmt;

/// What a source or a sink is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Connecting, checking, or waiting to.
    #[default]
    Starting,
    /// A source that copies existing rows, with its stream running beside.
    Snapshotting,
    /// Up to date, or as good as.
    Streaming,
    /// Working through a backlog.
    CatchingUp,
    /// A sink that applies again, by an operator's order, what it had applied before.
    Replaying,
    /// Held up by something that is expected to pass; nothing is lost, and it goes on by itself.
    Paused,
    /// Going on, with something set aside.
    Degraded,
    /// Needs an operator. The code says why, the message what to do.
    Halted,
}

impl State {
    /// All of them.
    pub const ALL: [State; 8] = [
        State::Starting,
        State::Snapshotting,
        State::Streaming,
        State::CatchingUp,
        State::Replaying,
        State::Paused,
        State::Degraded,
        State::Halted,
    ];

    /// The public word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Snapshotting => "snapshotting",
            State::Streaming => "streaming",
            State::CatchingUp => "catching_up",
            State::Replaying => "replaying",
            State::Paused => "paused",
            State::Degraded => "degraded",
            State::Halted => "halted",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an error calls for. Each stage's error type answers this one question; only the two loops act on the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// May pass by itself: try again, with backoff, for ever, visibly.
    Retry,
    /// This row can never be applied: set it aside with its reason.
    Reject,
    /// Going on would be a guess: halt with a remedy.
    Stop,
}

/// Why a source or sink is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The configuration is wrong.
    ConfigInvalid,
    /// The server refused the role or its password.
    SourceAuth,
    /// The server cannot be reached, or went away.
    SourceUnreachable,
    /// The server answered with an error that is none of the others: mostly one of its own.
    SourceServer,
    /// The role lacks a privilege.
    SourcePrivilege,
    /// The server is a standby that cannot decode.
    SourceNotPrimary,
    /// `wal_level` is not `logical`.
    SourceWalLevel,
    /// Another client holds the slot.
    SourceSlotActive,
    /// The slot is gone.
    SourceSlotMissing,
    /// The slot was invalidated: WAL it needed was removed.
    SourceSlotLost,
    /// The slot of that name is not one we can read from.
    SourceSlotUnusable,
    /// The server keeps more WAL for the slot than the budget allows, or soon will.
    SourceWalBudget,
    /// The server is another cluster, or another timeline of it.
    SourceHistoryChanged,
    /// The log is ahead of the server: the server was restored to an earlier time.
    SourcePositionAhead,
    /// The slot is ahead of the log: changes in between are not in the log.
    SourceGap,
    /// A table has no key to name its rows by.
    SourceIdentity,
    /// The server sent something that is not the protocol.
    SourceProtocol,
    /// The publication is missing, or not what the configuration says.
    SourcePublication,
    /// The copy of existing rows was interrupted and goes on.
    SnapshotInterrupted,
    /// Row-level security hides rows from the snapshot.
    SnapshotPartialView,
    /// A change of the table's definition that cannot be followed.
    SchemaUnsupported,
    /// A type that cannot be carried.
    TypeUnsupported,
    /// The log's disk failed.
    LogIo,
    /// The log's disk is full.
    LogFull,
    /// The log is damaged.
    LogCorrupt,
    /// Another process has the log.
    LogLocked,
    /// The log was written by a newer version.
    LogFormat,
    /// What was asked for is no longer in the log.
    LogExpired,
    /// Kafka cannot be reached, or too few of its replicas are in sync.
    KafkaUnavailable,
    /// Kafka does not allow what the log or sink needs.
    KafkaDenied,
    /// Another walbridge writes the same log.
    KafkaFenced,
    /// A record is larger than its topic takes.
    KafkaRecordTooLarge,
    /// A topic has lost what was written to it: deleted, made anew, or cut.
    KafkaOffsetLost,
    /// A topic is not what the configuration says.
    KafkaTopic,
    /// The schema registry cannot be reached, or has an error of its own.
    KafkaRegistry,
    /// The schema registry does not take a table's schema.
    KafkaSchema,
    /// The sink cannot be reached.
    SinkUnavailable,
    /// The sink asks for patience.
    SinkThrottled,
    /// The sink refused rows; they are in its dead letters.
    SinkRejected,
    /// The sink lost what it had.
    SinkRegressed,
    /// Another writer feeds the same sink.
    SinkFenced,
    /// A certificate or TLS setting is wrong.
    SecurityTls,
    /// A credential was refused, or an unsafe way of sending it was asked for.
    SecurityAuth,
    /// A limit was reached.
    ResourceLimit,
    /// A bug in walbridge.
    Internal,
}

impl Code {
    /// Every code, for documentation and its test.
    pub const ALL: &'static [Code] = &[
        Code::ConfigInvalid,
        Code::SourceAuth,
        Code::SourceUnreachable,
        Code::SourceServer,
        Code::SourcePrivilege,
        Code::SourceNotPrimary,
        Code::SourceWalLevel,
        Code::SourceSlotActive,
        Code::SourceSlotMissing,
        Code::SourceSlotLost,
        Code::SourceSlotUnusable,
        Code::SourceWalBudget,
        Code::SourceHistoryChanged,
        Code::SourcePositionAhead,
        Code::SourceGap,
        Code::SourceIdentity,
        Code::SourceProtocol,
        Code::SourcePublication,
        Code::SnapshotInterrupted,
        Code::SnapshotPartialView,
        Code::SchemaUnsupported,
        Code::TypeUnsupported,
        Code::LogIo,
        Code::LogFull,
        Code::LogCorrupt,
        Code::LogLocked,
        Code::LogFormat,
        Code::LogExpired,
        Code::KafkaUnavailable,
        Code::KafkaDenied,
        Code::KafkaFenced,
        Code::KafkaRecordTooLarge,
        Code::KafkaOffsetLost,
        Code::KafkaTopic,
        Code::KafkaRegistry,
        Code::KafkaSchema,
        Code::SinkUnavailable,
        Code::SinkThrottled,
        Code::SinkRejected,
        Code::SinkRegressed,
        Code::SinkFenced,
        Code::SecurityTls,
        Code::SecurityAuth,
        Code::ResourceLimit,
        Code::Internal,
    ];

    /// The public word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::ConfigInvalid => "config.invalid",
            Code::SourceAuth => "source.auth",
            Code::SourceUnreachable => "source.unreachable",
            Code::SourceServer => "source.server",
            Code::SourcePrivilege => "source.privilege",
            Code::SourceNotPrimary => "source.not_primary",
            Code::SourceWalLevel => "source.wal_level",
            Code::SourceSlotActive => "source.slot_active",
            Code::SourceSlotMissing => "source.slot_missing",
            Code::SourceSlotLost => "source.slot_lost",
            Code::SourceSlotUnusable => "source.slot_unusable",
            Code::SourceWalBudget => "source.wal_budget",
            Code::SourceHistoryChanged => "source.history_changed",
            Code::SourcePositionAhead => "source.position_ahead",
            Code::SourceGap => "source.gap",
            Code::SourceIdentity => "source.identity",
            Code::SourceProtocol => "source.protocol",
            Code::SourcePublication => "source.publication",
            Code::SnapshotInterrupted => "snapshot.interrupted",
            Code::SnapshotPartialView => "snapshot.partial_view",
            Code::SchemaUnsupported => "schema.unsupported",
            Code::TypeUnsupported => "type.unsupported",
            Code::LogIo => "log.io",
            Code::LogFull => "log.full",
            Code::LogCorrupt => "log.corrupt",
            Code::LogLocked => "log.locked",
            Code::LogFormat => "log.format",
            Code::LogExpired => "log.expired",
            Code::KafkaUnavailable => "kafka.unavailable",
            Code::KafkaDenied => "kafka.denied",
            Code::KafkaFenced => "kafka.fenced",
            Code::KafkaRecordTooLarge => "kafka.record_too_large",
            Code::KafkaOffsetLost => "kafka.offset_lost",
            Code::KafkaTopic => "kafka.topic",
            Code::KafkaRegistry => "kafka.registry",
            Code::KafkaSchema => "kafka.schema",
            Code::SinkUnavailable => "sink.unavailable",
            Code::SinkThrottled => "sink.throttled",
            Code::SinkRejected => "sink.rejected",
            Code::SinkRegressed => "sink.regressed",
            Code::SinkFenced => "sink.fenced",
            Code::SecurityTls => "security.tls",
            Code::SecurityAuth => "security.auth",
            Code::ResourceLimit => "resource.limit",
            Code::Internal => "internal",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// A clean stop.
    Clean = 0,
    /// A sink was verified, and differs from its source.
    Different = 1,
    /// The configuration, or the server's set-up, must be mended first.
    Configuration = 2,
    /// Halted for an operator.
    Halted = 3,
    /// A bug.
    Internal = 70,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_missing_from_the_list_or_in_it_twice() {
        let last = Code::Internal as usize;
        let found: Vec<usize> = Code::ALL.iter().map(|code| *code as usize).collect();
        assert_eq!(found, (0..=last).collect::<Vec<_>>(), "a new code goes before Internal, and into ALL");
    }
}
