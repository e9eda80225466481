//! A sink with a filter, a soft delete, renamed, computed and masked columns has, at every commit, what the rule makes of the source's rows.

use std::sync::Arc;

use walbridge::project::shape::{Item, Protection, Rule, Shaping, Written};
use walbridge::project::sql::Expression;

use super::delivery::Delivery;
use super::kind::Promise;
use super::random::{Dice, commit_some};
use super::target::Target;
use super::world::Table::Items;
use super::world::{Documents, Statement, Values, World, rename, values};

fn written<T>(value: T) -> Written<T> {
    Written { value, line: 1, column: 1, verbatim: true }
}

fn expression(text: &str) -> Written<Expression> {
    written(Expression::parse_named(text).expect("an expression"))
}

/// `asks_for_large`: the filter needs a column whose value is often not sent. Of a history that cannot be told.
fn shaping(asks_for_large: bool) -> Arc<Shaping> {
    let large = if asks_for_large { " AND (big IS NULL OR big NOT LIKE '%7')" } else { "" };
    let columns = ["id", "name AS alias", "upper(name) AS title", "amount * 2 AS twice", "big", "length(big) AS size"];
    let rule = Rule {
        filter: Some(expression(&format!("(amount < 7 OR amount IS NULL){large}"))),
        deleted: Some(expression("name LIKE '%9'")),
        columns: Some(columns.iter().map(|column| Item::Made(Box::new(expression(column)))).collect()),
        protected: vec![(written("alias".to_owned()), Protection::Mask { keep: 2 })],
    };
    Arc::new(Shaping::new(vec![(Arc::new(|_| true), rule)]))
}

/// What the rule makes of a document, told once more in Rust.
fn shaped(all: &Documents, asks_for_large: bool) -> Documents {
    let shape = |(key, row): (&String, &Values)| {
        let (name, big) = (row["name"].as_deref(), row["big"].as_deref());
        let amount: Option<i64> = row["amount"].as_deref().map(|text| text.parse().expect("a number"));
        let passes = amount.is_none_or(|amount| amount < 7)
            && !(asks_for_large && big.is_some_and(|big| big.ends_with('7')))
            && !name.is_some_and(|name| name.ends_with('9'));
        let mask = |name: &str| match name.len() {
            0..=2 => "*".repeat(name.len()),
            length => format!("{}{}", "*".repeat(length - 2), &name[length - 2..]),
        };
        let document = [
            ("id", row["id"].clone()),
            ("alias", name.map(mask)),
            ("title", name.map(str::to_uppercase)),
            ("twice", amount.map(|amount| (amount * 2).to_string())),
            ("big", big.map(str::to_owned)),
            ("size", big.map(|big| big.len().to_string())),
        ];
        passes.then(|| (key.clone(), document.map(|(column, value)| (column.to_owned(), value)).into()))
    };
    all.iter().filter_map(shape).collect()
}

fn shaped_world(asks_for_large: bool) -> World {
    let mut world = World::new();
    world.shaping = shaping(asks_for_large);
    world
}

/// Each, with a filter that asks for the large column, if it can be told, and with one that does not: then only what the target has, or has not,
/// says whether a row that lacks it is whole.
fn targets() -> impl Iterator<Item = (Target, bool)> {
    [true, false].into_iter().flat_map(|asks_for_large| {
        Target::each(Promise::Shape).filter(move |target| !(asks_for_large && target.keeps_history())).map(
            move |mut target| {
                target.columns = ["id", "alias", "title", "twice", "big", "size"].map(str::to_owned).to_vec();
                (target, asks_for_large)
            },
        )
    })
}

/// Updates into the filter and out of it, of a row that changed a large value while it was out, by rows that got another key; all at once and
/// transaction by transaction.
#[tokio::test]
async fn a_row_is_there_exactly_while_it_is_the_sinks() {
    for run in [1000, 1] {
        // One by one each target once: what differs then is what is in one batch.
        let tried = move |target: &Target, asks_for_large: bool| run > 1 || asks_for_large || target.keeps_history();
        for (target, asks_for_large) in targets().filter(|(target, asks)| tried(target, *asks)) {
            let mut world = shaped_world(asks_for_large);
            let amount = |id, amount: &str| Statement::Update(Items, id, [None, Some(Some(amount.to_owned())), None]);
            let big = |id, big: &str| Statement::Update(Items, id, [None, None, Some(Some(big.to_owned()))]);
            world.commit(&[
                Statement::Insert(Items, 1, values("in", "1", "old")),
                Statement::Insert(Items, 2, values("out", "8", "old")),
                Statement::Insert(Items, 3, values("deleted 9", "1", "old")),
                Statement::Insert(Items, 4, [None, None, None]),
                Statement::Insert(Items, 5, values("five", "1", "old")),
            ]);
            world.commit(&[amount(1, "9"), big(1, "new"), big(2, "new"), amount(5, "9"), big(5, "new")]);
            if !target.keeps_history() {
                // A history cannot tell what the row had meanwhile; under REPLICA IDENTITY FULL it is sent.
                world.commit(&[
                    rename(Items, 3, "back"),
                    amount(5, "3"),
                    amount(1, "2"),
                    amount(2, "3"),
                    rename(Items, 1, "in again"),
                ]);
                world.commit(&[Statement::Move(Items, 1, 10, None), big(2, "07"), amount(2, "4")]);
                world.commit(&[Statement::Move(Items, 10, 11, Some("x 9".to_owned())), rename(Items, 2, "y")]);
                world.commit(&[
                    rename(Items, 11, "z"),
                    Statement::Delete(Items, 2),
                    Statement::Move(Items, 11, 2, None),
                ]);
            }
            world.commit(&[Statement::Delete(Items, 3), rename(Items, 4, "n")]);
            let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
            delivery.run = run;
            let steps: Vec<usize> = if run == 1 { (1..=world.len()).collect() } else { vec![world.len()] };
            for transactions in steps {
                delivery.deliver_to(&world, transactions).await.expect("delivered");
                // A row that was read back is newer than the transaction, and right in the end.
                if delivery.read_back == 0 || transactions == world.len() {
                    let expected = shaped(world.documents_after(transactions), asks_for_large);
                    target.assert_holds(&delivery.sink, &expected, &format!("after {transactions}")).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn any_changes_end_as_the_rule_makes_them() {
    // A history of changes whose old rows are not sent cannot be completed; its filter is tried above.
    for (target, asks_for_large) in targets().filter(|(target, _)| !target.keeps_history()) {
        for seed in 0..if target.kind.is_opensearch() { 3 } else { 6 } {
            target.empty_if_filled().await;
            let mut world = shaped_world(asks_for_large);
            let (mut dice, mut present) = (Dice(seed), [[false; 8]; 2]);
            let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
            for _ in 0..10 {
                commit_some(&mut dice, &mut world, &mut present);
                delivery.run = 1 + dice.index(9);
                let ahead = delivery.at + 1 + dice.index(world.len() - delivery.at);
                delivery.deliver_to(&world, ahead).await.expect("delivered");
                if dice.below(6) == 0 {
                    drop(delivery);
                    delivery = Delivery::begin(&target, &world).await.expect("a target");
                }
            }
            delivery.deliver(&world).await.expect("delivered");
            let expected = shaped(world.documents_after(world.len()), asks_for_large);
            target.assert_holds(&delivery.sink, &expected, &format!("seed {seed}")).await;
        }
    }
}
