//! Enters: labelled data and the training scripts. Leaves: `models/*.onnx` and `models/manifest.toml`. Features are
//! computed by the daemon's own code; it must never train on anything that is not named in `models/README.md`.

mod source;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{crs, data, process, workspace};

/// What the scripts import, pinned: another version may round differently, and the files would no longer be the same.
const PYTHON_PACKAGES: [&str; 7] = [
    "numpy==2.3.5",
    "scipy==1.16.3",
    "onnx==1.23.2",
    "scikit-learn==1.9.1",
    "skl2onnx==1.20.0",
    "onnxruntime==1.31.1",
    "lightgbm==4.7.0",
];
/// What is generated: the script, and how many benign and malicious requests it makes, with which seed.
const GENERATED: [(&str, &[&str]); 3] =
    [("recipes", &["14000", "5000"]), ("grammar", &["8000", "8000", "1"]), ("beacons", &["5000"])];

/// Options of `model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Train the models: export features, fit, measure by origin, write `models/`.
    Train(TrainArgs),
}

/// Options of `model train`.
#[derive(Debug, clap::Args)]
struct TrainArgs {
    /// The version that the manifest gets.
    #[arg(long, default_value = "1")]
    version: String,
    /// Which models; none: all of them.
    #[arg(long, value_enum)]
    only: Option<Which>,
    /// Where the models go.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// What a model looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// Requests.
    Request,
    /// What sources do over time.
    Source,
}

/// `cargo xtask model`.
///
/// # Errors
/// When data or Python are missing, or a step fails.
pub fn run(args: &Args) -> Result<()> {
    match &args.verb {
        Verb::Train(args) => train(args),
    }
}

/// The folder with training data: `QANTRA_DATA`, or `../shared/data` beside the checkout.
///
/// # Errors
/// When there is none.
pub(crate) fn data_dir() -> Result<PathBuf> {
    let dir = env::var_os("QANTRA_DATA").map_or_else(|| workspace::root().join("../shared/data"), PathBuf::from);
    if !dir.join("http/train.jsonl.gz").is_file() {
        bail!(
            "no training data in {}: set QANTRA_DATA to a folder that holds http/train.jsonl.gz (models/README.md says \
             what it is made of)",
            dir.display()
        );
    }
    Ok(dir)
}

fn train(args: &TrainArgs) -> Result<()> {
    let data = data_dir()?;
    let python = python()?;
    let output = args.output.clone().unwrap_or_else(|| workspace::root().join("models"));
    let work = workspace::target_dir().join("train");
    std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;

    if args.only != Some(Which::Source) {
        train_request(args, &python, &data, &work, &output)?;
    }
    if args.only != Some(Which::Request) {
        source::train(&python, &data, &output)?;
    }
    process::run(script(&python, "cards.py").arg(&output))
}

fn train_request(args: &TrainArgs, python: &Path, data: &Path, work: &Path, output: &Path) -> Result<()> {
    let Some(recorded) = recorded() else {
        bail!("nothing recorded: run `cargo xtask data record` first (as root; models/README.md says what it records)");
    };
    let generated = features(python, data, work, Some(&recorded))?;
    let mut command = script(python, "request_train.py");
    command.args([work, output]).args(["--version", &args.version]).arg("--made-of").arg(shared(data)).arg(&recorded);
    process::run(command.arg("--generated").args(generated))
}

/// The labelled requests of public origin.
fn shared(data: &Path) -> PathBuf {
    data.join("http/train.jsonl.gz")
}

/// What `cargo xtask data record` left.
fn recorded() -> Option<PathBuf> {
    Some(data::recorded_dir().join("recorded.jsonl.gz")).filter(|path| path.is_file())
}

/// Source models without each tool of the recorded flows in turn; the file that says which run is played with which.
///
/// # Errors
/// When recordings, captures or Python are missing, or a step fails.
pub fn flows_by_tool() -> Result<PathBuf> {
    source::by_tool(&python()?, &data_dir()?)
}

/// Leave-one-origin-out over all data there is: the shared data, what is generated, and what was recorded.
///
/// # Errors
/// When data or Python are missing, or a step fails.
pub fn by_origin(json: bool) -> Result<()> {
    let (data, python) = (data_dir()?, python()?);
    let work = workspace::target_dir().join("by-origin");
    std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let recorded = recorded();
    if recorded.is_none() {
        eprintln!("nothing recorded (cargo xtask data record): the table is of shared and generated data alone");
    }
    features(&python, &data, &work, recorded.as_deref())?;
    let table = work.join("by-origin.json");
    let mut command = script(&python, "by_origin.py");
    command.arg(&work).arg("--json").arg(&table);
    if !json {
        return process::run(&mut command);
    }
    // How far it is goes to standard error.
    process::run(command.stdout(Stdio::null()))?;
    print!("{}", std::fs::read_to_string(&table).with_context(|| table.display().to_string())?);
    Ok(())
}

/// Writes the ids of every field of all requests to `work`, by the daemon's own code, and what rules say of each. Gives the
/// files with what was generated.
fn features(python: &Path, data: &Path, work: &Path, recorded: Option<&Path>) -> Result<Vec<PathBuf>> {
    let mut generated = Vec::new();
    for (name, counts) in GENERATED {
        let path = work.join(format!("{name}.jsonl"));
        let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
        process::run(script(python, &format!("{name}.py")).args(counts).stdout(file))?;
        generated.push(path);
    }
    let (shared, padded) = (shared(data), work.join("padded.jsonl"));
    let file = std::fs::File::create(&padded).with_context(|| padded.display().to_string())?;
    process::run(script(python, "padded.py").arg(&shared).args(recorded).stdout(file))?;
    let example = ["run", "--quiet", "--package", "qantra-user", "--example", "request_features", "--"];
    let mut command = process::cargo();
    command.args(example).arg(work).arg(crs::find(None)?).arg(&shared);
    process::run(command.args(&generated).arg(&padded).args(recorded))?;
    Ok(generated)
}

/// One of the training scripts.
fn script(python: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command
        .arg(workspace::root().join("models/train").join(name))
        // One thread: sums are added in one order, so the same data gives the same files.
        .envs([("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1"), ("PYTHONHASHSEED", "0")]);
    command
}

/// Python in a virtual environment of its own, with the pinned packages.
fn python() -> Result<PathBuf> {
    let venv = workspace::target_dir().join("train-venv");
    let python = venv.join("bin/python");
    let imports =
        "import sys, numpy, scipy, onnx, sklearn, skl2onnx, onnxruntime, lightgbm; assert sys.version_info >= (3, 11)";
    if process::succeeds(Command::new(&python).args(["-c", imports])) {
        return Ok(python);
    }
    let Some(system) = ["python3.13", "python3.12", "python3.11", "python3"].into_iter().find_map(process::which)
    else {
        bail!("no Python: apt-get install python3-venv");
    };
    process::quiet("making a Python environment", Command::new(system).args(["-m", "venv"]).arg(&venv))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    process::quiet(
        "installing what the training scripts import",
        Command::new(&python).args(install).args(PYTHON_PACKAGES),
    )?;
    Ok(python)
}
