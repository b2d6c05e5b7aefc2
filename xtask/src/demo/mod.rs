//! The main job on real traffic. Enters: `cargo xtask demo`. Leaves: a table (or JSON) of attacks and what became of them, and an
//! error when one went unseen or unstopped or an honest request was refused. It must never leave anything behind, unless
//! it was asked to keep the lab.

mod attack;
mod course;
mod honest;
mod measure;
mod report;
pub(crate) mod stop;

use std::fs;

use anyhow::{Context as _, Result, bail};

use self::{honest::Honest, report::Report};
use crate::{
    build,
    lab::{self, Gateway, Lab},
    progress::Step,
    setup::{self, Need},
};

/// Options of `demo`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Leave the lab up at the end, and say how to look around in it.
    #[arg(long)]
    pub keep: bool,
    /// Put a plain nginx in Qantra's place, to see what the attacks do when nothing stops them; the demo fails then.
    #[arg(long)]
    pub without_qantra: bool,
    /// Take what is built already.
    #[arg(long)]
    pub no_build: bool,
}

/// `cargo xtask demo`.
///
/// # Errors
/// Not root, nothing built, a lab that would not be isolated, or a result that is not what it must be.
pub fn run(args: &Args) -> Result<()> {
    lab::require_root()?;
    setup::ensure(&[Need::Build, Need::Run, Need::Lab])?;
    if !args.no_build && !args.without_qantra {
        build::build(&build::Args { release: true, target: None })?;
    }
    stop::catch()?;
    let report = play(args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    if report.ok { Ok(()) } else { bail!("the demo failed: {}", report.failures.join("; ")) }
}

/// The demo, from the first namespace to the last. Whatever ends it early, what was started is stopped on the way out: each
/// value here stops what it stands for when it is dropped, the lab last of all.
fn play(args: &Args) -> Result<Report> {
    let step = Step::begin("namespaces, cut off from every other network");
    let mut lab = Lab::up()?;
    step.done();
    eprintln!("  lab {}", lab.id());
    let step = Step::begin("the origin: nginx, application, database");
    let mut origin = lab::start_origin(&lab)?;
    step.done();
    let step = Step::begin(if args.without_qantra { "a plain proxy in Qantra's place" } else { "qantra run" });
    let mut gateway = Gateway::start(&lab, args.without_qantra)?;
    step.done();
    attack::write_lists(&lab)?;

    let honest = Honest::start(&lab)?;
    let course = course::run(&lab, &mut gateway, &honest)?;
    let step = Step::begin("counting");
    let outcome = honest.finish()?;
    let rows = measure::rows(&lab, &course, args.without_qantra)?;
    let report = Report::new(rows, outcome, course.resident_bytes);
    step.done();
    if !report.ok {
        save_evidence(&lab)?;
    }
    if args.keep {
        origin.leave_running();
        gateway.leave_running();
        lab.keep();
        eprintln!("{}", lab.how_to_enter());
    }
    Ok(report)
}

/// Logs of a failed demo outlive its lab: without them nobody could say why.
fn save_evidence(lab: &Lab) -> Result<()> {
    let folder = crate::workspace::target_dir().join("demo-failed");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    for entry in fs::read_dir(lab.dir())? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|end| ["log", "jsonl", "toml"].iter().any(|wanted| end == *wanted));
        if let (true, Some(name)) = (is_log, path.file_name()) {
            fs::copy(&path, folder.join(name)).with_context(|| path.display().to_string())?;
        }
    }
    eprintln!("  logs of this run: {}", folder.display());
    Ok(())
}
