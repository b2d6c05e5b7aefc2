//! Lines of a hostile file: numbered, as text, none longer than a limit.

use std::io::{self, BufRead};

/// Longest line that is read; the rest of a longer one is skipped and said.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// Reads line by line into one buffer.
pub(super) struct Lines<'a> {
    input: &'a mut dyn BufRead,
    number: u64,
    buffer: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(input: &'a mut dyn BufRead) -> Self {
        Self { input, number: 0, buffer: Vec::new() }
    }

    /// The next line with its number, or what is wrong with it; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Result<&str, String>)>> {
        self.buffer.clear();
        let mut is_long = false;
        let mut any = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = memchr::memchr(b'\n', chunk);
            let taken = end.unwrap_or(chunk.len());
            is_long |= self.buffer.len() + taken > LINE_BYTES_MAX;
            if !is_long {
                self.buffer.extend_from_slice(&chunk[..taken]);
            }
            self.input.consume(end.map_or(taken, |end| end + 1));
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        if is_long {
            return Ok(Some((self.number, Err(format!("the line is longer than {LINE_BYTES_MAX} bytes")))));
        }
        let text = std::str::from_utf8(&self.buffer).map_err(|_| "the line is not UTF-8".to_owned());
        // Editors of Windows begin a file with a byte order mark and end lines with a carriage return.
        let bare = |text: &'_ str| text.strip_prefix('\u{feff}').filter(|_| self.number == 1).map_or(0, |_| 3);
        let line = text.map(|text| text[bare(text)..].trim_end_matches('\r'));
        Ok(Some((self.number, line)))
    }
}
