//! From a time, an LSN or an offset to a place in the log: the first of the events that any partition has there or behind it.

use super::follow::{Follower, Known};
use super::seek;
use crate::event::{Offset, Place, Position};
use crate::kafka::fetch::Probe;
use crate::kafka::headers::EventHeads;
use crate::log::LogError;

/// See [`crate::log::Log::find`]. Blocks, for some milliseconds a partition.
pub(super) fn find(follower: &Follower, place: Place) -> Result<Offset, LogError> {
    let probe = Probe::new(&follower.options.settings)?;
    let topics: Vec<String> = follower.known().topics.iter().cloned().collect();
    let topics = topics.into_iter().map(|topic| {
        let partitions = probe.partitions(&topic)?;
        Ok((topic, partitions))
    });
    let topics: Vec<(String, i32)> = topics.collect::<Result<_, LogError>>()?;
    let start = start(&probe, &topics, follower.known().durable.offset)?;
    let from = match place {
        Place::Start => return Ok(start),
        Place::Offset(wanted) => {
            let end = follower.known().durable.offset;
            if wanted > end {
                return Err(LogError::Ahead { wanted, end });
            }
            first(follower, &probe, &topics, |heads| heads.offset >= wanted)?
        }
        Place::Lsn(commit_lsn) => {
            let last = follower.known().durable.position;
            let epoch = last.map_or(0, |last| last.epoch);
            let wanted = Position { epoch, commit_lsn, ordinal: 0 };
            first(follower, &probe, &topics, |heads| heads.position() >= wanted)?
        }
        Place::Time(time) => {
            // Records have the time of their commit, in milliseconds.
            let time_ms = time.unix_micros().div_euclid(1000);
            let mut earliest = copy(&follower.known(), |heads| heads.transaction.commit_time >= time);
            for (topic, partitions) in &topics {
                for (partition, place) in probe.at_time(topic, *partitions, time_ms)? {
                    let record = probe.first_at(topic, partition, place)?;
                    let heads = record.map(|record| seek::heads(&record, topic)).transpose()?;
                    earliest = earlier(earliest, heads);
                }
            }
            earliest
        }
    };
    let known = follower.known();
    let begins = |heads: EventHeads| heads.transaction.begins(heads.ordinal, heads.offset);
    let from = from.map_or(known.durable.offset, begins).min(known.durable.offset);
    let from = outside_voids(&known, from);
    if from < start { Err(LogError::Expired { wanted: from, start }) } else { Ok(from) }
}

/// From where on retention has removed nothing: what a partition has lost stands before the first record that is left there. (Compaction
/// leaves the newest record of each key.)
fn start(probe: &Probe, topics: &[(String, i32)], end: Offset) -> Result<Offset, LogError> {
    let mut start = Offset(0);
    for (topic, partitions) in topics {
        for partition in 0..*partitions {
            let (low, _) = probe.marks(topic, partition)?;
            if low > 0 {
                let first = probe.first_at(topic, partition, low)?;
                let number = first.map(|record| seek::number(&record, topic)).transpose()?;
                start = start.max(number.map_or(end, Offset));
            }
        }
    }
    Ok(start)
}

/// The first event that `reaches` what is looked for.
fn first(
    follower: &Follower,
    probe: &Probe,
    topics: &[(String, i32)],
    reaches: impl Fn(&EventHeads) -> bool,
) -> Result<Option<EventHeads>, LogError> {
    let mut earliest = copy(&follower.known(), &reaches);
    for (topic, partitions) in topics {
        for partition in 0..*partitions {
            earliest = earlier(earliest, seek::first(probe, topic, partition, &reaches)?);
        }
    }
    Ok(earliest)
}

/// The same of the events that are in the log's own topic.
fn copy(known: &Known, reaches: impl Fn(&EventHeads) -> bool) -> Option<EventHeads> {
    known.copies.values().map(|copied| &copied.heads).find(|heads| reaches(heads)).cloned()
}

fn earlier(one: Option<EventHeads>, other: Option<EventHeads>) -> Option<EventHeads> {
    one.into_iter().chain(other).min_by_key(|heads| heads.offset)
}

/// No reader begins among events that count as never written.
fn outside_voids(known: &Known, offset: Offset) -> Offset {
    let void = known.voids.range(..=offset.0).next_back();
    let behind = void.map_or(0, |(from, events)| from.saturating_add(*events));
    offset.max(Offset(behind).min(known.durable.offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_among_events_that_count_as_never_written_is_behind_them() {
        let mut known = Known::default();
        known.durable.offset = Offset(100);
        known.voids.insert(10, 5);
        for (offset, outside) in [(9, 9), (10, 15), (14, 15), (15, 15), (16, 16)] {
            assert_eq!(outside_voids(&known, Offset(offset)), Offset(outside), "{offset}");
        }
    }
}
