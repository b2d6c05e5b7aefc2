//! Enters: a path. Leaves: the path without repeated slashes, `.` and what `..` takes back. It must never go above the
//! root of an absolute path; a relative one keeps its leading `..`.

pub(super) fn normalize(input: &[u8], windows: bool, out: &mut Vec<u8>) {
    let is_slash = |byte: &u8| *byte == b'/' || (windows && *byte == b'\\');
    let absolute = input.first().is_some_and(is_slash);
    if absolute {
        out.push(b'/');
    }
    let root = out.len();
    // How many segments may be taken back.
    let mut depth = 0_usize;
    for segment in input.split(is_slash) {
        match segment {
            b"" | b"." => {}
            b".." if depth > 0 => {
                let kept = out[..out.len()].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                out.truncate(kept.max(root));
                depth -= 1;
            }
            b".." if absolute => {}
            other => {
                if out.len() > root {
                    out.push(b'/');
                }
                out.extend_from_slice(other);
                if other != b".." {
                    depth += 1;
                }
            }
        }
    }
    let ends_open = input.len() > 1 && input.last().is_some_and(is_slash);
    if ends_open && out.len() > root {
        out.push(b'/');
    }
}
