//! Enters: what a person wants of one parameter on one path. Leaves: a SecLang rule that refuses the rest, in a file of its
//! own. It must never replace that file with one that would not load: the caller tries the new text first.
//!
//! What a patch says stands as JSON in a comment above its rule. That line is what is read back; the rule is made of it anew
//! each time.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Draft, ids};

/// The file's name in the folder of own rules.
const FILE: &str = "qantra-patches.conf";
/// What begins the line of a patch.
const MARK: &str = "# qantra-patch ";
/// Most patches: each is looked at for each request of its sites.
const PATCHES_MAX: usize = 1_000;
/// Longest pattern.
const PATTERN_BYTES_MAX: usize = 2_000;

/// What a parameter may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchAllows {
    /// Only values that this pattern fits, from their beginning to their end.
    Only(String),
    /// Everything but attacks of this class: `sqli`, `xss`, `traversal`, `rce`, `rfi`, `ssrf`, `ssti`.
    AllBut(String),
}

/// One virtual patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The id of its rule.
    pub id: u64,
    /// The site; none: all.
    pub site: Option<String>,
    /// The path; with `*` at its end: all that begin so.
    pub path: String,
    /// The parameter: of the query, a form, or a JSON body, where `a.b` is `b` in `a`.
    pub parameter: String,
    /// What it may hold.
    pub allows: PatchAllows,
    /// When it stops by itself: Unix seconds; none: never.
    pub expires_unix_s: Option<u64>,
    /// When it was made: Unix seconds.
    pub created_unix_s: u64,
    /// Who made it.
    pub created_by: String,
    /// Why, in one line.
    #[serde(default)]
    pub comment: String,
}

/// A patch cannot be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// Something of it cannot be written as a rule.
    #[error("{what} `{}` {why}", value.escape_debug())]
    Invalid {
        /// Which part.
        what: &'static str,
        /// What it says.
        value: String,
        /// What is wrong and right.
        why: &'static str,
    },
    /// There are too many.
    #[error("there are {PATCHES_MAX} patches already: remove some with `qantra rules patch remove ID`")]
    TooMany,
    /// There is none with this id.
    #[error("there is no patch {0}: `qantra rules patch list` shows them")]
    NoSuch(u64),
    /// The file was changed by hand and cannot be read back.
    #[error("{}:{line}: is no patch of qantra's: {why}; mend the line or delete it with its rule", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// The parser's words.
        why: String,
    },
    /// The disk said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// The patches of one folder of own rules. While it lives no other process changes them.
#[derive(Debug)]
pub struct PatchFile {
    path: PathBuf,
    patches: Vec<Patch>,
    /// The folder, locked.
    _lock: Option<File>,
}

impl PatchFile {
    /// Reads the patches.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(rules_dir: &Path) -> Result<Self, PatchError> {
        let path = rules_dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(PatchError::Io { path, source }),
        };
        let mut patches = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(json) = line.strip_prefix(MARK) {
                let damaged = |why: String| PatchError::Damaged { path: path.clone(), line: number, why };
                let patch: Patch = serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
                check(&patch).map_err(|error| damaged(error.to_string()))?;
                patches.push(patch);
            }
        }
        Ok(Self { path, patches, _lock: None })
    }

    /// Reads the patches to change them; makes the folder when it is not there.
    ///
    /// # Errors
    /// The folder cannot be made or locked, or as [`PatchFile::read`].
    pub fn open(rules_dir: &Path) -> Result<Self, PatchError> {
        let failed = |source| PatchError::Io { path: rules_dir.to_owned(), source };
        fs::create_dir_all(rules_dir).map_err(failed)?;
        let folder = File::open(rules_dir).map_err(failed)?;
        folder.lock().map_err(failed)?;
        Ok(Self { _lock: Some(folder), ..Self::read(rules_dir)? })
    }

    /// All patches.
    #[must_use]
    pub fn patches(&self) -> &[Patch] {
        &self.patches
    }

    /// Where they are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds one, with an id that is free; the file stays as it is until [`PatchFile::save`].
    ///
    /// # Errors
    /// It cannot be written as a rule, or there are too many.
    pub fn add(&mut self, mut patch: Patch) -> Result<&Patch, PatchError> {
        if self.patches.len() >= PATCHES_MAX {
            return Err(PatchError::TooMany);
        }
        let is_free = |id: &u64| !self.patches.iter().any(|patch| patch.id == *id);
        patch.id = ids::PATCHES.into_iter().find(is_free).ok_or(PatchError::TooMany)?;
        check(&patch)?;
        self.patches.push(patch);
        self.patches.last().ok_or(PatchError::TooMany)
    }

    /// Takes one out.
    ///
    /// # Errors
    /// There is none with this id.
    pub fn remove(&mut self, id: u64) -> Result<Patch, PatchError> {
        let at = self.patches.iter().position(|patch| patch.id == id).ok_or(PatchError::NoSuch(id))?;
        Ok(self.patches.remove(at))
    }

    /// The file as it would be.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let mut text = "# Virtual patches. Written by `qantra rules patch`, which reads the lines that begin with `# \
                        qantra-patch` and\n# makes the rules of them anew: change it with that.\n"
            .to_owned();
        for patch in &self.patches {
            // What is written here was checked, so that serialising cannot fail.
            let json = serde_json::to_string(patch).unwrap_or_default();
            let _ = write!(text, "\n{MARK}{json}\n{}", rule(patch));
        }
        Draft { path: self.path.clone(), text: Some(text) }
    }

    /// Writes the file beside its place and renames it, so that there is always an old one or a new one.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self) -> Result<(), PatchError> {
        let failed = |source| PatchError::Io { path: self.path.clone(), source };
        let beside = self.path.with_file_name(format!(".{FILE}.new"));
        let mut file = File::create(&beside).map_err(failed)?;
        file.write_all(self.draft().text.unwrap_or_default().as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&beside, &self.path).map_err(failed)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

/// What stands in the rule must not end its quotes, begin a macro, or make it another rule.
fn check(patch: &Patch) -> Result<(), PatchError> {
    let bad = |what, value: &str, why| Err(PatchError::Invalid { what, value: value.to_owned(), why });
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"'\\`%".contains(c);
    let path = patch.path.strip_suffix('*').unwrap_or(&patch.path);
    if !path.starts_with('/') || !path.chars().all(is_plain) || path.len() > 1_000 {
        return bad("the path", &patch.path, "is none: write it decoded, as `/login` or `/shop/*`");
    }
    let is_name = |c: char| is_plain(c) && !",|;:!&{}/ ".contains(c);
    if patch.parameter.is_empty() || patch.parameter.len() > 200 || !patch.parameter.chars().all(is_name) {
        return bad("the parameter", &patch.parameter, "is no name: write it as `id` or `user.name`");
    }
    if patch.site.as_ref().is_some_and(|site| !site.chars().all(is_name)) {
        return bad("the site", patch.site.as_deref().unwrap_or_default(), "is no site's name");
    }
    match &patch.allows {
        PatchAllows::AllBut(class) if denied(class).is_none() => {
            bad("the class", class, "is none of sqli, xss, traversal, rce, rfi, ssrf, ssti")
        }
        PatchAllows::Only(pattern)
            if pattern.is_empty()
                || pattern.len() > PATTERN_BYTES_MAX
                || pattern.chars().any(char::is_control)
                || pattern.trim_end_matches('\\').len() % 2 != pattern.len() % 2 =>
        {
            bad(
                "the pattern",
                pattern,
                "must have 1 to 2,000 characters, none of them invisible, and no `\\` at its end",
            )
        }
        _ if patch.comment.chars().any(char::is_control) => bad("the comment", &patch.comment, "must be one line"),
        _ => Ok(()),
    }
}

/// Of an attack class: tag, operator and transformations. What is refused here may be more than what attacks need: it holds
/// for one parameter, which a person has looked at.
fn denied(class: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match class {
        "sqli" => ("attack-sqli", "@detectSQLi", "t:none,t:urlDecodeUni"),
        "xss" => ("attack-xss", "@detectXSS", "t:none,t:urlDecodeUni,t:htmlEntityDecode"),
        "traversal" => (
            "attack-lfi",
            r"@rx (?:^|[/;=\x5c])\.\.(?:[/;\x5c]|$)|\x00|^(?:/|[a-z]:[/\x5c]|(?:file|php|phar|zip|data|expect|glob):)",
            "t:none,t:urlDecodeUni,t:lowercase",
        ),
        "rce" => ("attack-rce", r"@rx [;&|`$<>\n\r\x5c]", "t:none,t:urlDecodeUni"),
        "rfi" => ("attack-rfi", r"@rx ^\s*(?:[a-z][a-z0-9+.-]*:)?//", "t:none,t:urlDecodeUni,t:lowercase"),
        "ssrf" => ("attack-ssrf", r"@rx (?:[a-z][a-z0-9+.-]*:)?//", "t:none,t:urlDecodeUni,t:lowercase"),
        "ssti" => ("attack-ssti", r"@rx \{\{|\{%|[$#*@]\{|<%|\[\[", "t:none,t:urlDecodeUni"),
        _ => return None,
    })
}

/// The patch in SecLang.
fn rule(patch: &Patch) -> String {
    let (tag, operator, transforms) = match &patch.allows {
        PatchAllows::Only(pattern) => ("attack-generic", format!("!@rx ^(?:{})$", quoted(pattern)), "t:none"),
        PatchAllows::AllBut(class) => {
            let (tag, operator, transforms) =
                denied(class).unwrap_or(("attack-generic", "@unconditionalMatch", "t:none"));
            (tag, operator.to_owned(), transforms)
        }
    };
    let mut conditions = Vec::new();
    if let Some(site) = &patch.site {
        conditions.push((format!("WEBAPPID \"@streq {site}\""), "t:none"));
    }
    if let Some(expires) = patch.expires_unix_s {
        conditions.push((format!("TIME_EPOCH \"@lt {expires}\""), "t:none"));
    }
    let path = match patch.path.strip_suffix('*') {
        Some(begin) => format!("@beginsWith {begin}"),
        None => format!("@streq {}", patch.path),
    };
    conditions.push((format!("REQUEST_FILENAME \"{path}\""), "t:none,t:urlDecodeUni,t:normalizePath"));
    let name = &patch.parameter;
    conditions.push((format!("ARGS:{name}|ARGS:json.{name} \"{operator}\""), transforms));
    let mut text = String::new();
    let last = conditions.len() - 1;
    for (i, (condition, transforms)) in conditions.iter().enumerate() {
        let chain = if i == last { "" } else { ",chain" };
        let first = match i {
            0 => format!(
                "id:{},phase:2,deny,status:403,log,auditlog,severity:CRITICAL,\\\n    \
                 msg:'Virtual patch of {name} on {}',tag:'qantra/patch',tag:'{tag}',ver:'qantra',",
                patch.id, patch.path
            ),
            _ => String::new(),
        };
        let _ = writeln!(text, "SecRule {condition} \\\n    \"{first}{transforms}{chain}\"");
    }
    text
}

/// A pattern that can stand in double quotes: a quote sign would end them, and `%{` would begin a macro.
fn quoted(pattern: &str) -> String {
    let mut text = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some('"' | '%')) => {}
            ('\\', Some(next)) => {
                text.extend(['\\', next]);
                chars.next();
            }
            ('"', _) => text.push_str("\\x22"),
            ('%', _) => text.push_str("\\x25"),
            _ => text.push(c),
        }
    }
    text
}
