//! Whole lists as their keepers write them, and lists as nobody should.

use std::{collections::BTreeMap, io::Read};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::*;
use crate::{
    config::parse_net,
    enforce::{AddressRanges, Protection, Why},
    metrics::resident_bytes,
};

struct Outcome {
    list: List,
    complaints: Vec<Complaint>,
    taken: Vec<(u64, Span)>,
}

impl Outcome {
    /// `line reason` of each complaint.
    fn said(&self) -> Vec<String> {
        self.complaints.iter().map(|complaint| format!("{} {}", complaint.line, complaint.reason.as_str())).collect()
    }

    fn all(&self) -> AddressRanges {
        union(self.list.tiers.iter().map(|tier| &*tier.ranges))
    }

    /// `first-last` of each IPv4 range.
    fn v4(&self) -> Vec<String> {
        let text = |bits: u32| std::net::Ipv4Addr::from_bits(bits).to_string();
        self.all().v4.iter().map(|(first, last)| format!("{}-{}", text(*first), text(*last))).collect()
    }
}

fn read_as(format: Format, input: impl Read) -> Result<Outcome, ListError> {
    let protections = vec![Protection { net: parse_net("9.9.9.9").unwrap(), why: Why::Resolver }];
    let policy = EntryPolicy::new(protections, false);
    let options = ListOptions { format, policy: &policy, confidence: 80, bytes_max: 1 << 30, ranges_max: 10_000_000 };
    let (mut complaints, mut taken) = (Vec::new(), Vec::new());
    let list =
        read_list(input, &options, &mut |rejected| complaints.push(rejected.to_complaint()), &mut |line, _, span| {
            taken.push((line, span));
        })?;
    assert!(list.report.kept.len() <= complaints.len());
    assert_eq!(list.report.kept[..], complaints[..list.report.kept.len()]);
    let mut counted = BTreeMap::new();
    complaints.iter().for_each(|complaint| *counted.entry(complaint.reason).or_insert(0) += 1);
    assert_eq!(list.report.by_reason, counted);
    assert_eq!(list.report.entries, taken.len() as u64);
    let report = &list.report;
    if list.format == Format::Json {
        assert!(report.entries + report.rejected >= report.lines - report.skipped, "{report:?}");
    } else {
        assert_eq!(report.entries + report.rejected + report.skipped, report.lines, "{report:?}");
    }
    Ok(Outcome { list, complaints, taken })
}

fn read(text: impl AsRef<[u8]>) -> Outcome {
    read_as(Format::Auto, text.as_ref()).unwrap()
}

#[test]
fn a_firehol_netset_is_read() {
    let outcome = read(
        "#\n# firehol_level1\n#\n# ipv4 hash:net ipset\n#\n# Maintainer      : FireHOL\n#\n\
         0.0.0.0/8\n1.10.16.0/20\n1.19.0.0/16\n2.56.192.0/22\n2.57.234.0/23\n2.57.235.0/24\n10.0.0.0/8\n9.9.9.9\n",
    );
    assert_eq!(outcome.list.format, Format::Plain);
    assert_eq!(outcome.said(), ["8 special", "14 special", "15 protected"]);
    assert_eq!(outcome.complaints[2].why, "protected (9.9.9.9/32 is a resolver of this box)");
    assert_eq!(
        outcome.v4(),
        ["1.10.16.0-1.10.31.255", "1.19.0.0-1.19.255.255", "2.56.192.0-2.56.195.255", "2.57.234.0-2.57.235.255"]
    );
    assert_eq!((outcome.list.report.lines, outcome.list.report.skipped), (15, 7));
}

#[test]
fn ipsum_is_surer_of_what_many_lists_have() {
    let outcome = read(
        "# IPsum Threat Intelligence Feed\n# (https://example.org)\n\n45.9.148.3\t11\n45.9.148.7\t2\n45.9.148.9\t1\n",
    );
    assert_eq!(outcome.list.format, Format::Plain);
    let tiers: Vec<(u8, usize)> =
        outcome.list.tiers.iter().map(|tier| (tier.confidence, tier.ranges.v4.len())).collect();
    assert_eq!(tiers, [(80, 1), (60, 1), (40, 1)]);
}

#[test]
fn spamhaus_drop_is_read_in_both_its_forms() {
    let text = "; Spamhaus DROP List 2026/11/20 - (c) 2026 The Spamhaus Project\n; Expires: Fri, 20 Nov 2026 20:00:00 GMT\n\
                1.10.16.0/20 ; SBL256894\n1.19.0.0/16 ; SBL434604\n2a06:f680::/29 ; SBL1\n";
    let json = r#"{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}
{"cidr":"1.19.0.0/16","sblid":"SBL434604","rir":"apnic"}
{"cidr":"2a06:f680::/29","sblid":"SBL1","rir":"ripencc"}
{"type":"metadata","timestamp":1763596800,"size":94210,"records":3,"copyright":"(c) 2026","terms":"https://example.org/"}
"#;
    let (text, json) = (read(text), read(json));
    assert_eq!((text.list.format, json.list.format), (Format::Plain, Format::Json));
    assert_eq!(text.all(), json.all());
    assert_eq!((text.all().v4.len(), text.all().v6.len()), (2, 1));
    assert_eq!(json.taken.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((json.list.report.lines, json.list.report.skipped, json.complaints.len()), (4, 1, 0));
}

#[test]
fn cscli_is_read_in_both_its_forms() {
    let csv = "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id\n\
               17,crowdsec,Ip:45.9.148.3,crowdsecurity/ssh-bf,ban,NL,\"49447 Nice, IT\",6,3h59m2s,false,12\n\
               18,cscli,Range:45.9.150.0/24,manual 'ban',ban,,,1,3h,false,13\n19,cscli,Country:XY,x,ban,,,1,3h,false,14\n";
    let json = r#"[
  {
    "capacity": 5,
    "decisions": [
      {
        "duration": "3h59m2s",
        "id": 17,
        "origin": "crowdsec",
        "scenario": "crowdsecurity/ssh-bf",
        "scope": "Ip",
        "simulated": false,
        "type": "ban",
        "value": "45.9.148.3"
      }
    ],
    "events": [{"meta": [{"key": "SourceRange", "value": "45.0.0.0/12"}], "timestamp": "2026-11-20"}],
    "source": {"as_name": "Nice IT", "ip": "45.9.148.3", "range": "45.9.0.0/16", "scope": "Ip", "value": "45.9.148.3"}
  },
  {"decisions": [{"scope": "Range", "type": "ban", "value": "45.9.150.0\/24"},
                 {"scope": "Country", "type": "ban", "value": "XY"}]}
]
"#;
    let (csv, json) = (read(csv), read(json));
    assert_eq!((csv.list.format, json.list.format), (Format::Csv, Format::Json));
    assert_eq!(csv.all(), json.all());
    assert_eq!(csv.v4(), ["45.9.148.3-45.9.148.3", "45.9.150.0-45.9.150.255"]);
    assert_eq!((csv.said(), json.said()), (vec!["4 other_scope".to_owned()], vec!["20 other_scope".to_owned()]));
    assert_eq!(json.taken.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [13, 19]);
    let lapi = read(
        r#"[{"id":1,"scope":"Ip","type":"ban","value":"45.9.148.3"},{"scope":"Ip","type":"captcha","value":"45.9.148.4"}]"#,
    );
    assert_eq!((lapi.v4().len(), lapi.said()), (1, vec!["1 not_a_ban".to_owned()]));
    assert_eq!(read(r#"["45.9.148.3", "45.9.148.4", "x"]"#).v4(), ["45.9.148.3-45.9.148.4"]);
    let stream = read(
        r#"{"deleted":[{"value":"45.9.148.9","scope":"Ip","type":"ban"}],"new":[{"value":"45.9.148.3","scope":"Ip","type":"ban"}]}"#,
    );
    assert_eq!(stream.v4(), ["45.9.148.3-45.9.148.3"]);
}

#[test]
fn broken_json_costs_only_the_lines_that_are() {
    let outcome = read(
        "{\"cidr\":\"1.10.16.0/20\"}\n{\"cidr\":\"1.19.0.0/16\"\n{\"cidr\":\"1.32.128.0/18\"}\n{\"cidr\" \"x\"}\ngarbage\n\
         {\"cidr\":\"no address\"}\n{\"cidr\":\"1.56.0.0/16\n{\"cidr\":\"2.56.192.0/22\"} tail\n{\"cidr\":\"2.57.234.0/23\"}",
    );
    assert_eq!(outcome.taken.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 8, 9]);
    let said = ["2 bad_json", "4 bad_json", "5 bad_json", "6 not_an_address", "7 bad_json", "8 bad_json"];
    assert_eq!(outcome.said(), said);
    assert_eq!(outcome.complaints[0].text, "{\"cidr\":\"1.19.0.0/16\"");
    assert_eq!((outcome.list.report.lines, outcome.list.report.skipped), (9, 0));
    let open = read("[{\"value\":\"45.9.148.3\"},\n{\"value\":\"45.9.148.4\"}\n");
    assert_eq!((open.taken.len(), open.said()), (2, vec!["2 bad_json".to_owned()]));
    let deep = read("[".repeat(100_000));
    assert_eq!(deep.said(), ["1 bad_json"]);
}

#[test]
fn the_other_formats_are_found_out() {
    let iprep = read("45.9.148.3,3,127\n45.9.148.4,3,12\n");
    assert_eq!((iprep.list.format, iprep.list.tiers.len()), (Format::Iprep, 2));
    let hosts = read("# hosts\n127.0.0.1 localhost\n::1 localhost\n0.0.0.0 ads.example\n45.9.148.3 c2.example\n");
    assert_eq!((hosts.list.format, hosts.v4()), (Format::Hosts, vec!["45.9.148.3-45.9.148.3".to_owned()]));
    assert_eq!(hosts.said(), ["2 nothing_to_block", "3 nothing_to_block", "4 nothing_to_block"]);
    let ranges = read("45.9.148.0-45.9.148.7\r\n45.9.148.8 - 45.9.148.20\r\n");
    assert_eq!((ranges.list.format, ranges.v4()), (Format::Plain, vec!["45.9.148.0-45.9.148.20".to_owned()]));
    let abuse = read("# first_seen,dst_ip,port\n\"2026-11-20 01:02:03\",\"45.9.148.3\",\"443\"\n");
    assert_eq!((abuse.list.format, abuse.taken.len()), (Format::Csv, 1));
    assert_eq!(read("").list.format, Format::Plain);
    assert_eq!(read("[2a06:f680::1]\n2a06:f680::2\n").taken.len(), 2);
}

#[test]
fn packings_and_encodings_are_told_apart() {
    let gzip = |bytes: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut packed, bytes).unwrap();
        packed.finish().unwrap()
    };
    let text = b"\xef\xbb\xbf45.9.148.3\r\n45.9.148.4";
    assert_eq!(read(text).v4(), ["45.9.148.3-45.9.148.4"]);
    assert_eq!(read(gzip(text)).v4(), read(text).v4());
    assert_eq!(read(gzip(&gzip(text))).v4(), read(text).v4());
    let fails = |bytes: &[u8]| read_as(Format::Auto, bytes).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(fails(&gzip(&gzip(&gzip(text)))).contains("more than 2 times"));
    assert!(fails(&gzip(text)[..20]).contains("reading failed"));
    let utf16: Vec<u8> = "45.9.148.3\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(fails(&utf16).contains("UTF-16"));
    assert!(fails(&[b"\xff\xfe", utf16.as_slice()].concat()).contains("UTF-16"));
    assert!(fails(b"\xff\xfe\0\0x\0\0\0").contains("UTF-32"));
    assert!(fails(b"  <!DOCTYPE html><html>").contains("web page"));
    assert!(fails(b"PK\x03\x04....").contains("zip"));
}

#[test]
fn a_bomb_is_stopped_at_the_limit() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut std::io::repeat(b'\n').take(50_000_000), &mut packed).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < 100_000);
    let policy = EntryPolicy::default();
    let options =
        ListOptions { format: Format::Auto, policy: &policy, confidence: 1, bytes_max: 1_000_000, ranges_max: 10 };
    let read = read_list(packed.as_slice(), &options, &mut |_| {}, &mut |_, _, _| {});
    assert!(matches!(read, Err(ListError::TooLong(1_000_000))), "{read:?}");
}

#[test]
fn beyond_the_most_entries_each_is_named() {
    let policy = EntryPolicy::default();
    let options =
        ListOptions { format: Format::Auto, policy: &policy, confidence: 1, bytes_max: 1_000_000, ranges_max: 2 };
    let text = "45.9.148.3\n45.9.148.5\n45.9.148.7\n45.9.148.9\n";
    let mut lines = Vec::new();
    let list = read_list(
        text.as_bytes(),
        &options,
        &mut |rejected| lines.push((rejected.line, rejected.reason)),
        &mut |_, _, _| {},
    )
    .unwrap();
    assert_eq!(lines, [(3, Reason::TooMany), (4, Reason::TooMany)]);
    assert_eq!(list.tiers[0].ranges.v4.len(), 2);
}

/// A list that is made while it is read: what is measured is the reader alone.
struct Hostile {
    line: u64,
    pending: Vec<u8>,
    at: usize,
}

const HOSTILE_LINES: u64 = 1_000_000;

/// A line of the hostile list, and what is to be said of it; `None`: an entry, `Some(None)`: nothing.
fn hostile(line: u64) -> (Vec<u8>, Option<Option<Reason>>) {
    let bad = |reason| Some(Some(reason));
    let n = line as u32;
    match line % 23 {
        0 => (b"0.0.0.0/0".to_vec(), bad(Reason::TooWide)),
        1 => (b"::/0".to_vec(), bad(Reason::TooWide)),
        2 => (vec![0xff, 0xfe, b'1', 0, b'.', 0], bad(Reason::NotUtf8)),
        3 => ("45.9.148.3 # \u{e9}".as_bytes().to_vec(), None),
        4 => (b"45.9.148.3 # \xe9".to_vec(), bad(Reason::NotUtf8)),
        5 if line % (23 * 997) == 5 => (vec![b'9'; 3_000_000], bad(Reason::LineTooLong)),
        5 => (vec![b'x'; 300], bad(Reason::NotAnAddress)),
        6 => (b"999.1.2.3".to_vec(), bad(Reason::NotAnAddress)),
        7 => (b"45.9.148.9-45.9.148.1".to_vec(), bad(Reason::ReversedRange)),
        8 => (b"010.1.2.3".to_vec(), bad(Reason::LeadingZero)),
        9 => (b"45.9.0.0/33".to_vec(), bad(Reason::PrefixLength)),
        10 => (b"192.168.1.1".to_vec(), bad(Reason::Special)),
        11 => (b"9.9.9.9".to_vec(), bad(Reason::Protected)),
        12 => (b"45.9.148.3 OR 1=1 --".to_vec(), bad(Reason::Trailing)),
        13 => (b"\x1b[2J\x07\0\r".to_vec(), bad(Reason::NotAnAddress)),
        14 => (b"# \xff\xff anything".to_vec(), Some(None)),
        15 => (b"  \t\r".to_vec(), Some(None)),
        16 => (format!("2a06:{:x}::/{}", n & 0xffff, 32 + n % 33).into_bytes(), None),
        // Prefixes that overlap in every way.
        17..=19 => (format!("45.{}.{}.0/{}", n & 0x7f, n >> 7 & 0xff, 10 + n % 23).into_bytes(), None),
        _ => (
            format!("{}.{}.{}.{}", 46 + n % 8, n >> 3 & 0xff, n >> 11 & 0xff, n.wrapping_mul(7) & 0xff).into_bytes(),
            None,
        ),
    }
}

impl Read for Hostile {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.pending.len() {
            if self.line == HOSTILE_LINES {
                return Ok(0);
            }
            self.line += 1;
            self.pending = hostile(self.line).0;
            self.pending.push(b'\n');
            self.at = 0;
        }
        let count = into.len().min(self.pending.len() - self.at);
        into[..count].copy_from_slice(&self.pending[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[test]
fn a_million_hostile_lines_are_all_accounted_for() {
    let protections = vec![Protection { net: parse_net("9.9.9.9").unwrap(), why: Why::Resolver }];
    let policy = EntryPolicy::new(protections, false);
    let options = ListOptions {
        format: Format::Plain,
        policy: &policy,
        confidence: 50,
        bytes_max: 1 << 30,
        ranges_max: 1_000_000,
    };
    let before = resident_bytes().unwrap();
    let mut peak = before;
    let (mut expected, mut wrong) = (1_u64, Vec::new());
    // Complaints come in the order of lines: each must be the next that is due.
    let mut rejected = |rejected: &Rejected<'_>| {
        while expected < rejected.line && !matches!(hostile(expected).1, Some(Some(_))) {
            expected += 1;
        }
        if expected != rejected.line || hostile(expected).1 != Some(Some(rejected.reason)) {
            wrong.push((rejected.line, rejected.reason));
        }
        assert!(rejected.to_complaint().text.len() < 1_000);
        if rejected.line.is_multiple_of(4_096) {
            peak = peak.max(resident_bytes().unwrap());
        }
        expected += 1;
    };
    let list =
        read_list(Hostile { line: 0, pending: Vec::new(), at: 0 }, &options, &mut rejected, &mut |_, _, _| {}).unwrap();
    assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(9)]);
    let report = &list.report;
    assert_eq!((report.lines, report.entries + report.rejected + report.skipped), (HOSTILE_LINES, HOSTILE_LINES));
    let due = (1..=HOSTILE_LINES).filter(|line| matches!(hostile(*line).1, Some(Some(_)))).count() as u64;
    assert_eq!(report.rejected, due);
    assert_eq!(report.kept.len(), 20);
    assert!(report.by_reason[&Reason::LineTooLong] > 30);
    // The set itself, what sorting it takes, and buffers; other tests of the same process have their own.
    println!("{} ranges, {} MB more while reading", list.tiers[0].ranges.v4.len(), (peak - before) / 1_000_000);
    assert!(peak - before < 64_000_000, "{} bytes", peak - before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_never_stop_a_reader(bytes in prop::collection::vec(any::<u8>(), 0..3_000), format in any_format()) {
        // Magic bytes and encodings end a list; all else is accounted for inside `read_as`.
        let _ = read_as(format, bytes.as_slice());
    }

    #[test]
    fn pieces_of_lists_never_stop_a_reader(parts in prop::collection::vec(pieces(), 0..60), format in any_format()) {
        if let Ok(outcome) = read_as(format, parts.concat().as_bytes()) {
            for (_, span) in &outcome.taken {
                prop_assert!(matches!(span, Span::V4(first, last) if first <= last) || matches!(span, Span::V6(first, last) if first <= last));
            }
        }
    }

    #[test]
    fn what_is_read_is_what_is_written(entries in prop::collection::vec((0x2d00_0000_u32..0x2d00_4000, 20_u8..=32), 0..80)) {
        let nets: Vec<ipnet::Ipv4Net> =
            entries.iter().map(|(bits, length)| ipnet::Ipv4Net::new((*bits).into(), *length).unwrap().trunc()).collect();
        let text: String = nets.iter().map(|net| format!("{net}\n")).collect();
        let json: String = nets.iter().map(|net| format!("{{\"cidr\":\"{net}\"}}\n")).collect();
        let listed = read_as(Format::Plain, text.as_bytes()).unwrap().all();
        prop_assert_eq!(&listed, &read_as(Format::Json, json.as_bytes()).unwrap().all());
        for bits in 0x2d00_0000_u32..0x2d00_4000 {
            let address = std::net::Ipv4Addr::from_bits(bits);
            prop_assert_eq!(listed.contains(address.into()), nets.iter().any(|net| net.contains(&address)));
        }
    }
}

fn any_format() -> impl Strategy<Value = Format> {
    use Format::{Auto, Csv, Hosts, Iprep, Json, Netset, Plain};
    prop::sample::select(vec![Auto, Netset, Plain, Csv, Json, Iprep, Hosts])
}

fn pieces() -> impl Strategy<Value = String> {
    let fixed = [
        "\n",
        "\r\n",
        ",",
        "\"",
        "{",
        "}",
        "[",
        "]",
        ":",
        "45.9.148.3",
        "/24",
        "-",
        " ",
        "\t",
        "#",
        ";",
        "2a06:f680::1",
        "{\"cidr\":\"1.2.3.0/24\"}\n",
        "\"value\"",
        "\"decisions\":[",
        "true",
        "null",
        "\\",
        "\\u00e9",
        "ip,category,score\n",
        "0.0.0.0/0",
        "1,127",
        "value,scope\n",
        "ü",
        "\u{202e}",
        "example.org",
    ];
    prop_oneof![4 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned), 1 => "[ -~]{0,12}"]
}
