//! Enters: recorded runs, each with its label, its tool and who did it. Leaves: how many of the attacks detectors and
//! models find, and what they say of honest traffic. It must never judge by the label: labels are only counted.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Models, Source, player::Player};
use crate::{
    cli::{eval::tally::wilson, output::Output},
    config::Config,
    decide::Action,
    detect::Finding,
    flow::{HOUR_MS, LocalNetworks},
    model::SourceModels,
};

const BENIGN: &str = "benign";

/// What a file of runs holds; what else stands in it is for those who made it.
#[derive(Debug, Deserialize)]
struct Runs {
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Run {
    name: String,
    /// `benign`, or what the attack is.
    label: String,
    /// The tool, or for honest traffic the collection.
    tool: String,
    pcap: PathBuf,
    #[serde(default)]
    http: Option<PathBuf>,
    #[serde(default)]
    lan: Vec<IpNet>,
    /// Who attacks.
    #[serde(default)]
    sources: Vec<IpAddr>,
    /// Models of its own: those that were trained without its tool.
    #[serde(default)]
    models: Option<PathBuf>,
}

/// How an attack was found.
#[derive(Debug, Clone, Serialize)]
struct Found {
    after_s: f64,
    class: &'static str,
    detector: String,
    confidence: f32,
}

#[derive(Debug, Serialize)]
struct Outcome {
    name: String,
    label: String,
    tool: String,
    seconds: f64,
    #[serde(skip)]
    watched_ms: u64,
    /// The first finding about the attacker of a fitting class.
    found: Option<Found>,
    /// The same by a behaviour detector, and by the models.
    by_detectors: Option<Found>,
    by_models: Option<Found>,
    /// Whether the policy would have acted on the attacker.
    acted_on: bool,
    /// Findings about anybody else, and about anybody in honest traffic.
    false_findings: Vec<FalseFinding>,
    false_decisions: usize,
}

#[derive(Debug, Clone, Serialize)]
struct FalseFinding {
    source: IpAddr,
    at_s: f64,
    class: &'static str,
    detector: String,
    confidence: f32,
    measured: String,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Recall {
    runs: u64,
    found: u64,
    by_detectors: u64,
    by_models: u64,
    acted_on: u64,
    /// Of what was found: half of it sooner than that.
    median_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<[f64; 2]>,
    #[serde(skip)]
    seconds: Vec<f64>,
}

/// What honest traffic brought.
#[derive(Debug, Clone, Default, Serialize)]
struct Honest {
    captures: usize,
    hours: f64,
    findings: usize,
    per_hour: f64,
    /// Of those, what the policy would have acted on.
    decisions: usize,
    by_detector: BTreeMap<String, usize>,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    attacks: Recall,
    by_class: BTreeMap<String, Recall>,
    by_tool: BTreeMap<String, Recall>,
    honest: Honest,
    by_collection: BTreeMap<String, Honest>,
    /// Captures that could not be read.
    left_out: Vec<String>,
    runs: Vec<Outcome>,
}

/// Whether what a finding calls it is what it is, or of the same family: a scan is one whether of ports or of hosts.
fn fits(label: &str, class: &str) -> bool {
    const FAMILIES: [&[&str]; 5] = [
        &["port_scan", "host_sweep"],
        &["request_flood", "syn_flood", "udp_flood", "icmp_flood"],
        &["brute_force", "credential_stuffing"],
        &["content_scan", "crawling", "scanner"],
        &["crawling", "request_flood"],
    ];
    label == class || FAMILIES.iter().any(|family| family.contains(&label) && family.contains(&class))
}

pub(super) fn evaluate(
    file: &Path,
    config: &Config,
    models: &Models<'_>,
    tell: impl Fn(usize, usize),
) -> Result<Report> {
    let place = || file.display().to_string();
    let text = fs::read_to_string(file).with_context(place)?;
    let Runs { runs } = serde_json::from_str(&text).with_context(place)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut loaded: Option<(Option<PathBuf>, Option<SourceModels>)> = None;
    let (mut outcomes, mut left_out) = (Vec::new(), Vec::new());
    for (done, run) in runs.iter().enumerate() {
        tell(done, runs.len());
        let own = run.models.as_ref().map(|dir| folder.join(dir));
        if loaded.as_ref().is_none_or(|(of, _)| *of != own) {
            loaded = Some((own.clone(), models.load(own.as_deref())?));
        }
        let models = loaded.as_mut().and_then(|(_, models)| models.as_mut());
        match play(run, folder, config, models) {
            Ok(outcome) => outcomes.push(outcome),
            // A collection may hold captures of links that nobody routes on.
            Err(error) if run.label == BENIGN => left_out.push(format!("{}: {error:#}", run.name)),
            Err(error) => return Err(error.context(run.name.clone())),
        }
    }
    Ok(Report::of(outcomes, left_out))
}

fn play(run: &Run, folder: &Path, config: &Config, models: Option<&mut SourceModels>) -> Result<Outcome> {
    let model = models.as_ref().map(|models| models.name().to_owned());
    let mut player = Player::new(config, LocalNetworks::new(run.lan.clone()), models);
    let source = Source { pcap: folder.join(&run.pcap), http: run.http.as_ref().map(|path| folder.join(path)) };
    source.play(&run.lan, config, &mut player)?;
    let attack = run.label != BENIGN;
    let is_attacker = |source: &IpAddr| attack && run.sources.contains(source);
    let first_ms = player.first_ms();
    let found = |finding: &&Finding| is_attacker(&finding.source) && fits(&run.label, finding.class.as_str());
    let after_s = |finding: &Finding| finding.at.unix_ms.saturating_sub(first_ms) as f64 / 1_000.0;
    let described = |finding: &Finding| Found {
        after_s: after_s(finding),
        class: finding.class.as_str(),
        detector: finding.detector.clone(),
        confidence: finding.confidence,
    };
    let all = || player.findings.iter().filter(found);
    let is_by_models = |finding: &&Finding| Some(&finding.detector) == model.as_ref();
    let falsely = |finding: &Finding| FalseFinding {
        source: finding.source,
        at_s: after_s(finding),
        class: finding.class.as_str(),
        detector: finding.detector.clone(),
        confidence: finding.confidence,
        measured: measured(finding),
    };
    let others = player.findings.iter().filter(|finding| !is_attacker(&finding.source));
    let acted_on = |wanted: bool| {
        // To observe is to write down.
        let acting = player.decisions.iter().filter(|decision| decision.action > Action::Observe);
        let about = acting.map(|decision| decision.scope.to_string());
        about.filter(|scope| run.sources.iter().any(|source| attack && *scope == source.to_string()) == wanted).count()
    };
    Ok(Outcome {
        name: run.name.clone(),
        label: run.label.clone(),
        tool: run.tool.clone(),
        seconds: player.seconds(),
        watched_ms: player.watched_ms(),
        found: all().next().map(described),
        by_detectors: all().find(|finding| !is_by_models(finding)).map(described),
        by_models: all().find(is_by_models).map(described),
        acted_on: acted_on(true) > 0,
        false_findings: others.map(falsely).collect(),
        false_decisions: acted_on(false),
    })
}

/// What a finding rests on, in short.
fn measured(finding: &Finding) -> String {
    let evidence = &finding.evidence;
    let measurements = evidence.measurements.iter().map(|m| format!("{} {:.2}", m.name, m.value));
    let weights = evidence.weights.iter().map(|weight| format!("{} {:.2}", weight.feature, weight.weight));
    measurements.chain(weights).collect::<Vec<_>>().join(", ")
}

impl Recall {
    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.found += u64::from(outcome.found.is_some());
        self.by_detectors += u64::from(outcome.by_detectors.is_some());
        self.by_models += u64::from(outcome.by_models.is_some());
        self.acted_on += u64::from(outcome.acted_on);
        self.seconds.extend(outcome.found.iter().map(|found| found.after_s));
        self.seconds.sort_by(f64::total_cmp);
        self.median_seconds = self.seconds.get(self.seconds.len() / 2).copied();
        self.interval = wilson(self.found, self.runs);
    }

    fn row(&self, name: &str) -> Vec<String> {
        let counts = [self.runs, self.found, self.by_detectors, self.by_models, self.acted_on];
        let median = self.median_seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1}"));
        std::iter::once(name.to_owned()).chain(counts.iter().map(u64::to_string)).chain([median]).collect()
    }
}

impl Honest {
    fn add(&mut self, outcome: &Outcome) {
        // Whoever else is in an attack's capture is honest, but an attack's time is no honest hour.
        if outcome.label == BENIGN {
            self.captures += 1;
            self.hours += outcome.watched_ms as f64 / HOUR_MS as f64;
        }
        self.findings += outcome.false_findings.len();
        self.decisions += outcome.false_decisions;
        for finding in &outcome.false_findings {
            *self.by_detector.entry(finding.detector.clone()).or_default() += 1;
        }
        self.per_hour = if self.hours > 0.0 { self.findings as f64 / self.hours } else { 0.0 };
    }
}

impl Report {
    fn of(runs: Vec<Outcome>, left_out: Vec<String>) -> Self {
        let (mut attacks, mut honest) = (Recall::default(), Honest::default());
        let (mut by_class, mut by_tool) = (BTreeMap::<_, Recall>::new(), BTreeMap::<_, Recall>::new());
        let mut by_collection = BTreeMap::<_, Honest>::new();
        for run in &runs {
            honest.add(run);
            if run.label == BENIGN {
                by_collection.entry(run.tool.clone()).or_default().add(run);
                continue;
            }
            attacks.add(run);
            by_class.entry(run.label.clone()).or_default().add(run);
            by_tool.entry(run.tool.clone()).or_default().add(run);
        }
        Self { attacks, by_class, by_tool, honest, by_collection, left_out, runs }
    }

    pub(super) fn human(&self, output: Output) -> String {
        let heading = ["", "runs", "found", "by detectors", "by models", "acted on", "median s"];
        let rows =
            |all: &BTreeMap<String, Recall>| all.iter().map(|(name, recall)| recall.row(name)).collect::<Vec<_>>();
        let mut by_class = rows(&self.by_class);
        by_class.push(self.attacks.row("all"));
        let mut text = output.table(&heading, &by_class) + "\n" + &output.table(&heading, &rows(&self.by_tool)) + "\n";
        for run in self.runs.iter().filter(|run| run.label != BENIGN && run.found.is_none()) {
            text += &format!("missed: {} ({}), {:.0} s\n", run.name, run.label, run.seconds);
        }
        let share = self.attacks.found as f64 / self.attacks.runs.max(1) as f64;
        if let Some([low, high]) = self.attacks.interval {
            let (share, low, high) = (share * 100.0, low * 100.0, high * 100.0);
            text += &format!("recall: {share:.1} % of runs (95 %: {low:.1} to {high:.1})\n\n");
        }
        let honest = |name: &str, honest: &Honest| {
            let Honest { captures, hours, findings, per_hour, decisions, .. } = honest;
            let counts = [format!("{hours:.2}"), findings.to_string(), format!("{per_hour:.2}"), decisions.to_string()];
            [name.to_owned(), captures.to_string()].into_iter().chain(counts).collect::<Vec<_>>()
        };
        let mut collections: Vec<_> = self.by_collection.iter().map(|(name, all)| honest(name, all)).collect();
        collections.push(honest("all", &self.honest));
        text += &output.table(&["honest", "captures", "hours", "findings", "per hour", "acted on"], &collections);
        for (detector, count) in &self.honest.by_detector {
            text += &format!("false findings by {detector}: {count}\n");
        }
        for run in &self.runs {
            for finding in &run.false_findings {
                let FalseFinding { source, at_s, class, detector, confidence, measured } = finding;
                text += &format!(
                    "false: {} {source} {class} by {detector} at {at_s:.0} s, {confidence:.2}: {measured}\n",
                    run.name
                );
            }
        }
        text + &self.left_out.iter().map(|line| format!("left out: {line}\n")).collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded with real tools (`cargo xtask data flows`), cut: a slow scan by nmap, a slow sweep by zmap, stuffing by curl
    /// every six seconds, calls home by UDP; a device whose server is gone, a peer of a file-sharing network, and a monitor.
    #[test]
    fn slow_attacks_of_real_tools_are_found_and_honest_devices_left_alone() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/train/flows/sample/runs.json");
        let models = Models { dir: None, runtime: Path::new("none") };
        let report = evaluate(&file, &Config::default(), &models, |_, _| ()).unwrap();
        let missed: Vec<_> = report.runs.iter().filter(|run| run.label != BENIGN && run.found.is_none()).collect();
        assert!(missed.is_empty(), "{missed:#?}");
        // The calls are told and nobody is cut off.
        assert_eq!((report.attacks.runs, report.attacks.acted_on), (4, 3), "{:#?}", report.runs);
        assert_eq!((report.honest.captures, report.honest.findings), (3, 0), "{:#?}", report.runs);
        assert!(report.honest.hours > 0.01, "{:?}", report.honest);
    }

    #[test]
    fn a_class_fits_its_family_alone() {
        assert!(fits("port_scan", "host_sweep") && fits("brute_force", "credential_stuffing"));
        assert!(
            !fits("port_scan", "syn_flood") && !fits("beaconing", "port_scan") && !fits("slow_http", "request_flood")
        );
    }
}
