//! Enters: one line of a list. Leaves: the entry it holds, or why there is none. Nothing is copied.

use super::{Format, Reason, Span, span::decimal};

/// How sure a list is of an entry when it says nothing of it, in percent.
pub(super) const FULL_SHARE: u8 = 100;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// Blank, a comment or a heading.
    Nothing,
    /// An entry, and how sure the list is of it, in percent.
    Entry(Span, u8),
    Bad(Reason),
}

/// Reads lines of one list; of a CSV it remembers the heading.
#[derive(Debug)]
pub(super) struct Records {
    format: Format,
    columns: Option<Columns>,
    is_first: bool,
}

/// Where a CSV says what, from 0.
#[derive(Debug, Clone, Copy, Default)]
struct Columns {
    address: Option<usize>,
    scope: Option<usize>,
    action: Option<usize>,
    simulated: Option<usize>,
}

impl Records {
    pub(super) const fn new(format: Format) -> Self {
        Self { format, columns: None, is_first: true }
    }

    pub(super) fn read(&mut self, line: &[u8]) -> Record {
        let line = line.trim_ascii();
        if line.is_empty() || is_comment(line, self.format) {
            return Record::Nothing;
        }
        if !line.is_ascii() && std::str::from_utf8(line).is_err() {
            return Record::Bad(Reason::NotUtf8);
        }
        let is_first = std::mem::replace(&mut self.is_first, false);
        let read = match self.format {
            Format::Netset => netset(line),
            Format::Hosts => hosts(line),
            Format::Csv => return self.csv(line, is_first),
            Format::Iprep => iprep(line, is_first),
            _ => plain(line),
        };
        read.unwrap_or_else(Record::Bad)
    }

    fn csv(&mut self, line: &[u8], is_first: bool) -> Record {
        if is_first && let Some(columns) = heading(line) {
            self.columns = Some(columns);
            return Record::Nothing;
        }
        let read = match self.columns {
            Some(columns) => by_columns(line, columns),
            None => any_column(line),
        };
        read.unwrap_or_else(Record::Bad)
    }
}

fn is_comment(line: &[u8], format: Format) -> bool {
    line[0] == b'#' || line.starts_with(b"//") || line[0] == b';' && !matches!(format, Format::Netset | Format::Hosts)
}

/// Everything before a comment that blanks, or nothing, stand before.
fn without_comment<'a>(line: &'a [u8], marks: &[u8]) -> &'a [u8] {
    let end = line.iter().position(|byte| marks.contains(byte)).unwrap_or(line.len());
    line[..end].trim_ascii_end()
}

/// FireHOL and ipset: an address, prefix or range a line, `#` begins a comment.
fn netset(line: &[u8]) -> Result<Record, Reason> {
    let entry = without_comment(line, b"#");
    Span::parse(entry).map(|span| Record::Entry(span, FULL_SHARE)).map_err(|reason| or_trailing(entry, reason))
}

/// The same with `;` comments (Spamhaus DROP) and a count behind the entry (ipsum: on how many lists it is).
fn plain(line: &[u8]) -> Result<Record, Reason> {
    let entry = without_comment(line, b"#;");
    match Span::parse(entry) {
        Ok(span) => Ok(Record::Entry(span, FULL_SHARE)),
        Err(reason) => {
            let Some(at) = entry.iter().rposition(u8::is_ascii_whitespace) else { return Err(reason) };
            let (Ok(span), Some(count)) = (Span::parse(entry[..at].trim_ascii_end()), decimal(&entry[at + 1..])) else {
                return Err(or_trailing(entry, reason));
            };
            Ok(Record::Entry(span, share_of_count(count)))
        }
    }
}

/// An entry with something behind it is another mistake than none.
fn or_trailing(line: &[u8], reason: Reason) -> Reason {
    let first = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    if first.len() < line.len() && Span::parse(first).is_ok() { Reason::Trailing } else { reason }
}

/// On one list of many: half sure; each further one halves the doubt.
fn share_of_count(count: u32) -> u8 {
    FULL_SHARE - (FULL_SHARE.checked_shr(count).unwrap_or(0))
}

/// hosts(5): an address and names. Lists in this form that mean names write an address that is nobody's.
fn hosts(line: &[u8]) -> Result<Record, Reason> {
    let entry = without_comment(line, b"#");
    let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let address = words.next().unwrap_or_default();
    // A zone is no part of what a packet carries; where it is needed, the address is link-local anyway.
    let address = address.split(|byte| *byte == b'%').next().unwrap_or_default();
    let span = Span::parse(address)?;
    if !span.is_single() {
        return Err(Reason::NotAnAddress);
    }
    let first = span.first();
    let is_nobodys = first.is_unspecified() || first.is_loopback() || first == std::net::Ipv4Addr::BROADCAST;
    if is_nobodys || address.len() < entry.len() && is_link_local(span) {
        return Err(Reason::NothingToBlock);
    }
    Ok(Record::Entry(span, FULL_SHARE))
}

const fn is_link_local(span: Span) -> bool {
    matches!(span, Span::V6(first, _) if first >> 118 == 0xfe80 >> 6)
}

/// Suricata: `ip,category,score`, numbers from 1 to 127.
fn iprep(line: &[u8], is_first: bool) -> Result<Record, Reason> {
    let mut fields = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let (address, category, score) = (fields.next(), fields.next(), fields.next());
    let Some((category, score)) = category.zip(score) else {
        return Err(or_trailing_field(line));
    };
    let number = |text: &[u8]| decimal(text).filter(|number| (1..=127).contains(number));
    let span = match Span::parse(address.unwrap_or_default()) {
        Ok(span) => span,
        Err(_) if is_first && decimal(score).is_none() && category.first().is_some_and(u8::is_ascii_alphabetic) => {
            return Ok(Record::Nothing);
        }
        Err(reason) => return Err(reason),
    };
    if fields.next().is_some() {
        return Err(Reason::Trailing);
    }
    let (Some(_), Some(score)) = (number(category), number(score)) else { return Err(Reason::BadScore) };
    Ok(Record::Entry(span, (score * 100 / 127) as u8))
}

fn or_trailing_field(line: &[u8]) -> Reason {
    let address = line.split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    Span::parse(address).map_or_else(|reason| reason, |_| Reason::BadScore)
}

/// Names that a column of addresses has, the surest first.
const ADDRESS_NAMES: [&[u8]; 14] = [
    b"value",
    b"cidr",
    b"ip",
    b"address",
    b"ip_address",
    b"ipaddress",
    b"network",
    b"prefix",
    b"range",
    b"src_ip",
    b"dst_ip",
    b"indicator",
    b"ioc",
    b"ip_prefix",
];

/// The heading of a CSV; `None` when the line is none.
fn heading(line: &[u8]) -> Option<Columns> {
    let mut columns = Columns::default();
    let mut best = ADDRESS_NAMES.len();
    for (index, field) in Fields(Some(line)).enumerate() {
        if Span::parse(scoped(field).1).is_ok() {
            return None;
        }
        if let Some(rank) = ADDRESS_NAMES.iter().position(|name| field.eq_ignore_ascii_case(name))
            && rank < best
        {
            (columns.address, best) = (Some(index), rank);
        }
        let is = |name: &[u8]| field.eq_ignore_ascii_case(name);
        if is(b"scope") {
            columns.scope = Some(index);
        } else if is(b"action") || is(b"type") {
            columns.action = Some(index);
        } else if is(b"simulated") {
            columns.simulated = Some(index);
        }
    }
    columns.address.map(|_| columns)
}

fn by_columns(line: &[u8], columns: Columns) -> Result<Record, Reason> {
    let (mut address, mut scope, mut action, mut simulated) = (None, None, None, None);
    for (index, field) in Fields(Some(line)).enumerate() {
        let index = Some(index);
        if index == columns.address {
            address = Some(field);
        } else if index == columns.scope {
            scope = Some(field);
        } else if index == columns.action {
            action = Some(field);
        } else if index == columns.simulated {
            simulated = Some(field);
        }
    }
    let address = address.filter(|address| !address.is_empty()).ok_or(Reason::NoAddressColumn)?;
    decision(address, scope, action, simulated)
}

/// One decision of `cscli`, as a row or as an object.
pub(super) fn decision(
    value: &[u8],
    scope: Option<&[u8]>,
    action: Option<&[u8]>,
    simulated: Option<&[u8]>,
) -> Result<Record, Reason> {
    let (inner, address) = scoped(value);
    if [inner, scope].into_iter().flatten().any(|scope| !is_address_scope(scope)) {
        return Err(Reason::OtherScope);
    }
    let is = |text: Option<&[u8]>, word: &str| text.is_some_and(|text| text.eq_ignore_ascii_case(word.as_bytes()));
    // Other words than those of cscli (`captcha`, `throttle`) are types of something else, such as `ipv4`.
    if is(simulated, "true") || is(action, "captcha") || is(action, "throttle") || is(action, "bypass") {
        return Err(Reason::NotABan);
    }
    Span::parse(address).map(|span| Record::Entry(span, FULL_SHARE))
}

/// `cscli` writes `Ip:192.0.2.7`, `Range:192.0.2.0/24`, `Country:XY`.
fn scoped(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let at = value.iter().position(|byte| !byte.is_ascii_alphabetic()).filter(|at| *at > 0 && value[*at] == b':');
    match at {
        // `fe80:…` and `::1` are addresses.
        Some(at) if !value[..at].iter().all(u8::is_ascii_hexdigit) => (Some(&value[..at]), &value[at + 1..]),
        _ => (None, value),
    }
}

fn is_address_scope(scope: &[u8]) -> bool {
    scope.is_empty() || scope.eq_ignore_ascii_case(b"ip") || scope.eq_ignore_ascii_case(b"range")
}

/// Without a heading: the first field that is an address.
fn any_column(line: &[u8]) -> Result<Record, Reason> {
    let mut why = Reason::NoAddressColumn;
    for field in Fields(Some(line)) {
        match decision(field, None, None, None) {
            Err(Reason::NotAnAddress) => {}
            Err(reason) => why = reason,
            entry => return entry,
        }
    }
    Err(why)
}

/// Fields of a CSV line (RFC 4180), blanks around them left out. Doubled quotes stay doubled: no address has any.
struct Fields<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?.trim_ascii_start();
        let Some(quoted) = rest.strip_prefix(b"\"") else {
            let end = rest.iter().position(|byte| *byte == b',');
            self.0 = end.map(|end| &rest[end + 1..]);
            return Some(rest[..end.unwrap_or(rest.len())].trim_ascii());
        };
        let mut at = 0;
        let end = loop {
            match memchr::memchr(b'"', &quoted[at..]) {
                Some(found) if quoted.get(at + found + 1) == Some(&b'"') => at += found + 2,
                Some(found) => break at + found,
                None => break quoted.len(),
            }
        };
        let after = quoted.get(end + 1..).unwrap_or_default();
        self.0 = memchr::memchr(b',', after).map(|comma| &after[comma + 1..]);
        Some(quoted[..end].trim_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, lines: &[&str]) -> Vec<Record> {
        let mut records = Records::new(format);
        lines.iter().map(|line| records.read(line.as_bytes())).collect()
    }

    fn entry(text: &str, share: u8) -> Record {
        Record::Entry(Span::parse(text.as_bytes()).unwrap(), share)
    }

    #[test]
    fn fields_are_cut_as_rfc_4180_says() {
        let fields = |line: &'static str| {
            Fields(Some(line.as_bytes())).map(|field| std::str::from_utf8(field).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(fields("a, b ,\"c,d\",,\"e\"\"f\" , g"), ["a", "b", "c,d", "", "e\"\"f", "g"]);
        assert_eq!(fields("\"never closed, 1.2.3.4"), ["never closed, 1.2.3.4"]);
        assert_eq!(fields(","), ["", ""]);
    }

    #[test]
    fn a_netset_has_one_entry_a_line() {
        let lines =
            ["# maxmind", "", "1.2.3.4", "1.2.3.0/24 # why", "1.2.3.4-1.2.3.9", "1.2.3.4 5", "x", "1.2.3.4 ; y"];
        assert_eq!(
            read(Format::Netset, &lines),
            [
                Record::Nothing,
                Record::Nothing,
                entry("1.2.3.4", 100),
                entry("1.2.3.0/24", 100),
                entry("1.2.3.4-1.2.3.9", 100),
                Record::Bad(Reason::Trailing),
                Record::Bad(Reason::NotAnAddress),
                Record::Bad(Reason::Trailing),
            ]
        );
    }

    #[test]
    fn plain_lines_have_comments_and_counts() {
        let lines = [
            "; Spamhaus DROP List",
            "1.10.16.0/20 ; SBL256894",
            "9.9.9.9;x",
            "1.2.3.4\t8",
            "1.2.3.5\t1",
            "1.2.3.6 40",
            "1.2.3.4 - 1.2.3.9",
            "1.2.3.4 - 1.2.3.9 2",
            "2a00:1:2::/48 ; SBL1",
            "1.2.3.4 is fine",
            "1.2.3.4,5",
            "// x",
        ];
        assert_eq!(
            read(Format::Plain, &lines),
            [
                Record::Nothing,
                entry("1.10.16.0/20", 100),
                entry("9.9.9.9", 100),
                entry("1.2.3.4", 100),
                entry("1.2.3.5", 50),
                entry("1.2.3.6", 100),
                entry("1.2.3.4-1.2.3.9", 100),
                entry("1.2.3.4-1.2.3.9", 75),
                entry("2a00:1:2::/48", 100),
                Record::Bad(Reason::Trailing),
                Record::Bad(Reason::NotAnAddress),
                Record::Nothing,
            ]
        );
        assert_eq!([0, 1, 2, 3, 6, 7, u32::MAX].map(share_of_count), [0, 50, 75, 88, 99, 100, 100]);
    }

    #[test]
    fn hosts_files_block_addresses_not_names() {
        let lines = [
            "45.9.148.3 evil.example other.example",
            "2a0b:f4c0::9\tevil.example # c2",
            "0.0.0.0 ads.example",
            "127.0.0.1 localhost",
            "::1 ip6-localhost",
            "255.255.255.255 broadcasthost",
            "fe80::1%lo0 localhost",
            "45.9.148.0/24 range.example",
            "ads.example",
            "# 1.2.3.4 x",
            "45.9.148.4",
        ];
        assert_eq!(
            read(Format::Hosts, &lines),
            [
                entry("45.9.148.3", 100),
                entry("2a0b:f4c0::9", 100),
                Record::Bad(Reason::NothingToBlock),
                Record::Bad(Reason::NothingToBlock),
                Record::Bad(Reason::NothingToBlock),
                Record::Bad(Reason::NothingToBlock),
                Record::Bad(Reason::NothingToBlock),
                Record::Bad(Reason::NotAnAddress),
                Record::Bad(Reason::NotAnAddress),
                Record::Nothing,
                entry("45.9.148.4", 100),
            ]
        );
    }

    #[test]
    fn suricatas_reputation_is_read() {
        let lines = [
            "ip,category,score",
            "1.2.3.4,1,127",
            "1.2.3.0/24, 3, 64",
            "1.2.3.4,1,0",
            "1.2.3.4,1,128",
            "1.2.3.4,1",
            "x,1,2",
            "1.2.3.4,1,2,3",
        ];
        assert_eq!(
            read(Format::Iprep, &lines),
            [
                Record::Nothing,
                entry("1.2.3.4", 100),
                entry("1.2.3.0/24", 50),
                Record::Bad(Reason::BadScore),
                Record::Bad(Reason::BadScore),
                Record::Bad(Reason::BadScore),
                Record::Bad(Reason::NotAnAddress),
                Record::Bad(Reason::Trailing),
            ]
        );
    }

    #[test]
    fn cscli_decisions_are_read() {
        let lines = [
            "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id",
            "1,crowdsec,Ip:45.9.148.3,crowdsecurity/ssh-bf,ban,NL,\"49447 Nice, IT\",6,3h59m,false,12",
            "2,cscli,Range:45.9.148.0/24,manual,ban,,,1,4h,false,13",
            "3,cscli,Country:XY,manual,ban,,,1,4h,false,14",
            "4,cscli,Ip:45.9.148.9,manual,captcha,,,1,4h,false,15",
            "5,cscli,Ip:45.9.148.9,manual,ban,,,1,4h,true,16",
            "6,cscli",
        ];
        assert_eq!(
            read(Format::Csv, &lines),
            [
                Record::Nothing,
                entry("45.9.148.3", 100),
                entry("45.9.148.0/24", 100),
                Record::Bad(Reason::OtherScope),
                Record::Bad(Reason::NotABan),
                Record::Bad(Reason::NotABan),
                Record::Bad(Reason::NoAddressColumn),
            ]
        );
        let import = ["duration,scope,value", "24h,ip,45.9.148.3", "24h,country,XY"];
        assert_eq!(read(Format::Csv, &import)[1..], [entry("45.9.148.3", 100), Record::Bad(Reason::OtherScope)]);
        let bare = ["\"2026-11-20 10:00:00\",\"45.9.148.3\",\"443\",\"online\"", "nothing,here", "a,1.2.3.400"];
        assert_eq!(
            read(Format::Csv, &bare),
            [entry("45.9.148.3", 100), Record::Bad(Reason::NoAddressColumn), Record::Bad(Reason::NoAddressColumn)]
        );
    }

    #[test]
    fn wrong_encodings_are_named() {
        let mut records = Records::new(Format::Plain);
        assert_eq!(records.read(b"1.2.3.4 # caf\xe9"), Record::Bad(Reason::NotUtf8));
        assert_eq!(records.read(b"# caf\xe9"), Record::Nothing);
        assert_eq!(records.read("1.2.3.4 # café".as_bytes()), entry("1.2.3.4", 100));
        assert_eq!(records.read(b"1.2.3.4\0"), Record::Bad(Reason::NotAnAddress));
    }
}
