//! Geometric values: the coordinates as well-known binary (OGC 06-103r4), little-endian, with what it cannot tell beside it.

use super::super::base64;
use super::super::kind::Kind;
use super::value;

const LINE_STRING: u8 = 2;
const POLYGON: u8 = 3;

/// Writes a geometric value from its text.
pub(super) fn write(kind: &Kind, text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let words: Vec<&[u8]> = words(text).collect();
    let numbers =
        words.iter().map(|word| std::str::from_utf8(word).ok()?.parse().ok()).collect::<Option<Vec<f64>>>()?;
    let (points, odd) = numbers.as_chunks::<2>();
    match (kind, points, odd, words.as_slice()) {
        (Kind::Point, [point], [], [x, y]) => put_point(*point, x, y, out),
        (Kind::Circle, [center], [_], [x, y, radius]) => {
            out.extend_from_slice(b"{\"center\":");
            put_point(*center, x, y, out);
            out.extend_from_slice(b",\"radius\":");
            value::float(radius, out);
            out.push(b'}');
        }
        (Kind::Line, [_], [_], words) => {
            for (name, word) in [&b"{\"a\":"[..], b",\"b\":", b",\"c\":"].iter().zip(words) {
                out.extend_from_slice(name);
                value::float(word, out);
            }
            out.push(b'}');
        }
        (Kind::Segment, [_, _], [], _) => shape(LINE_STRING, points, "lseg", out),
        (Kind::Box, [[x1, y1], [x2, y2]], [], _) => {
            shape(POLYGON, &[[*x1, *y1], [*x1, *y2], [*x2, *y2], [*x2, *y1], [*x1, *y1]], "box", out);
        }
        (Kind::Path, [_, ..], [], _) => {
            let closed = text.first() == Some(&b'(');
            let extensions = format!("path\",\"closed\":\"{closed}");
            shape(LINE_STRING, points, &extensions, out);
        }
        (Kind::Polygon, [first, ..], [], _) => {
            let mut ring = points.to_vec();
            let open = ring.last() != Some(first);
            if open {
                ring.push(*first);
            }
            shape(POLYGON, &ring, "polygon", out);
            return Some(points.len() == 1 && !open || open && !numbers.iter().any(|number| number.is_nan()));
        }
        _ => return None,
    }
    Some(true)
}

/// The numbers' texts.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bracket = |byte: &u8| matches!(byte, b'(' | b')' | b'[' | b']' | b'<' | b'>' | b'{' | b'}' | b',');
    text.split(bracket).filter(|word| !word.is_empty())
}

fn put_point([x, y]: [f64; 2], x_text: &[u8], y_text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"x\":");
    value::float(x_text, out);
    out.extend_from_slice(b",\"y\":");
    value::float(y_text, out);
    out.extend_from_slice(b",\"wkb\":\"");
    let mut wkb = vec![1, 1, 0, 0, 0];
    wkb.extend([x, y].into_iter().flat_map(f64::to_le_bytes));
    base64::encode(&wkb, out);
    out.extend_from_slice(b"\",\"srid\":null}");
}

/// A geometry and its PostgreSQL type.
fn shape(geometry: u8, points: &[[f64; 2]], extensions: &str, out: &mut Vec<u8>) {
    let mut wkb = vec![1, geometry, 0, 0, 0];
    if geometry == POLYGON {
        wkb.extend(1_u32.to_le_bytes());
    }
    wkb.extend(u32::try_from(points.len()).unwrap_or(u32::MAX).to_le_bytes());
    wkb.extend(points.iter().flatten().flat_map(|number| number.to_le_bytes()));
    out.extend_from_slice(b"{\"wkb\":\"");
    base64::encode(&wkb, out);
    out.extend_from_slice(b"\",\"srid\":null,\"extensions\":{\"type\":\"");
    out.extend_from_slice(extensions.as_bytes());
    out.extend_from_slice(b"\"}}");
}

/// The binary form (`typsend`) of what [`write()`] wrote as well-known binary; `None` if it is no such.
pub(super) fn read(kind: &Kind, wkb: &[u8], closed: bool) -> Option<Vec<u8>> {
    let numbers = wkb.get(if *kind == Kind::Segment || *kind == Kind::Path { 9 } else { 13 }..)?;
    let (numbers, rest) = numbers.as_chunks::<8>();
    let (points, odd) = numbers.as_chunks::<2>();
    (rest.is_empty() && odd.is_empty()).then_some(())?;
    let mut points: Vec<[[u8; 8]; 2]> = points.to_vec();
    points.iter_mut().flatten().for_each(|number| number.reverse());
    let mut out = Vec::new();
    match kind {
        Kind::Box => points = vec![*points.first()?, *points.get(2)?],
        Kind::Path => out.push(u8::from(closed)),
        Kind::Polygon if points.len() > 1 => drop(points.pop()),
        _ => {}
    }
    if matches!(kind, Kind::Path | Kind::Polygon) {
        out.extend(i32::try_from(points.len()).ok()?.to_be_bytes());
    }
    out.extend(points.iter().flatten().flatten());
    Some(out)
}
