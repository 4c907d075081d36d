//! Layouts by name, from Rust's types and from C headers.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

/// Notes a type's size, and its fields' offsets. The names are the header's.
macro_rules! layout {
    ($out:ident, $type:ident { $($field:ident),* }) => {
        layout!($out, $type as $type { $($field),* });
    };
    ($out:ident, $name:ident as $type:ty { $($field:ident),* }) => {
        $out.insert(stringify!($name).to_owned(), size_of::<$type>());
        $($out.insert(concat!(stringify!($name), ".", stringify!($field)).to_owned(), offset_of!($type, $field));)*
    };
}

/// From a header's NR_PIN lines: "NrStr" to its size, and "NrStr.len" to its offset.
pub fn read(header: &str) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for line in header.lines() {
        let Some(pin) = line.strip_prefix("NR_PIN_").and_then(|rest| rest.strip_suffix(");")) else {
            continue;
        };
        let (kind, arguments) = pin.split_once('(').unwrap();
        let arguments: Vec<&str> = arguments.split(", ").collect();
        let name = match (kind, arguments.as_slice()) {
            ("SIZE", [name, _]) => (*name).to_owned(),
            ("OFFSET", [name, field, _]) => format!("{name}.{field}"),
            _ => panic!("a pin that this test cannot read: {line}"),
        };
        out.insert(name, arguments.last().unwrap().parse().unwrap());
    }
    out
}
