//! Enters: a snapshot. Leaves: the lines that show it, cut to a terminal's size or whole. Addresses and reasons were
//! chosen by strangers: every cell is cleaned.

use clap::ValueEnum;

use super::super::{decisions::count, output::clean, time};
use crate::api::{TopSnapshot, TopSource};

/// Most sources and decisions where no terminal sets a limit.
const ROWS: usize = 20;

/// Which sources come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(in crate::cli) enum Sort {
    /// Packets, dropped ones included
    #[default]
    Packets,
    /// Bytes
    Bytes,
    /// TCP SYN
    Syn,
    /// Packets that their own ban dropped
    Dropped,
}

impl Sort {
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Packets => Self::Bytes,
            Self::Bytes => Self::Syn,
            Self::Syn => Self::Dropped,
            Self::Dropped => Self::Packets,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Bytes => "bytes",
            Self::Syn => "syn",
            Self::Dropped => "dropped",
        }
    }

    fn key(self, source: &TopSource) -> f64 {
        match self {
            Self::Packets => source.all_per_s(),
            Self::Bytes => source.bytes_per_s,
            Self::Syn => source.tcp_syn_per_s,
            Self::Dropped => source.dropped_per_s,
        }
    }
}

/// One line, and whether it is a heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) is_heading: bool,
}

/// A snapshot as lines.
pub(super) struct Page<'a> {
    snapshot: &'a TopSnapshot,
    sort: Sort,
}

impl<'a> Page<'a> {
    pub(super) const fn new(snapshot: &'a TopSnapshot, sort: Sort) -> Self {
        Self { snapshot, sort }
    }

    /// All lines as one text.
    pub(super) fn text(&self, size: Option<(usize, usize)>) -> String {
        self.lines(size).into_iter().map(|line| line.text + "\n").collect()
    }

    /// At most as many lines, as wide, as the size says: columns, then rows. Sources get the room that is left.
    pub(super) fn lines(&self, size: Option<(usize, usize)>) -> Vec<Line> {
        let rows = size.map_or(usize::MAX, |(_, rows)| rows);
        let mut above = self.summary();
        above.extend(section(&["INTERFACE", "SIDE", "HOOK", "PACKETS/s", "BYTES/s", "DROPS/s"], &self.interfaces()));
        above.extend(section(&["DROPPED FOR", "PACKETS/s", "BYTES/s", "SINCE ATTACHED"], &self.reasons(rows / 5)));
        let left = rows.saturating_sub(above.len());
        let decisions = self.decisions(if size.is_some() { (left / 3).saturating_sub(2) } else { ROWS });
        let below = section(&["DECISION", "ACTION", "SCOPE", "PACKETS/s", "REQUESTS/s", "REASON"], &decisions);
        let room = if size.is_some() { left.saturating_sub(below.len() + 2) } else { ROWS };
        let heading = ["SOURCE", "PACKETS/s", "DROPPED/s", "BYTES/s", "SYN/s", "UDP/s", "ICMP/s", "DECISION"];
        let mut lines = above;
        lines.extend(section(&heading, &self.sources(room)));
        lines.extend(below);
        lines.truncate(rows);
        if let Some((columns, _)) = size {
            for line in &mut lines {
                if let Some((end, _)) = line.text.char_indices().nth(columns) {
                    line.text.truncate(end);
                }
            }
        }
        lines
    }

    fn summary(&self) -> Vec<Line> {
        let top = self.snapshot;
        let mut cost = match (top.cpu_share, top.ns_per_packet) {
            (Some(share), Some(ns)) if ns > 0.0 => {
                format!("kernel half: {:.1} % of a CPU, {ns:.0} ns a packet", share * 100.0)
            }
            _ => "kernel half: cost not measured".to_owned(),
        };
        for program in &top.programs {
            let name = clean(&program.name);
            cost.push_str(&format!(", {name} {}/s", number(program.runs_per_s)));
        }
        let mut lines = vec![
            plain(format!(
                "{}   {} packets/s, {} dropped/s, {} requests/s",
                time::moment(top.at_unix_ms),
                number(top.packets_per_s),
                number(top.drops_per_s),
                number(top.requests_per_s)
            )),
            plain(format!(
                "{} in force, {} dropped in the kernel, {} sending",
                count(top.in_force.decisions, "decision"),
                count(top.in_force.kernel_bans, "ban"),
                count(top.sources_sending, "source")
            )),
            plain(cost),
        ];
        lines.extend(top.warnings.iter().map(|warning| plain(format!("warning: {}", clean(warning)))));
        lines
    }

    fn interfaces(&self) -> Vec<Vec<String>> {
        let row = |interface: &crate::api::TopInterface| {
            vec![
                clean(&interface.name),
                if interface.role == crate::config::Role::Wan { "wan" } else { "lan" }.to_owned(),
                clean(&interface.hook),
                number(interface.packets_per_s),
                bytes(interface.bytes_per_s),
                number(interface.drops_per_s),
            ]
        };
        self.snapshot.interfaces.iter().map(row).collect()
    }

    fn reasons(&self, limit: usize) -> Vec<Vec<String>> {
        let row = |reason: &crate::api::TopReason| {
            vec![
                clean(&reason.reason),
                number(reason.packets_per_s),
                bytes(reason.bytes_per_s),
                number(reason.packets as f64),
            ]
        };
        self.snapshot.reasons.iter().take(limit.max(3)).map(row).collect()
    }

    fn sources(&self, limit: usize) -> Vec<Vec<String>> {
        let mut sources: Vec<&TopSource> = self.snapshot.sources.iter().collect();
        sources.sort_by(|a, b| self.sort.key(b).total_cmp(&self.sort.key(a)));
        let row = |source: &&TopSource| {
            let decision = match (source.action, source.decision) {
                (Some(action), Some(id)) => format!("{action} {id}"),
                _ => String::new(),
            };
            vec![
                source.address.to_string(),
                number(source.packets_per_s),
                number(source.dropped_per_s),
                bytes(source.bytes_per_s),
                number(source.tcp_syn_per_s),
                number(source.udp_per_s),
                number(source.icmp_per_s),
                decision,
            ]
        };
        sources.iter().take(limit).map(row).collect()
    }

    fn decisions(&self, limit: usize) -> Vec<Vec<String>> {
        let row = |decision: &crate::api::TopDecision| {
            vec![
                decision.id.to_string(),
                decision.action.to_string(),
                decision.scope.to_string(),
                number(decision.packets_per_s),
                number(decision.requests_per_s),
                clean(&decision.reason),
            ]
        };
        self.snapshot.decisions.iter().take(limit).map(row).collect()
    }
}

/// Tab-separated lines: what kind of row, then its cells as plain numbers.
pub(super) fn raw(snapshot: &TopSnapshot) -> Vec<Vec<String>> {
    let rate = |value: f64| format!("{value:.1}");
    let mut rows = Vec::new();
    for interface in &snapshot.interfaces {
        let rates = [interface.packets_per_s, interface.bytes_per_s, interface.drops_per_s].map(rate);
        rows.push([vec!["interface".into(), interface.name.clone(), interface.hook.clone()], rates.to_vec()].concat());
    }
    for reason in &snapshot.reasons {
        let rates = [reason.packets_per_s, reason.bytes_per_s].map(rate);
        rows.push([vec!["reason".into(), reason.reason.clone()], rates.to_vec()].concat());
    }
    for source in &snapshot.sources {
        let rates = [source.packets_per_s, source.dropped_per_s, source.bytes_per_s, source.tcp_syn_per_s].map(rate);
        let decision = source.decision.map_or("-".to_owned(), |id| id.to_string());
        rows.push([vec!["source".into(), source.address.to_string()], rates.to_vec(), vec![decision]].concat());
    }
    for decision in &snapshot.decisions {
        let rates = [decision.packets_per_s, decision.requests_per_s].map(rate);
        let whom = vec!["decision".into(), decision.id.to_string(), decision.scope.to_string()];
        rows.push([whom, rates.to_vec()].concat());
    }
    rows
}

const fn plain(text: String) -> Line {
    Line { text, is_heading: false }
}

/// A blank line, a heading and rows; nothing when there are no rows. The first column and texts stand left, numbers right.
fn section(heading: &[&str], rows: &[Vec<String>]) -> Vec<Line> {
    if rows.is_empty() {
        return Vec::new();
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count()));
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(heading).zip(&widths).map(|((cell, name), width)| {
            if name.ends_with("/s") || *name == "SINCE ATTACHED" {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![plain(String::new()), Line { text: line(heading), is_heading: true }];
    lines.extend(rows.iter().map(|row| plain(line(&row.iter().map(String::as_str).collect::<Vec<_>>()))));
    lines
}

/// `0`, `0.5`, `12`, `3.4 k`, `1.2 M`.
fn number(value: f64) -> String {
    match value {
        v if v < 0.05 => "0".to_owned(),
        v if v < 10.0 && v.fract() >= 0.05 => format!("{v:.1}"),
        v if v < 1_000.0 => format!("{v:.0}"),
        v if v < 999_950.0 => format!("{:.1} k", v / 1e3),
        v if v < 999_950_000.0 => format!("{:.1} M", v / 1e6),
        v => format!("{:.1} G", v / 1e9),
    }
}

fn bytes(value: f64) -> String {
    time::bytes(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{TopDecision, TopInterface, TopProgram, TopReason},
        config::Role,
        decide::{Action, DecisionId, Scope},
    };

    fn source(address: &str, packets_per_s: f64, dropped_per_s: f64, bytes_per_s: f64) -> TopSource {
        TopSource {
            address: address.parse().unwrap(),
            packets_per_s,
            bytes_per_s,
            tcp_syn_per_s: packets_per_s / 2.0,
            udp_per_s: 0.0,
            icmp_per_s: 0.4,
            dropped_per_s,
            decision: (dropped_per_s > 0.0).then_some(DecisionId(7)),
            action: (dropped_per_s > 0.0).then_some(Action::Block),
        }
    }

    fn snapshot() -> TopSnapshot {
        TopSnapshot {
            at_unix_ms: 1_700_000_000_000,
            interval_ms: 1_000,
            packets_per_s: 23_456.0,
            drops_per_s: 21_000.4,
            requests_per_s: 12.0,
            cpu_share: Some(0.0123),
            ns_per_packet: Some(524.0),
            sources_sending: 3,
            interfaces: vec![TopInterface {
                name: "eth0".into(),
                role: Role::Wan,
                hook: "native".into(),
                packets_per_s: 23_456.0,
                bytes_per_s: 1_500_000.0,
                drops_per_s: 21_000.4,
            }],
            reasons: vec![TopReason {
                reason: "banned_source".into(),
                packets_per_s: 21_000.4,
                bytes_per_s: 1_260_000.0,
                packets: 1_234_567,
            }],
            sources: vec![
                source("203.0.113.7", 0.0, 21_000.4, 1_260_000.0),
                source("2001:db8::7", 2_400.0, 0.0, 90_000.0),
                source("198.51.100.9", 1.5, 0.0, 190_000.0),
            ],
            decisions: vec![TopDecision {
                id: DecisionId(7),
                scope: Scope(crate::config::parse_net("203.0.113.7").unwrap()),
                action: Action::Block,
                reason: "port scan \u{1b}[2J of 203.0.113.1".into(),
                packets_per_s: 21_000.4,
                bytes_per_s: 1_260_000.0,
                requests_per_s: 0.0,
                packets: 900_000,
                requests: 3,
            }],
            programs: vec![TopProgram {
                name: "qantra_xdp".into(),
                runs_per_s: 23_456.0,
                ns_per_run: 524.0,
                cpu_share: 0.0123,
            }],
            warnings: Vec::new(),
            ..TopSnapshot::default()
        }
    }

    #[test]
    fn a_snapshot_is_shown_whole() {
        let snapshot = snapshot();
        insta::assert_snapshot!(Page::new(&snapshot, Sort::Packets).text(None));
        assert_eq!(raw(&snapshot).len(), 6);
    }

    #[test]
    fn sources_are_sorted_as_asked() {
        let snapshot = snapshot();
        let first = |sort| Page::new(&snapshot, sort).sources(1)[0][0].clone();
        assert_eq!(first(Sort::Packets), "203.0.113.7");
        assert_eq!(first(Sort::Dropped), "203.0.113.7");
        assert_eq!(first(Sort::Syn), "2001:db8::7");
        let round: Vec<Sort> = std::iter::successors(Some(Sort::Packets), |sort| Some(sort.next())).take(5).collect();
        assert_eq!((&round[..4], round[4]), (Sort::value_variants(), Sort::Packets), "s goes round");
    }

    #[test]
    fn it_fits_any_terminal() {
        let mut snapshot = snapshot();
        snapshot.sources = (0..200).map(|n| source(&format!("203.0.113.{n}"), f64::from(n), 0.0, 1.0)).collect();
        for columns in [0, 1, 20, 80, 300] {
            for rows in [0, 1, 5, 10, 24, 60] {
                let lines = Page::new(&snapshot, Sort::Packets).lines(Some((columns, rows)));
                assert!(lines.len() <= rows && lines.iter().all(|line| line.text.chars().count() <= columns));
            }
        }
        let lines = Page::new(&snapshot, Sort::Packets).lines(Some((80, 24)));
        assert_eq!(lines.len(), 24, "sources fill what is left");
        assert!(lines.iter().any(|line| line.text.starts_with("DECISION")), "decisions have their share");
    }

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> = [0.0, 0.04, 0.5, 9.96, 12.0, 999.4, 1_000.0, 999_949.0, 1e6, 2.5e9].map(number).into();
        assert_eq!(shown, ["0", "0", "0.5", "10.0", "12", "999", "1.0 k", "999.9 k", "1.0 M", "2.5 G"]);
    }
}
