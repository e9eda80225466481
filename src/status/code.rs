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
    /// Held up by something that is expected to pass; nothing is lost, and it goes on by itself.
    Paused,
    /// Going on, with something set aside.
    Degraded,
    /// Needs an operator. The code says why, the message what to do.
    Halted,
}

impl State {
    /// The public word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Snapshotting => "snapshotting",
            State::Streaming => "streaming",
            State::CatchingUp => "catching_up",
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

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Why a source or sink is in its state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)+ }

        impl Code {
            /// The public word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)+ }
            }

            /// Every code, for documentation and its test.
            pub const ALL: &'static [Code] = &[$(Code::$name,)+];
        }
    };
}

codes! {
    /// The configuration is wrong.
    ConfigInvalid = "config.invalid",
    /// The server refused the role or its password.
    SourceAuth = "source.auth",
    /// The server cannot be reached, or went away.
    SourceUnreachable = "source.unreachable",
    /// The role lacks a privilege.
    SourcePrivilege = "source.privilege",
    /// The server is a standby that cannot decode.
    SourceNotPrimary = "source.not_primary",
    /// `wal_level` is not `logical`.
    SourceWalLevel = "source.wal_level",
    /// Another client holds the slot.
    SourceSlotActive = "source.slot_active",
    /// The slot is gone.
    SourceSlotMissing = "source.slot_missing",
    /// The slot was invalidated: WAL it needed was removed.
    SourceSlotLost = "source.slot_lost",
    /// The server is another cluster, or another timeline of it.
    SourceHistoryChanged = "source.history_changed",
    /// The log is ahead of the server: the server was restored to an earlier time.
    SourcePositionAhead = "source.position_ahead",
    /// The slot is ahead of the log: changes in between are not in the log.
    SourceGap = "source.gap",
    /// A table has no key to name its rows by.
    SourceIdentity = "source.identity",
    /// The server sent something that is not the protocol.
    SourceProtocol = "source.protocol",
    /// The publication is missing, or not what the configuration says.
    SourcePublication = "source.publication",
    /// The copy of existing rows was interrupted and goes on.
    SnapshotInterrupted = "snapshot.interrupted",
    /// Row-level security hides rows from the snapshot.
    SnapshotPartialView = "snapshot.partial_view",
    /// A change of the table's definition that cannot be followed.
    SchemaUnsupported = "schema.unsupported",
    /// A type that cannot be carried.
    TypeUnsupported = "type.unsupported",
    /// The log's disk failed.
    LogIo = "log.io",
    /// The log's disk is full.
    LogFull = "log.full",
    /// The log is damaged.
    LogCorrupt = "log.corrupt",
    /// Another process has the log.
    LogLocked = "log.locked",
    /// The log was written by a newer version.
    LogFormat = "log.format",
    /// What was asked for is no longer in the log.
    LogExpired = "log.expired",
    /// The sink cannot be reached.
    SinkUnavailable = "sink.unavailable",
    /// The sink asks for patience.
    SinkThrottled = "sink.throttled",
    /// The sink refused rows; they are in its dead letters.
    SinkRejected = "sink.rejected",
    /// The sink lost what it had.
    SinkRegressed = "sink.regressed",
    /// Another writer feeds the same sink.
    SinkFenced = "sink.fenced",
    /// A certificate or TLS setting is wrong.
    SecurityTls = "security.tls",
    /// A credential was refused, or an unsafe way of sending it was asked for.
    SecurityAuth = "security.auth",
    /// A limit was reached.
    ResourceLimit = "resource.limit",
    /// A bug in walbridge.
    Internal = "internal",
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
    /// The configuration, or the server's set-up, must be mended first.
    Configuration = 2,
    /// Halted for an operator.
    Halted = 3,
    /// A bug.
    Internal = 70,
}
