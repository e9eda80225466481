//! What the streaming loop waits for once it has done what it can. Pure.

/// One of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The server's next bytes.
    Server,
    /// Nothing: there is more to take, without another byte of the server's.
    Turn,
    /// The log, which has to take what it was given.
    Room,
}

impl Next {
    /// `room`: the log takes more. `left`: something was left to be taken: frames that are read, or a transaction that is replayed.
    pub(super) const fn of(room: bool, left: bool) -> Self {
        match (room, left) {
            (false, _) => Next::Room,
            (true, true) => Next::Turn,
            (true, false) => Next::Server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames that had been read and were left because the log was full were forgotten when it had room again: the loop waited for the
    /// server instead. While that went on sending they piled up in the read buffer, which doubled and doubled (300 MiB were seen, and four were
    /// meant); at the end of a backlog the server had nothing more to send, and what was left was taken four megabytes every five
    /// seconds, when it was time to tell the server how far we are. A drain into a slow Kafka took ten to a hundred seconds, in place of
    /// six.
    #[test]
    fn what_was_left_for_want_of_room_is_taken_before_more_is_read() {
        assert_eq!(Next::of(true, true), Next::Turn);
        assert_eq!(Next::of(false, true), Next::Room);
        assert_eq!(Next::of(false, false), Next::Room);
        assert_eq!(Next::of(true, false), Next::Server);
    }
}
