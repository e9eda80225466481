//! What is in the index: the keys of a table's documents, page by page, and the document under a key.

use tantivy::collector::TopDocs;
use tantivy::query::TermQuery;
use tantivy::schema::{Field, IndexRecordOption, Value};
use tantivy::{DocAddress, DocSet, Searcher, TERMINATED, TantivyDocument, TantivyError, Term};

use super::document;
use super::fields::Fields;
use crate::project::mutation::Key;
use crate::sink::KeyPage;

/// How many documents are looked at for a page.
const PAGE: usize = 1000;

/// The page that begins at a document's address, as one number. A searcher sees the same documents under the same addresses for as long as it
/// lives; another one, after a commit, does not.
pub(super) fn page(
    searcher: &Searcher,
    fields: &Fields,
    table: &str,
    from: Option<u64>,
) -> Result<KeyPage, TantivyError> {
    let term = Term::from_field_text(fields.table, table);
    let (mut segment, mut first) = address(from.unwrap_or_default());
    let mut page = KeyPage::default();
    while let Some(reader) = usize::try_from(segment).ok().and_then(|at| searcher.segment_readers().get(at)) {
        if let Some(mut postings) =
            reader.inverted_index(fields.table)?.read_postings(&term, IndexRecordOption::Basic)?
        {
            let mut doc = if postings.doc() < first { postings.seek(first) } else { postings.doc() };
            while doc != TERMINATED {
                if page.keys.len() >= PAGE {
                    page.next = Some(number(segment, doc));
                    return Ok(page);
                }
                if !reader.is_deleted(doc) {
                    page.keys.extend(key(searcher, fields.key, DocAddress::new(segment, doc))?);
                }
                doc = postings.advance();
            }
        }
        (segment, first) = (segment.saturating_add(1), 0);
    }
    Ok(page)
}

/// The document under a key as JSON text.
pub(super) fn source(searcher: &Searcher, fields: &Fields, key: &Key) -> Result<Option<String>, TantivyError> {
    let term = Term::from_field_bytes(fields.id, &document::id_of(key));
    let query = TermQuery::new(term, IndexRecordOption::Basic);
    let found = searcher.search(&query, &TopDocs::with_limit(1).order_by_score())?;
    let Some((_, address)) = found.first() else { return Ok(None) };
    let document: TantivyDocument = searcher.doc(*address)?;
    Ok(document.get_first(fields.source).and_then(|source| source.as_str().map(str::to_owned)))
}

fn key(searcher: &Searcher, field: Field, address: DocAddress) -> Result<Option<Key>, TantivyError> {
    let document: TantivyDocument = searcher.doc(address)?;
    let key = document.get_first(field).and_then(|key| key.as_bytes().map(<[u8]>::to_vec));
    Ok(key.map(|key| Key(key.into())))
}

fn number(segment: u32, doc: u32) -> u64 {
    u64::from(segment) << 32 | u64::from(doc)
}

fn address(number: u64) -> (u32, u32) {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
    (half(number >> 32), half(number))
}
