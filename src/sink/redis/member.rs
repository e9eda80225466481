//! Rows as members of collections. A document's name is the collection's key, [`MEMBER`] and the member, so that a row that changes its
//! key or its member is a delete of the one document and a put of the other, like any row that moves.

use bytes::Bytes;
use redis::Pipeline;

use super::ValueKind;
use super::reply::Reply;
use crate::project::key::MEMBER;
use crate::project::mutation::Key;
use crate::sink::Image;

/// The collection's key and the member; `None` if it is not certain where the one ends.
pub(super) fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = name.split(|&byte| byte == MEMBER);
    let (key, member) = (parts.next()?, parts.next()?);
    parts.next().is_none().then_some((key, member))
}

/// The name of a member's document; `None` if it could not be split again.
pub(super) fn join(key: &[u8], member: &[u8]) -> Option<Key> {
    let name = [key, &[MEMBER], member].concat();
    split(&name)?;
    Some(Key(Bytes::from(name)))
}

/// The key in Redis that a document is in.
pub(super) fn redis_key(kind: ValueKind, name: &Bytes) -> Bytes {
    match kind.is_collection().then(|| split(name)).flatten() {
        Some((key, _)) => name.slice_ref(key),
        None => name.clone(),
    }
}

/// Asks for a member; [`image`] understands the reply.
pub(super) fn ask(kind: ValueKind, name: &[u8], pipeline: &mut Pipeline) {
    let (key, member) = split(name).unwrap_or((name, b""));
    let command = match kind {
        ValueKind::SortedSet => "ZSCORE",
        ValueKind::List => "LPOS",
        _ => "SISMEMBER",
    };
    pipeline.cmd(command).arg(key).arg(member);
}

/// What readers find.
pub(super) fn image(kind: ValueKind, reply: &Reply) -> Option<Image> {
    match (kind, reply) {
        (ValueKind::SortedSet, Reply::Bytes(score)) => {
            let score = str::from_utf8(score).ok().and_then(|score| score.parse().ok());
            Some(score.map_or_else(|| Image::foreign("a strange score"), |score: f64| scored(&score.to_string())))
        }
        (ValueKind::List, Reply::Number(_)) | (ValueKind::Set, Reply::Number(1)) => Some(present()),
        _ => None,
    }
}

/// A member.
pub(super) fn present() -> Image {
    Image::of_json("true".to_owned())
}

/// A member with this score.
pub(super) fn scored(score: &str) -> Image {
    Image::of_json(score.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_where_it_was_joined_or_not_at_all() {
        let name = join(b"timeline:7", b"4:2").expect("a name");
        assert_eq!(split(&name.0), Some((&b"timeline:7"[..], &b"4:2"[..])));
        assert_eq!(redis_key(ValueKind::Set, &name.0), &b"timeline:7"[..]);
        assert_eq!(redis_key(ValueKind::Json, &name.0), name.0);
        assert_eq!(join(b"a", b"b\x1fc"), None);
        assert_eq!(join(b"a\x1fb", b"c"), None);
        assert_eq!(split(b"timeline:7"), None);
    }
}
