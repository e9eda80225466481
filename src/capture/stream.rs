//! The replication stream: `START_REPLICATION`, `XLogData` and keepalives in, status updates out.

use std::time::{Duration, Instant};

use bytes::BufMut;
use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::error::{CaptureError, ServerError};
use super::feedback::StatusUpdate;
use crate::event::{Lsn, Timestamp};
use crate::postgres::connection::{Connection, unexpected};
use crate::postgres::pace::Pace;

/// A running stream.
pub struct Stream {
    connection: Connection,
    pace: Pace,
    last_heard: Instant,
}

/// What the server sends. Lies in the read buffer until the next call.
#[derive(Clone, Copy, Debug)]
pub enum Frame<'a> {
    /// One pgoutput message.
    Data {
        /// The message.
        message: &'a [u8],
        /// The server's clock when it was sent.
        sent_at: Timestamp,
    },
    /// Nothing for us before `wal_end`, unless a transaction is open.
    Keepalive {
        /// How far the server has decoded.
        wal_end: Lsn,
        /// It wants an answer at once.
        reply_requested: bool,
    },
}

/// What is asked of the server for a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamOptions {
    /// The publication.
    pub publication: String,
    /// Values in their types' binary form, where a type has one.
    pub binary: bool,
    /// Logical messages.
    pub messages: bool,
    /// Transactions that came to the server by replication. Servers before 16 always send them.
    pub foreign: bool,
    /// Prepared transactions when they are prepared. The slot remembers it, and no stream can take it back.
    pub two_phase: bool,
}

impl StreamOptions {
    /// As `START_REPLICATION` wants them. Version 3 of the protocol (15) has streamed and prepared transactions; 4 (16) adds
    /// streaming in parallel, which is not asked for: it would only tell more of aborts.
    fn sql(&self, server_version: u32) -> String {
        let names = escape_literal(&escape_identifier(&self.publication));
        let modern = server_version >= 160_000;
        let version = if modern { 4 } else { 3 };
        let mut sql = format!("proto_version '{version}', publication_names {names}, streaming 'on'");
        for (wanted, option) in [
            (self.messages, ", messages 'true'"),
            (self.binary, ", binary 'true'"),
            (self.two_phase, ", two_phase 'on'"),
            (modern && !self.foreign, ", origin 'none'"),
        ] {
            sql.push_str(if wanted { option } else { "" });
        }
        sql
    }
}

/// A server that has been asked and stays silent for so long is taken for gone.
const SILENCE: Duration = Duration::from_secs(30);

impl Stream {
    /// Starts streaming after `from`.
    ///
    /// # Errors
    /// The server refuses: the slot is in use, the publication is missing…
    pub async fn start(
        mut connection: Connection,
        slot: &str,
        from: Lsn,
        options: &StreamOptions,
    ) -> Result<Self, CaptureError> {
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} ({})",
            escape_identifier(slot),
            options.sql(connection.server_version())
        );
        connection.start_query(&sql).await?;
        match connection.next_message().await? {
            (b'W', _) => {}
            (b'E', body) => {
                let source = ServerError::parse(body);
                return Err(CaptureError::Server { doing: "starting replication", source });
            }
            (tag, _) => return Err(unexpected(tag).into()),
        }
        let now = Instant::now();
        let pace = Pace::of(connection.is_unix(), now);
        Ok(Stream { connection, pace, last_heard: now })
    }

    /// The next frame that has been read already.
    ///
    /// # Errors
    /// The server ended the stream, or broke the protocol.
    #[inline]
    pub fn buffered(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        match self.connection.buffered_message()? {
            None => Ok(None),
            Some((b'd', body)) => parse_frame(body).map(Some),
            Some((b'E', body)) => Err(CaptureError::Server { doing: "streaming", source: ServerError::parse(body) }),
            Some((b'c' | b'C', _)) => {
                let detail = "the server ended the stream; it is shutting down".to_owned();
                Err(CaptureError::Unreachable { address: "replication stream".to_owned(), detail })
            }
            Some((tag, _)) => Err(unexpected(tag).into()),
        }
    }

    /// Reads more from the socket, first letting it fill under backlog. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke, or has been silent for too long.
    pub async fn fill(&mut self) -> Result<(), CaptureError> {
        self.pace.nap(Instant::now());
        let deadline = (self.last_heard + SILENCE).into();
        let count = match tokio::time::timeout_at(deadline, self.connection.fill()).await {
            Ok(count) => count?,
            Err(_) => return Err(self.connection.broken(format!("nothing heard for {} s", SILENCE.as_secs())).into()),
        };
        self.last_heard = Instant::now();
        self.pace.read(count, self.last_heard);
        Ok(())
    }

    /// Nothing is read for a while, by our own choice: a silence now is not the server's.
    pub fn not_reading(&mut self) {
        self.last_heard = Instant::now();
    }

    /// Whether much is coming, so that more will be here in a moment.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.pace.busy(Instant::now())
    }

    /// Tells the server how far we are.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send_status(&mut self, update: StatusUpdate) -> Result<(), CaptureError> {
        // The server reports the first byte not yet needed, as libpq's clients do: end LSNs, not last bytes.
        self.connection.compose(|outbox| {
            outbox.put_u8(b'd');
            outbox.put_i32(4 + 34);
            outbox.put_u8(b'r');
            outbox.put_u64(update.received.get());
            outbox.put_u64(update.durable.get());
            outbox.put_u64(update.durable.get());
            outbox.put_i64(Timestamp::now().to_postgres());
            outbox.put_u8(u8::from(update.reply_requested));
            Ok(())
        })?;
        self.connection.send().await?;
        Ok(())
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

#[inline]
fn parse_frame(body: &[u8]) -> Result<Frame<'_>, CaptureError> {
    let short = || CaptureError::Protocol("a replication message is cut short".to_owned());
    let (&kind, rest) = body.split_first().ok_or_else(short)?;
    let (first, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let first = Lsn::new(u64::from_be_bytes(*first));
    match kind {
        // XLogData: start, end (the same for logical decoding), the server's clock, data.
        b'w' => {
            let (&[.., a, b, c, d, e, f, g, h], message) = rest.split_first_chunk::<16>().ok_or_else(short)?;
            let sent_at = Timestamp::from_postgres(i64::from_be_bytes([a, b, c, d, e, f, g, h]));
            Ok(Frame::Data { message, sent_at })
        }
        // Primary keepalive: end, the server's clock, whether to reply.
        b'k' => Ok(Frame::Keepalive { wal_end: first, reply_requested: *rest.get(8).ok_or_else(short)? != 0 }),
        other => Err(CaptureError::Protocol(format!("a replication message of type `{}`", other.escape_ascii()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_cut_anywhere_is_refused_not_misread() {
        let data = [&b"w"[..], &1u64.to_be_bytes(), &2u64.to_be_bytes(), &3u64.to_be_bytes()].concat();
        assert!(
            matches!(parse_frame(&data), Ok(Frame::Data { message: [], sent_at }) if sent_at == Timestamp::from_postgres(3))
        );
        let keepalive = [&b"k"[..], &9u64.to_be_bytes(), &3u64.to_be_bytes(), &[1]].concat();
        assert!(matches!(parse_frame(&keepalive), Ok(Frame::Keepalive { reply_requested: true, .. })));
        for frame in [data, keepalive] {
            for end in 0..frame.len() {
                assert!(parse_frame(&frame[..end]).is_err(), "{end}");
            }
        }
        assert!(parse_frame(b"z00000000000000000000000").is_err());
    }

    #[test]
    fn each_server_is_asked_for_what_it_knows() {
        let plain = StreamOptions { publication: "a \"b\"".to_owned(), foreign: true, ..StreamOptions::default() };
        let wanted = r#"proto_version '3', publication_names '"a ""b"""', streaming 'on'"#;
        assert_eq!(plain.sql(150_018), wanted);
        let all = StreamOptions { messages: true, binary: true, two_phase: true, foreign: false, ..plain };
        assert_eq!(all.sql(150_018), format!("{wanted}, messages 'true', binary 'true', two_phase 'on'"));
        assert!(all.sql(160_000).starts_with("proto_version '4'") && all.sql(180_000).ends_with(", origin 'none'"));
    }
}
