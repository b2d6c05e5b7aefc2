//! `qantra replay --pcap FILE`: what the detectors, the models and the policy would have made of a capture, without a
//! kernel; `qantra replay --runs FILE`: how many of labelled captures' attacks that finds. It must never enforce anything.

mod labelled;
mod player;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ipnet::IpNet;
use serde::Serialize;

use super::{
    error::CliError,
    output::{Format, Output},
};
use crate::{
    capture::{self, ConversationTracker, SourceCounter},
    config::{self, Config},
    decide::Decision,
    detect::Finding,
    flow::{LocalNetworks, Observation},
    model::{Manifest, Runtime, SourceModels},
};
use player::{FlowSummary, Player};

/// Play a capture through the detectors and the policy; nothing is enforced
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra replay --pcap scan.pcap
  qantra replay --pcap office.pcapng --lan 192.168.1.0/24 --json
  qantra replay --pcap site.pcap --http site.ndjson --models ./models
  qantra replay --runs runs.json --models ./models

Thresholds and policy are those of --config, or the defaults where that file is missing.

--http is what a proxy observed meanwhile, one JSON object to a line: {\"kind\": \"request\" or \"connection\", \"at_ms\",
\"source\", \"status\", \"path\", \"is_login\", \"account\", \"is_write\", \"answered_by_us\", \"request_bytes\",
\"response_bytes\"}.

--runs is {\"runs\": [{\"name\", \"label\": \"benign\" or an attack class, \"tool\", \"pcap\", \"http\", \"lan\": [networks],
\"sources\": [who attacks], \"models\": folder}]}; files are beside it. An attack is found when there is a finding about
one of its sources whose class fits.")]
pub(super) struct Args {
    /// The capture: pcap or pcapng
    #[arg(long, value_name = "FILE", required_unless_present = "runs")]
    pcap: Option<PathBuf>,
    /// What a proxy observed in the same time
    #[arg(long, value_name = "FILE", requires = "pcap")]
    http: Option<PathBuf>,
    /// A network on the LAN's side; everything else is the Internet
    #[arg(long, value_name = "NETWORK")]
    lan: Vec<IpNet>,
    /// Labelled captures: say what is found of them, and what is said of honest traffic
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pcap", "lan"])]
    runs: Option<PathBuf>,
    /// Ask the source models of this folder as well
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// ONNX Runtime's shared library [default: `models.runtime`]
    #[arg(long, value_name = "FILE")]
    runtime: Option<PathBuf>,
    /// Print JSON; the same as `-o json`
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether it runs models.
    pub(super) const fn loads_runtime(&self) -> bool {
        self.models.is_some()
    }
}

/// Largest capture that is read: it is held in memory.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Most sources that are listed.
const FLOWS_MAX: usize = 20;

#[derive(Debug, Serialize)]
struct Report {
    packets: u64,
    /// Frames that are not IP, or malformed.
    frames_skipped: u64,
    seconds: f64,
    sources: usize,
    /// The sources that sent most packets.
    flows: Vec<FlowSummary>,
    findings: Vec<Finding>,
    decisions: Vec<Decision>,
}

/// Which models are asked.
struct Models<'a> {
    dir: Option<&'a Path>,
    runtime: &'a Path,
}

impl Models<'_> {
    /// Those of a folder, or of the usual one; `None` where models were not asked for.
    fn load(&self, own: Option<&Path>) -> anyhow::Result<Option<SourceModels>> {
        let Some(dir) = self.dir else { return Ok(None) };
        let dir = own.unwrap_or(dir);
        let (runtime, manifest) = (Runtime::load(self.runtime)?, Manifest::read(dir)?);
        SourceModels::load(&runtime, &manifest, None).map(Some).with_context(|| dir.display().to_string())
    }
}

pub(super) fn run(args: &Args, config_path: &Path, output: &Output) -> Result<(), CliError> {
    let config = if config_path.exists() { config::load(config_path)? } else { Config::default() };
    let runtime = args.runtime.as_ref().unwrap_or(&config.models.runtime);
    let models = Models { dir: args.models.as_deref(), runtime };
    let as_json = args.json || output.format == Format::Json;
    if let Some(runs) = &args.runs {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("replay {bar:30} {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        let report = labelled::evaluate(runs, &config, &models, |done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        return if as_json { output.json(&report) } else { output.text(&report.human(*output)) };
    }
    let report = replay(args, &config, &models)?;
    if as_json {
        return output.json(&report);
    }
    output.text(&human(&report, *output))
}

fn replay(args: &Args, config: &Config, models: &Models<'_>) -> anyhow::Result<Report> {
    let mut models = models.load(None)?;
    let Some(pcap) = args.pcap.clone() else { bail!("no capture") };
    let mut player = Player::new(config, LocalNetworks::new(args.lan.clone()), models.as_mut());
    let skipped = Source { pcap, http: args.http.clone() }.play(&args.lan, config, &mut player)?;
    Ok(report(player, skipped))
}

/// What is played: a capture, and what a proxy observed meanwhile.
struct Source {
    pcap: PathBuf,
    http: Option<PathBuf>,
}

impl Source {
    /// Plays both by their time; returns how many frames could not be looked at.
    fn play(&self, lan: &[IpNet], config: &Config, player: &mut Player<'_>) -> anyhow::Result<u64> {
        let path = self.pcap.display();
        let length = fs::metadata(&self.pcap).with_context(|| path.to_string())?.len();
        if length > FILE_BYTES_MAX {
            bail!("{path}: {length} bytes is more than {FILE_BYTES_MAX}; cut it with `editcap -i 60`");
        }
        let bytes = fs::read(&self.pcap).with_context(|| path.to_string())?;
        let mut requests = match &self.http {
            Some(http) => observed(http)?,
            None => Vec::new(),
        }
        .into_iter()
        .peekable();
        let mut counter = SourceCounter::new(config.kernel.window_ms, config.kernel.report_packets, lan.to_vec());
        let mut conversations = ConversationTracker::new(lan.to_vec());
        let mut outcome = Ok(());
        let mut play = |seen: &Observation| {
            if outcome.is_ok() {
                outcome = player.play(seen);
            }
        };
        let skipped = capture::observations(&bytes, &mut counter, &mut conversations, |seen| {
            while let Some(request) = requests.next_if(|request| request.at_ms() <= seen.at_ms()) {
                play(&request);
            }
            play(&seen);
        })
        .with_context(|| path.to_string())?;
        for request in requests {
            play(&request);
        }
        outcome?;
        player.end()?;
        Ok(skipped)
    }
}

fn observed(path: &Path) -> anyhow::Result<Vec<Observation>> {
    let place = || path.display().to_string();
    capture::observed(&fs::read_to_string(path).with_context(place)?).map_err(Error::msg).with_context(place)
}

fn report(player: Player<'_>, frames_skipped: u64) -> Report {
    let (sources, seconds) = (player.flows.len(), player.seconds());
    let Player { flows, findings, decisions, .. } = player;
    let mut flows: Vec<FlowSummary> = flows.into_values().collect();
    let packets = flows.iter().map(|flow| flow.packets).sum();
    flows.sort_by_key(|flow| (std::cmp::Reverse(flow.packets), flow.source));
    flows.truncate(FLOWS_MAX);
    Report { packets, frames_skipped, seconds, sources, flows, findings, decisions }
}

fn human(report: &Report, output: Output) -> String {
    let flows: Vec<Vec<String>> = report
        .flows
        .iter()
        .map(|flow| {
            let counts = [flow.packets, flow.bytes, flow.tcp_syn, flow.udp, flow.icmp];
            std::iter::once(flow.source.to_string()).chain(counts.iter().map(u64::to_string)).collect()
        })
        .collect();
    let decisions: Vec<Vec<String>> = report
        .decisions
        .iter()
        .map(|decision| {
            let lasts_ms = decision.expires_unix_ms.map(|end| end.saturating_sub(decision.created_unix_ms));
            let lasts = lasts_ms.map_or("for ever".to_owned(), |ms| format!("{} s", ms / 1_000));
            let action = decision.action.to_string();
            vec![decision.scope.to_string(), action, lasts, decision.reason.clone()]
        })
        .collect();
    let Report { packets, frames_skipped, seconds, sources, findings, .. } = report;
    let mut text = format!(
        "{packets} packets of {sources} sources in {seconds:.1} s, {frames_skipped} frames without a look: \
         {} findings, {} decisions\n\n",
        findings.len(),
        decisions.len()
    );
    text += &output.table(&["source", "packets", "bytes", "SYN", "UDP", "ICMP"], &flows);
    if !decisions.is_empty() {
        text += "\n";
        text += &output.table(&["whom", "action", "lasts", "why"], &decisions);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    use crate::{config::Role, decide::Action, detect::AttackClass, flow::PacketObservation};

    #[test]
    fn a_scan_becomes_one_decision_with_its_findings() {
        let mut player = Player::new(&Config::default(), LocalNetworks::default(), None);
        for n in 0..20_u64 {
            let seen = PacketObservation {
                at_ms: 1_700_000_000_000 + n * 1_000,
                window_ms: 1_000,
                source: IpAddr::from([198, 51, 100, 7]),
                role: Role::Wan,
                packets: 60,
                bytes: 3_600,
                tcp_syn: 60,
                tcp_rst: 0,
                udp: 0,
                icmp: 0,
                distinct_ports: 60,
                port_map: [(1 << (n + 10)) - 1, 0, u64::MAX >> 20, 0],
                host_map: [0; 4],
            };
            player.play(&Observation::Packets(seen)).unwrap();
        }
        let report = report(player, 0);
        assert_eq!((report.packets, report.sources, report.seconds), (1_200, 1, 19.0));
        let [decision] = report.decisions.as_slice() else { unreachable!("{report:#?}") };
        assert_eq!((decision.action, decision.class), (Action::Block, Some(AttackClass::PortScan)));
    }
}
