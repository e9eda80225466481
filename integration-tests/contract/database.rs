//! A PostgreSQL target: read from outside, and emptied.

use std::collections::BTreeSet;

use walbridge::event::TableName;
use walbridge::postgres::address::Address;
use walbridge::project::key::plain;
use walbridge::sink::postgres::{Options, PostgresSink};

use super::world::Documents;
use crate::support::Postgres;

/// By way of this port.
pub(super) fn options(port: u16) -> Options {
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
    let address = Address::parse(&url).expect("a URL");
    Options { name: "contract".to_owned(), address, ddl: true, is_beside: false }
}

pub(super) fn sink(port: u16) -> PostgresSink {
    PostgresSink::new(options(port))
}

/// The tables of the world that are there.
async fn tables(client: &tokio_postgres::Client) -> Vec<String> {
    let rows = client.query("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1", &[]).await;
    rows.expect("PostgreSQL answers").iter().map(|row| row.get(0)).collect()
}

fn key(table: &str, id: &str) -> String {
    let name = TableName { schema: "public".to_owned(), table: table.to_owned() };
    plain::write(&name, &[id.as_bytes()]).to_string()
}

pub(super) async fn documents(postgres: &Postgres, columns: &[String]) -> Documents {
    let client = postgres.client().await;
    let mut documents = Documents::new();
    for table in tables(&client).await {
        let selected: Vec<String> = columns.iter().map(|column| format!("{column}::text")).collect();
        let select = format!("SELECT {} FROM \"{table}\"", selected.join(", "));
        for row in client.query(&select, &[]).await.expect("PostgreSQL answers") {
            let values = columns.iter().zip(0..).map(|(column, index)| (column.clone(), row.get::<usize, _>(index)));
            documents.insert(key(&table, row.get(0)), values.collect());
        }
    }
    documents
}

/// The amounts of two rows of `items`, in one statement.
pub(super) async fn two_amounts(client: &tokio_postgres::Client, [one, other]: [i64; 2]) -> Option<[i64; 2]> {
    let select = "SELECT a.amount, b.amount FROM items a, items b WHERE a.id = $1 AND b.id = $2";
    let rows = client.query(select, &[&one, &other]).await.expect("PostgreSQL answers");
    rows.first().map(|row| [row.get(0), row.get(1)])
}

/// All keys at one moment.
pub(super) async fn keys_seen(client: &tokio_postgres::Client) -> BTreeSet<String> {
    let tables = tables(client).await;
    if tables.is_empty() {
        return BTreeSet::new();
    }
    let selects: Vec<String> =
        tables.iter().map(|table| format!("SELECT '{table}', id::text FROM \"{table}\"")).collect();
    let rows = client.query(&selects.join(" UNION ALL "), &[]).await.expect("PostgreSQL answers");
    rows.iter().map(|row| key(row.get(0), row.get(1))).collect()
}

pub(super) fn empty(postgres: &Postgres) {
    postgres.psql("DROP SCHEMA IF EXISTS walbridge CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public");
}
