//! What a source's role needs, as SQL for an administrator: these grants and nothing else. Looks at the live database, so that
//! it names the tables there are, and changes nothing.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::catalog::{self, Table};
use super::error::CaptureError;
use super::publication::{self, quoted};
use super::schema;
use super::slot::text;
use crate::event::{TableFilter, TableName};
use crate::postgres::connection::{Connection, TextRow};

/// Who needs what.
pub struct Plan<'a> {
    /// The role that walbridge connects as.
    pub role: &'a str,
    /// The tables to capture.
    pub tables: &'a TableFilter,
    /// The publication to be made.
    pub publication: &'a str,
    /// Whether existing rows are copied, for which they must be readable.
    pub snapshot: bool,
}

/// A statement and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// For people; one line.
    pub why: &'static str,
    /// Without the semicolon.
    pub sql: String,
}

/// What an administrator has to run in this database, in order; all of it may be run again.
///
/// # Errors
/// The catalog cannot be read.
pub async fn statements(connection: &mut Connection, plan: &Plan<'_>) -> Result<Vec<Statement>, CaptureError> {
    let found = schema::publication(connection, plan.publication).await?;
    let via_root = found.is_none_or(|publication| publication.via_root);
    let mut tables = catalog::tables(connection, via_root).await?;
    tables.retain(|table| (plan.tables)(&table.name));
    let mut statements = Vec::new();
    let mut add = |why, sql: String| statements.push(Statement { why, sql });
    let role = escape_identifier(plan.role);
    role_statement(connection, plan.role, &mut add).await?;
    let database = database(connection).await?;
    add("it may connect", format!("GRANT CONNECT ON DATABASE {} TO {role}", escape_identifier(&database)));
    if plan.snapshot {
        reading(connection, plan, &tables, &role, &mut add).await?;
    }
    publishing(connection, plan, &tables, &mut add).await?;
    Ok(statements)
}

/// The role itself. One that is there already keeps what it has.
async fn role_statement(
    connection: &mut Connection,
    name: &str,
    add: &mut impl FnMut(&'static str, String),
) -> Result<(), CaptureError> {
    let sql = format!(
        "SELECT rolcanlogin AND rolreplication OR rolsuper FROM pg_roles WHERE rolname = {}",
        escape_literal(name)
    );
    let role = escape_identifier(name);
    match connection.query("looking for the role", &sql).await?.first() {
        None => add(
            "a role that may log in and replicate; give it a password (psql: \\password) or a certificate",
            format!("CREATE ROLE {role} LOGIN REPLICATION"),
        ),
        Some(row) if text(row, 0).as_deref() != Some("t") => {
            add("it may log in and replicate", format!("ALTER ROLE {role} LOGIN REPLICATION"));
        }
        Some(_) => {}
    }
    Ok(())
}

async fn database(connection: &mut Connection) -> Result<String, CaptureError> {
    let rows = connection.query("asking for the database", "SELECT current_database()").await?;
    Ok(rows.first().and_then(|row| text(row, 0)).unwrap_or_default())
}

/// The copy of existing rows, and reading single rows back.
async fn reading(
    connection: &mut Connection,
    plan: &Plan<'_>,
    tables: &[Table],
    role: &str,
    add: &mut impl FnMut(&'static str, String),
) -> Result<(), CaptureError> {
    let oids = tables.iter().map(|table| table.oid.to_string()).collect::<Vec<_>>().join(",");
    let sql = format!(
        "SELECT DISTINCT n.nspname, pg_get_userbyid(c.relowner) FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY('{{{oids}}}'::oid[]) ORDER BY 1, 2"
    );
    let owners = connection.query("looking for the tables' owners", &sql).await?;
    let mut schemas: Vec<String> = owners.iter().filter_map(|row| text(row, 0)).collect();
    schemas.dedup();
    for schema in &schemas {
        add("it may look into the schema", format!("GRANT USAGE ON SCHEMA {} TO {role}", escape_identifier(schema)));
    }
    if !tables.is_empty() {
        add("it may read what it copies", format!("GRANT SELECT ON TABLE {} TO {role}", list(tables)));
    }
    for (schema, owner) in owners.iter().filter_map(|row: &TextRow| Some((text(row, 0)?, text(row, 1)?))) {
        // A name that no pattern spells out: whoever takes it takes the tables to come.
        let to_come = TableName { schema: schema.clone(), table: "\u{1}".to_owned() };
        if (plan.tables)(&to_come) {
            add(
                "the same for tables that are made later",
                format!(
                    "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT SELECT ON TABLES TO {role}",
                    escape_identifier(&owner),
                    escape_identifier(&schema)
                ),
            );
        }
    }
    let sql = format!(
        "SELECT count(*) > 0 FROM pg_class c WHERE c.oid = ANY('{{{oids}}}'::oid[]) AND c.relrowsecurity \
         AND NOT coalesce((SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = {}), false)",
        escape_literal(plan.role)
    );
    let rows = connection.query("looking for row-level security", &sql).await?;
    if rows.first().and_then(|row| text(row, 0)).as_deref() == Some("t") {
        add(
            "some of the tables have row-level security, and the stream shows all rows; a superuser's to give",
            format!("ALTER ROLE {role} BYPASSRLS"),
        );
    }
    Ok(())
}

/// The publication. Whoever runs this must own the tables; walbridge then need not.
async fn publishing(
    connection: &mut Connection,
    plan: &Plan<'_>,
    tables: &[Table],
    add: &mut impl FnMut(&'static str, String),
) -> Result<(), CaptureError> {
    // An unlogged table cannot be published; walbridge says so when it starts.
    let logged = tables.iter().filter(|table| table.logged);
    let names: Vec<TableName> = logged.map(|table| table.name.clone()).collect();
    let why = "the tables are published; for their owner, or a superuser, to run";
    if publication::is_ours(connection, plan.publication).await?.is_none() {
        if !names.is_empty() {
            add(why, publication::create_statement(plan.publication, &names));
            add("`walbridge teardown` may remove it", publication::mark_statement(plan.publication));
        }
        return Ok(());
    }
    let missing = publication::missing_tables(connection, plan.publication, &names).await?;
    if !missing.is_empty() {
        add(why, publication::add_statement(plan.publication, &missing));
    }
    Ok(())
}

fn list(tables: &[Table]) -> String {
    tables.iter().map(|table| quoted(&table.name)).collect::<Vec<_>>().join(", ")
}
