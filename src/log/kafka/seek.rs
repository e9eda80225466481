//! Finding an event in a partition by its number, or by what else rises with it.
//!
//! Numbers rise within a partition, but for what a crash of a writer that delivers at least once wrote twice; then every place at
//! which they pass the wanted one has all that is wanted behind it, in order. So halving finds one.

use crate::kafka::KafkaError;
use crate::kafka::fetch::{Fetched, Probe};
use crate::kafka::headers::{self, EventHeads, OFFSET_HEADER};

/// The first guess is so far from the end, for most readers are near it.
const NEAR: i64 = 1000;

/// The place of the first record of this event or a later one; the partition's end if there is none.
pub(super) fn find(probe: &Probe, topic: &str, partition: i32, wanted: u64) -> Result<i64, KafkaError> {
    let (start, end) = probe.marks(topic, partition)?;
    if wanted == 0 {
        return Ok(start);
    }
    halve(start, end, |at| {
        let found = probe.first_at(topic, partition, at)?;
        found.map(|record| Ok((record.offset(), number(&record, topic)? < wanted))).transpose()
    })
}

/// The first record that `reaches` what is looked for, as all behind it do.
pub(super) fn first(
    probe: &Probe,
    topic: &str,
    partition: i32,
    reaches: impl Fn(&EventHeads) -> bool,
) -> Result<Option<EventHeads>, KafkaError> {
    let (start, end) = probe.marks(topic, partition)?;
    let place = halve(start, end, |at| {
        let found = probe.first_at(topic, partition, at)?;
        found.map(|record| Ok((record.offset(), !reaches(&heads(&record, topic)?)))).transpose()
    })?;
    probe.first_at(topic, partition, place)?.map(|record| heads(&record, topic)).transpose()
}

/// `look` tells the place of the first record at a place or behind it, and whether it comes before what is looked for.
fn halve(
    start: i64,
    end: i64,
    mut look: impl FnMut(i64) -> Result<Option<(i64, bool)>, KafkaError>,
) -> Result<i64, KafkaError> {
    let (mut low, mut high) = (start, end);
    let mut reach = NEAR;
    // From the end, ever farther, until one is below.
    while low < high {
        let at = end.saturating_sub(reach);
        if at <= low {
            break;
        }
        match look(at)? {
            Some((place, true)) => {
                low = place.saturating_add(1);
                break;
            }
            _ => high = at,
        }
        reach = reach.saturating_mul(16);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        match look(middle)? {
            Some((place, true)) => low = place.saturating_add(1),
            _ => high = middle,
        }
    }
    Ok(low)
}

/// What a record's headers say.
pub(super) fn heads(record: &Fetched, topic: &str) -> Result<EventHeads, KafkaError> {
    let heads = EventHeads::read(|name| record.header(name));
    heads.map_err(|detail| KafkaError::Control { topic: topic.to_owned(), detail })
}

/// The number of a record's event.
pub(super) fn number(record: &Fetched, topic: &str) -> Result<u64, KafkaError> {
    let text = record.header(OFFSET_HEADER).and_then(|text| std::str::from_utf8(text).ok());
    let number = text.and_then(headers::offset);
    number.map(|offset| offset.0).ok_or_else(|| KafkaError::Control {
        topic: topic.to_owned(),
        detail: format!(
            "its record {} has no header {OFFSET_HEADER}: it was written by something else than walbridge. A table's topic must \
             have no other writer",
            record.offset()
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition whose places hold these numbers; `None`: no record.
    fn find_in(numbers: &[Option<u64>], wanted: u64) -> i64 {
        let end = i64::try_from(numbers.len()).expect("short");
        let look = |at: i64| {
            let at = usize::try_from(at).expect("a place");
            let rest = numbers[at..].iter().enumerate();
            let found = rest.filter_map(|(index, number)| number.map(|number| (index, number))).next();
            Ok(found.map(|(index, number)| (i64::try_from(at + index).expect("short"), number < wanted)))
        };
        halve(0, end, look).expect("sound")
    }

    #[test]
    fn every_number_is_found_however_many_there_are() {
        for count in [0_u64, 1, 5, 1500, 40_000] {
            let numbers: Vec<_> = (0..count).map(|number| (number % 7 != 3).then_some(number * 3)).collect();
            for wanted in [0, 1, 3, 2999, 3 * count, 3 * count / 2] {
                let at = usize::try_from(find_in(&numbers, wanted)).expect("a place");
                let below = |number: &Option<u64>| number.is_none_or(|number| number < wanted);
                assert!(numbers[..at].iter().all(below), "{count} {wanted} {at}");
                let first = numbers[at..].iter().flatten().next();
                assert!(first.is_none_or(|&number| number >= wanted), "{count} {wanted} {at}");
            }
        }
    }

    #[test]
    fn behind_what_was_written_twice_everything_comes() {
        let numbers: Vec<_> = [5, 6, 7, 5, 6, 7, 8].map(Some).to_vec();
        let at = usize::try_from(find_in(&numbers, 7)).expect("a place");
        let rest: Vec<_> = numbers[at..].iter().flatten().filter(|number| **number >= 7).collect();
        assert!(rest.ends_with(&[&7, &8]), "{rest:?}");
    }
}
