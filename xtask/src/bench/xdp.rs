//! `bench xdp`: what a packet costs the kernel half beside Debian's `xdp-filter`, what it drops of a flood beside nftables,
//! and what a million prefixes or sources cost. Enters: the built object. Leaves: rows measured by programs that run it; this
//! file must never time anything itself.

use std::{collections::BTreeMap, process::Command};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::Report;
use crate::{
    ebpf, process,
    progress::Step,
    setup::{self, Need},
    workspace,
};

#[derive(Deserialize)]
struct Measured {
    unit: String,
    runs: Vec<f64>,
}

/// A measuring program: its package and name, what it measures, and the command that starts it.
struct Program {
    package: &'static str,
    name: &'static str,
    what: &'static str,
    before: &'static [&'static str],
}

const PROGRAMS: [Program; 4] = [
    Program { package: "qantra-tests", name: "xdp_cost", what: "Packets, one by one", before: &[] },
    Program { package: "qantra-tests", name: "xdp_scale", what: "A million prefixes, a million sources", before: &[] },
    Program { package: "qantra-tests", name: "xdp_exchange", what: "A thousand exchanges of lists", before: &[] },
    Program {
        package: "qantra-tests",
        name: "xdp_flood",
        what: "Floods, and a client meanwhile",
        before: &["chrt", "--fifo", "3"],
    },
];

/// How often a list is read.
const REFRESHES: usize = 5;

/// What is compared with what; the names stay the same over time.
const RATIOS: [(&str, &str, &str); 9] = [
    ("innocent_1m_vs_xdp_filter", "innocent_v4_1m_ns", "xdp_filter_innocent_v4_ns"),
    ("innocent_v6_1m_vs_xdp_filter", "innocent_v6_1m_ns", "xdp_filter_innocent_v6_ns"),
    ("drop_1m_vs_xdp_filter", "feed_v4_1m_ns", "xdp_filter_drop_v4_ns"),
    ("ban_1m_vs_xdp_filter", "ban_v4_1m_ns", "xdp_filter_drop_v4_ns"),
    ("innocent_1m_vs_innocent_0", "innocent_v4_1m_ns", "innocent_v4_0_ns"),
    ("flood_native_vs_nft_raw", "flood_native_pps", "flood_nft_raw_pps"),
    ("flood_tcx_vs_nft_netdev", "flood_tcx_pps", "flood_nft_netdev_pps"),
    ("flood_native_vs_nft_raw_with_sender", "flood_native_with_sender_pps", "flood_nft_raw_with_sender_pps"),
    ("flood_tcx_vs_nft_netdev_with_sender", "flood_tcx_with_sender_pps", "flood_nft_netdev_with_sender_pps"),
];

/// Builds the object and the measuring programs, and runs them one after the other.
///
/// # Errors
/// Without root, when a peer is missing, or a measurement fails.
pub(super) fn run() -> Result<Report> {
    if !process::is_root() {
        bail!("loading eBPF programs needs root: run `sudo env PATH=\"$PATH\" cargo xtask bench xdp`");
    }
    setup::ensure(&[Need::Build, Need::Run, Need::Lab])?;
    let object = ebpf::build_object(false)?;
    let mut build = process::cargo();
    build.args(["build", "--quiet", "--release"]);
    for program in &PROGRAMS {
        build.args(["--package", program.package, "--example", program.name]);
    }
    build.args(["--package", "qantra-user", "--example", "feed_refresh_cost"]);
    process::quiet("Building what measures (release)", &mut build)?;
    let mut report = Report::new("xdp");
    for program in &PROGRAMS {
        let step = Step::begin(program.what);
        let path = workspace::target_dir().join("release/examples").join(program.name);
        let mut command = match program.before {
            [] => Command::new(&path),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&path);
                command
            }
        };
        let output = process::stdout(command.env("QANTRA_BPF_OBJECT", &object));
        let rows = output.and_then(|text| {
            serde_json::from_str::<BTreeMap<String, Measured>>(&text)
                .with_context(|| format!("{} printed: {text}", program.name))
        });
        match rows {
            Ok(rows) => rows.iter().for_each(|(name, row)| report.row(name, &row.unit, &row.runs)),
            Err(error) => {
                step.failed();
                return Err(error.context(program.what));
            }
        }
        step.done();
    }
    refresh(&mut report)?;
    for (name, of, to) in RATIOS {
        report.ratio(name, of, to);
    }
    Ok(report)
}

/// What the refresh of a feed prints.
#[derive(Deserialize)]
struct Refreshed {
    parse_seconds: f64,
    merge_seconds: f64,
}

/// From a list as text to a list in force, on one core: reading and merging as the daemon does, and the kernel's part as
/// measured before.
fn refresh(report: &mut Report) -> Result<()> {
    let load = report.rows.iter().find(|row| row.name == "map_load_1m_seconds").map(|row| row.value);
    let load = load.context("no row map_load_1m_seconds")?;
    let (mut parse, mut merge, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    let step = Step::begin("Reading and merging a million prefixes");
    for _ in 0..REFRESHES {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", "0"]).arg(workspace::target_dir().join("release/examples/feed_refresh_cost"));
        let text = process::stdout(&mut command)?;
        let run: Refreshed =
            serde_json::from_str(&text).with_context(|| format!("feed_refresh_cost printed: {text}"))?;
        parse.push(run.parse_seconds);
        merge.push(run.merge_seconds);
        whole.push(run.parse_seconds + run.merge_seconds + load);
    }
    step.done();
    report.row("parse_1m_seconds", "s", &parse);
    report.row("merge_1m_seconds", "s", &merge);
    report.row("refresh_1m_seconds", "s", &whole);
    Ok(())
}
