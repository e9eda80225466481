//! Both sides against a model, in memory that is far too small.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::event::{Position, TableName};
use crate::project::mutation::{Effect, Key, Mutation};

fn key(n: u32) -> Key {
    Key(Bytes::from(format!("key:{n}")))
}

fn clear() -> Mutation {
    let effect = Effect::Clear(TableName { schema: "public".into(), table: "t".into() });
    Mutation { key: Key(Bytes::new()), position: Position::default(), effect }
}

async fn settled(roster: &mut Roster, suspects: &mut Suspects) {
    roster.settle().await;
    suspects.settle().await.expect("a disk");
}

/// Every key that is told, in all turns; and how many turns there were.
/// `meanwhile`: what is done to the source's keys while suspects are looked at, by the turn.
async fn told(
    roster: &mut Roster,
    suspects: &mut Suspects,
    mut meanwhile: impl FnMut(u32) -> Vec<(u32, bool)>,
) -> (Vec<Key>, u32) {
    let (mut from, mut all, mut turns) = (0, Vec::new(), 0);
    loop {
        roster.load(from).await.expect("a disk");
        let mut batch = suspects.load(from..=roster.end(), roster).await.expect("a disk");
        loop {
            let keys = batch.next(10, roster);
            if keys.is_empty() {
                break;
            }
            for (n, is_there) in meanwhile(turns) {
                roster.set(&key(n), is_there);
            }
            roster.settle().await;
            all.extend(keys.into_iter().filter(|key| roster.is_gone(key)));
        }
        turns += 1;
        let Some(next) = batch.next_turn(roster) else { return (all, turns) };
        from = next;
    }
}

fn unique(told: &[Key]) -> BTreeSet<Key> {
    let unique: BTreeSet<Key> = told.iter().cloned().collect();
    assert_eq!(unique.len(), told.len(), "a key was told twice");
    unique
}

fn both(memory_bytes: usize, directory: &Path) -> (Roster, Suspects) {
    (Roster::new(memory_bytes, directory.to_owned()), Suspects::new(memory_bytes / 4, directory.to_owned()))
}

#[tokio::test]
async fn what_fits_takes_one_turn_and_no_disk() {
    let (mut roster, mut suspects) = both(1 << 20, Path::new("nowhere"));
    (0..1000).for_each(|n| roster.set(&key(n), true));
    settled(&mut roster, &mut suspects).await;
    for n in 500..1100 {
        let hash = roster.hash(&key(n).0);
        if roster.may_lack(hash) {
            suspects.add(hash, key(n));
        }
    }
    settled(&mut roster, &mut suspects).await;
    let (told, turns) = told(&mut roster, &mut suspects, |_| Vec::new()).await;
    assert_eq!((unique(&told), turns), ((1000..1100).map(key).collect(), 1));
}

/// However little memory there is, whatever is told twice or changes meanwhile, just those keys are told that the source lacks, each once.
#[tokio::test]
async fn what_does_not_fit_is_told_exactly_while_keys_come_and_go() {
    let directory = tempfile::tempdir().expect("a directory");
    for memory_bytes in [2 << 10, 16 << 10, 128 << 10] {
        let (mut roster, mut suspects) = both(memory_bytes, directory.path());
        // What was there before it was emptied does not count: it is lacked.
        (90_000..95_000).for_each(|n| roster.set(&key(n), true));
        roster.settle().await;
        roster.note(&clear());
        for n in 0..20_000 {
            roster.set(&key(n), true);
            if n % 10 == 0 {
                roster.set(&key(n), false);
            }
            if n % 100 == 0 {
                roster.set(&key(n), true);
                settled(&mut roster, &mut suspects).await;
            }
        }
        for n in (0..24_000).rev().chain(0..24_000).chain(90_000..91_000) {
            let hash = roster.hash(&key(n).0);
            if n % 7 != 0 && roster.may_lack(hash) {
                suspects.add(hash, key(n));
            }
            if n % 100 == 0 {
                settled(&mut roster, &mut suspects).await;
            }
        }
        // Lots of keys are inserted under way, and rows of suspects come back: those looked at then are told or not, the others are as ever.
        let meanwhile = |turn: u32| match turn {
            0..20 => (0..50).map(|n| (1_000_000 + turn * 50 + n, true)).chain([(20_001, true)]).collect(),
            _ => Vec::new(),
        };
        let (told, turns) = told(&mut roster, &mut suspects, meanwhile).await;
        let lacked = (0..20_000)
            .filter(|n| n % 10 == 0 && n % 100 != 0)
            .chain(20_000..24_000)
            .chain(90_000..91_000)
            .filter(|n| n % 7 != 0);
        let mut wanted: BTreeSet<Key> = lacked.map(key).collect();
        let mut told = unique(&told);
        told.remove(&key(20_001));
        wanted.remove(&key(20_001));
        assert!(told == wanted, "{} of {} with {memory_bytes} bytes", told.len(), wanted.len());
        assert!(turns as usize > 20_000 * 32 / memory_bytes / 2, "{turns} turns with {memory_bytes} bytes");
    }
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
}

/// A turn in which more rows come than fit ends where it is, and a suspect at hand is known all the same.
#[tokio::test]
async fn a_turn_that_is_flooded_ends_early_and_forgets_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut roster, mut suspects) = both(32 * 100, directory.path());
    (0..90).for_each(|n| roster.set(&key(n), true));
    for n in 1000..1100 {
        let hash = roster.hash(&key(n).0);
        suspects.add(hash, key(n));
    }
    let flood = |turn: u32| if turn == 0 { (5000..9000).map(|n| (n, true)).collect() } else { Vec::new() };
    let (told, turns) = told(&mut roster, &mut suspects, flood).await;
    assert_eq!(unique(&told), (1000..1100).map(key).collect());
    assert!(turns > 10, "{turns}");
}

#[tokio::test]
async fn without_a_disk_it_says_so() {
    let (mut roster, _) = both(32, Path::new("nowhere"));
    (0..10).for_each(|n| roster.set(&key(n), true));
    roster.settle().await;
    assert!(roster.is_lost());
    assert!(roster.load(0).await.is_err());
}
