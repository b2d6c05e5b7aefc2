//! Enters: names of rule files. Leaves: their bytes, each file read once for all rule sets of one load, so that they see
//! the same state of the disk. It must never read a device or a file without end.

use std::{cell::RefCell, collections::BTreeMap, fs, io::Read as _, path::PathBuf, time::UNIX_EPOCH};

use qantra_seclang::{FileProvider, StdFiles};
use serde::Serialize;

/// Largest rule or data file: the largest of the Core Rule Set has 150 kB.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// A file that a rule set was made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RuleFile {
    /// Where it is.
    pub path: PathBuf,
    /// When it was written last: Unix ms.
    pub modified_unix_ms: u64,
    /// How long it is.
    pub bytes: u64,
}

/// A rule file that is to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Its text, and that it belongs to the folder of own rules it is in; none: as it is on the disk, for all sets.
    pub text: Option<String>,
}

/// The disk, and texts in memory whose names no file can have.
#[derive(Debug, Default)]
pub(super) struct Files {
    texts: BTreeMap<String, String>,
    drafts: Vec<Draft>,
    read: RefCell<BTreeMap<String, (RuleFile, Vec<u8>)>>,
}

impl Files {
    /// Files to try in the place of those on the disk, or beside them.
    pub(super) fn with_drafts(drafts: &[Draft]) -> Self {
        let mut files = Self { drafts: drafts.to_vec(), ..Self::default() };
        for draft in drafts {
            if let Some(text) = &draft.text {
                files.put(&draft.path.to_string_lossy(), text.clone());
            }
        }
        files
    }

    pub(super) fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// Puts a text in the place of a file.
    pub(super) fn put(&mut self, name: &str, text: String) {
        self.texts.insert(name.to_owned(), text);
    }

    /// Puts a text that is in no file; says its name, which differs where the text does, so that a place in it is clear.
    pub(super) fn put_text(&mut self, name: &str, text: String) -> String {
        let mut numbered = name.to_owned();
        for number in 2.. {
            match self.texts.get(&numbered) {
                Some(known) if *known != text => numbered = format!("{name} ({number})"),
                _ => break,
            }
        }
        self.put(&numbered, text);
        numbered
    }

    /// Every file that was read.
    pub(super) fn known(&self) -> Vec<RuleFile> {
        self.read.borrow().values().map(|(file, _)| file.clone()).collect()
    }
}

impl FileProvider for Files {
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        if let Some(text) = self.texts.get(name) {
            return Ok(text.clone().into_bytes());
        }
        if let Some((_, bytes)) = self.read.borrow().get(name) {
            return Ok(bytes.clone());
        }
        let (file, bytes) = read(name)?;
        self.read.borrow_mut().insert(name.to_owned(), (file, bytes.clone()));
        Ok(bytes)
    }

    fn expand(&self, pattern: &str) -> Result<Vec<String>, String> {
        if self.texts.contains_key(pattern) {
            return Ok(vec![pattern.to_owned()]);
        }
        StdFiles.expand(pattern)
    }
}

fn read(name: &str) -> Result<(RuleFile, Vec<u8>), String> {
    let said = |error: std::io::Error| error.to_string();
    // Looked at before it is opened: opening a pipe would wait for its other end.
    let meta = fs::metadata(name).map_err(said)?;
    if !meta.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    fs::File::open(name).map_err(said)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(said)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    let modified = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified_unix_ms = modified.map_or(0, |since| since.as_millis() as u64);
    Ok((RuleFile { path: name.into(), modified_unix_ms, bytes: bytes.len() as u64 }, bytes))
}
