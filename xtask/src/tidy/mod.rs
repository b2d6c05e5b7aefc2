//! Enters: the checkout. Leaves: every breach of the invariants of ARCHITECTURE.md, with file and line; none is what
//! `ci` wants. It reads text and must never build, run or change anything.

mod documents;
mod manifests;
mod modules;
mod rust;
mod stages;

#[cfg(test)]
mod tests;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Options of `tidy`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    /// Relative to the checkout.
    file: PathBuf,
    /// From 1; 0 is the whole file.
    line: usize,
    /// The rule's short name.
    rule: &'static str,
    /// What is wrong and what to do.
    message: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.file.display(), self.line, self.rule, self.message)
    }
}

/// One text file of the checkout.
struct Source {
    /// Relative to the checkout, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn breach(&self, line: usize, rule: &'static str, message: impl Into<String>) -> Breach {
        Breach { file: PathBuf::from(&self.path), line, rule, message: message.into() }
    }

    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|has| has == extension)
    }
}

/// `cargo xtask tidy`.
///
/// # Errors
/// When an invariant is broken, or the checkout cannot be read.
pub fn run(_args: &Args) -> Result<()> {
    let breaches = check(&workspace::root())?;
    for breach in &breaches {
        println!("{breach}");
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the invariants in ARCHITECTURE.md", breaches.len());
    }
    println!("tidy");
    Ok(())
}

/// Every breach in a checkout, in order of files and lines.
fn check(root: &Path) -> Result<Vec<Breach>> {
    let mut sources = Vec::new();
    read_tree(root, root, &mut sources)?;
    let mut breaches = manifests::check(&sources)?;
    breaches.extend(documents::check(root, &sources));
    for source in sources.iter().filter(|source| source.is("rs")) {
        let code = rust::code_of(&source.text);
        breaches.extend(modules::check(source, &code));
        breaches.extend(stages::check(source, &code));
    }
    breaches.sort();
    // Several names of one import are one breach.
    breaches.dedup();
    Ok(breaches)
}

/// Reads every text file that belongs to the checkout.
fn read_tree(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("target") || [".git", "node_modules", "__pycache__"].contains(&name.as_str()) {
            continue;
        }
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            read_tree(root, &path, sources)?;
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            sources.push(Source { path, text });
        }
    }
    Ok(())
}
