//! What a request holds: a list of events.

use std::sync::Arc;

use bytes::Bytes;

use crate::event::{Event, Position};
use crate::project::line::write_event;
use crate::project::mutation::Mutation;

/// An event that waits to be sent.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) mutation: Mutation,
    /// The event's own place, also where it comes after its time.
    position: Position,
    pub(super) json: Arc<[u8]>,
}

impl Queued {
    pub(super) fn of(source: &str, event: &Event, mutation: Mutation) -> Self {
        let mut json = Vec::new();
        write_event(source, event, &mut json);
        Queued { mutation, position: event.position(), json: json.into() }
    }
}

/// A request's body, and the key by which a receiver knows it again.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// The first event's Position and the last one's.
    pub(super) key: String,
}

impl Body {
    pub(super) fn of(events: &[Queued]) -> Self {
        let length: usize = events.iter().map(|event| event.json.len().saturating_add(1)).sum();
        let mut bytes = Vec::with_capacity(length.saturating_add(2));
        for event in events {
            bytes.push(if bytes.is_empty() { b'[' } else { b',' });
            bytes.extend_from_slice(&event.json);
        }
        bytes.push(b']');
        let positions = [events.first(), events.last()].map(|event| event.map(|event| event.position.to_string()));
        let key = match positions {
            [Some(first), Some(last)] if first != last => format!("{first}-{last}"),
            [Some(only), _] => only,
            [None, _] => String::new(),
        };
        Body { bytes: bytes.into(), key }
    }
}

/// Into requests, the first one last.
pub(super) fn cut(mut events: Vec<Queued>, events_max: usize, bytes_max: usize) -> Vec<Vec<Queued>> {
    let mut pieces = Vec::new();
    while !events.is_empty() {
        let mut bytes = 0_usize;
        let fits = events.iter().take(events_max).take_while(|event| {
            bytes = bytes.saturating_add(event.json.len());
            bytes <= bytes_max
        });
        let rest = events.split_off(fits.count().max(1));
        pieces.push(std::mem::replace(&mut events, rest));
    }
    pieces.reverse();
    pieces
}
