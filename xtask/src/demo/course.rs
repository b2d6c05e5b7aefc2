//! The course of a demo. Enters: a lab with everything started. Leaves: what was seen from outside while attacks ran: when each
//! one's first packet left, whether its host could still get through afterwards, the daemon's memory. It must never ask the
//! daemon whether it did well: that is measured at the hosts and at the origin.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    attack::{ATTACKS, Attack},
    honest::Honest,
    stop,
};
use crate::lab::{Gateway, Lab, Running, host, wait_until};

/// How often the course looks around.
const TICK: Duration = Duration::from_millis(200);
/// How long a probe from a stopped host waits for an answer.
const PROBE_S: u64 = 3;
/// curl's exit code when nothing came back in time: what a dropped packet looks like.
const CURL_TIMED_OUT: i32 = 28;
/// How long honest clients go on after the last attack.
const AFTER: Duration = Duration::from_secs(4);

/// What was seen of one attack from outside.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) attack: Attack,
    /// When its first packet left: Unix seconds; none when nothing left.
    pub(super) first_packet_s: Option<f64>,
    /// Whether the host got no answer any more when it asked for what it had attacked.
    pub(super) shut_out: bool,
}

/// What was seen of the whole course.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) seen: Vec<Seen>,
    /// The most memory that the daemon held.
    pub(super) resident_bytes: u64,
}

enum Stage {
    Waiting,
    Attacking(Running),
    Probing(Running),
    Over { shut_out: bool },
}

struct Runner {
    attack: Attack,
    /// Notes the time of the first packet, and ends.
    watch: Running,
    watch_log: PathBuf,
    stage: Stage,
}

impl Runner {
    fn new(lab: &Lab, attack: Attack) -> Result<Self> {
        let source = host(attack.host)?.source();
        let watch_log = lab.dir().join(format!("first-{}.log", attack.host));
        let mut tcpdump = lab.command(attack.host, "tcpdump");
        tcpdump.args(["-i", "eth0", "-nn", "-tt", "-l", "-q", "--immediate-mode", "-c", "1"]);
        // Not neighbour discovery: the kernel sends that by itself.
        tcpdump.arg(format!("src host {source} and not arp and not icmp6"));
        let watch = Running::start(&mut tcpdump, &watch_log)?;
        Ok(Self { attack, watch, watch_log, stage: Stage::Waiting })
    }

    fn is_watching(&self) -> bool {
        fs::read_to_string(&self.watch_log).is_ok_and(|text| text.contains("listening on"))
    }

    fn step(&mut self, lab: &Lab, elapsed: Duration) -> Result<()> {
        match &mut self.stage {
            Stage::Waiting if elapsed.as_secs() >= self.attack.start_s => {
                let log = lab.dir().join(format!("tool-{}.log", self.attack.host));
                self.stage = Stage::Attacking(Running::start(&mut self.attack.command(lab)?, &log)?);
            }
            Stage::Attacking(tool) => {
                if tool.ended().is_none() {
                    return Ok(());
                }
                let log = lab.dir().join(format!("probe-{}.log", self.attack.host));
                self.stage = Stage::Probing(Running::start(&mut self.probe(lab), &log)?);
            }
            Stage::Probing(curl) => {
                if let Some(status) = curl.ended() {
                    self.stage = Stage::Over { shut_out: status.code() == Some(CURL_TIMED_OUT) };
                }
            }
            Stage::Waiting | Stage::Over { .. } => {}
        }
        Ok(())
    }

    fn probe(&self, lab: &Lab) -> Command {
        let mut curl = lab.command(self.attack.host, "curl");
        curl.args(["--silent", "--output", "/dev/null", "--max-time", &PROBE_S.to_string(), &self.attack.target_url()]);
        curl
    }

    fn first_packet_s(&mut self) -> Option<f64> {
        // The line is whole once tcpdump has ended; while it runs, nothing was sent.
        self.watch.ended()?;
        let text = fs::read_to_string(&self.watch_log).ok()?;
        text.lines().find_map(|line| line.split_whitespace().next()?.parse::<f64>().ok().filter(|time| *time > 1e9))
    }
}

/// Runs all attacks while honest clients are at work.
///
/// # Errors
/// We were interrupted, a tool could not be started, or the gateway's process ended.
pub(super) fn run(lab: &Lab, gateway: &mut Gateway, honest: &Honest) -> Result<Course> {
    let mut runners = ATTACKS.into_iter().map(|attack| Runner::new(lab, attack)).collect::<Result<Vec<_>>>()?;
    wait_until("tcpdump listens", Duration::from_secs(10), || runners.iter().all(Runner::is_watching))?;
    let last = ATTACKS.iter().map(|attack| attack.start_s + attack.limit_s + PROBE_S).max().unwrap_or(0);
    let bar = bar(last + AFTER.as_secs());
    let began = Instant::now();
    let mut over_since: Option<Instant> = None;
    let mut resident_bytes = 0;
    loop {
        stop::check()?;
        if !gateway.is_running() {
            let log = fs::read_to_string(lab.dir().join("gateway.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().skip(log.lines().count().saturating_sub(15)).collect();
            bail!("the gateway's process ended in the middle of the demo; it wrote:\n{}", tail.join("\n"));
        }
        for runner in &mut runners {
            runner.step(lab, began.elapsed()).with_context(|| runner.attack.name)?;
        }
        resident_bytes = resident_bytes.max(gateway.resident_bytes().unwrap_or(0));
        show(&bar, &runners, honest, began);
        if runners.iter().all(|runner| matches!(runner.stage, Stage::Over { .. })) {
            let since = *over_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= AFTER {
                break;
            }
        }
        std::thread::sleep(TICK);
    }
    bar.finish_and_clear();
    let seen = runners.iter_mut().map(|runner| Seen {
        attack: runner.attack,
        first_packet_s: runner.first_packet_s(),
        shut_out: matches!(runner.stage, Stage::Over { shut_out: true }),
    });
    Ok(Course { seen: seen.collect(), resident_bytes })
}

fn bar(seconds: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(seconds), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("  {bar:30} {pos:>3}/{len} s  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn show(bar: &ProgressBar, runners: &[Runner], honest: &Honest, began: Instant) {
    bar.set_position(began.elapsed().as_secs());
    let is_at = |runner: &&Runner| matches!(runner.stage, Stage::Attacking(_));
    let names: Vec<_> = runners.iter().filter(is_at).map(|runner| runner.attack.name).collect();
    bar.set_message(format!("{} honest requests; {}", honest.requests_so_far(), names.join(", ")));
}
