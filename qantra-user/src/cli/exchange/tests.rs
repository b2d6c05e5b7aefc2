//! Each format with input as the other tool writes it, with hostile input, and there and back again.

use proptest::prelude::*;

use super::*;

fn read(format: ListFormat, text: &[u8]) -> Vec<(u64, Result<Entry, String>)> {
    let mut found = Vec::new();
    let mut input: &[u8] = text;
    format
        .read(&mut input, &mut |line, entry| {
            found.push((line, entry));
            true
        })
        .unwrap();
    found
}

fn net(text: &str) -> IpNet {
    crate::config::parse_net(text).unwrap()
}

/// `line address duration reason`, or `line! complaint`.
fn said(format: ListFormat, text: &str) -> Vec<String> {
    let one = |(line, entry): (u64, Result<Entry, String>)| match entry {
        Ok(entry) => {
            let lasting = entry.lasting.map_or("-".into(), duration::print);
            let action = entry.action.map_or("-", action_name);
            format!("{line} {} {action} {lasting} {}", Scope(entry.net), entry.reason.as_deref().unwrap_or("-"))
        }
        Err(why) => format!("{line}! {why}"),
    };
    read(format, text.as_bytes()).into_iter().map(one).collect()
}

#[test]
fn csv_as_cscli_has_it_is_read() {
    let text = "duration,scope,value,type,reason\n24h,Ip,203.0.113.7,ban,\"a, \"\"b\"\"\"\n,,198.51.100.0/24,,\n\
                1h,country,DE,ban,x\n4h,ip,nonsense,ban,x\n4h,ip,203.0.113.8,captcha,x\n4x,ip,203.0.113.9,ban,x\n\
                4h,ip,203.0.113.9,ban,\"open\n\n4h,range,2001:db8::/32,throttle,last\n";
    insta::assert_debug_snapshot!(said(ListFormat::Csv, text));
    let raw = "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id\n\
               7,crowdsec,Ip:203.0.113.7,crowdsecurity/ssh-bf,ban,DE,1 X,6,3h59m55.5s,false,9\n";
    assert_eq!(said(ListFormat::Csv, raw), ["2 203.0.113.7 ban 3h59m56s crowdsecurity/ssh-bf"]);
    assert_eq!(read(ListFormat::Csv, b"203.0.113.7\n203.0.113.8\n").len(), 1, "one complaint about the heading");
}

#[test]
fn json_as_cscli_has_it_is_read() {
    let text = r#"[
 {"duration": "4h", "scope": "ip", "type": "ban", "value": "203.0.113.7", "reason": "a } \" { b"},
 {"value": 7},
 {"id": 5, "decisions": [{"duration": "3h59m55.5s", "origin": "crowdsec", "scenario": "ssh",
   "scope": "Ip", "type": "ban", "value": "203.0.113.8"}, {"value": "what"}]},
 nonsense,
 {"value": "2001:db8::/32", "type": "throttle"}
]
{"value": "203.0.113.9"}
{"value":
"#;
    insta::assert_debug_snapshot!(said(ListFormat::Json, text));
}

#[test]
fn plain_lists_are_read_with_ranges_and_comments() {
    let text = "\u{feff}# heading\r\n203.0.113.7 ; why\r\n\n203.0.113.8-203.0.113.11\n203.0.113.9-203.0.113.1\nx\n\
                10.0.0.0/33\n ::ffff:192.0.2.1 # mapped\n";
    insta::assert_debug_snapshot!(said(ListFormat::Plain, text));
    assert_eq!(said(ListFormat::Values, "203.0.113.7\n\n203.0.113.8 # no comments here\n").len(), 2);
}

#[test]
fn nft_sets_are_read_as_nft_lists_them() {
    let text = "table inet filter {\n  set bad {\n    type ipv4_addr\n    flags interval,timeout # no { elements = { 9\n    \
                elements = { 203.0.113.7 timeout 4h expires 3h59m1s500ms comment \"scans, all day\",\n                 \
                198.51.100.0/24 counter packets 5 bytes 300, 192.0.2.1-192.0.2.2,\n 192.0.2.9 . 80 }\n  }\n  chain input { \
                type filter hook input priority 0; ip saddr @bad drop; }\n}\nadd element ip x y {2001:db8::1,}\n\
                define list = { 192.0.2.77,\n";
    insta::assert_debug_snapshot!(said(ListFormat::Nft, text));
}

#[test]
fn routeros_scripts_are_read_as_export_prints_them() {
    let text = "# 2026-11-21 by RouterOS 7.1\n/ip firewall address-list\nadd address=203.0.113.7 comment=\"a \\\"b\\\" \
                \\$c\" list=bad timeout=\\\n    1d02:03:04\nadd address=198.51.100.0/24 list=bad disabled=yes\n\
                /ip firewall filter\nadd action=drop chain=input src-address-list=bad\n\
                /ipv6 firewall address-list add list=bad address=2001:db8::/32\n\
                /ip firewall address-list add list=bad address=example.com\nadd list=bad comment=\"open\n";
    insta::assert_debug_snapshot!(said(ListFormat::Mikrotik, text));
}

#[test]
fn hostile_lines_are_named_and_skipped() {
    let mut text = b"203.0.113.1\n".to_vec();
    text.extend(std::iter::repeat_n(b'7', 1 << 20));
    text.extend(b"\n\xff\xfe\n203.0.113.2");
    let found = read(ListFormat::Plain, &text);
    let lines: Vec<(u64, bool)> = found.iter().map(|(line, entry)| (*line, entry.is_ok())).collect();
    assert_eq!(lines, [(1, true), (2, false), (3, false), (4, true)]);
    let mut object = b"{\"value\": \"".to_vec();
    object.extend(std::iter::repeat_n(b'7', 2 << 20));
    object.extend(b"\"}\n{\"value\": \"203.0.113.2\"}");
    let found = read(ListFormat::Json, &object);
    assert_eq!(found.len(), 2);
    assert!(found[0].1.as_ref().is_err_and(|why| why.contains("longer")), "{found:?}");
    assert_eq!(found[1], (2, Ok(Entry::of(net("203.0.113.2")))));
}

#[test]
fn the_format_is_told_by_the_files_name() {
    for (name, format) in [
        ("x.csv", ListFormat::Csv),
        ("x.JSON.gz", ListFormat::Json),
        ("x.rsc", ListFormat::Mikrotik),
        ("x.nft", ListFormat::Nft),
        ("x.netset", ListFormat::Plain),
        ("x", ListFormat::Plain),
    ] {
        assert_eq!(ListFormat::of_file(Path::new(name)), format, "{name}");
    }
}

fn nets() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| (std::net::IpAddr::V4(bits.into()), length));
    let v6 = (any::<u128>(), 0_u8..=128).prop_map(|(bits, length)| (std::net::IpAddr::V6(bits.into()), length));
    prop_oneof![v4, v6]
        .prop_map(|(address, length)| crate::config::canonical_net(IpNet::new(address, length).unwrap_or_default()))
}

fn entries() -> impl Strategy<Value = Entry> {
    let actions = prop::sample::select(vec![Action::Block, Action::Throttle, Action::Forward, Action::Observe]);
    let directions = prop::sample::select(vec![Direction::Source, Direction::Destination, Direction::Both]);
    let lasting = prop::option::of(1_u64..100 * 365 * 86_400).prop_map(Lasting);
    // Blanks at the ends are not kept by any format.
    let reason = "[!-~\u{e4}\u{20ac}]{1,20}( [!-~]{1,20}){0,3}";
    (nets(), actions, directions, lasting, reason).prop_map(|(net, action, direction, lasting, reason)| Entry {
        net,
        action: Some(action),
        direction: Some(direction),
        lasting: Some(lasting),
        reason: Some(reason),
    })
}

/// What a person's defaults make of an entry that does not say everything.
fn whole(format: ListFormat, entry: Entry) -> Entry {
    Entry {
        action: entry.action.or(Some(Action::Block)),
        direction: entry.direction.or(Some(Direction::Source)),
        lasting: entry.lasting.or(Some(format.default_lasting())),
        ..entry
    }
}

fn read_back(format: ListFormat, entries: &[Entry]) -> Result<Vec<Entry>, String> {
    let mut text = Vec::new();
    format.write(entries, "qantra", &mut text).unwrap();
    read(format, &text).into_iter().map(|(line, entry)| entry.map_err(|why| format!("line {line}: {why}"))).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in prop::collection::vec(entries(), 0..12)) {
        for format in [ListFormat::Json, ListFormat::Csv] {
            let back = read_back(format, &entries).map(|back| back.into_iter().map(|e| whole(format, e)).collect());
            prop_assert_eq!(back, Ok(entries.clone()), "{:?}", format);
        }
        let bans = |quote: bool| -> Vec<Entry> {
            let ban = |entry: &Entry| Entry {
                action: Some(Action::Block),
                direction: Some(Direction::Source),
                reason: entry.reason.as_ref().map(|reason| if quote { reason.replace('"', "'") } else { reason.clone() }),
                ..entry.clone()
            };
            entries.iter().map(ban).collect()
        };
        let back = read_back(ListFormat::Mikrotik, &bans(false))
            .map(|back| back.into_iter().map(|entry| whole(ListFormat::Mikrotik, entry)).collect::<Vec<_>>());
        prop_assert_eq!(back, Ok(bans(false)));
        let order = |mut list: Vec<Entry>| { list.sort_by_key(|entry| format!("{entry:?}")); list };
        let back = read_back(ListFormat::Nft, &bans(true))
            .map(|back| order(back.into_iter().map(|entry| whole(ListFormat::Nft, entry)).collect()));
        prop_assert_eq!(back, Ok(order(bans(true))));
        let plain = read_back(ListFormat::Plain, &entries).map(|back| back.into_iter().map(|e| e.net).collect::<Vec<_>>());
        prop_assert_eq!(plain, Ok(entries.iter().map(|entry| entry.net).collect::<Vec<_>>()));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for format in ListFormat::value_variants() {
            read(*format, &bytes);
        }
    }

    #[test]
    fn hostile_text_never_panics(text in r#"(elements = \{|add|/ip|address=|\{|\}|"|\\|,|;|#|-|:|[0-9.]{1,8}|timeout|[ =]|\n|value|\[|\])*"#) {
        for format in ListFormat::value_variants() {
            read(*format, text.as_bytes());
        }
    }
}
