//! Arrays, ranges and multiranges: values that hold values.

use super::super::array::{is_space, put_element};
use super::input::Input;
use super::{Element, Kind, write};

/// PostgreSQL's own limit (`MAXDIM`).
const DIMENSIONS_MAX: usize = 6;

/// An array's dimensions: length and lower bound of each.
struct Dimensions(Vec<(usize, i32)>);

impl Dimensions {
    /// Reads an array up to its first element.
    fn read(input: &mut Input<'_>) -> Option<Self> {
        let count = input.count(8).filter(|&count| count <= DIMENSIONS_MAX)?;
        let (_has_nulls, _element_oid) = (input.i32()?, input.u32()?);
        let dimension = |_| Some((usize::try_from(input.i32()?).ok()?, input.i32()?));
        (0..count).map(dimension).collect::<Option<Vec<_>>>().map(Dimensions)
    }

    fn elements(&self) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(first.0, |product, (length, _)| product.checked_mul(*length))
    }
}

/// `array_out`.
pub(super) fn array(element: Element, delimiter: u8, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut input = Input::new(bytes);
    let dimensions = Dimensions::read(&mut input)?;
    let Some(elements) = dimensions.elements().filter(|&elements| elements > 0) else {
        out.extend_from_slice(b"{}");
        return input.is_empty().then_some(());
    };
    if dimensions.0.iter().any(|(_, lower)| *lower != 1) {
        for (length, lower) in &dimensions.0 {
            let upper = i64::from(*lower).checked_add(i64::try_from(*length).ok()?)?.checked_sub(1)?;
            out.extend_from_slice(format!("[{lower}:{upper}]").as_bytes());
        }
        out.push(b'=');
    }
    let mut text = Vec::new();
    for index in 0..elements {
        if index > 0 {
            out.push(delimiter);
        }
        let edges = |at: usize| edges(&dimensions, at);
        out.extend(std::iter::repeat_n(b'{', edges(index)));
        match input.counted()? {
            None => out.extend_from_slice(b"NULL"),
            Some(value) => {
                text.clear();
                match element {
                    Element::One(kind) => write(kind, value, &mut text)?,
                    Element::Range(kind) => range(kind, value, &mut text)?,
                    Element::Multirange(kind) => multirange(kind, value, &mut text)?,
                }
                put_element(&text, delimiter, out);
            }
        }
        out.extend(std::iter::repeat_n(b'}', edges(index.checked_add(1)?)));
    }
    input.is_empty().then_some(())
}

/// How many dimensions begin (and end) at the element with this index, counted flat.
fn edges(dimensions: &Dimensions, index: usize) -> usize {
    let mut size = 1_usize;
    let starts = |(length, _): &&(usize, i32)| {
        size = size.saturating_mul(*length);
        index.is_multiple_of(size)
    };
    dimensions.0.iter().rev().take_while(starts).count()
}

/// `int2vectorout`, `oidvectorout`: an array of one dimension, as words.
pub(super) fn vector(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut input = Input::new(bytes);
    let elements = Dimensions::read(&mut input)?.elements().unwrap_or(0);
    for index in 0..elements {
        if index > 0 {
            out.push(b' ');
        }
        write(kind, input.counted()??, out)?;
    }
    input.is_empty().then_some(())
}

/// `range_out`.
pub(super) fn range(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    const EMPTY: u8 = 0x01;
    const LOWER_INCLUSIVE: u8 = 0x02;
    const UPPER_INCLUSIVE: u8 = 0x04;
    const LOWER_INFINITE: u8 = 0x08;
    const UPPER_INFINITE: u8 = 0x10;
    let mut input = Input::new(bytes);
    let flags = input.u8()?;
    let has = |flag: u8| flags & flag != 0;
    if has(EMPTY) {
        out.extend_from_slice(b"empty");
        return input.is_empty().then_some(());
    }
    out.push(if has(LOWER_INCLUSIVE) { b'[' } else { b'(' });
    let mut text = Vec::new();
    for (infinite, end) in [(LOWER_INFINITE, b','), (UPPER_INFINITE, if has(UPPER_INCLUSIVE) { b']' } else { b')' })] {
        if !has(infinite) {
            text.clear();
            write(kind, input.counted()??, &mut text)?;
            put_bound(&text, out);
        }
        out.push(end);
    }
    input.is_empty().then_some(())
}

/// A bound, quoted where it must be. The built-in ranges' bounds hold nothing that wants escaping.
fn put_bound(text: &[u8], out: &mut Vec<u8>) {
    let quoted = text.iter().any(|&byte| is_space(byte));
    if quoted {
        out.push(b'"');
    }
    out.extend_from_slice(text);
    if quoted {
        out.push(b'"');
    }
}

/// `multirange_out`.
pub(super) fn multirange(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut input = Input::new(bytes);
    out.push(b'{');
    for index in 0..input.count(5)? {
        if index > 0 {
            out.push(b',');
        }
        range(kind, input.counted()??, out)?;
    }
    out.push(b'}');
    input.is_empty().then_some(())
}
