//! Whatever the text of a value, what is written is one JSON value on one line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use walbridge::decode::json;
use walbridge::event::{Scalar, Shape};

fuzz_target!(|input: (u8, Option<bool>, &[u8])| {
    let (number, array, text) = input;
    let Some(scalar) = Scalar::from_number(number % 12) else { return };
    let shape = match array {
        None => Shape::Scalar(scalar),
        Some(semicolon) => Shape::Array { element: scalar, delimiter: if semicolon { b';' } else { b',' } },
    };
    let mut out = Vec::new();
    json::write_cell(shape, text, &mut out);
    assert!(!out.contains(&b'\n'));
    serde_json::from_slice::<serde_json::Value>(&out).expect("JSON that any parser reads");
});
