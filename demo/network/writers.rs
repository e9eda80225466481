//! The people of the network: several connections that change rows all the time, until they are told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;

use crate::support::Postgres;

/// What they do (procedures of `sql/3-actions.sql`) and how often, against the others.
const ACTIONS: &[(u32, &str)] = &[
    (20, "view_pages"),
    (8, "write_post"),
    (6, "edit_post"),
    (20, "like_post"),
    (6, "unlike_post"),
    (8, "follow"),
    (4, "unfollow"),
    (3, "follow_another"),
    (10, "edit_profile"),
    (4, "rewrite_bio"),
    (4, "learn"),
    (2, "forget"),
    (3, "sign_up"),
    (1, "leave"),
    (1, "move_account"),
    (1, "think_again"),
    (2, "forget_old_views"),
];
const WRITERS: u64 = 4;
/// Between two actions of a writer: this long on average.
const PAUSE_MILLIS: u64 = 30;

/// The writers at work.
pub(crate) struct Writers {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    transactions: Arc<AtomicU64>,
}

impl Writers {
    /// Sets them to work.
    pub(crate) async fn start(postgres: &Postgres) -> Writers {
        let stop = CancellationToken::new();
        let transactions = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for seed in 0..WRITERS {
            let client = postgres.client().await;
            tasks.push(tokio::spawn(work(client, seed, stop.clone(), Arc::clone(&transactions))));
        }
        Writers { stop, tasks, transactions }
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Transactions they have committed.
    pub(crate) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Lets each finish what it does. Fails if one of them had failed.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            let ended = task.await;
            assert!(ended.is_ok(), "a writer failed: {:?}", ended.err());
        }
    }
}

async fn work(client: Client, seed: u64, stop: CancellationToken, transactions: Arc<AtomicU64>) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() {
        let action = choose(&mut random);
        match client.batch_execute(&format!("CALL demo.{action}()")).await {
            Ok(()) => drop(transactions.fetch_add(1, Ordering::Relaxed)),
            // Writers meet: one likes what another just deleted, or two wait for each other. Nothing is committed then.
            Err(error) if error.code().is_some_and(in_each_others_way) => {}
            Err(error) => {
                assert!(stop.is_cancelled(), "CALL demo.{action}(): {error:?}");
                return;
            }
        }
        let pause = Duration::from_millis(random.random_range(0..=2 * PAUSE_MILLIS));
        let _stopped_or_rested = tokio::time::timeout(pause, stop.cancelled()).await;
    }
}

fn in_each_others_way(code: &SqlState) -> bool {
    // Classes: 23, a constraint; 40, a transaction rolled back for another one's sake.
    code.code().starts_with("23") || code.code().starts_with("40")
}

fn choose(random: &mut StdRng) -> &'static str {
    let all = ACTIONS.iter().map(|(weight, _)| weight).sum();
    let mut ticket = random.random_range(0..all);
    for &(weight, action) in ACTIONS {
        if ticket < weight {
            return action;
        }
        ticket -= weight;
    }
    unreachable!("a ticket is below the sum of the weights")
}
