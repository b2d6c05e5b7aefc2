//! Why rules do not load.

use std::path::PathBuf;

use qantra_seclang::{LoadError, Reason};

/// A rule set that the configuration asks for cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RulesError {
    /// A directive that cannot be read or is not supported.
    #[error("{}", place(.0))]
    Load(#[from] LoadError),
    /// No Core Rule Set where it should be.
    #[error(
        "{}: there is no Core Rule Set: install it (`apt install modsecurity-crs`), set `inspect.crs_dir`, or write \
         `ruleset = \"none\"`", dir.display()
    )]
    NoCrs {
        /// The folder.
        dir: PathBuf,
    },
    /// A Core Rule Set without its setup file.
    #[error("{}: the Core Rule Set has no crs-setup.conf: copy crs-setup.conf.example to it", dir.display())]
    NoSetup {
        /// The folder.
        dir: PathBuf,
    },
    /// A folder or file that cannot be read.
    #[error("{}: cannot be read: {why}", path.display())]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// The system's words.
        why: String,
    },
    /// A plugin that is not there.
    #[error("no plugin or exclusion package `{name}` in {}: {}", dir.display(), there_are(.known))]
    NoPlugin {
        /// Its name.
        name: String,
        /// The Core Rule Set's folder.
        dir: PathBuf,
        /// What there is.
        known: Vec<String>,
    },
    /// More rule sets than a box should hold.
    #[error(
        "the sites' settings make {count} rule sets, more than {limit}: let more sites have the same `[site.inspect]`"
    )]
    TooMany {
        /// How many.
        count: usize,
        /// The limit.
        limit: usize,
    },
}

impl RulesError {
    /// What is wrong, without its place.
    #[must_use]
    pub fn reason(&self) -> String {
        let said = self.to_string();
        let (file, line) = self.position();
        let place = line.map_or_else(String::new, |line| format!(":{line}"));
        said.strip_prefix(&format!("{}{place}: ", file.display())).map_or_else(|| said.clone(), str::to_owned)
    }

    /// The file that has to be mended, and the line when it is one line's fault.
    #[must_use]
    pub fn position(&self) -> (PathBuf, Option<u32>) {
        match self {
            Self::Load(error) => ((*error.position.file).into(), Some(error.position.line).filter(|line| *line > 0)),
            Self::NoCrs { dir } | Self::NoSetup { dir } | Self::NoPlugin { dir, .. } => (dir.clone(), None),
            Self::Unreadable { path, .. } => (path.clone(), None),
            Self::TooMany { .. } => (PathBuf::new(), None),
        }
    }
}

fn place(error: &LoadError) -> String {
    // A file that is not there has no line.
    let said = match (error.position.line, &error.reason) {
        (0, Reason::File { name, why }) if *name == *error.position.file => format!("{name}: cannot be read: {why}"),
        (0, reason) => format!("{}: {reason}", error.position.file),
        _ => error.to_string(),
    };
    // Rule files may hold anything: no control character reaches a terminal or a log.
    said.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn there_are(names: &[String]) -> String {
    if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) }
}
