//! What a list is, by its beginning: its packing, its encoding, its format.

use super::{
    Format, ListError, Span,
    record::{Record, Records},
    span::decimal,
};

/// How much of a list is looked at.
pub(super) const SNIFF_BYTES: usize = 32 * 1024;
/// Lines that vote for a format.
const VOTERS_MAX: usize = 200;

/// Packings that are known and not read, by their first bytes.
const PACKINGS: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "a zip archive"),
    (b"\xfd7zXZ\0", "packed with xz"),
    (b"BZh", "packed with bzip2"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"%PDF-", "a PDF"),
];

pub(super) fn is_gzip(beginning: &[u8]) -> bool {
    beginning.starts_with(b"\x1f\x8b\x08")
}

/// Refuses what is no list of lines in UTF-8; returns how many bytes of a byte-order mark come first.
pub(super) fn check(beginning: &[u8]) -> Result<usize, ListError> {
    if let Some((_, what)) = PACKINGS.iter().find(|(magic, _)| beginning.starts_with(magic)) {
        return Err(ListError::Packed(what));
    }
    if beginning.starts_with(b"\xff\xfe\0\0") || beginning.starts_with(b"\0\0\xfe\xff") {
        return Err(ListError::Encoding("UTF-32"));
    }
    if beginning.starts_with(b"\xff\xfe") || beginning.starts_with(b"\xfe\xff") || is_bare_utf16(beginning) {
        return Err(ListError::Encoding("UTF-16"));
    }
    let mark = if beginning.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let text = beginning[mark..].trim_ascii_start();
    let starts = |tag: &str| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()));
    if ["<!doctype", "<html", "<?xml", "<head", "<body"].into_iter().any(starts) {
        return Err(ListError::Page);
    }
    Ok(mark)
}

/// UTF-16 without a mark: of plain text every other byte is zero.
fn is_bare_utf16(beginning: &[u8]) -> bool {
    let sample = &beginning[..beginning.len().min(64) & !1];
    let zeros = |offset: usize| sample.iter().skip(offset).step_by(2).filter(|byte| **byte == 0).count();
    let pairs = sample.len() / 2;
    pairs >= 4 && (zeros(0) == pairs && zeros(1) == 0 || zeros(1) == pairs && zeros(0) == 0)
}

/// The format that fits the most lines; plain where nothing speaks for another.
pub(super) fn format(beginning: &[u8]) -> Format {
    if matches!(beginning.trim_ascii_start().first(), Some(b'{' | b'[')) && !is_bracketed_address(beginning) {
        return Format::Json;
    }
    let (mut csv, mut iprep, mut hosts, mut plain) = (0, 0, 0, 0);
    let mut readers = [Format::Plain, Format::Iprep, Format::Csv].map(Records::new);
    let is_content = |line: &&[u8]| !line.is_empty() && !matches!(line[0], b'#' | b';') && !line.starts_with(b"//");
    let lines = beginning.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(is_content);
    for (index, line) in lines.take(VOTERS_MAX).enumerate() {
        let [as_plain, as_iprep, as_csv] = readers.each_mut().map(|reader| reader.read(line));
        if matches!(as_plain, Record::Entry(..)) {
            plain += 1;
        } else if matches!(as_iprep, Record::Entry(..)) {
            iprep += 1;
        } else if names_hosts(line) {
            hosts += 1;
        } else if matches!(as_csv, Record::Entry(..)) || index == 0 && as_csv == Record::Nothing {
            csv += 1;
        }
    }
    // A heading of a CSV looks like nothing else, and rows of it may look like Suricata's.
    let votes = [(plain, Format::Plain), (iprep, Format::Iprep), (csv, Format::Csv), (hosts, Format::Hosts)];
    let most = votes.iter().map(|(count, _)| *count).max().unwrap_or(0);
    votes.iter().find(|(count, _)| *count == most).map_or(Format::Plain, |(_, format)| *format)
}

fn is_bracketed_address(beginning: &[u8]) -> bool {
    let line = beginning.trim_ascii_start().split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    Span::parse(line).is_ok()
}

/// An address and then a word that is no number and begins no comment.
fn names_hosts(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let address = words.next().unwrap_or_default().split(|byte| *byte == b'%').next().unwrap_or_default();
    let name = words.next().unwrap_or_default();
    Span::parse(address).is_ok_and(Span::is_single)
        && decimal(name).is_none()
        && name.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}
