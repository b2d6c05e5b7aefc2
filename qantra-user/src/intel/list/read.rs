//! Reads a list whole: unpacked, checked, line by line, into sets by confidence. Memory follows what is listed, never the
//! length of the list.

use std::{
    io::{self, Cursor, Read},
    sync::Arc,
};

use flate2::read::MultiGzDecoder;

use crate::enforce::AddressRanges;

use super::{
    EntryPolicy, Format, Reason, Rejected, Report,
    json::{Found, Json},
    lines::{Line, Lines},
    merge::RangeBuilder,
    policy::Taken,
    reason::Tally,
    record::{Record, Records},
    sniff,
};

/// How often a list may be packed: as a `.gz` file, and once more by the web server.
const PACKINGS_MAX: usize = 2;
const PIECE_BYTES: usize = 64 * 1024;

/// How a list is to be read.
#[derive(Debug, Clone, Copy)]
pub struct ListOptions<'a> {
    /// Its format.
    pub format: Format,
    /// What is refused.
    pub policy: &'a EntryPolicy,
    /// How sure the feed is as a whole, from 0 to 100.
    pub confidence: u8,
    /// Most bytes, unpacked.
    pub bytes_max: u64,
    /// Most ranges that are kept.
    pub ranges_max: usize,
}

/// What is equally sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// How sure, from 0 to 100.
    pub confidence: u8,
    /// What is listed.
    pub ranges: Arc<AddressRanges>,
}

/// A list that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Its format, found out where it was not given.
    pub format: Format,
    /// What it lists, the surest first.
    pub tiers: Vec<Tier>,
    /// How it was read.
    pub report: Report,
}

/// A list cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Reading failed.
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
    /// It is packed in a way that is not read.
    #[error("it is {0}: only gzip is unpacked")]
    Packed(&'static str),
    /// It is packed once more than is unpacked.
    #[error("it is packed by gzip more than {PACKINGS_MAX} times")]
    PackedTooOften,
    /// Another encoding than UTF-8.
    #[error("it is {0}: save it as UTF-8")]
    Encoding(&'static str),
    /// It is a page for people.
    #[error("it is a web page or XML, not a list: take the address of the raw file")]
    Page,
    /// It is too long.
    #[error("it has more than {0} bytes unpacked: `feeds.unpacked_max_mb` is the most")]
    TooLong(u64),
}

/// Reads a list. Each line that is no entry, or not all of one, is handed to `rejected` as it comes; each entry that is
/// taken to `taken`, with its line and text: its first piece, where something was cut out.
///
/// # Errors
/// It is no list of lines in UTF-8, is too long, or cannot be read to its end.
pub fn read_list<'i>(
    input: impl Read + 'i,
    options: &ListOptions<'_>,
    rejected: &mut dyn FnMut(&Rejected<'_>),
    taken: &mut dyn FnMut(u64, &[u8], super::Span),
) -> Result<List, ListError> {
    let (beginning, rest) = unpack(Box::new(input), options.bytes_max)?;
    let mark = sniff::check(&beginning)?;
    let format = match options.format {
        Format::Auto => sniff::format(&beginning[mark..]),
        named => named,
    };
    let mut beginning = Cursor::new(beginning);
    beginning.set_position(mark as u64);
    let input = beginning.chain(rest);
    let mut reading = Reading::new(options, rejected, taken);
    match format {
        Format::Json => reading.json(input),
        _ => reading.lines(input, format),
    }
    .map_err(|error| if is_too_long(&error) { ListError::TooLong(options.bytes_max) } else { error.into() })?;
    Ok(reading.finish(format))
}

/// The unpacked stream: its beginning, and all that comes after.
fn unpack<'i>(input: Box<dyn Read + 'i>, bytes_max: u64) -> Result<(Vec<u8>, Box<dyn Read + 'i>), ListError> {
    let mut input: Box<dyn Read + 'i> = Box::new(Bounded { input, left: bytes_max });
    for _ in 0..=PACKINGS_MAX {
        let beginning = beginning_of(&mut input)?;
        if !sniff::is_gzip(&beginning) {
            return Ok((beginning, input));
        }
        let packed = Cursor::new(beginning).chain(input);
        input = Box::new(Bounded { input: Box::new(MultiGzDecoder::new(packed)), left: bytes_max });
    }
    Err(ListError::PackedTooOften)
}

fn beginning_of(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut beginning = Vec::new();
    input.take(sniff::SNIFF_BYTES as u64).read_to_end(&mut beginning)?;
    Ok(beginning)
}

/// Fails, where `Take` would end quietly.
struct Bounded<'i> {
    input: Box<dyn Read + 'i>,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("too long")]
struct TooLong;

impl Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other(TooLong))?;
        Ok(count)
    }
}

fn is_too_long(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<TooLong>())
}

/// A list while it is read.
struct Reading<'a> {
    options: &'a ListOptions<'a>,
    rejected: &'a mut dyn FnMut(&Rejected<'_>),
    taken: &'a mut dyn FnMut(u64, &[u8], super::Span),
    tally: Tally,
    /// By confidence, from 0 to 100.
    tiers: Vec<Option<RangeBuilder>>,
    ranges: usize,
}

impl<'a> Reading<'a> {
    fn new(
        options: &'a ListOptions<'a>,
        rejected: &'a mut dyn FnMut(&Rejected<'_>),
        taken: &'a mut dyn FnMut(u64, &[u8], super::Span),
    ) -> Self {
        let tiers = (0..=100).map(|_| None).collect();
        Self { options, rejected, taken, tally: Tally::default(), tiers, ranges: 0 }
    }

    fn lines(&mut self, input: impl Read, format: Format) -> io::Result<()> {
        let mut lines = Lines::new(input);
        let mut records = Records::new(format);
        loop {
            let number = lines.number + 1;
            match lines.next()? {
                None => return Ok(()),
                Some(Line::Whole(text)) => match records.read(text) {
                    Record::Nothing => self.tally.skipped += 1,
                    record => self.record(number, text, record),
                },
                Some(Line::TooLong(text)) => self.refuse(number, text, Reason::LineTooLong),
            }
            self.tally.lines = number;
        }
    }

    fn json(&mut self, mut input: impl Read) -> io::Result<()> {
        let mut json = Json::new();
        let mut piece = vec![0; PIECE_BYTES];
        let mut found = |found: Found<'_>| self.record(found.line, found.text, found.record);
        loop {
            match input.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => json.feed(&piece[..count], &mut found),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        json.finish(&mut found);
        (self.tally.lines, self.tally.skipped) = (json.lines, json.skipped);
        Ok(())
    }

    fn record(&mut self, line: u64, text: &[u8], record: Record) {
        let (span, share) = match record {
            Record::Nothing => return,
            Record::Bad(reason) => return self.refuse(line, text, reason),
            Record::Entry(span, share) => (span, share),
        };
        let confidence = usize::from(self.options.confidence) * usize::from(share) / 100;
        let Some(place) = self.tiers.get_mut(confidence) else { return };
        let tier = place.get_or_insert_default();
        let before = tier.len();
        if self.ranges >= self.options.ranges_max {
            return self.refuse(line, text, Reason::TooMany);
        }
        let mut first = None;
        let keep = |piece| {
            first.get_or_insert(piece);
            tier.add(piece);
        };
        match self.options.policy.take(span, keep) {
            Ok(how) => {
                // Joining makes it smaller.
                self.ranges = self.ranges - before + tier.len();
                self.tally.entries += 1;
                (self.taken)(line, text, first.unwrap_or(span));
                if let Taken::InPart(reason) = how {
                    self.complain(line, text, reason, Some(span));
                }
            }
            Err(reason) => self.complain(line, text, reason, Some(span)),
        }
    }

    fn refuse(&mut self, line: u64, text: &[u8], reason: Reason) {
        self.complain(line, text, reason, None);
    }

    fn complain(&mut self, line: u64, text: &[u8], reason: Reason, span: Option<super::Span>) {
        let is_protection = matches!(reason, Reason::Protected | Reason::ProtectedCut);
        let protection = span.filter(|_| is_protection).and_then(|span| self.options.policy.protection(span));
        let rejected = Rejected { line, text, reason, protection };
        self.tally.count(&rejected);
        (self.rejected)(&rejected);
    }

    fn finish(self, format: Format) -> List {
        let tiers = self.tiers.into_iter().enumerate().rev().filter_map(|(confidence, tier)| {
            let ranges = tier?.finish();
            (!ranges.is_empty()).then(|| Tier { confidence: confidence as u8, ranges: Arc::new(ranges) })
        });
        List { format, tiers: tiers.collect(), report: self.tally.report() }
    }
}
