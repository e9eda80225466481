//! What an operator can ask of a source: to copy tables again, while it streams or to mend a history that was broken.

use tokio::sync::{mpsc, oneshot};

use super::Source;
use crate::capture::CaptureError;
use crate::capture::catalog::{self, Table};
use crate::capture::snapshot::Request;
use crate::postgres::address::Address;
use crate::postgres::connection::{Connection, Purpose};

/// Copy tables again.
#[derive(Debug)]
pub struct Resnapshot {
    /// As `schema.table`; none means all.
    pub tables: Vec<String>,
    /// Hears which tables are copied, or why none.
    pub answer: oneshot::Sender<Answer>,
}

/// The tables that are going to be copied, or why none.
pub type Answer = Result<Vec<String>, String>;

/// Whoever gives commands may not be there.
pub(super) type Commands = Option<mpsc::Receiver<Resnapshot>>;

/// The next command; waits for ever where nobody gives any.
pub(super) async fn next(commands: &mut Commands) -> Resnapshot {
    match commands {
        Some(receiver) => match receiver.recv().await {
            Some(command) => command,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Serves commands while the source streams; never ends.
pub(super) async fn serve(
    commands: &mut Commands,
    source: &Source,
    address: &Address,
    via_root: bool,
    to_loop: &mpsc::Sender<Request>,
) -> std::convert::Infallible {
    loop {
        let Resnapshot { tables, answer } = next(commands).await;
        // Whoever asked may have gone; the copy goes on all the same.
        let _ = answer.send(copy(&tables, source, address, via_root, to_loop).await);
    }
}

async fn copy(
    wanted: &[String],
    source: &Source,
    address: &Address,
    via_root: bool,
    to_loop: &mpsc::Sender<Request>,
) -> Answer {
    if !source.snapshot {
        return Err("this source has snapshot = \"never\": it copies no existing rows".to_owned());
    }
    let tables = choose(wanted, source, address, via_root).await?;
    let mut begun = Vec::new();
    for table in tables {
        let (tell, told) = oneshot::channel();
        let name = table.name.to_string();
        let request =
            Request::Copy { table, reason: "an operator asked for it".to_owned(), sweeps: false, begun: tell };
        to_loop.send(request).await.map_err(|_| GONE.to_owned())?;
        told.await.map_err(|_| GONE.to_owned())?.map_err(|error| error.to_string())?;
        begun.push(name);
    }
    Ok(begun)
}

const GONE: &str = "the connection to the source broke; ask again when it streams";

/// The tables of that name, or all of the source's.
async fn choose(wanted: &[String], source: &Source, address: &Address, via_root: bool) -> Result<Vec<Table>, String> {
    let mut tables = captured(source, address, via_root).await.map_err(|error| error.to_string())?;
    let known = |name: &&String| tables.iter().any(|table| table.name.to_string() == **name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        return Err(format!("the source captures no table {unknown}"));
    }
    tables.retain(|table| wanted.is_empty() || wanted.contains(&table.name.to_string()));
    Ok(tables)
}

async fn captured(source: &Source, address: &Address, via_root: bool) -> Result<Vec<Table>, CaptureError> {
    let mut connection = Connection::open(address, Purpose::Query).await?;
    let mut tables = catalog::tables(&mut connection, via_root).await?;
    connection.close().await;
    tables.retain(|table| (source.tables)(&table.name));
    Ok(tables)
}
