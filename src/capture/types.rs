//! What the catalog says of types that are not built in: how their text is to be read, and whether their binary form is known.
//!
//! Asked once for each type, when a relation is announced that has one. Rows are then read without the catalog: what was found
//! goes into the log with the relation, as each column's [`Shape`].

use std::collections::{HashMap, HashSet};

use super::catalog::Table;
use super::error::CaptureError;
use super::slot::{parsed, text};
use crate::decode::{binary, shape};
use crate::event::{Column, Relation, Scalar, Shape};
use crate::postgres::connection::Connection;

/// The types looked up so far. A type's OID is never given to another while a table or a log still speaks of it, so nothing here
/// goes stale.
#[derive(Debug, Default)]
pub struct Types(HashMap<u32, Found>);

#[derive(Clone, Copy, Debug)]
struct Found {
    shape: Shape,
    /// Values in binary form can be rendered by the shape alone.
    binary: bool,
    /// Of a domain, what its base type is modified by (`numeric(10, 2)`); -1 for none.
    modifier: i32,
}

/// A type whose text is all that is known of it.
const OPAQUE: Found = Found { shape: Shape::TEXT, binary: false, modifier: -1 };

impl Types {
    /// Fills in how each column's text is to be read. Domains and arrays are followed, and a domain's modifier becomes the
    /// column's, which has none of its own; a type that has been dropped since stays text.
    ///
    /// # Errors
    /// The query failed.
    pub async fn resolve(&mut self, connection: &mut Connection, relation: &mut Relation) -> Result<(), CaptureError> {
        self.look_up(connection, relation.columns.iter().map(|column| column.type_oid)).await?;
        for column in &mut relation.columns {
            if let Some(shape) = shape::builtin(column.type_oid) {
                column.shape = shape;
                continue;
            }
            let found = self.0.get(&column.type_oid).copied().unwrap_or(OPAQUE);
            column.shape = found.shape;
            if column.type_modifier == -1 {
                column.type_modifier = found.modifier;
            }
        }
        Ok(())
    }

    /// The first column of a resolved relation whose values can only be read as text.
    #[must_use]
    pub fn text_only<'a>(&self, relation: &'a Relation) -> Option<&'a Column> {
        relation.columns.iter().find(|column| !self.renders(column.type_oid))
    }

    /// Whether every column of these tables, as they are now, has a type whose binary form is known.
    ///
    /// # Errors
    /// The query failed.
    pub async fn render_all(&mut self, connection: &mut Connection, tables: &[Table]) -> Result<bool, CaptureError> {
        if tables.is_empty() {
            return Ok(true);
        }
        let list = tables.iter().map(|table| table.oid.to_string()).collect::<Vec<_>>().join(",");
        let sql = format!(
            "SELECT DISTINCT atttypid FROM pg_attribute WHERE attrelid IN ({list}) AND attnum > 0 AND NOT attisdropped"
        );
        let rows = connection.query("looking at the columns' types", &sql).await?;
        let oids: Vec<u32> = rows.iter().filter_map(|row| parsed(row, 0)).collect();
        self.look_up(connection, oids.iter().copied()).await?;
        Ok(oids.iter().all(|&oid| self.renders(oid)))
    }

    fn renders(&self, oid: u32) -> bool {
        binary::knows(oid) || self.0.get(&oid).is_some_and(|found| found.binary)
    }

    /// Looks up those of these types that are neither built in nor known yet.
    async fn look_up(
        &mut self,
        connection: &mut Connection,
        oids: impl Iterator<Item = u32>,
    ) -> Result<(), CaptureError> {
        let unknown: HashSet<u32> =
            oids.filter(|oid| shape::builtin(*oid).is_none() && !self.0.contains_key(oid)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let list = unknown.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        // Domains down to their base types, and arrays to their elements (and those through domains), step by step; and of each
        // step what its values look like. `citext` and its like name text's own functions, and 12 is the language of those.
        let sql = format!(
            "WITH RECURSIVE chain(root, oid, is_array, delimiter, steps) AS (\
               SELECT oid, oid, false, ',', 0 FROM pg_type WHERE oid IN ({list}) \
               UNION ALL \
               SELECT root, CASE WHEN typtype = 'd' THEN typbasetype ELSE typelem END, is_array OR typtype <> 'd', \
                      CASE WHEN typtype = 'd' THEN chain.delimiter ELSE typdelim::text END, steps + 1 \
               FROM chain JOIN pg_type t ON t.oid = chain.oid \
               WHERE typtype = 'd' OR (typcategory = 'A' AND typelem <> 0 AND NOT is_array)) \
             SELECT root, chain.oid, is_array, delimiter, t.typtype = 'e' \
                    OR (s.prolang = 12 AND s.prosrc = 'textsend' AND o.prolang = 12 AND o.prosrc = 'textout'), \
                    t.typtype = 'b' AND t.typsend = 0, CASE WHEN t.typtype = 'd' AND NOT is_array THEN t.typtypmod END \
             FROM chain JOIN pg_type t ON t.oid = chain.oid \
             LEFT JOIN pg_proc s ON s.oid = t.typsend LEFT JOIN pg_proc o ON o.oid = t.typoutput \
             ORDER BY steps"
        );
        let rows = connection.query("looking at types", &sql).await?;
        // Those that are not there any more. Not before the answer has come: a connection that broke would make opaque for good what it was
        // asked for.
        self.0.extend(unknown.iter().map(|oid| (*oid, OPAQUE)));
        for row in rows {
            let (Some(root), Some(oid)) = (parsed::<u32>(&row, 0), parsed::<u32>(&row, 1)) else { continue };
            let is = |index| text(&row, index).as_deref() == Some("t");
            let delimiter = text(&row, 3).and_then(|text| text.bytes().next()).unwrap_or(b',');
            // The last step of a chain is its end, and tells most; of modifiers the last domain's counts.
            let before = self.0.get(&root).map_or(-1, |found| found.modifier);
            let found = step(oid, is(2).then_some(delimiter), is(4), is(5));
            self.0.insert(root, Found { modifier: parsed(&row, 6).unwrap_or(before), ..found });
        }
        Ok(())
    }
}

/// What a type is as far as this step of its chain tells. `array`: the delimiter, behind an array. `is_words`: an enum, or text
/// by another name. `mute`: it has no binary form, and comes as text in any stream; an array of it would fail the server.
fn step(oid: u32, array: Option<u8>, is_words: bool, mute: bool) -> Found {
    match (array, shape::builtin(oid)) {
        (None, Some(shape)) => Found { shape, binary: binary::shape_tells(oid), modifier: -1 },
        (Some(delimiter), Some(Shape::Scalar(element))) => {
            Found { shape: Shape::Array { element, delimiter }, binary: binary::shape_tells(oid), modifier: -1 }
        }
        // An array of a domain over an array; the text of one element is a whole array's.
        (Some(_), Some(shape @ Shape::Array { .. })) => Found { shape, binary: false, modifier: -1 },
        // An array of enums, composites and the like: text elements.
        (Some(delimiter), None) => {
            Found { shape: Shape::Array { element: Scalar::Text, delimiter }, binary: is_words, modifier: -1 }
        }
        (None, None) => Found { shape: Shape::TEXT, binary: is_words || mute, modifier: -1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_of_a_user_is_rendered_only_if_its_shape_tells_all() {
        let (uuid, numeric, oid, own) = (2950, 1700, 26, 16_384);
        assert!(step(numeric, None, false, false).binary, "a domain over numeric");
        assert!(step(numeric, Some(b','), false, false).binary, "an array of such");
        assert!(!step(uuid, None, false, false).binary, "a domain over uuid: its shape is text");
        assert!(!step(oid, None, false, false).binary, "the shape does not tell an oid from an integer");
        assert!(!step(1007, Some(b','), false, false).binary, "an array of a domain over int[]");
        assert!(step(own, None, true, false).binary && step(own, Some(b','), true, false).binary, "an enum, enums");
        assert!(step(own, None, false, true).binary && !step(own, Some(b','), false, true).binary, "no binary form");
        assert!(!step(own, None, false, false).binary, "a composite, a range, a type of an extension");
    }
}
