//! Enters: text with comments of SQL, C, HTML and shells. Leaves: text without them.

use memchr::memmem;

/// Each `/* … */` becomes one space; an open one goes on to the end.
pub(super) fn replace(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some(begin) = memmem::find(rest, b"/*") {
        out.extend_from_slice(&rest[..begin]);
        out.push(b' ');
        let inside = &rest[begin + 2..];
        match memmem::find(inside, b"*/") {
            Some(end) => rest = &inside[end + 2..],
            None => return,
        }
    }
    out.extend_from_slice(rest);
}

/// `/* … */` and `<!-- … -->` go; `--` and `#` cut the text off.
pub(super) fn remove(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some(byte) = rest.first() {
        let close: &[u8] = if rest.starts_with(b"/*") {
            b"*/"
        } else if rest.starts_with(b"<!--") {
            b"-->"
        } else if rest.starts_with(b"--") || *byte == b'#' {
            return;
        } else {
            out.push(*byte);
            rest = &rest[1..];
            continue;
        };
        let inside = &rest[2..];
        match memmem::find(inside, close) {
            Some(end) => rest = &inside[end + close.len()..],
            None => return,
        }
    }
}

/// The signs go, what stands between them stays.
pub(super) fn remove_signs(input: &[u8], out: &mut Vec<u8>) {
    const SIGNS: [&[u8]; 6] = [b"/*", b"*/", b"<!--", b"-->", b"--", b"#"];
    let mut rest = input;
    while let Some(byte) = rest.first() {
        match SIGNS.iter().find(|sign| rest.starts_with(sign)) {
            Some(sign) => rest = &rest[sign.len()..],
            None => {
                out.push(*byte);
                rest = &rest[1..];
            }
        }
    }
}
