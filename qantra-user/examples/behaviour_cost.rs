//! Enters: nothing, or a folder of models and ONNX Runtime. Leaves: what one observation costs the behaviour detectors,
//! in ns; with models, what a source costs them, as JSON.
//!
//! `cargo run --release --example behaviour_cost [-- MODELS LIBONNXRUNTIME]`

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use qantra_user::{
    clock::{Now, boot_ns},
    config::{DetectConfig, Role},
    detect::BehaviourDetectors,
    features::source::{SourceVector, vector},
    flow::{Observation, PacketObservation, RequestObservation},
    model::{Manifest, Runtime, SourceModels},
};

const ROUNDS: u64 = 1_000_000;

fn request(n: u64, sources: u64, missing: bool) -> Observation {
    let hash = foldhash::quality::FixedState::with_seed(1).hash_one(n % 5_000);
    Observation::Request(RequestObservation {
        at_ms: 1_000_000 + n / 25,
        source: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + (hash.wrapping_mul(n) % sources) as u32)),
        site: None,
        is_write: n.is_multiple_of(9),
        answered_by_us: false,
        status: if missing { 404 } else { 200 },
        path_hash: hash,
        account_hash: None,
        is_login: false,
        request_bytes: 500,
        response_bytes: 9_000,
        duration_ms: 4,
    })
}

fn packets(n: u64, sources: u64) -> Observation {
    Observation::Packets(PacketObservation {
        at_ms: 1_000_000 + n / 25,
        window_ms: 1_000,
        source: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + (n.wrapping_mul(0x9e37_79b9) % sources) as u32)),
        role: Role::Wan,
        packets: 20,
        bytes: 9_000,
        tcp_syn: 1,
        tcp_rst: 0,
        udp: 0,
        icmp: 0,
        distinct_ports: 1,
        port_map: [1 << (n % 3), 0, 0, 0],
        host_map: [0; 4],
    })
}

/// Sources in one batch, as in one tick of a busy box.
const BATCH: usize = 512;

/// Runs of each measurement of the models.
const RUNS: usize = 101;

/// What a source costs the models, as rows for `cargo xtask bench model`. Half of the sources do what a client does, half of them scan ports.
fn models(dir: &str, runtime: &str) -> anyhow::Result<()> {
    let runtime = Runtime::load(Path::new(runtime))?;
    let mut models = SourceModels::load(&runtime, &Manifest::read(Path::new(dir))?, None)?;
    let mut detectors = BehaviourDetectors::new(&DetectConfig::default(), 7);
    let (now, mut out) = (Now { boot_ns: 1_000_900_000_000, unix_ms: 0 }, Vec::new());
    for n in 0..BATCH as u64 * 40 {
        let source = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + (n % BATCH as u64) as u32));
        let is_scan = n % 2 == 1;
        let observation = match (packets(n, 1), request(n, 1, false)) {
            (Observation::Packets(seen), _) if is_scan => {
                let map = [u64::MAX, u64::MAX, u64::MAX, n];
                Observation::Packets(PacketObservation {
                    source,
                    packets: 90,
                    tcp_syn: 90,
                    bytes: 5_400,
                    port_map: map,
                    host_map: [0; 4],
                    ..seen
                })
            }
            (_, Observation::Request(seen)) => Observation::Request(RequestObservation { source, ..seen }),
            (other, _) => other,
        };
        detectors.observe(&observation, now, &mut out);
    }
    let vectors: Vec<SourceVector> = detectors.active_since(0).map(|flow| vector(flow, now.boot_ms())).collect();
    let mut rows = serde_json::Map::new();
    for (name, batch) in [("single", &vectors[..1]), ("batch512", vectors.as_slice())] {
        let per_source = |start_ns: u64| (boot_ns() - start_ns) as f64 / 1_000.0 / batch.len() as f64;
        let (mut forest, mut both) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let start_ns = boot_ns();
            models.anomaly_scores(batch)?;
            forest.push(per_source(start_ns));
            let start_ns = boot_ns();
            models.score_batch(batch)?;
            both.push(per_source(start_ns));
        }
        rows.insert(format!("isolation_forest_{name}_us"), serde_json::json!({"unit": "us", "runs": forest}));
        rows.insert(format!("source_models_{name}_us"), serde_json::json!({"unit": "us", "runs": both}));
    }
    println!("{}", serde_json::Value::Object(rows));
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [dir, runtime] = arguments.as_slice() {
        return models(dir, runtime);
    }
    let cases: [(&str, &dyn Fn(u64) -> Observation); 5] = [
        ("request, 500 sources", &|n| request(n, 500, false)),
        ("request, 20,000 sources", &|n| request(n, 20_000, false)),
        ("404, 500 sources", &|n| request(n, 500, true)),
        ("kernel window, 20,000 sources", &|n| packets(n, 20_000)),
        ("kernel window, a new source each", &|n| packets(n, u64::from(u32::MAX) / 2)),
    ];
    for (name, case) in cases {
        let mut detectors = BehaviourDetectors::new(&DetectConfig::default(), 7);
        let mut out = Vec::new();
        let mut best_ns = f64::MAX;
        for _ in 0..5 {
            let start_ns = boot_ns();
            for n in 0..ROUNDS {
                let now = Now { boot_ns: (1_000_000 + n / 25) * 1_000_000, unix_ms: 0 };
                detectors.observe(&case(n), now, &mut out);
            }
            best_ns = best_ns.min((boot_ns() - start_ns) as f64 / ROUNDS as f64);
        }
        println!("{name}: {best_ns:.0} ns, {} sources, {} findings", detectors.stats().sources, out.len());
    }
    Ok(())
}
