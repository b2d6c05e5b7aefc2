//! Enters: a fuzz target's name and a time. Leaves: nothing when it found nothing; else the bytes that broke the engine, to
//! be made into a test. Seeds come from CRS's own rules and regression cases, and from the shipped models. It must never run without a limit on memory
//! and time.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::{crs, process, setup, workspace};

/// Options of `fuzz`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One target; all of them, one after the other, when none is given.
    #[arg(value_enum)]
    target: Option<Target>,
    /// How long each runs.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// The checkout of CRS that seeds and whole transactions come from.
    #[arg(long, value_name = "DIR")]
    crs: Option<PathBuf>,
}

/// What is fuzzed: the programs of tests/fuzz/targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The text of rule files.
    Parser,
    /// Forms.
    Form,
    /// JSON bodies.
    Json,
    /// Multipart bodies with their content type.
    Multipart,
    /// XML bodies.
    Xml,
    /// Chains of transformations.
    Transforms,
    /// Whole requests through all of CRS at paranoia 4.
    Transactions,
    /// ONNX files.
    Onnx,
}

impl Target {
    const ALL: [Self; 8] = [
        Self::Parser,
        Self::Form,
        Self::Json,
        Self::Multipart,
        Self::Xml,
        Self::Transforms,
        Self::Transactions,
        Self::Onnx,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Form => "form",
            Self::Json => "json",
            Self::Multipart => "multipart",
            Self::Xml => "xml",
            Self::Transforms => "transforms",
            Self::Transactions => "transactions",
            Self::Onnx => "onnx",
        }
    }

    /// Longer inputs say no more, and cost the time of many short ones. The shipped models are seeds.
    const fn input_bytes_max(self) -> usize {
        match self {
            Self::Onnx => 1 << 20,
            _ => 4096,
        }
    }
}

/// An input that takes longer is a finding.
const INPUT_SECONDS_MAX: u32 = 5;
const MEMORY_MB_MAX: u32 = 2048;

/// `cargo xtask fuzz`.
///
/// # Errors
/// When a target breaks, cannot be built, or the seeds cannot be read.
pub fn run(args: &Args) -> Result<()> {
    let crs = crs::find(args.crs.as_deref())?;
    let cargo_fuzz = setup::cargo_fuzz()?;
    let targets = args.target.map_or_else(|| Target::ALL.to_vec(), |target| vec![target]);
    let seeds = crs::seeds(&crs)?;
    for target in targets {
        let folder = workspace::target_dir().join("fuzz/corpus").join(target.name());
        write_seeds(&folder, target, &seeds, &crs)?;
        fuzz(&cargo_fuzz, target, &folder, &crs, args.seconds)?;
    }
    Ok(())
}

/// Every target for as long as it takes to see that it runs and breaks on nothing near its seeds.
///
/// # Errors
/// As [`run`].
pub fn smoke() -> Result<()> {
    run(&Args { target: None, seconds: 10, crs: None })
}

fn fuzz(cargo_fuzz: &Path, target: Target, corpus: &Path, crs: &Path, seconds: u32) -> Result<()> {
    let artifacts = workspace::target_dir().join("fuzz/artifacts").join(target.name());
    fs::create_dir_all(&artifacts).with_context(|| format!("cannot make {}", artifacts.display()))?;
    let mut command = Command::new(cargo_fuzz);
    // The engine has no unsafe code: without a sanitizer it runs several times as many inputs.
    command
        .current_dir(workspace::root())
        .args(["run", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none", "--target-dir"])
        .arg(workspace::target_dir().join("fuzz/build"))
        .arg(target.name())
        .arg(corpus)
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
        .arg(format!("-max_len={}", target.input_bytes_max()))
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    // The instrumentation is a flag of nightly compilers; this one is told that it is one.
    command.env("RUSTC_BOOTSTRAP", "1").env("QANTRA_CRS", crs.canonicalize().unwrap_or_else(|_| crs.to_path_buf()));
    for inherited in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR"] {
        command.env_remove(inherited);
    }
    process::run(&mut command).with_context(|| {
        format!("the input that broke `{}` is in {}: make it a test", target.name(), artifacts.display())
    })
}

/// Writes a target's seeds, each named by what is in it.
fn write_seeds(folder: &Path, target: Target, requests: &[crs::Seed], crs: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let write = |bytes: &[u8]| -> Result<()> {
        if bytes.is_empty() || bytes.len() > target.input_bytes_max() {
            return Ok(());
        }
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let path = folder.join(format!("{:016x}", hasher.finish()));
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let wanted = |seed: &&crs::Seed, kind: &str| seed.content_type.to_ascii_lowercase().contains(kind);
    match target {
        Target::Parser => rule_seeds(crs, &write),
        Target::Onnx => files_of("models", "onnx", &write).and_then(|()| files_of("tests/fuzz/onnx", "onnx", &write)),
        Target::Transactions => requests.iter().try_for_each(|seed| write(&seed.bytes)),
        Target::Transforms => requests.iter().try_for_each(|seed| {
            // Short chains whose members follow from the text, so that seeds differ.
            let first = u8::try_from(seed.bytes.len() % 97).unwrap_or(0);
            write(&[&[3, first, first / 3, first / 7], seed.text.as_slice()].concat())
        }),
        Target::Multipart => requests
            .iter()
            .filter(|seed| wanted(seed, "multipart"))
            .try_for_each(|seed| write(&[seed.content_type.as_bytes(), b"\n", seed.text.as_slice()].concat())),
        Target::Form => requests.iter().try_for_each(|seed| write(&seed.text)),
        Target::Json => requests.iter().filter(|seed| wanted(seed, "json")).try_for_each(|seed| write(&seed.text)),
        Target::Xml => requests.iter().filter(|seed| wanted(seed, "xml")).try_for_each(|seed| write(&seed.text)),
    }
}

/// The files of a folder of the project as seeds.
fn files_of(folder: &str, extension: &str, write: &dyn Fn(&[u8]) -> Result<()>) -> Result<()> {
    let folder = workspace::root().join(folder);
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            write(&fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?)?;
        }
    }
    Ok(())
}

/// Every rule of a checkout as a seed of its own.
fn rule_seeds(crs: &Path, write: &dyn Fn(&[u8]) -> Result<()>) -> Result<()> {
    let rules = crs.join("rules");
    for entry in fs::read_dir(&rules).with_context(|| format!("cannot list {}", rules.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            for rule in text.split("\n\n").filter(|part| part.lines().any(|line| line.starts_with("Sec"))) {
                write(rule.as_bytes())?;
            }
        }
    }
    Ok(())
}
