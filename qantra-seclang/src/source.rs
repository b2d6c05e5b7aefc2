//! Enters: names of rule and data files, globs included. Leaves: their bytes. It is the only door to files; the engine
//! itself must never open one.

use std::sync::Arc;

/// Gives files to the loader. [`StdFiles`] reads the disk; tests and other hosts bring their own.
pub trait FileProvider {
    /// The bytes of a file.
    ///
    /// # Errors
    /// The reason, in words for a person.
    fn read(&self, name: &str) -> Result<Vec<u8>, String>;

    /// The names that a glob stands for, sorted; a name without wildcards stands for itself.
    ///
    /// # Errors
    /// The reason, in words for a person.
    fn expand(&self, pattern: &str) -> Result<Vec<String>, String>;
}

/// A name relative to the file that names it.
pub(crate) fn relative_to(base: &str, name: &str) -> String {
    if name.starts_with('/') {
        return name.to_owned();
    }
    match base.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

/// Whether a file name fits a pattern of `*` and `?`.
pub(crate) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // Greedy with one point to come back to: linear in practice, quadratic at worst.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// Rule texts in memory, by name.
#[derive(Debug, Default, Clone)]
pub struct MemoryFiles(Vec<(Arc<str>, Vec<u8>)>);

impl MemoryFiles {
    /// No files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    #[must_use]
    pub fn with(mut self, name: &str, text: impl Into<Vec<u8>>) -> Self {
        self.0.push((name.into(), text.into()));
        self
    }
}

impl FileProvider for MemoryFiles {
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let found = self.0.iter().find(|(known, _)| &**known == name);
        found.map(|(_, text)| text.clone()).ok_or_else(|| "no such file".to_owned())
    }

    fn expand(&self, pattern: &str) -> Result<Vec<String>, String> {
        let mut names: Vec<String> = self
            .0
            .iter()
            .map(|(name, _)| name.to_string())
            .filter(|n| fits(pattern.as_bytes(), n.as_bytes()))
            .collect();
        names.sort();
        Ok(names)
    }
}

/// Files of the machine's disk.
#[cfg(feature = "load")]
#[derive(Debug, Default, Clone, Copy)]
pub struct StdFiles;

#[cfg(feature = "load")]
impl FileProvider for StdFiles {
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        std::fs::read(name).map_err(|error| error.to_string())
    }

    fn expand(&self, pattern: &str) -> Result<Vec<String>, String> {
        let mut found = vec![if pattern.starts_with('/') { "/".to_owned() } else { String::new() }];
        for part in pattern.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for base in &found {
                let joined = |name: &str| match base.as_str() {
                    "" => name.to_owned(),
                    "/" => format!("/{name}"),
                    _ => format!("{base}/{name}"),
                };
                if !part.contains(['*', '?']) {
                    next.push(joined(part));
                    continue;
                }
                let folder = if base.is_empty() { "." } else { base };
                let entries = std::fs::read_dir(folder).map_err(|error| format!("{folder}: {error}"))?;
                let mut names: Vec<String> =
                    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
                names.retain(|name| !name.starts_with('.') && fits(part.as_bytes(), name.as_bytes()));
                names.sort();
                next.extend(names.iter().map(|name| joined(name)));
            }
            found = next;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_names() {
        for (pattern, name, yes) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.example", false),
            ("REQUEST-9?1-*", "REQUEST-901-INIT.conf", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("", "", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), yes, "{pattern} {name}");
        }
    }

    #[test]
    fn names_are_relative_to_the_file_that_names_them() {
        assert_eq!(relative_to("rules/a.conf", "b.data"), "rules/b.data");
        assert_eq!(relative_to("a.conf", "b.data"), "b.data");
        assert_eq!(relative_to("rules/a.conf", "/etc/b.data"), "/etc/b.data");
    }
}
