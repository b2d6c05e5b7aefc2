//! Enters: where the Core Rule Set and own rules are. Leaves: the files to load, in order. It knows two layouts: an
//! unpacked release, and a package that says by an `owasp-crs.load` where its parts are, as Debian's does.

use std::path::{Path, PathBuf};

use super::{Draft, RulesError};

/// Files of one rule set, by when they are loaded.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The Core Rule Set's setup.
    pub(super) setup: Vec<PathBuf>,
    /// What has to stand before its rules: exclusions, and rules that add to its scores.
    pub(super) before: Vec<PathBuf>,
    /// Its rules.
    pub(super) rules: Vec<PathBuf>,
    /// What stands after them, own rules last.
    pub(super) after: Vec<PathBuf>,
    /// `TX` variables that switch on exclusion packages which are part of the rules.
    pub(super) packages: Vec<String>,
}

impl Layout {
    /// The Core Rule Set.
    pub(super) fn add_crs(&mut self, dir: &Path, plugins: &[String]) -> Result<(), RulesError> {
        let rules_dir = dir.join("rules");
        if !rules_dir.is_dir() {
            return Err(RulesError::NoCrs { dir: dir.to_owned() });
        }
        self.rules = conf_files(&rules_dir)?;
        if self.rules.is_empty() {
            return Err(RulesError::NoCrs { dir: dir.to_owned() });
        }
        let own_setup = ["crs-setup.conf", "crs-setup.conf.example"].map(|name| dir.join(name));
        let package = dir.join("owasp-crs.load");
        if own_setup[0].is_file() {
            self.setup.push(own_setup[0].clone());
        } else if package.is_file() {
            self.add_package(&package, &rules_dir)?;
        } else if own_setup[1].is_file() {
            self.setup.push(own_setup[1].clone());
        } else {
            return Err(RulesError::NoSetup { dir: dir.to_owned() });
        }
        plugins.iter().try_for_each(|name| self.add_plugin(dir, name))
    }

    /// Own rules; none when there is no such folder.
    pub(super) fn add_own(&mut self, dir: &Path) -> Result<(), RulesError> {
        if !dir.exists() {
            return Ok(());
        }
        let is_early = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with("before-") || name.starts_with("REQUEST-900-")
        };
        let (before, after): (Vec<_>, Vec<_>) = conf_files(dir)?.into_iter().partition(is_early);
        self.before.extend(before);
        self.after.extend(after);
        Ok(())
    }

    /// Files to try, where they are not among the others.
    pub(super) fn add_drafts(&mut self, drafts: &[Draft], rules_dir: &Path) {
        for draft in drafts {
            let belongs = draft.text.is_none() || draft.path.parent() == Some(rules_dir);
            let known = self.setup.iter().chain(&self.before).chain(&self.rules).chain(&self.after);
            if belongs && !known.into_iter().any(|path| *path == draft.path) {
                self.after.push(draft.path.clone());
            }
        }
    }

    /// The includes of a package, apart from the rules themselves.
    fn add_package(&mut self, file: &Path, rules_dir: &Path) -> Result<(), RulesError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| RulesError::Unreadable { path: file.to_owned(), why: error.to_string() })?;
        let mut is_after = false;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (Some(directive), Some(path)) = (words.next(), words.next()) else { continue };
            let path = PathBuf::from(path.trim_matches('"'));
            let is_optional = directive.eq_ignore_ascii_case("IncludeOptional");
            if !is_optional && !directive.eq_ignore_ascii_case("Include") {
                continue;
            }
            if path.parent() == Some(rules_dir) {
                is_after = true;
            } else if path.is_file() || !is_optional {
                let list = if is_after { &mut self.after } else { &mut self.setup };
                list.push(path);
            }
        }
        Ok(())
    }

    /// A plugin's files, or the variable of a package that is part of the rules.
    fn add_plugin(&mut self, dir: &Path, name: &str) -> Result<(), RulesError> {
        let lower = name.to_ascii_lowercase();
        if packages(&self.rules).contains(&lower) {
            self.packages.push(lower);
            return Ok(());
        }
        let folder = dir.join("plugins");
        for stem in [name.to_owned(), format!("{name}-rule-exclusions"), format!("{name}-plugin")] {
            let [config, before, after] =
                ["config", "before", "after"].map(|part| folder.join(format!("{stem}-{part}.conf")));
            if [&config, &before, &after].into_iter().any(|path| path.is_file()) {
                self.setup.extend(Some(config).filter(|path| path.is_file()));
                self.before.extend(Some(before).filter(|path| path.is_file()));
                self.after.extend(Some(after).filter(|path| path.is_file()));
                return Ok(());
            }
        }
        let mut known = packages(&self.rules);
        known.extend(plugins(&folder));
        Err(RulesError::NoPlugin { name: name.to_owned(), dir: dir.to_owned(), known })
    }
}

/// `*.conf` of a folder, sorted; hidden files are left out, as editors leave them behind.
fn conf_files(dir: &Path) -> Result<Vec<PathBuf>, RulesError> {
    let failed = |why: std::io::Error| RulesError::Unreadable { path: dir.to_owned(), why: why.to_string() };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "conf") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// CRS 3 has exclusion packages among its rules: `REQUEST-903.9002-WORDPRESS-EXCLUSION-RULES.conf`.
fn packages(rules: &[PathBuf]) -> Vec<String> {
    let name = |path: &PathBuf| {
        let stem = path.file_stem()?.to_str()?.strip_prefix("REQUEST-903.")?.strip_suffix("-EXCLUSION-RULES")?;
        Some(stem.split_once('-')?.1.to_ascii_lowercase())
    };
    rules.iter().filter_map(name).collect()
}

/// CRS 4's plugins, by the files that each has.
fn plugins(folder: &Path) -> Vec<String> {
    let files = conf_files(folder).unwrap_or_default();
    let name = |path: &PathBuf| {
        let stem = path.file_stem()?.to_str()?;
        ["-config", "-before", "-after"].iter().find_map(|part| stem.strip_suffix(part)).map(str::to_owned)
    };
    let mut names: Vec<String> = files.iter().filter_map(name).filter(|name| name != "empty").collect();
    names.dedup();
    names
}
