//! What is kept of feeds: their definitions in one file, and of each its last good list as it was fetched. Every file is
//! written beside its place and then renamed, so that a power cut leaves the old one or the new one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::FeedSpec;

/// What is known of a copy, for the next fetch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CopyFacts {
    /// Where it is from: a copy of another source says nothing about this one.
    pub(super) source: String,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// Of a file: when it was changed and how long it was.
    pub(super) file_changed_ns: Option<i128>,
    pub(super) sha256: String,
    /// When it was last known to be current: Unix ms.
    pub(super) current_unix_ms: u64,
    /// Entries taken from it.
    pub(super) entries: u64,
}

/// The folder of all feeds.
#[derive(Debug, Clone)]
pub(super) struct FeedFiles {
    dir: PathBuf,
}

impl FeedFiles {
    /// Makes the folder when it is not there.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let dir = state_dir.join("feeds");
        make_dir(&dir)?;
        Ok(Self { dir })
    }

    pub(super) fn specs_path(&self) -> PathBuf {
        self.dir.join("feeds.json")
    }

    /// The definitions; none when there is no file yet.
    pub(super) fn specs(&self) -> io::Result<Vec<FeedSpec>> {
        Ok(read_json(&self.specs_path())?.unwrap_or_default())
    }

    pub(super) fn save_specs(&self, specs: &[&FeedSpec]) -> io::Result<()> {
        write_json(&self.specs_path(), &specs)
    }

    /// The last good list.
    pub(super) fn copy(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("list")
    }

    /// What is known of it; nothing when there is none, or the file is damaged: then the list is fetched whole.
    pub(super) fn facts(&self, name: &str) -> Option<CopyFacts> {
        match read_json(&self.dir.join(name).join("facts.json")) {
            Ok(facts) => facts,
            Err(error) => {
                tracing::warn!(feed = name, %error, "what is known of the last good list cannot be read");
                None
            }
        }
    }

    /// A file for a list that is being fetched.
    pub(super) fn begin(&self, name: &str) -> io::Result<Draft> {
        make_dir(&self.dir.join(name))?;
        let path = self.dir.join(name).join("list.new");
        Ok(Draft { file: create(&path)?, path })
    }

    /// Puts a list in the place of the last good one.
    pub(super) fn commit(&self, name: &str, draft: Draft, facts: &CopyFacts) -> io::Result<()> {
        draft.file.sync_all()?;
        fs::rename(&draft.path, self.copy(name))?;
        self.save_facts(name, facts)
    }

    pub(super) fn save_facts(&self, name: &str, facts: &CopyFacts) -> io::Result<()> {
        write_json(&self.dir.join(name).join("facts.json"), facts)
    }

    /// Removes all that is kept of a feed.
    pub(super) fn forget(&self, name: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A list on its way in; its file goes when it is not committed.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a commit there is nothing by that name.
        let _ = fs::remove_file(&self.path);
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    let mut file = create(&beside)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The name is only safe when its folder is.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
