//! Random statements, random runs, and faults at random moments; each seed is a schedule that can be run again.

use walbridge::sink::{Sink, SinkError};

use super::delivery::Delivery;
use super::kind::Promise;
use super::target::Target;
use super::world::Table::{Items, Others};
use super::world::{Statement, Table, World};

/// SplitMix64 (Steele, Lea and Flood 2014): a seed gives the same schedule on every machine.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(super) fn index(&mut self, sides: usize) -> usize {
        usize::try_from(self.below(sides as u64)).expect("less than a usize")
    }

    fn text(&mut self) -> Option<String> {
        match self.below(8) {
            0 => None,
            1 => Some(String::new()),
            _ => Some(format!("{}-{}", "text".repeat(self.index(9)), self.below(1000))),
        }
    }
}

/// A statement that is possible in the world as it is within this transaction.
fn statement(dice: &mut Dice, present: &mut [[bool; 8]; 2]) -> Statement {
    loop {
        let (which, id, other) = (dice.index(2), dice.index(8), dice.index(8));
        let table: Table = if which == 0 { Items } else { Others };
        let here = present[which][id];
        match dice.below(20) {
            0..=5 if !here => {
                present[which][id] = true;
                return Statement::Insert(
                    table,
                    id as i64,
                    [dice.text(), Some(dice.below(9).to_string()), dice.text()],
                );
            }
            6..=11 if here => {
                let mut change = |odds| if dice.below(odds) == 0 { Some(dice.text()) } else { None };
                let (name, big) = (change(2), change(4));
                return Statement::Update(table, id as i64, [name, None, big]);
            }
            12..=16 if here && !present[which][other] => {
                (present[which][id], present[which][other]) = (false, true);
                return Statement::Move(table, id as i64, other as i64, Some(dice.below(100).to_string()));
            }
            17..=18 if here => {
                present[which][id] = false;
                return Statement::Delete(table, id as i64);
            }
            19 if dice.below(4) == 0 => {
                present[which] = [false; 8];
                return Statement::Truncate(table);
            }
            _ => {}
        }
    }
}

pub(super) fn commit_some(dice: &mut Dice, world: &mut World, present: &mut [[bool; 8]; 2]) {
    for _ in 0..=dice.below(4) {
        let count = 1 + dice.below(12);
        let statements: Vec<Statement> = (0..count).map(|_| statement(dice, present)).collect();
        world.commit(&statements);
    }
}

async fn schedule(seed: u64, target: &mut Target) -> Result<(), SinkError> {
    let (mut dice, mut world, mut present) = (Dice(seed), World::new(), [[false; 8]; 2]);
    let mut delivery = Delivery::begin(target, &world).await?;
    let mut committed = 0;
    for _ in 0..10 {
        commit_some(&mut dice, &mut world, &mut present);
        delivery.run = 1 + dice.index(9);
        let ahead = delivery.at + 1 + dice.index(world.len() - delivery.at);
        delivery.stage_to(&world, ahead).await?;
        match dice.below(8) {
            // Staged and forgotten, on the same sink.
            0 => assert_eq!(delivery.resume(&world).await?, committed, "seed {seed}"),
            // The process dies.
            1 => {
                drop(delivery);
                delivery = Delivery::begin(target, &world).await?;
                assert_eq!(delivery.at, committed, "seed {seed}");
            }
            // The target dies.
            2 => {
                drop(delivery);
                target.restart();
                delivery = Delivery::begin(target, &world).await?;
                assert_eq!(delivery.at, committed, "seed {seed}");
            }
            // The target is emptied while nobody looks.
            3 if committed > 0 => {
                drop(delivery);
                target.empty().await;
                delivery = Delivery::begin(target, &world).await?;
                assert_eq!(delivery.at, 0, "seed {seed}");
                committed = 0;
            }
            // What was delivered long ago comes again.
            4 => {
                delivery.sink.commit(world.checkpoint(ahead)).await?;
                committed = ahead;
                delivery.at = 0;
                delivery.stage_to(&world, committed).await?;
            }
            _ => {
                delivery.sink.commit(world.checkpoint(ahead)).await?;
                committed = ahead;
                target.assert_after(&delivery.sink, &world, committed, &format!("seed {seed}")).await;
            }
        }
    }
    delivery.deliver(&world).await?;
    target.assert_after(&delivery.sink, &world, world.len(), &format!("seed {seed}, in the end")).await;
    assert_eq!(delivery.read_back, 0, "seed {seed} {:?}: every value was to be had from the target", target.kind);
    Ok(())
}

#[tokio::test]
async fn any_schedule_of_changes_and_faults_ends_with_the_source_s_rows() {
    for mut target in Target::each(Promise::Random) {
        // What a form shares with the first one has been through those; and each takes a search server seconds.
        let seeds = match (target.kind.is_first(), target.kind.is_opensearch()) {
            (true, false) => 0..8,
            (true, true) => 0..4,
            (false, false) => 8..11,
            (false, true) => 8..10,
        };
        for seed in seeds {
            target.empty_if_filled().await;
            let outcome = schedule(seed, &mut target).await;
            assert!(outcome.is_ok(), "seed {seed} {:?}: {outcome:?}", target.kind);
        }
    }
}
