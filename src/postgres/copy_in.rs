//! `COPY … FROM STDIN`: rows as the protocol's stream of them, in its text form.

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::connection::{Connection, unexpected};
use super::{PostgresError, ServerError};

/// A piece of the stream is no longer than this, unless one row is.
const PIECE_BYTES: usize = 1 << 20;

impl Connection {
    /// Runs a statement, or several separated by semicolons, one of which is a `COPY … FROM STDIN`, and gives it these rows.
    ///
    /// All of it is sent at once: a server that refuses a statement before it comes to the rows passes over them (manual, "COPY Operations").
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub(crate) async fn copy_in(&mut self, doing: &'static str, sql: &str, rows: &[u8]) -> Result<(), PostgresError> {
        self.compose(|outbox| frontend::query(sql, outbox))?;
        for piece in rows.chunks(PIECE_BYTES) {
            self.compose(|outbox| {
                frontend::CopyData::new(piece)?.write(outbox);
                Ok(())
            })?;
        }
        self.compose(|outbox: &mut BytesMut| {
            frontend::copy_done(outbox);
            Ok(())
        })?;
        self.send().await?;
        let mut failure = None;
        loop {
            match self.next_message().await? {
                (b'E', body) => failure = Some(ServerError::parse(body)),
                (b'Z', _) => break,
                // Copy in response, command complete.
                (b'G' | b'C', _) => {}
                (tag, _) => return Err(unexpected(tag)),
            }
        }
        failure.map_or(Ok(()), |source| Err(PostgresError::Server { doing, source }))
    }
}
