//! `cargo xtask data record` and `data flows`: enters nothing but what Debian, PyPI and npm hold. Leaves, below the target folder, a corpus
//! of requests that real applications got from a browser, from programs and from attack tools, with its manifest; or
//! captures of attack tools and of honest networks. All
//! of it runs in namespaces without a way out, which end with it; it must never be committed, only made again.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process,
    progress::Bar,
    setup::{self, Need},
    workspace,
};

/// Options of `data`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Record requests: applications used by people and programs, and a target attacked by tools.
    Record(RecordArgs),
    /// Record flows: attack tools of all kinds, and networks of honest devices and clients.
    Flows(FlowsArgs),
}

/// Options of `data record`.
#[derive(Debug, clap::Args)]
struct RecordArgs {
    /// Applications and tools, such as `dokuwiki` or `sqlmap`, or `templates`; none: all of them, about two hours on two idle cores.
    names: Vec<String>,
    /// Where the corpus goes.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Options of `data flows`.
#[derive(Debug, clap::Args)]
struct FlowsArgs {
    /// Runs and mixes, such as `nmap-syn` or `office`; none: all that were not recorded yet.
    names: Vec<String>,
    /// How long honest traffic is recorded.
    #[arg(long, default_value_t = 40, value_name = "MINUTES")]
    minutes: u32,
}

/// `cargo xtask data`.
///
/// # Errors
/// Without root, or when an application or tool cannot be installed.
pub fn run(args: &Args) -> Result<()> {
    if !process::is_root() {
        bail!("recording in a network namespace needs root: sudo -E cargo xtask data ...");
    }
    setup::ensure(&[Need::Lab, Need::Data])?;
    let Some(python) = process::which("python3") else { bail!("no Python: apt-get install python3") };
    match &args.verb {
        Verb::Record(args) => record(args, &python),
        Verb::Flows(args) => {
            let script = workspace::root().join("models/train/flows/record.py");
            let mut command = Command::new(python);
            command.arg(script).arg(flows_dir()).args(&args.names).arg("--minutes").arg(args.minutes.to_string());
            process::run(&mut command)
        }
    }
}

fn record(args: &RecordArgs, python: &Path) -> Result<()> {
    let output = args.output.clone().unwrap_or_else(recorded_dir);
    let script = workspace::root().join("models/train/record/record.py");
    let mut command = Command::new(python);
    command.arg(script).arg(&output).args(&args.names);
    watch(&mut command)?;
    println!("{}", output.join("recorded.jsonl.gz").display());
    Ok(())
}

/// Runs the recording; its lines move a progress bar, and what it leaves out is told.
fn watch(command: &mut Command) -> Result<()> {
    let bar = Bar::begin("record requests");
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start Python")?;
    let lines = child.stdout.take().map(BufReader::new);
    let mut left_out = 0_u32;
    for line in lines.into_iter().flat_map(BufRead::lines) {
        let line = line?;
        let counts = line.split_once(' ').and_then(|(counts, last)| Some((counts.split_once('/')?, last)));
        match counts.and_then(|((done, total), last)| Some((done.parse().ok()?, total.parse().ok()?, last))) {
            Some((done, total, last)) => bar.at(done, total, last),
            None => bar.line(&line),
        }
        if line.contains("left out") {
            left_out += 1;
            bar.line(&line);
        }
    }
    let status = child.wait()?;
    bar.end(&format!("recording ended; left out: {left_out}"));
    if !status.success() {
        bail!("the recording ended with {status}; its logs are in the folder `work` beside the corpus");
    }
    Ok(())
}

/// Where `data record` writes, and `eval --by-origin` looks.
pub(crate) fn recorded_dir() -> PathBuf {
    workspace::target_dir().join("recorded")
}

/// Where `data flows` writes, and `model train` and `eval --flows` look.
pub(crate) fn flows_dir() -> PathBuf {
    workspace::target_dir().join("recorded-flows")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use serde_json::Value;

    use crate::workspace;

    /// The committed sample is what the recording writes: rows with a label, a class where it is an attack, and who sent it.
    #[test]
    fn the_sample_holds_requests_of_many_applications_and_tools() -> anyhow::Result<()> {
        let text = fs::read_to_string(workspace::root().join("models/train/record/sample.jsonl"))?;
        let rows = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        let of = |label: &str, key: &str| {
            let those = rows.iter().filter(|row| row["label"] == label);
            those.filter_map(|row| row[key].as_str()).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        assert!(of("benign", "app").len() >= 12, "applications: {:?}", of("benign", "app"));
        assert!(of("malicious", "tool").len() >= 10, "tools: {:?}", of("malicious", "tool"));
        assert!(of("malicious", "class").len() >= 8, "classes: {:?}", of("malicious", "class"));
        for row in &rows {
            assert_eq!(row["label"] == "malicious", row["class"].is_string(), "{row}");
            assert!(row["source"].as_str().is_some_and(|source| source.starts_with("lab-")), "{row}");
            assert!(row["raw"].as_str().is_some_and(|raw| raw.len() > 20), "{row}");
        }
        let ids = rows.iter().map(|row| row["id"].as_str()).collect::<BTreeSet<_>>();
        assert_eq!(ids.len(), rows.len());
        Ok(())
    }
}
