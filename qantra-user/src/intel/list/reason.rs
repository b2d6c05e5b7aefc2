//! Why a line is no entry, said so that it can be found and mended: the number of the line, its text, the reason.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::enforce::Protection;

/// Longest piece of a line that a complaint shows, in bytes of the list.
pub(super) const TEXT_BYTES_MAX: usize = 120;
/// Most complaints of one list that are kept; all are counted.
const KEPT_MAX: usize = 20;

/// Why a line of a list is no entry, or not all of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Neither address nor prefix nor range.
    NotAnAddress,
    /// An octet such as `010`.
    LeadingZero,
    /// `/33` and the like.
    PrefixLength,
    /// Its end comes before its beginning.
    ReversedRange,
    /// From IPv4 to IPv6.
    MixedRange,
    /// More stands on the line than an entry.
    Trailing,
    /// No column of it has an address.
    NoAddressColumn,
    /// Suricata's category or score is out of range.
    BadScore,
    /// A decision that is no ban.
    NotABan,
    /// A scope that is no address, such as a country.
    OtherScope,
    /// A line of a hosts file that names hosts for nobody's address.
    NothingToBlock,
    /// Not JSON.
    BadJson,
    /// Not UTF-8.
    NotUtf8,
    /// Longer than any entry can be.
    LineTooLong,
    /// It would list a large part of the Internet.
    TooWide,
    /// Private, reserved, multicast or for documentation.
    Special,
    /// Inside something protected.
    Protected,
    /// Beyond the most entries that are taken.
    TooMany,
    /// Taken but for its private or reserved part.
    SpecialCut,
    /// Taken but for its protected part.
    ProtectedCut,
    /// Taken, but not in force: the kernel's memory for feeds is used up by more confident entries.
    Shed,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 21] = [
        Self::NotAnAddress,
        Self::LeadingZero,
        Self::PrefixLength,
        Self::ReversedRange,
        Self::MixedRange,
        Self::Trailing,
        Self::NoAddressColumn,
        Self::BadScore,
        Self::NotABan,
        Self::OtherScope,
        Self::NothingToBlock,
        Self::BadJson,
        Self::NotUtf8,
        Self::LineTooLong,
        Self::TooWide,
        Self::Special,
        Self::Protected,
        Self::TooMany,
        Self::SpecialCut,
        Self::ProtectedCut,
        Self::Shed,
    ];

    /// As it is written for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAnAddress => "not_an_address",
            Self::LeadingZero => "leading_zero",
            Self::PrefixLength => "prefix_length",
            Self::ReversedRange => "reversed_range",
            Self::MixedRange => "mixed_range",
            Self::Trailing => "trailing",
            Self::NoAddressColumn => "no_address_column",
            Self::BadScore => "bad_score",
            Self::NotABan => "not_a_ban",
            Self::OtherScope => "other_scope",
            Self::NothingToBlock => "nothing_to_block",
            Self::BadJson => "bad_json",
            Self::NotUtf8 => "not_utf8",
            Self::LineTooLong => "line_too_long",
            Self::TooWide => "too_wide",
            Self::Special => "special",
            Self::Protected => "protected",
            Self::TooMany => "too_many",
            Self::SpecialCut => "special_cut",
            Self::ProtectedCut => "protected_cut",
            Self::Shed => "shed",
        }
    }

    /// As it is said to people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotAnAddress => "neither an address nor a prefix nor a range",
            Self::LeadingZero => "a number with a leading zero is octal to some programs and decimal to others",
            Self::PrefixLength => "the prefix length or netmask is none",
            Self::ReversedRange => "the range ends before it begins",
            Self::MixedRange => "the range goes from IPv4 to IPv6",
            Self::Trailing => "more stands on the line than one entry",
            Self::NoAddressColumn => "no column has an address",
            Self::BadScore => "category and score must be numbers from 1 to 127",
            Self::NotABan => "a decision that is no ban",
            Self::OtherScope => "a scope that is no address",
            Self::NothingToBlock => "names hosts for an address that is nobody's: there is nothing to block",
            Self::BadJson => "not JSON",
            Self::NotUtf8 => "not UTF-8",
            Self::LineTooLong => "longer than any entry can be",
            Self::TooWide => "too wide: an IPv4 entry covers a /8 at most, an IPv6 entry a /19",
            Self::Special => "private, reserved, multicast or for documentation; `--allow-private` takes it",
            Self::Protected => "protected",
            Self::TooMany => "beyond `feeds.entries_max`",
            Self::SpecialCut => "taken but for its private or reserved part",
            Self::ProtectedCut => "taken but for its protected part",
            Self::Shed => "not in force: `feeds.kernel_memory_max_mb` is used up by more confident entries",
        }
    }

    /// Whether the entry was taken all the same.
    #[must_use]
    pub const fn is_note(self) -> bool {
        matches!(self, Self::SpecialCut | Self::ProtectedCut | Self::Shed)
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// One complaint while it is made; it borrows from the list.
#[derive(Debug, Clone, Copy)]
pub struct Rejected<'a> {
    /// The line, from 1.
    pub line: u64,
    /// Its beginning, or the value that is meant, as it stands in the list.
    pub text: &'a [u8],
    /// Why.
    pub reason: Reason,
    /// What protects it, where that is the reason.
    pub protection: Option<&'a Protection>,
}

impl Rejected<'_> {
    /// The complaint by itself.
    #[must_use]
    pub fn to_complaint(self) -> Complaint {
        let mut why = self.reason.words().to_owned();
        if let Some(protection) = self.protection {
            let _ = write!(why, " ({} is {})", protection.net, protection.why);
        }
        Complaint { line: self.line, text: escaped(self.text), reason: self.reason, why }
    }
}

/// One line that is no entry, or not all of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// The line, from 1.
    pub line: u64,
    /// Its beginning; what is not plain text is escaped.
    pub text: String,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people.
    pub why: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: `{}`: {}", self.line, self.text, self.why)
    }
}

/// Text of a stranger, made harmless: one line, no control character, nothing that turns the direction of writing.
fn escaped(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
    let mut text = String::with_capacity(cut.len());
    for chunk in cut.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                ' '..='~' => text.push(c),
                c if c.is_alphanumeric() => text.push(c),
                c => text.extend(c.escape_default()),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    if cut.len() < bytes.len() {
        text.push('…');
    }
    text
}

/// How a list was read. For lists of lines `entries + rejected + skipped = lines`; a line of JSON may hold many entries
/// or none, there `skipped` counts the lines that say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Lines.
    pub lines: u64,
    /// Blank lines, comments, headings, and lines of JSON that only give it form.
    pub skipped: u64,
    /// Entries taken.
    pub entries: u64,
    /// Entries refused, and lines that are none.
    pub rejected: u64,
    /// How many for each reason; notes about entries that were taken in part stand here as well.
    pub by_reason: std::collections::BTreeMap<Reason, u64>,
    /// The first complaints.
    pub kept: Vec<Complaint>,
}

/// Counts complaints and keeps the first ones.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) lines: u64,
    pub(super) skipped: u64,
    pub(super) entries: u64,
    counts: [u64; Reason::ALL.len()],
    kept: Vec<Complaint>,
}

impl Tally {
    pub(super) fn count(&mut self, rejected: &Rejected<'_>) {
        self.counts[rejected.reason.index()] += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push(rejected.to_complaint());
        }
    }

    pub(super) fn report(self) -> Report {
        let counted = Reason::ALL.into_iter().zip(self.counts).filter(|(_, count)| *count > 0);
        let by_reason: std::collections::BTreeMap<Reason, u64> = counted.collect();
        Report {
            lines: self.lines,
            skipped: self.skipped,
            entries: self.entries,
            rejected: by_reason.iter().filter(|(reason, _)| !reason.is_note()).map(|(_, count)| count).sum(),
            by_reason,
            kept: self.kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_as_they_are_listed() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn hostile_text_is_cut_and_escaped() {
        assert_eq!(escaped(b"a\x1b[2J\\\t\xff\xc3\xbc"), "a\\u{1b}[2J\\\\\\t\\xffü");
        assert_eq!(escaped("\u{202e}x".as_bytes()), "\\u{202e}x");
        let long = escaped(&vec![b'a'; 100_000]);
        assert_eq!((long.chars().count(), long.ends_with('…')), (TEXT_BYTES_MAX + 1, true));
    }
}
