//! `json` and `jsonb` values, embedded as they are.
//!
//! PostgreSQL has checked its own values, but it takes more than many readers do, and one cell must not spoil a whole line.
//! So a value is embedded only if any parser can read it: valid by the grammar (RFC 8259), nested at most [`DEPTH_MAX`]
//! deep (PostgreSQL allows thousands; common parsers stop at 128 and lose the line), and without an unpaired surrogate
//! escape, which `json` lets pass (`"\ud800"`). Any other value is left to be written as a string. The check does not
//! recurse and allocates nothing.

use super::json::{number_length, plain_length};

/// Leaves room for what stands around the value: the event, the row, six dimensions of an array.
const DEPTH_MAX: u32 = 100;

/// Writes the value; `None` if it must not be embedded.
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    std::str::from_utf8(text).ok()?;
    Scanner { rest: text, depth: 0, objects: 0 }.document()?;
    // In a valid value these stand between tokens only, where they mean nothing and would break the line.
    let breaks = |&byte: &u8| matches!(byte, b'\n' | b'\r' | b'\t');
    text.split(breaks).for_each(|run| out.extend_from_slice(run));
    Some(())
}

/// Checks a value token by token. Every step is `None` at the first byte that does not belong there.
struct Scanner<'a> {
    rest: &'a [u8],
    /// How many arrays and objects are open.
    depth: u32,
    /// One bit for each of them, the innermost lowest: whether it is an object.
    objects: u128,
}

impl<'a> Scanner<'a> {
    fn document(mut self) -> Option<()> {
        loop {
            self.skip_space();
            match *self.rest.first()? {
                b'{' => {
                    self.open(true)?;
                    if !self.closes(b'}') {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.open(false)?;
                    if !self.closes(b']') {
                        continue;
                    }
                }
                first => self.scalar(first)?,
            }
            if !self.another_value_follows()? {
                return Some(());
            }
        }
    }

    /// After a value: closes what ends here, and tells whether another value must follow.
    fn another_value_follows(&mut self) -> Option<bool> {
        while self.depth > 0 {
            match (self.token()?, self.objects & 1 == 1) {
                (b',', true) => return self.key().map(|()| true),
                (b',', false) => return Some(true),
                (b'}', true) | (b']', false) => self.close(),
                _ => return None,
            }
        }
        self.skip_space();
        self.rest.is_empty().then_some(false)
    }

    /// A value that is no array or object, and begins with this byte.
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => {
                self.rest = self.rest.get(number_length(self.rest)?..)?;
                Some(())
            }
        }
    }

    fn literal(&mut self, rest: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(rest)?;
        Some(())
    }

    /// An object's key and the colon.
    fn key(&mut self) -> Option<()> {
        self.skip_space();
        self.string()?;
        (self.token()? == b':').then_some(())
    }

    fn string(&mut self) -> Option<()> {
        self.literal(b"\"")?;
        loop {
            self.rest = self.rest.get(plain_length(self.rest)..)?;
            match self.byte()? {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// The rest of an escape.
    fn escape(&mut self) -> Option<()> {
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.code_unit()? {
                0xD800..=0xDBFF => {
                    self.literal(b"\\u")?;
                    matches!(self.code_unit()?, 0xDC00..=0xDFFF).then_some(())
                }
                0xDC00..=0xDFFF => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    /// Four hex digits.
    fn code_unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| {
            let digit = char::from(self.byte()?).to_digit(16)?;
            Some(unit << 4 | digit)
        })
    }

    /// Takes the bracket that opens an object or an array.
    fn open(&mut self, object: bool) -> Option<()> {
        self.byte()?;
        (self.depth < DEPTH_MAX).then_some(())?;
        self.depth = self.depth.saturating_add(1);
        self.objects = self.objects << 1 | u128::from(object);
        Some(())
    }

    const fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    /// Whether what was just opened is closed at once.
    fn closes(&mut self, with: u8) -> bool {
        self.skip_space();
        let Some(rest) = self.rest.strip_prefix(&[with]) else { return false };
        self.rest = rest;
        self.close();
        true
    }

    /// The first byte of the next token.
    fn token(&mut self) -> Option<u8> {
        self.skip_space();
        self.byte()
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn skip_space(&mut self) {
        while let Some((b' ' | b'\n' | b'\r' | b'\t', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }
}
