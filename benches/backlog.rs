//! A server with a backlog: workloads, each with a slot that was there before its rows were.

use std::time::Instant;

use crate::support::{PgOptions, Postgres};

/// A private server as one would run it: durable commits, room in memory, nothing else going on in it.
pub(crate) fn server() -> Postgres {
    let conf = [
        "autovacuum = off",
        "checkpoint_timeout = 30min",
        "full_page_writes = on",
        "logical_decoding_work_mem = 64MB",
        "max_wal_size = 8GB",
        "min_wal_size = 1GB",
        "shared_buffers = 1GB",
    ];
    Postgres::start(PgOptions { fsync: true, conf: conf.map(str::to_owned).to_vec(), ..PgOptions::default() })
}

/// A kind of load. Every table but the wide one is `(id bigint primary key, k int, v text of about 100 characters, ts timestamptz)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Inserts, 1,000 rows a transaction.
    Batches,
    /// The same rows in one transaction; the server spills it to disk while decoding.
    OneTransaction,
    /// Updates of single rows, four a transaction.
    Updates,
    /// Inserts, 1,000 rows a transaction, of fourteen numbers, times and identifiers: where the form of values tells most.
    Wide,
}

impl Workload {
    /// Those that are drained, the one that the plain ratios are of first.
    pub(crate) const ALL: [Workload; 3] = [Workload::Batches, Workload::OneTransaction, Workload::Updates];

    /// Names its table, publication and slots, and its lines in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Workload::Batches => "batches",
            Workload::OneTransaction => "one_transaction",
            Workload::Updates => "updates",
            Workload::Wide => "wide",
        }
    }

    const fn describes(self) -> &'static str {
        match self {
            Workload::Batches => "inserts, 1,000 a transaction",
            Workload::OneTransaction => "the same in one transaction",
            Workload::Updates => "updates, 4 a transaction",
            Workload::Wide => "inserts of wide rows, 1,000 a transaction",
        }
    }

    const fn columns(self) -> &'static str {
        match self {
            Workload::Batches | Workload::OneTransaction | Workload::Updates => {
                "k int NOT NULL, v text NOT NULL, ts timestamptz NOT NULL DEFAULT clock_timestamp()"
            }
            Workload::Wide => {
                "n1 numeric(20,6), n2 numeric(12,2), n3 numeric, t1 timestamptz, t2 timestamptz, t3 timestamp, \
                 u1 uuid, u2 uuid, f1 float8, f2 float8, i1 int8, i2 int8, b bool"
            }
        }
    }
}

/// Rows that wait in the server's WAL.
pub(crate) struct Backlog {
    /// What they are.
    pub(crate) workload: Workload,
    /// How many changes.
    pub(crate) rows: u32,
    /// A drain is done when it has all that was committed before this LSN.
    pub(crate) end_lsn: String,
}

impl Backlog {
    /// Makes the table, the publication, the template slot, then the rows.
    pub(crate) fn make(postgres: &Postgres, workload: Workload, rows: u32) -> Backlog {
        let name = workload.name();
        let started = Instant::now();
        postgres.psql(&format!(
            "CREATE TABLE {name} (id bigint PRIMARY KEY, {}); CREATE PUBLICATION {name} FOR TABLE {name};",
            workload.columns()
        ));
        if workload == Workload::Updates {
            postgres.psql(&insert(workload, "1", &format!("{UPDATED_ROWS}")));
        }
        postgres.psql(&format!("SELECT pg_create_logical_replication_slot('{name}_template', 'pgoutput')"));
        let before = postgres.psql("SELECT pg_current_wal_insert_lsn()");
        // The load's own commits need not be durable one by one; its end is.
        postgres.psql(&format!("SET synchronous_commit = off;\n{}", load(workload, rows)));
        let end_lsn = postgres.psql("SELECT pg_current_wal_insert_lsn()");
        // One more row, so that there is something to read beyond the end: nobody has to wait for a keepalive there.
        postgres.psql(&format!("{}; CHECKPOINT", insert(workload, "2000000000", "2000000000")));
        let wal = postgres.psql(&format!("SELECT pg_size_pretty('{end_lsn}'::pg_lsn - '{before}'::pg_lsn)"));
        println!(
            "# {name}: {rows} changes ({}), {wal} of WAL, loaded in {:.0?}",
            workload.describes(),
            started.elapsed()
        );
        Backlog { workload, rows, end_lsn }
    }

    /// A slot at the start of the backlog.
    pub(crate) fn slot(&self, postgres: &Postgres, name: &str) {
        let template = self.workload.name();
        postgres.psql(&format!("SELECT pg_copy_logical_replication_slot('{template}_template', '{name}')"));
    }

    /// Lets the server recycle the backlog's WAL.
    pub(crate) fn forget(self, postgres: &Postgres) {
        let name = self.workload.name();
        postgres.psql(&format!("SELECT pg_drop_replication_slot('{name}_template'); CHECKPOINT"));
    }
}

const UPDATED_ROWS: u32 = 100_000;
/// About 100 characters that do not compress to nothing.
const TEXT: &str = "md5(g::text) || md5((g + 1)::text) || md5((g + 2)::text) || 'text'";

fn insert(workload: Workload, first: &str, last: &str) -> String {
    let table = workload.name();
    let (columns, values) = match workload {
        Workload::Batches | Workload::OneTransaction | Workload::Updates => {
            ("id, k, v", format!("g, (g % 1000)::int, {TEXT}"))
        }
        Workload::Wide => (
            "id, n1, n2, n3, t1, t2, t3, u1, u2, f1, f2, i1, i2, b",
            "g, g * 1234.567891, g % 1000000 / 100.0, g::numeric * g * g / 7, clock_timestamp(), now() - g * '1 second'::interval, \
             clock_timestamp(), md5(g::text)::uuid, md5((g + 1)::text)::uuid, random(), g / 8.0, g * 1000003, -g, g % 2 = 0"
                .to_owned(),
        ),
    };
    format!("INSERT INTO {table} ({columns}) SELECT {values} FROM generate_series({first}::bigint, {last}::bigint) g")
}

fn load(workload: Workload, rows: u32) -> String {
    let table = workload.name();
    let last = rows.to_string();
    match workload {
        Workload::OneTransaction => insert(workload, "1", &last),
        Workload::Batches | Workload::Wide => {
            let batch = insert(workload, "first", &format!("least(first + 999, {last})"));
            format!(
                "DO $$ DECLARE first bigint := 1; BEGIN WHILE first <= {last} LOOP \
                 {batch}; COMMIT; first := first + 1000; END LOOP; END $$"
            )
        }
        // Keys far apart from one another, as they are in life.
        Workload::Updates => format!(
            "DO $$ BEGIN FOR g IN 1..{last} LOOP \
             UPDATE {table} SET k = g, v = {TEXT}, ts = clock_timestamp() \
             WHERE id = 1 + (g::bigint * 7919) % {UPDATED_ROWS}; \
             IF g % 4 = 0 THEN COMMIT; END IF; END LOOP; END $$"
        ),
    }
}
