//! Enters: bytes. Leaves: lines with their numbers, in bounded memory: of a line longer than any entry only the
//! beginning.

use std::io::{self, Read};

use super::reason::TEXT_BYTES_MAX;

/// Longest line that is looked at.
pub(super) const LINE_BYTES_MAX: usize = 4_096;
const BUFFER_BYTES: usize = 64 * 1024;

/// One line without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// Its beginning.
    TooLong(&'a [u8]),
}

/// Cuts a stream into lines that end with LF or CR LF.
pub(super) struct Lines<R> {
    input: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    is_over: bool,
    beginning: Vec<u8>,
    /// The number of the line that was handed out last, from 1.
    pub(super) number: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; BUFFER_BYTES].into(),
            start: 0,
            end: 0,
            is_over: false,
            beginning: Vec::new(),
            number: 0,
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut searched = 0;
        loop {
            let pending = &self.buffer[self.start + searched..self.end];
            if let Some(at) = memchr::memchr(b'\n', pending) {
                let (from, to) = (self.start, self.start + searched + at);
                self.start = to + 1;
                self.number += 1;
                return Ok(Some(self.whole(from, to)));
            }
            searched = self.end - self.start;
            if searched > LINE_BYTES_MAX + 1 {
                return self.skip_long().map(Some);
            }
            if self.is_over {
                if searched == 0 {
                    return Ok(None);
                }
                let (from, to) = (self.start, self.end);
                self.start = self.end;
                self.number += 1;
                return Ok(Some(self.whole(from, to)));
            }
            self.refill()?;
        }
    }

    fn whole(&self, from: usize, to: usize) -> Line<'_> {
        let line = &self.buffer[from..to];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LINE_BYTES_MAX { Line::TooLong(&line[..=TEXT_BYTES_MAX]) } else { Line::Whole(line) }
    }

    fn skip_long(&mut self) -> io::Result<Line<'_>> {
        self.beginning.clear();
        self.beginning.extend_from_slice(&self.buffer[self.start..=self.start + TEXT_BYTES_MAX]);
        self.number += 1;
        loop {
            match memchr::memchr(b'\n', &self.buffer[self.start..self.end]) {
                Some(at) => {
                    self.start += at + 1;
                    break;
                }
                None if self.is_over => {
                    self.start = self.end;
                    break;
                }
                None => {
                    self.start = self.end;
                    self.refill()?;
                }
            }
        }
        Ok(Line::TooLong(&self.beginning))
    }

    fn refill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let read = loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.end += read;
        self.is_over = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Hands out one byte, then two, then three: ends of reads fall everywhere.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 % 3 + 1;
            let count = self.1.min(into.len()).min(self.0.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn all(input: impl Read) -> Vec<(u64, Vec<u8>, bool)> {
        let mut lines = Lines::new(input);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let (text, long) = match line {
                Line::Whole(text) => (text.to_vec(), false),
                Line::TooLong(text) => (text.to_vec(), true),
            };
            found.push((lines.number, text, long));
        }
        found
    }

    #[test]
    fn a_huge_line_costs_its_beginning_only() {
        let mut text = vec![b'x'; 10_000_000];
        text.extend_from_slice(b"\n1.2.3.4\r\n\nlast");
        let found = all(text.as_slice());
        assert_eq!((found[0].0, found[0].1.len(), found[0].2), (1, TEXT_BYTES_MAX + 1, true));
        assert_eq!(found[1..], [(2, b"1.2.3.4".to_vec(), false), (3, Vec::new(), false), (4, b"last".to_vec(), false)]);
        assert!(!all(&vec![b'x'; LINE_BYTES_MAX][..])[0].2);
        assert!(all(&vec![b'x'; LINE_BYTES_MAX + 1][..])[0].2);
        assert!(all(&b""[..]).is_empty());
    }

    proptest! {
        #[test]
        fn lines_are_those_of_a_naive_split(parts in prop::collection::vec(prop_oneof![
            Just(b"\n".to_vec()), Just(b"\r\n".to_vec()), prop::collection::vec(any::<u8>(), 0..9),
            Just(vec![b'y'; LINE_BYTES_MAX + 7]),
        ], 0..30)) {
            let text = parts.concat();
            let mut expected: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let found = all(Trickle(&text, 0));
            prop_assert_eq!(found.len(), expected.len());
            for (index, (line, (number, seen, long))) in expected.iter().zip(&found).enumerate() {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                prop_assert_eq!(*number, index as u64 + 1);
                prop_assert_eq!(*long, line.len() > LINE_BYTES_MAX);
                prop_assert!(line.starts_with(seen));
                prop_assert!(*long || seen.len() == line.len());
            }
        }
    }
}
