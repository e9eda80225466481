//! Two tables, and what pgoutput says of changes to them under the default replica identity.

use std::collections::BTreeMap;
use std::sync::Arc;

use walbridge::event::{
    Cell, Change, Column, Event, Lsn, Offset, OldRow, Position, Relation, ReplicaIdentity, Row, RowBuilder, Scalar,
    Shape, TableName, Timestamp, Transaction,
};
use walbridge::log::LogId;
use walbridge::project::shape::Shaping;
use walbridge::sink::Checkpoint;

/// A row's or a document's values by column; `None` is NULL.
pub(super) type Values = BTreeMap<String, Option<String>>;
/// By key, as the default template makes it.
pub(super) type Documents = BTreeMap<String, Values>;

pub(super) const LOG: LogId = LogId(0xC0FFEE);
/// The columns besides the key `id`. `big` is stored out of line: an update that leaves it alone does not send it.
const COLUMNS: [&str; 3] = ["name", "amount", "big"];

/// One of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Items,
    Others,
}

/// A statement, already known to be possible.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    Insert(Table, i64, [Option<String>; 3]),
    /// New values for some columns.
    Update(Table, i64, [Option<Option<String>>; 3]),
    /// A new id, and perhaps a new name.
    Move(Table, i64, i64, Option<String>),
    Delete(Table, i64),
    Truncate(Table),
}

/// The source and its log.
pub(super) struct World {
    relations: [Arc<Relation>; 2],
    /// What a sink's documents are made of.
    pub(super) shaping: Arc<Shaping>,
    pub(super) rows: BTreeMap<(Table, i64), [Option<String>; 3]>,
    pub(super) events: Vec<Event>,
    /// The offset after each transaction, and what the tables held then.
    history: Vec<(usize, Documents)>,
}

impl World {
    pub(super) fn new() -> World {
        World::of(["items", "others"])
    }

    /// With tables of these names.
    pub(super) fn of([items, others]: [&str; 2]) -> World {
        World {
            relations: [relation(16_384, items), relation(16_385, others)],
            shaping: Arc::default(),
            rows: BTreeMap::new(),
            events: Vec::new(),
            history: vec![(0, Documents::new())],
        }
    }

    pub(super) fn relations(&self) -> &[Arc<Relation>] {
        &self.relations
    }

    /// As sinks are told of them.
    pub(super) fn derived(&self) -> Vec<Arc<Relation>> {
        let derive = |relation: &Arc<Relation>| match self.shaping.plan(relation).expect("it fits") {
            Some(plan) => Arc::clone(plan.relation()),
            None => Arc::clone(relation),
        };
        self.relations.iter().map(derive).collect()
    }

    /// Commits a transaction.
    pub(super) fn commit(&mut self, statements: &[Statement]) {
        let number = self.history.len() as u64;
        let transaction = Arc::new(Transaction {
            epoch: 1,
            xid: 700,
            commit_lsn: Lsn::new(number * 0x100),
            commit_time: Timestamp::from_unix_micros(1_700_000_000_000_000),
            first_ordinal: 0,
            origin: None,
        });
        for (statement, ordinal) in statements.iter().zip(0..) {
            let change = self.change(statement);
            self.events.push(Event { transaction: Arc::clone(&transaction), ordinal, change });
        }
        self.history.push((self.events.len(), self.documents()));
    }

    /// Adds a snapshot's chunk, or what else stands behind a transaction without being one.
    pub(super) fn chunk(&mut self, changes: impl IntoIterator<Item = Change>) {
        let last = self.events.last().expect("a transaction before it").clone();
        let first_ordinal = last.ordinal + 1;
        let transaction = Arc::new(Transaction { xid: 0, first_ordinal, ..(*last.transaction).clone() });
        for (change, ordinal) in changes.into_iter().zip(first_ordinal..) {
            self.events.push(Event { transaction: Arc::clone(&transaction), ordinal, change });
        }
        self.history.push((self.events.len(), self.documents()));
    }

    /// Rows of a table as they are, as a copy reads them.
    pub(super) fn reads(&self, table: Table, ids: std::ops::Range<i64>) -> Vec<Change> {
        let rows = self.rows.range((table, ids.start)..(table, ids.end));
        let relation = self.relation(table);
        rows.map(|(&(_, id), values)| Change::Read { relation: relation.clone(), row: whole(id, values) }).collect()
    }

    /// How many transactions there are.
    pub(super) fn len(&self) -> usize {
        self.history.len() - 1
    }

    /// The offset after so many transactions.
    pub(super) fn offset(&self, transactions: usize) -> usize {
        self.history[transactions].0
    }

    /// What the tables held after so many transactions.
    pub(super) fn documents_after(&self, transactions: usize) -> &Documents {
        &self.history[transactions].1
    }

    /// How many transactions stand before this checkpoint.
    pub(super) fn transactions_before(&self, checkpoint: Option<Checkpoint>) -> usize {
        let offset = checkpoint.map_or(0, |checkpoint| checkpoint.offset.0);
        let found = self.history.iter().rposition(|(end, _)| *end as u64 == offset);
        found.unwrap_or_else(|| panic!("offset {offset} is between two transactions"))
    }

    /// The checkpoint after so many transactions.
    pub(super) fn checkpoint(&self, transactions: usize) -> Checkpoint {
        let offset = self.offset(transactions);
        let position = offset.checked_sub(1).map(|last| self.events[last].position());
        Checkpoint { position, ..Checkpoint::new(LOG, Offset(offset as u64)) }
    }

    /// The row as it is now, as a look into the source would give it.
    pub(super) fn read_back(&self, relation: &Relation, id: &[u8]) -> Option<Row> {
        let table = if relation.oid == self.relations[0].oid { Table::Items } else { Table::Others };
        let id: i64 = std::str::from_utf8(id).expect("digits").parse().expect("a number");
        self.rows.get(&(table, id)).map(|values| whole(id, values))
    }

    fn documents(&self) -> Documents {
        let document = |(&(table, id), values): (&(Table, i64), &[Option<String>; 3])| {
            let columns = COLUMNS.iter().zip(values).map(|(column, value)| ((*column).to_owned(), value.clone()));
            let values: Values = columns.chain([("id".to_owned(), Some(id.to_string()))]).collect();
            (format!("{}:{id}", self.relation(table).name), values)
        };
        self.rows.iter().map(document).collect()
    }

    pub(super) fn relation(&self, table: Table) -> &Arc<Relation> {
        &self.relations[usize::from(table == Table::Others)]
    }

    /// Makes the change, and says what the log has of it.
    fn change(&mut self, statement: &Statement) -> Change {
        match statement {
            Statement::Insert(table, id, values) => {
                assert!(self.rows.insert((*table, *id), values.clone()).is_none(), "{table:?} {id} is new");
                Change::Insert { relation: self.relation(*table).clone(), new: whole(*id, values) }
            }
            Statement::Update(table, id, changes) => {
                let row = self.rows.get_mut(&(*table, *id)).expect("a row to update");
                let sends_big = changes[2].is_some() || row[2].is_none();
                for (value, change) in row.iter_mut().zip(changes) {
                    change.iter().for_each(|change| value.clone_from(change));
                }
                let new = tuple(*id, row, sends_big);
                Change::Update { relation: self.relation(*table).clone(), old: None, new }
            }
            Statement::Move(table, from, to, name) => {
                let mut row = self.rows.remove(&(*table, *from)).expect("a row to move");
                if name.is_some() {
                    row[0].clone_from(name);
                }
                let new = tuple(*to, &row, row[2].is_none());
                assert!(self.rows.insert((*table, *to), row).is_none(), "{table:?} {to} is free");
                let old = Some(OldRow::Key(key_only(*from)));
                Change::Update { relation: self.relation(*table).clone(), old, new }
            }
            Statement::Delete(table, id) => {
                self.rows.remove(&(*table, *id)).expect("a row to delete");
                Change::Delete { relation: self.relation(*table).clone(), old: OldRow::Key(key_only(*id)) }
            }
            Statement::Truncate(table) => {
                self.rows.retain(|(of, _), _| of != table);
                Change::Truncate { relation: self.relation(*table).clone() }
            }
        }
    }
}

/// Position of an event that is none of the world's.
pub(super) fn position_beyond(world: &World) -> Position {
    Position { epoch: 1, commit_lsn: Lsn::new((world.len() as u64 + 1) * 0x100), ordinal: 0 }
}

pub(super) fn values(name: &str, amount: &str, big: &str) -> [Option<String>; 3] {
    [name, amount, big].map(|text| Some(text.to_owned()))
}

/// An update of `name` alone.
pub(super) fn rename(table: Table, id: i64, name: &str) -> Statement {
    Statement::Update(table, id, [Some(Some(name.to_owned())), None, None])
}

/// A row with nothing but its key.
pub(super) fn empty(id: i64) -> Row {
    whole(id, &[None, None, None])
}

fn whole(id: i64, values: &[Option<String>; 3]) -> Row {
    tuple(id, values, true)
}

fn tuple(id: i64, values: &[Option<String>; 3], sends_big: bool) -> Row {
    let mut row = RowBuilder::default();
    row.push(Cell::Text(id.to_string().as_bytes()));
    for (index, value) in values.iter().enumerate() {
        row.push(match value {
            _ if index == 2 && !sends_big => Cell::Unchanged,
            None => Cell::Null,
            Some(text) => Cell::Text(text.as_bytes()),
        });
    }
    row.finish()
}

fn key_only(id: i64) -> Row {
    let mut row = RowBuilder::default();
    row.push(Cell::Text(id.to_string().as_bytes()));
    COLUMNS.iter().for_each(|_| row.push(Cell::Null));
    row.finish()
}

fn relation(oid: u32, table: &str) -> Arc<Relation> {
    let column = |name: &str, type_oid, shape| Column { name: name.to_owned(), type_oid, type_modifier: -1, shape };
    Arc::new(Relation {
        oid,
        name: TableName { schema: "public".to_owned(), table: table.to_owned() },
        identity: ReplicaIdentity::Default,
        columns: vec![
            column("id", 20, Shape::Scalar(Scalar::Integer)),
            column("name", 25, Shape::TEXT),
            column("amount", 20, Shape::Scalar(Scalar::Integer)),
            column("big", 25, Shape::TEXT),
        ],
        key: vec![0],
    })
}
