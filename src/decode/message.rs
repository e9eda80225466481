//! The messages of pgoutput, one struct each, named as the manual names them ("Logical Replication Message Formats").
//!
//! All borrow from the bytes that were parsed. Flags that the manual calls unused are skipped. `xid` is `Some` where a
//! message stood inside a stream block, and then names the (sub)transaction that made the change.

use super::DecodeError;
use super::tuple::{self, Old};
use crate::event::{Lsn, ReplicaIdentity, Timestamp};

/// Any message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is its struct")]
pub enum Message<'a> {
    Begin(Begin),
    Commit(Commit),
    Origin(Origin<'a>),
    Relation(Relation<'a>),
    Type(Type<'a>),
    Insert(Insert<'a>),
    Update(Update<'a>),
    Delete(Delete<'a>),
    Truncate(Truncate),
    Message(LogicalMessage<'a>),
    StreamStart(StreamStart),
    StreamStop,
    StreamCommit(StreamCommit),
    StreamAbort(StreamAbort),
    BeginPrepare(Prepared<'a>),
    Prepare(Prepared<'a>),
    CommitPrepared(CommitPrepared<'a>),
    RollbackPrepared(RollbackPrepared<'a>),
    StreamPrepare(Prepared<'a>),
}

/// `B`: a committed transaction follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Start of the commit record; the same as [`Commit::commit_lsn`].
    pub final_lsn: Lsn,
    /// The source's clock at commit.
    pub commit_time: Timestamp,
    /// The top-level transaction.
    pub xid: u32,
}

/// `C`: the transaction is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Start of the commit record.
    pub commit_lsn: Lsn,
    /// The first byte after it: what is confirmed.
    pub end_lsn: Lsn,
    /// The source's clock at commit.
    pub commit_time: Timestamp,
}

/// `O`: the transaction came to the source by replication from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The commit's LSN on the origin.
    pub commit_lsn: Lsn,
    /// `pg_replication_origin.roname`.
    pub name: &'a str,
}

/// `R`: how the rows of a table are to be read from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// See the module.
    pub xid: Option<u32>,
    /// `pg_class.oid`.
    pub oid: u32,
    /// The schema; the wire's empty string for it is given as `pg_catalog`.
    pub schema: &'a str,
    /// The table.
    pub table: &'a str,
    /// What old rows hold.
    pub identity: ReplicaIdentity,
    /// The published columns in the order of the tuples.
    pub columns: Vec<RelationColumn<'a>>,
}

/// A column of a [`Relation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Part of the replica identity. Under [`ReplicaIdentity::Full`] every column is.
    pub key: bool,
    /// Its name.
    pub name: &'a str,
    /// `pg_attribute.atttypid`.
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`.
    pub type_modifier: i32,
}

/// `Y`: the name of a type that is not built in. A domain's message has the domain's OID, but the name of its base type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type<'a> {
    /// See the module.
    pub xid: Option<u32>,
    /// `pg_type.oid`.
    pub oid: u32,
    /// The schema; the wire's empty string for it is given as `pg_catalog`.
    pub schema: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// `I`: a new row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insert<'a> {
    /// See the module.
    pub xid: Option<u32>,
    /// The table.
    pub relation_oid: u32,
    /// `TupleData` of the new row.
    pub new: &'a [u8],
    /// Everything after the OID: what the log keeps.
    pub body: &'a [u8],
}

/// `U`: a changed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// See the module.
    pub xid: Option<u32>,
    /// The table.
    pub relation_oid: u32,
    /// `TupleData` of the old row, if it was sent.
    pub old: Option<Old<'a>>,
    /// `TupleData` of the new row.
    pub new: &'a [u8],
    /// Everything after the OID: what the log keeps.
    pub body: &'a [u8],
}

/// `D`: a removed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    /// See the module.
    pub xid: Option<u32>,
    /// The table.
    pub relation_oid: u32,
    /// `TupleData` of the old row.
    pub old: Old<'a>,
    /// Everything after the OID: what the log keeps.
    pub body: &'a [u8],
}

/// `T`: emptied tables, all by one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncate {
    /// See the module.
    pub xid: Option<u32>,
    /// `CASCADE` was given. The tables it reached are in `relation_oids` too.
    pub cascade: bool,
    /// `RESTART IDENTITY` was given.
    pub restart_identity: bool,
    /// The tables.
    pub relation_oids: Vec<u32>,
}

/// `M`: what `pg_logical_emit_message` was called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogicalMessage<'a> {
    /// See the module.
    pub xid: Option<u32>,
    /// Part of a transaction. If not, it stands outside any, and is there even if its transaction was rolled back.
    pub transactional: bool,
    /// The message's own LSN.
    pub lsn: Lsn,
    /// The caller's prefix.
    pub prefix: &'a str,
    /// The caller's bytes.
    pub content: &'a [u8],
}

/// `S`: a block of changes of a transaction that is still in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// The top-level transaction.
    pub xid: u32,
    /// The transaction's first block.
    pub first_segment: bool,
}

/// `c`: a streamed transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommit {
    /// The top-level transaction.
    pub xid: u32,
    /// Start of the commit record.
    pub commit_lsn: Lsn,
    /// The first byte after it.
    pub end_lsn: Lsn,
    /// The source's clock at commit.
    pub commit_time: Timestamp,
}

/// `A`: a streamed transaction, or a part of it, is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAbort {
    /// The top-level transaction.
    pub xid: u32,
    /// The subtransaction that is void; the same as `xid` if the whole is.
    pub subtransaction_xid: u32,
    /// The abort record and its time; sent only with `streaming 'parallel'` (protocol version 4).
    pub aborted: Option<(Lsn, Timestamp)>,
}

/// `b`, `P` and `p`: a transaction is prepared; its changes follow (`b`), or have been sent (`P`, streamed: `p`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared<'a> {
    /// Start of the prepare record.
    pub prepare_lsn: Lsn,
    /// The first byte after it.
    pub end_lsn: Lsn,
    /// The source's clock.
    pub prepare_time: Timestamp,
    /// The top-level transaction.
    pub xid: u32,
    /// The name given to `PREPARE TRANSACTION`.
    pub gid: &'a str,
}

/// `K`: a prepared transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitPrepared<'a> {
    /// Start of the commit record.
    pub commit_lsn: Lsn,
    /// The first byte after it.
    pub end_lsn: Lsn,
    /// The source's clock at commit.
    pub commit_time: Timestamp,
    /// The top-level transaction.
    pub xid: u32,
    /// The name given to `PREPARE TRANSACTION`.
    pub gid: &'a str,
}

/// `r`: a prepared transaction is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackPrepared<'a> {
    /// The first byte after the prepare record.
    pub prepare_end_lsn: Lsn,
    /// The first byte after the rollback's record.
    pub rollback_end_lsn: Lsn,
    /// The source's clock when it was prepared.
    pub prepare_time: Timestamp,
    /// The source's clock when it was rolled back.
    pub rollback_time: Timestamp,
    /// The top-level transaction.
    pub xid: u32,
    /// The name given to `PREPARE TRANSACTION`.
    pub gid: &'a str,
}

impl Insert<'_> {
    /// Checks that the row is one of a relation with this many columns. Costs nothing: the row itself is checked
    /// already.
    ///
    /// # Errors
    /// It has more or fewer.
    #[inline]
    pub fn check_columns(&self, columns: usize) -> Result<(), DecodeError> {
        tuple::expect_columns("Insert", self.new, columns)
    }
}

impl Update<'_> {
    /// See [`Insert::check_columns`].
    ///
    /// # Errors
    /// A row has more or fewer.
    #[inline]
    pub fn check_columns(&self, columns: usize) -> Result<(), DecodeError> {
        if let Some((_, old)) = self.old {
            tuple::expect_columns("Update", old, columns)?;
        }
        tuple::expect_columns("Update", self.new, columns)
    }
}

impl Delete<'_> {
    /// See [`Insert::check_columns`].
    ///
    /// # Errors
    /// The row has more or fewer.
    #[inline]
    pub fn check_columns(&self, columns: usize) -> Result<(), DecodeError> {
        tuple::expect_columns("Delete", self.old.1, columns)
    }
}
