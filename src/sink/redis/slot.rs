//! The hash slots of a cluster (Redis cluster specification, "Key distribution model"), and names that lie in each.

use std::sync::LazyLock;

use crc_fast::CrcAlgorithm;

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key: of what stands in its first braces, if anything does.
pub(super) fn of(key: &[u8]) -> u16 {
    let find = |text: &[u8], brace: u8| text.iter().position(|&byte| byte == brace);
    let inside = find(key, b'{').and_then(|at| {
        let rest = key.get(at.saturating_add(1)..)?;
        rest.get(..find(rest, b'}')?).filter(|inside| !inside.is_empty())
    });
    let sum = crc_fast::checksum(CrcAlgorithm::Crc16Xmodem, inside.unwrap_or(key));
    u16::try_from(sum % u64::from(SLOTS)).unwrap_or_default()
}

/// The smallest number that, in braces, puts a key into a slot.
pub(super) fn tag(slot: u16) -> u32 {
    TAGS.get(usize::from(slot)).copied().flatten().unwrap_or_default()
}

static TAGS: LazyLock<Vec<Option<u32>>> = LazyLock::new(|| {
    let mut tags = vec![None; usize::from(SLOTS)];
    let mut missing = tags.len();
    for number in 0_u32.. {
        if let Some(tag @ None) = tags.get_mut(usize::from(of(number.to_string().as_bytes()))) {
            *tag = Some(number);
            missing = missing.saturating_sub(1);
        }
        if missing == 0 {
            break;
        }
    }
    tags
});

#[cfg(test)]
mod tests {
    use super::*;

    /// What `CLUSTER KEYSLOT` of Redis 7.0 says.
    #[test]
    fn slots_are_those_of_redis() {
        for (key, slot) in [
            ("", 0),
            ("123456789", 12_739),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
            ("bar", 5061),
            ("{bar", 4015),
        ] {
            assert_eq!(of(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn every_slot_has_a_tag_that_leads_to_it() {
        for slot in 0..SLOTS {
            assert_eq!(of(format!("walbridge:{{{}}}:sink:slot", tag(slot)).as_bytes()), slot);
        }
    }
}
