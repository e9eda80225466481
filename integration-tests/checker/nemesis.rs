//! What is done to the programs and to the connection between them. All of it passes: afterwards everything must be as if
//! nothing had been.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::stage::Stage;
use super::workload::{TABLES, Table};
use crate::support::process::{self, Signal};
use crate::support::{Direction, StopMode};

/// One harm.
#[derive(Clone, Copy, Debug)]
pub(super) enum Harm {
    KillWalbridge,
    FreezeWalbridge { millis: u64 },
    StopWalbridge,
    CrashPostgres { kill: bool },
    ResetConnections,
    CutAfter { bytes: u64 },
    Blackhole { millis: u64, down: bool },
    Slow { millis: u64 },
    EndWalsender,
    FreezeRedis { millis: u64 },
    KillRedis,
    Rewrite { table: usize, cluster: bool },
    Checkpoint,
    AddColumn { table: usize, default: bool },
    CopyAgain { table: usize },
    Replay { sink: &'static str, ago_millis: Option<u64> },
    KillPrograms,
}

/// The schedule of a run: harms, and how long to wait before each. The seed decides it alone.
pub(super) fn schedule(random: &mut StdRng, seconds: u64) -> Vec<(u64, Harm)> {
    let (mut schedule, mut planned) = (Vec::new(), 0);
    while planned < seconds * 1_000 {
        let pause = random.random_range(100..1_800);
        schedule.push((pause, harm(random)));
        planned += pause + 300;
    }
    schedule
}

fn harm(random: &mut StdRng) -> Harm {
    let millis = random.random_range(200..2_500);
    let table = random.random_range(0..TABLES.len());
    match random.random_range(0..100) {
        0..18 => Harm::KillWalbridge,
        18..24 => Harm::FreezeWalbridge { millis },
        24..28 => Harm::StopWalbridge,
        28..36 => Harm::CrashPostgres { kill: random.random_bool(0.5) },
        36..44 => Harm::ResetConnections,
        44..55 => Harm::CutAfter { bytes: random.random_range(1..200_000) },
        55..62 => Harm::Blackhole { millis, down: random.random_bool(0.6) },
        62..66 => Harm::Slow { millis },
        66..72 => Harm::EndWalsender,
        72..74 => Harm::FreezeRedis { millis },
        74..76 => Harm::KillRedis,
        76..80 => Harm::Rewrite { table, cluster: random.random_bool(0.5) },
        80..82 => Harm::Checkpoint,
        82..89 => Harm::AddColumn { table, default: random.random_bool(0.5) },
        89..93 => Harm::CopyAgain { table },
        93..95 => Harm::KillPrograms,
        // Not the sink that an onlooker reads: its rows may go back.
        _ => Harm::Replay {
            sink: ["hashes", "search", "scores"][random.random_range(0..3)],
            ago_millis: random.random_bool(0.7).then_some(4 * millis),
        },
    }
}

impl Stage {
    /// Does it, and undoes it where it does not pass by itself.
    pub(super) async fn suffer(&mut self, harm: Harm) {
        let pause = |millis| tokio::time::sleep(Duration::from_millis(millis));
        match harm {
            Harm::KillWalbridge => {
                self.walbridge.sigkill();
                self.walbridge.go_on();
            }
            Harm::FreezeWalbridge { millis } => {
                let pid = self.walbridge.pid().expect("walbridge runs");
                process::signal(pid, Signal::STOP);
                pause(millis).await;
                process::signal(pid, Signal::CONT);
            }
            Harm::StopWalbridge => {
                let code = self.walbridge.sigterm();
                assert_eq!(code, Some(0), "a clean stop:\n{}", self.walbridge.log());
                self.walbridge.go_on();
            }
            Harm::CrashPostgres { kill: true } => {
                self.postgres.kill9();
                self.postgres.start_again();
            }
            Harm::CrashPostgres { kill: false } => {
                self.postgres.stop(StopMode::Immediate);
                self.postgres.start_again();
            }
            Harm::ResetConnections => self.proxy.reset(),
            Harm::CutAfter { bytes } => self.proxy.cut_after(Direction::Down, bytes),
            Harm::Blackhole { millis, down } => {
                self.proxy.blackhole(if down { Direction::Down } else { Direction::Up });
                pause(millis).await;
                self.proxy.heal();
            }
            Harm::Slow { millis } => {
                self.proxy.delay(Direction::Down, Duration::from_millis(30));
                pause(millis).await;
                self.proxy.heal();
            }
            Harm::EndWalsender => {
                let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active";
                self.postgres.psql(sql);
            }
            Harm::FreezeRedis { millis } => {
                self.redis.freeze();
                pause(millis).await;
                self.redis.thaw();
            }
            Harm::KillRedis => {
                self.redis.kill9();
                self.redis.start_again();
            }
            Harm::Rewrite { table, cluster } => self.rewrite(&TABLES[table], cluster),
            Harm::Checkpoint => {
                self.postgres.psql("CHECKPOINT");
                self.take_back_prepared();
            }
            Harm::AddColumn { table, default } => self.add_column(&TABLES[table], default),
            Harm::CopyAgain { table } => {
                self.order(&["resnapshot", "bank", "--table", &format!("public.{}", TABLES[table].name)]);
            }
            Harm::KillPrograms => self.kill_programs(),
            Harm::Replay { sink, ago_millis } => {
                let from = ago_millis.map_or("start".to_owned(), |millis| format!("{millis}ms"));
                self.order(&["replay", sink, "--from", &from]);
            }
        }
    }

    /// Those that walbridge has started.
    fn kill_programs(&self) {
        let pid = self.walbridge.pid().expect("walbridge runs");
        process::children(pid).into_iter().for_each(|child| _ = process::signal(child, Signal::KILL));
    }

    /// All rows go to other places, without a word in the stream. A partitioned table has none.
    fn rewrite(&self, table: &Table, cluster: bool) {
        let name = if table.name == "parts" { "\"parts_1\"".to_owned() } else { table.quoted() };
        let how = if cluster {
            format!("CLUSTER {name} USING \"{}_pkey\"", name.trim_matches('"'))
        } else {
            format!("VACUUM FULL {name}")
        };
        // Others may hold the table longer than that.
        let _not_this_time = self.postgres.try_psql(&format!("SET lock_timeout = '3s';\n{how}"));
    }

    /// Every row has it from then on, without a word in the stream. A function makes the rows of one table, whatever comes.
    fn add_column(&mut self, table: &Table, default: bool) {
        let table = if table.name == "typed" { &TABLES[0] } else { table };
        self.columns += 1;
        let default = if default { " DEFAULT 'given'" } else { "" };
        let sql = format!(
            "SET lock_timeout = '3s'; ALTER TABLE {} ADD COLUMN added_{} text{default}",
            table.quoted(),
            self.columns
        );
        // A writer may hold the table longer than that.
        let _later = self.postgres.try_psql(&sql);
    }

    /// An operator has a table copied, or a sink replayed, in the middle of everything.
    fn order(&self, order: &[&str]) {
        let asked = self.walbridge.run(order);
        // It may be on its way up, or without its source; or there is nothing to apply again.
        if !asked.status.success() {
            println!("not now: {}", String::from_utf8_lossy(&asked.stderr).trim());
        }
    }
}
