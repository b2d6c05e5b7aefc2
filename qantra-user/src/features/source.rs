//! Enters: one source's flow and the time. Leaves: its behaviour vector. Computed from the flow alone, so that a
//! recording and live traffic give the same numbers; it must never look at anything that training does not have.

use std::net::IpAddr;

use super::Schema;
use crate::flow::{HttpFlow, PacketFlow, SourceFlow};

/// The vector's name.
const NAME: &str = "source-behaviour";

/// Bumped when a column keeps its name and changes its meaning.
const REVISION: &str = "revision=1";

/// How many columns there are.
pub const SOURCE_COLUMNS: usize = COLUMNS.len();

/// The columns in order. `log_` is the natural logarithm of one plus the count; a share is between 0 and 1.
pub const COLUMNS: [&str; 65] = [
    "log_requests_10s",
    "log_missing_10s",
    "log_errors_10s",
    "log_writes_10s",
    "log_connections_10s",
    "log_unanswered_10s",
    "log_paths_10s",
    "log_missing_paths_10s",
    "log_request_bytes_10s",
    "log_response_bytes_10s",
    "missing_share_10s",
    "error_share_10s",
    "write_share_10s",
    "paths_per_request_10s",
    "connections_per_request_10s",
    "log_requests_10min",
    "log_missing_10min",
    "log_errors_10min",
    "log_writes_10min",
    "log_connections_10min",
    "log_unanswered_10min",
    "log_paths_10min",
    "log_missing_paths_10min",
    "log_request_bytes_10min",
    "log_response_bytes_10min",
    "missing_share_10min",
    "error_share_10min",
    "write_share_10min",
    "paths_per_request_10min",
    "connections_per_request_10min",
    "log_login_failures_min",
    "log_login_posts_min",
    "log_login_failures_hour",
    "log_login_posts_hour",
    "log_unauthorised_hour",
    "log_accounts_failed_hour",
    "log_accounts_unclear_hour",
    "log_packets_10s",
    "log_bytes_10s",
    "log_syn_10s",
    "log_rst_10s",
    "log_udp_10s",
    "log_icmp_10s",
    "log_ports_10s",
    "syn_share_10s",
    "rst_share_10s",
    "udp_share_10s",
    "icmp_share_10s",
    "log_bytes_per_packet_10s",
    "log_packets_10min",
    "log_bytes_10min",
    "log_syn_10min",
    "log_rst_10min",
    "log_udp_10min",
    "log_icmp_10min",
    "log_ports_10min",
    "syn_share_10min",
    "rst_share_10min",
    "udp_share_10min",
    "icmp_share_10min",
    "log_bytes_per_packet_10min",
    "log_ports_day",
    "log_hosts_10s",
    "log_hosts_10min",
    "hosts_per_syn_10min",
];

/// One source's behaviour at one moment. On which side of the box it is stays out: an infected device of the LAN does
/// what an attacker from the Internet does, and no recording has both on both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceVector {
    /// The source.
    pub address: IpAddr,
    /// Its values, in the order of [`COLUMNS`].
    pub values: [f32; SOURCE_COLUMNS],
}

/// The schema that source models are trained for.
#[must_use]
pub fn schema() -> Schema {
    Schema { name: NAME, columns: &COLUMNS, parameters: vec![REVISION.to_owned()] }
}

/// How often the source models look at the sources that did something meanwhile.
pub const LOOK_INTERVAL_MS: u64 = 2_000;
/// Most sources in one such look; at some µs each it stays below 10 ms.
pub const SOURCES_PER_LOOK: usize = 1_024;

/// Requests and connections in ten minutes from which there is something to judge.
const EXCHANGES_MIN: u32 = 20;
/// TCP SYN, UDP datagrams and ICMP messages in ten minutes from which there is something to judge.
const PACKETS_MIN: u32 = 50;

/// Whether a source did enough for its vector to mean anything. A visitor's single request makes shares of 0 and 1 that
/// only attacks have otherwise.
#[must_use]
pub fn is_enough(flow: &SourceFlow, at_ms: u64) -> bool {
    let exchanges =
        flow.http.as_deref().map_or(0, |http| http.requests_10min(at_ms).saturating_add(http.connections_10min(at_ms)));
    let packets = flow.packets.as_deref().map_or(0, |packets| {
        let openings = packets.syn_10min(at_ms).saturating_add(packets.udp_10min(at_ms));
        openings.saturating_add(packets.icmp_10min(at_ms))
    });
    exchanges >= EXCHANGES_MIN || packets >= PACKETS_MIN
}

/// The behaviour vector of a flow at a time, in ms since boot.
#[must_use]
pub fn vector(flow: &SourceFlow, at_ms: u64) -> SourceVector {
    let mut writer = Writer { values: [0.0; SOURCE_COLUMNS], next: 0 };
    match flow.http.as_deref() {
        Some(http) => write_http(&mut writer, http, at_ms),
        // An absent half is one that did nothing: all its columns are 0.
        None => writer.next += HTTP_COLUMNS,
    }
    match flow.packets.as_deref() {
        Some(packets) => write_packets(&mut writer, packets, at_ms),
        None => writer.next += PACKET_COLUMNS,
    }
    debug_assert_eq!(writer.next, SOURCE_COLUMNS);
    SourceVector { address: flow.address, values: writer.values }
}

const HTTP_COLUMNS: usize = 37;
const PACKET_COLUMNS: usize = 28;
const _: () = assert!(HTTP_COLUMNS + PACKET_COLUMNS == SOURCE_COLUMNS);

struct Writer {
    values: [f32; SOURCE_COLUMNS],
    next: usize,
}

impl Writer {
    fn push(&mut self, value: f32) {
        if let Some(slot) = self.values.get_mut(self.next) {
            *slot = value;
        }
        self.next += 1;
    }

    fn logs<const N: usize>(&mut self, counts: [u32; N]) {
        for count in counts {
            self.push((count as f32).ln_1p());
        }
    }

    fn shares<const N: usize>(&mut self, parts: [u32; N], whole: u32) {
        for part in parts {
            self.push((part as f32 / whole.max(1) as f32).min(1.0));
        }
    }
}

fn write_http(out: &mut Writer, flow: &HttpFlow, at: u64) {
    let (requests, missing, errors) = (flow.requests_10s(at), flow.missing_10s(at), flow.errors_10s(at));
    let (writes, connections, paths) = (flow.writes_10s(at), flow.connections_10s(at), flow.paths_10s(at));
    out.logs([requests, missing, errors, writes, connections, flow.unanswered_10s(at), paths]);
    out.logs([flow.missing_paths_10s(at), flow.request_bytes_10s(at), flow.response_bytes_10s(at)]);
    out.shares([missing, errors, writes, paths, connections], requests);

    let (requests, missing, errors) = (flow.requests_10min(at), flow.missing_10min(at), flow.errors_10min(at));
    let (writes, connections, paths) = (flow.writes_10min(at), flow.connections_10min(at), flow.paths_10min(at));
    out.logs([requests, missing, errors, writes, connections, flow.unanswered_10min(at), paths]);
    out.logs([flow.missing_paths_10min(at), flow.request_bytes_10min(at), flow.response_bytes_10min(at)]);
    out.shares([missing, errors, writes, paths, connections], requests);

    out.logs([flow.login_failures_min(at), flow.login_posts_min(at), flow.login_failures_hour(at)]);
    out.logs([flow.login_posts_hour(at), flow.unauthorised_hour(at)]);
    out.logs([flow.accounts_failed_hour(at), flow.accounts_unclear_hour(at)]);
}

fn write_packets(out: &mut Writer, flow: &PacketFlow, at: u64) {
    let (packets, bytes) = (flow.packets_10s(at), flow.bytes_10s(at));
    let kinds = [flow.syn_10s(at), flow.rst_10s(at), flow.udp_10s(at), flow.icmp_10s(at)];
    out.logs([packets, bytes]);
    out.logs(kinds);
    out.logs([flow.ports_10s(at)]);
    out.shares(kinds, packets);
    out.logs([bytes / packets.max(1)]);

    let (packets, bytes) = (flow.packets_10min(at), flow.bytes_10min(at));
    let kinds = [flow.syn_10min(at), flow.rst_10min(at), flow.udp_10min(at), flow.icmp_10min(at)];
    out.logs([packets, bytes]);
    out.logs(kinds);
    out.logs([flow.ports_10min(at)]);
    out.shares(kinds, packets);
    out.logs([bytes / packets.max(1)]);
    out.logs([flow.ports_day(at), flow.hosts_10s(at), flow.hosts_10min(at)]);
    out.shares([flow.hosts_10min(at)], flow.syn_10min(at));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Role,
        flow::{FlowTable, LocalNetworks, Observation, PacketObservation, RequestObservation},
    };

    fn column(vector: &SourceVector, name: &str) -> Option<f32> {
        COLUMNS.iter().position(|column| *column == name).map(|place| vector.values[place])
    }

    fn after(observations: &[Observation]) -> Option<SourceVector> {
        let mut table = FlowTable::<()>::new(4, LocalNetworks::default(), 1);
        for observation in observations {
            let (tracked, _) = table.source_of(observation, 50_000);
            match observation {
                Observation::Request(seen) => {
                    tracked.flow.http.get_or_insert_default().request(50_000, seen);
                }
                Observation::Connection(_) => tracked.flow.http.get_or_insert_default().connection(50_000),
                Observation::Packets(seen) => tracked.flow.packets.get_or_insert_default().packets(50_000, seen),
                Observation::Conversation(_) => {}
            }
        }
        table.iter().next().map(|tracked| vector(&tracked.flow, 50_000))
    }

    #[test]
    fn every_column_holds_what_its_name_says() {
        let source = IpAddr::from([192, 0, 2, 1]);
        let request = RequestObservation {
            at_ms: 50_000,
            source,
            site: None,
            is_write: false,
            answered_by_us: false,
            status: 404,
            path_hash: u64::MAX / 3,
            account_hash: None,
            is_login: false,
            request_bytes: 300,
            response_bytes: 50,
            duration_ms: 1,
        };
        let packets = PacketObservation {
            at_ms: 50_000,
            window_ms: 1_000,
            source,
            role: Role::Lan,
            packets: 10,
            bytes: 600,
            tcp_syn: 5,
            tcp_rst: 2,
            udp: 0,
            icmp: 0,
            distinct_ports: 3,
            port_map: [7, 0, 0, 0],
            host_map: [0; 4],
        };
        let both = after(&[Observation::Request(request), Observation::Packets(packets)]);
        let Some(both) = both else { unreachable!("a source was seen") };
        let cases = [
            ("log_requests_10s", 2.0_f32.ln()),
            ("missing_share_10min", 1.0),
            ("log_response_bytes_10min", 51.0_f32.ln()),
            ("paths_per_request_10min", 1.0),
            ("log_accounts_unclear_hour", 0.0),
            ("log_packets_10s", 11.0_f32.ln()),
            ("syn_share_10s", 0.5),
            ("rst_share_10min", 0.2),
            ("log_bytes_per_packet_10min", 61.0_f32.ln()),
            ("log_ports_day", 4.0_f32.ln()),
        ];
        for (name, expected) in cases {
            assert_eq!(column(&both, name), Some(expected), "{name}");
        }
        // The halves keep their places when the other is absent.
        let alone = after(&[Observation::Packets(packets)]);
        assert_eq!(alone.as_ref().and_then(|v| column(v, "log_ports_day")), Some(4.0_f32.ln()));
        assert_eq!(alone.as_ref().and_then(|v| column(v, "log_requests_10s")), Some(0.0));
    }

    #[test]
    fn the_schema_is_the_one_that_the_shipped_models_know() {
        assert_eq!(schema().hash(), "c2fd17a53833bea7", "a new schema needs new models: cargo xtask model train");
    }
}
