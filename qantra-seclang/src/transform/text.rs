//! Enters: text with odd case, quotes and white space. Leaves: its plain form.

use super::SPACES;

pub(super) fn is_space_or_nbsp(byte: u8) -> bool {
    SPACES.contains(&byte) || byte == 0xa0
}

/// What a shell would ignore is gone, white space is single, letters are small.
pub(super) fn cmd_line(input: &[u8], out: &mut Vec<u8>) {
    let mut space = false;
    for byte in input {
        match byte {
            b'"' | b'\'' | b'\\' | b'^' => {}
            b' ' | b',' | b';' | b'\t' | b'\r' | b'\n' => {
                if !space {
                    out.push(b' ');
                    space = true;
                }
            }
            b'/' | b'(' => {
                if space {
                    out.pop();
                }
                space = false;
                out.push(*byte);
            }
            _ => {
                out.push(byte.to_ascii_lowercase());
                space = false;
            }
        }
    }
}

pub(super) fn compress_whitespace(input: &[u8], out: &mut Vec<u8>) {
    let mut space = false;
    for byte in input {
        let is_space = is_space_or_nbsp(*byte);
        if !is_space {
            out.push(*byte);
        } else if !space {
            out.push(b' ');
        }
        space = is_space;
    }
}

pub(super) fn trim_left(input: &[u8]) -> &[u8] {
    let begin = input.iter().position(|b| !SPACES.contains(b)).unwrap_or(input.len());
    &input[begin..]
}

pub(super) fn trim_right(input: &[u8]) -> &[u8] {
    let end = input.iter().rposition(|b| !SPACES.contains(b)).map_or(0, |last| last + 1);
    &input[..end]
}
