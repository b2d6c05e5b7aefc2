//! `bench inspect`: µs per request of qantra-seclang, libmodsecurity 3 and zentinel-modsec, with the same rule files and the
//! same requests, in turns. Enters: a CRS checkout. Leaves: medians and 99th percentiles for each case, load time, memory.
//! It must never compare engines that were not given the same bytes; what each decided is printed beside the times. Since the same
//! request comes again and again, qantra-seclang forgets the values that it has seen before each; `seclang_again` does not.

mod hostile;
mod requests;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::Report;
use crate::{crs, process, workspace};

/// Turns: each engine runs each case once in every turn.
const TURNS: usize = 9;
/// A case of an engine runs about this long in a turn.
const BUDGET: Duration = Duration::from_millis(60);

/// One engine, waiting for orders.
struct Engine {
    name: &'static str,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    load_seconds: f64,
    resident_bytes: f64,
}

/// Measures.
///
/// # Errors
/// When a peer cannot be built or does not load the rules.
pub(super) fn run() -> Result<Report> {
    let crs = crs::find(None)?;
    let folder = workspace::root().join("target/inspect");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let cases = requests::all();
    let requests = folder.join("requests");
    fs::write(&requests, requests::file(&cases))?;
    let configs = [1, 4].map(|level| (level, folder.join(format!("paranoia-{level}.conf"))));
    for (level, path) in &configs {
        fs::write(path, config(&crs, *level))?;
    }
    let ours = build_programs(&folder)?;
    let theirs = build_libmodsecurity(&folder)?;
    let start = |name, program: &Path, engine: Option<&str>, config: &Path| {
        let mut command = Command::new(program);
        command.args(engine).arg(config).arg(&requests);
        Engine::start(name, command)
    };
    let mut engines = vec![
        start("seclang_pl1", &ours, Some("seclang"), &configs[0].1)?,
        start("libmodsecurity_pl1", &theirs, None, &configs[0].1)?,
        start("zentinel_pl1", &ours, Some("zentinel"), &configs[0].1)?,
        start("seclang_pl4", &ours, Some("seclang"), &configs[1].1)?,
        start("seclang_again_pl1", &ours, Some("seclang_again"), &configs[0].1)?,
    ];
    let times = measure(&mut engines, &cases)?;
    let mut report = report(&engines, &cases, &times);
    for (level, config) in &configs {
        measure_hostile(*level, &ours, config, &folder, &mut report)?;
    }
    for engine in engines {
        engine.stop()?;
    }
    Ok(report)
}

/// Who reads which body: what all three engines know of ModSecurity's recommended rules.
pub(crate) const BODY_RULES: &str = r#"
SecRule REQUEST_HEADERS:Content-Type "@rx ^(?i)(?:application/(?:soap\+)?|text/)xml" "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx ^(?i)application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,log,deny,status:400,msg:'Failed to parse request body.'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:200003,phase:2,t:none,log,deny,status:400,msg:'Multipart request body failed strict validation.'"
"#;

/// The same file for every engine.
fn config(crs: &Path, level: u8) -> String {
    let crs = crs.canonicalize().unwrap_or_else(|_| crs.to_path_buf());
    let crs = crs.display();
    format!(
        "SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\nSecAuditEngine Off\n\
         SecRequestBodyLimit 13107200\nSecRequestBodyNoFilesLimit 131072\n{BODY_RULES}\n\
         SecAction \"id:900000,phase:1,pass,nolog,t:none,setvar:tx.blocking_paranoia_level={level}\"\n\
         Include {crs}/crs-setup.conf.example\nInclude {crs}/rules/*.conf\n"
    )
}

fn build_programs(folder: &Path) -> Result<PathBuf> {
    let manifest = workspace::root().join("xtask/peers/inspect/Cargo.toml");
    let target = folder.join("programs");
    let mut cargo = process::cargo();
    cargo.args(["build", "--quiet", "--release", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
    process::run(&mut cargo)?;
    Ok(target.join("release/qantra-inspect-peers"))
}

/// Builds the program that runs libmodsecurity 3.
///
/// # Errors
/// When Debian's package is not installed, or there is no compiler.
pub(crate) fn build_libmodsecurity(folder: &Path) -> Result<PathBuf> {
    if !Path::new("/usr/include/modsecurity/modsecurity.h").is_file() {
        bail!("libmodsecurity 3 is not installed: run `apt-get install libmodsecurity-dev`");
    }
    let program = folder.join("libmodsecurity");
    let source = workspace::root().join("xtask/peers/inspect/libmodsecurity.c");
    process::run(Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source).arg("-lmodsecurity"))?;
    Ok(program)
}

impl Engine {
    fn start(name: &'static str, mut command: Command) -> Result<Self> {
        // Memory that is free is given back, so that what is resident is what is held.
        let mut child = command
            .env("MIMALLOC_PURGE_DELAY", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", process::line(&command)))?;
        let orders = child.stdin.take().context("no pipe to the engine")?;
        let mut answers = BufReader::new(child.stdout.take().context("no pipe from the engine")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let mut numbers = line.split_whitespace().map(str::parse::<f64>);
        let (Some(Ok(load_seconds)), Some(Ok(resident_bytes))) = (numbers.next(), numbers.next()) else {
            bail!("{name} does not load the rules: see above");
        };
        Ok(Self { name, child, orders, answers, load_seconds, resident_bytes })
    }

    /// Runs a case; what it decided and the nanoseconds of each run.
    fn run(&mut self, case: usize, count: usize) -> Result<(u16, Vec<f64>)> {
        writeln!(self.orders, "{case} {count}")?;
        self.orders.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let status = words.next().and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("{} broke off at case {case}", self.name))?;
        Ok((status, words.map(str::parse).collect::<Result<_, _>>()?))
    }

    fn stop(mut self) -> Result<()> {
        drop(self.orders);
        self.child.wait()?;
        Ok(())
    }
}

/// Nanoseconds by engine and case, and what was decided.
type Times = BTreeMap<(usize, usize), (u16, Vec<f64>)>;

fn measure(engines: &mut [Engine], cases: &[requests::Case]) -> Result<Times> {
    let mut times = Times::new();
    let mut counts = BTreeMap::new();
    for turn in 0..=TURNS {
        for case in 0..cases.len() {
            for (number, engine) in engines.iter_mut().enumerate() {
                // The first turn warms up and tells how many runs fit the budget.
                let count = counts.get(&(number, case)).copied().unwrap_or(3);
                let (status, nanoseconds) = engine.run(case, count)?;
                if turn == 0 {
                    let fastest = nanoseconds.iter().copied().fold(f64::MAX, f64::min).max(1.0);
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        clippy::cast_precision_loss,
                        reason = "a count of runs, clamped"
                    )]
                    let fits = (BUDGET.as_nanos() as f64 / fastest).clamp(5.0, 2000.0) as usize;
                    counts.insert((number, case), fits);
                } else {
                    let entry = times.entry((number, case)).or_insert((status, Vec::new()));
                    entry.1.extend(nanoseconds);
                }
            }
        }
    }
    Ok(times)
}

/// What the costliest requests that we can think of cost, and how they end.
fn measure_hostile(level: u8, program: &Path, config: &Path, folder: &Path, report: &mut Report) -> Result<()> {
    const RUNS: usize = 5;
    let cases = hostile::all();
    let requests = folder.join("hostile");
    fs::write(&requests, requests::file(&cases))?;
    let mut command = Command::new(program);
    command.arg("seclang").arg(config).arg(&requests);
    let mut engine = Engine::start("seclang", command)?;
    let mut worst = 0.0_f64;
    for (number, case) in cases.iter().enumerate() {
        let (status, nanoseconds) = engine.run(number, RUNS)?;
        let mut sorted: Vec<f64> = nanoseconds.iter().map(|ns| ns / 1e6).collect();
        sorted.sort_by(f64::total_cmp);
        worst = worst.max(sorted[0]);
        report.row(&format!("hostile_{}_pl{level}_ms", case.name), "ms", &sorted);
        report.row(&format!("hostile_{}_pl{level}_status", case.name), "status", &[f64::from(status)]);
    }
    // Of the fastest runs: others share the machine.
    report.row(&format!("hostile_worst_pl{level}_ms"), "ms", &[worst]);
    fs::remove_file(&requests).with_context(|| format!("cannot remove {}", requests.display()))?;
    engine.stop()
}

fn quantile(sorted: &[f64], of: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into the list"
    )]
    let at = ((sorted.len().saturating_sub(1)) as f64 * of) as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

fn report(engines: &[Engine], cases: &[requests::Case], times: &Times) -> Report {
    let mut report = Report::new("inspect");
    let mut medians = BTreeMap::new();
    for ((engine, case), (status, nanoseconds)) in times {
        let mut sorted: Vec<f64> = nanoseconds.iter().map(|ns| ns / 1000.0).collect();
        sorted.sort_by(f64::total_cmp);
        let name = format!("{}_{}", cases[*case].name, engines[*engine].name);
        report.row(&format!("{name}_us"), "us", &sorted);
        report.row(&format!("{name}_p99_us"), "us", &[quantile(&sorted, 0.99)]);
        report.row(&format!("{name}_status"), "status", &[f64::from(*status)]);
        medians.insert((engines[*engine].name, *case), quantile(&sorted, 0.5));
    }
    // The names that stay the same over time.
    for (name, case) in [("get_pl1_us", "get"), ("form_pl1_us", "form")] {
        if let Some(row) = report.rows.iter().find(|row| row.name == format!("{case}_seclang_pl1_us")).cloned() {
            report.rows.push(super::Row { name: name.to_owned(), ..row });
        }
    }
    report.row("ruleset_bytes", "bytes", &[engines[0].resident_bytes]);
    for engine in engines {
        report.row(&format!("{}_load_seconds", engine.name), "s", &[engine.load_seconds]);
    }
    report.row("load_seconds", "s", &[engines[0].load_seconds]);
    let mut over_cases = |ratio: &str, slow: &'static str, fast: &'static str| {
        let mut ratios: Vec<f64> = (0..cases.len())
            .filter_map(|case| Some(medians.get(&(slow, case))? / medians.get(&(fast, case))?))
            .collect();
        ratios.sort_by(f64::total_cmp);
        report.ratios.insert(ratio.to_owned(), quantile(&ratios, 0.5));
    };
    over_cases("seclang_vs_libmodsecurity", "libmodsecurity_pl1", "seclang_pl1");
    over_cases("seclang_vs_zentinel", "zentinel_pl1", "seclang_pl1");
    over_cases("pl4_vs_pl1", "seclang_pl4", "seclang_pl1");
    report
}
