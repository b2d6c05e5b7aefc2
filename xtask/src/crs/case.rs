//! Enters: CRS's regression files (go-ftw's YAML). Leaves: cases: what to send, and what must be said of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer, de};

/// One file of cases for one rule.
#[derive(Debug, Deserialize)]
struct File {
    rule_id: u64,
    tests: Vec<Case>,
}

/// One case.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    test_id: u32,
    /// What is sent, one after the other.
    pub(super) stages: Vec<Stage>,
    #[serde(skip)]
    rule_id: u64,
}

impl Case {
    /// `RULE-NUMBER`, as go-ftw names it.
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.rule_id, self.test_id)
    }
}

/// One request of a case.
#[derive(Debug, Deserialize)]
pub(super) struct Stage {
    /// What is sent.
    pub(super) input: Input,
    /// What must come of it.
    pub(super) output: Output,
}

/// A request.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Input {
    /// Where to; the port of the server.
    pub(super) port: Option<u16>,
    /// `GET` when nothing is said.
    pub(super) method: Option<Text>,
    /// `/` when nothing is said.
    pub(super) uri: Option<Text>,
    /// `HTTP/1.1` when nothing is said.
    pub(super) version: Option<Text>,
    /// In their order.
    pub(super) headers: Headers,
    /// The body.
    pub(super) data: Option<Text>,
    /// The whole request, base64.
    pub(super) encoded_request: Option<Text>,
    /// Whether headers that are missing are put in.
    pub(super) autocomplete_headers: Option<bool>,
}

/// What must come of a request.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Output {
    /// The response's status.
    pub(super) status: Option<u16>,
    /// What the log says.
    pub(super) log: Log,
    /// The connection breaks.
    pub(super) expect_error: Option<bool>,
    /// Text in the response.
    pub(super) response_contains: Option<String>,
    /// Sent once more when it failed: some rules count over requests.
    pub(super) retry_once: Option<bool>,
}

/// What the log says of a request.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(super) struct Log {
    /// Rules that match.
    pub(super) expect_ids: Vec<u64>,
    /// Rules that do not.
    pub(super) no_expect_ids: Vec<u64>,
    /// A pattern that the log has.
    pub(super) match_regex: Option<String>,
    /// A pattern that the log has not.
    pub(super) no_match_regex: Option<String>,
}

/// A scalar of any kind, or several that are joined.
#[derive(Debug, Default)]
pub(super) struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Text;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a scalar or a list of scalars")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut parts: A) -> Result<Text, A::Error> {
                let mut all = String::new();
                while let Some(Text(part)) = parts.next_element()? {
                    all.push_str(&part);
                }
                Ok(Text(all))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Headers in the order they are written.
#[derive(Debug, Default)]
pub(super) struct Headers(pub Vec<(String, String)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Header {
            name: String,
            value: Text,
        }
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Headers;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("headers")
            }
            fn visit_unit<E>(self) -> Result<Headers, E> {
                Ok(Headers::default())
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut all = Vec::new();
                while let Some((Text(name), Text(value))) = map.next_entry()? {
                    all.push((name, value));
                }
                Ok(Headers(all))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut parts: A) -> Result<Headers, A::Error> {
                let mut all = Vec::new();
                while let Some(Header { name, value }) = parts.next_element()? {
                    all.push((name, value.0));
                }
                Ok(Headers(all))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads every case below a folder, in order of files.
pub(super) fn read(folder: &Path) -> Result<Vec<Case>> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File =
            serde_yaml_ng::from_str(&text).with_context(|| format!("{} is no test file", path.display()))?;
        cases.extend(file.tests.into_iter().map(|case| Case { rule_id: file.rule_id, ..case }));
    }
    Ok(cases)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    Ok(())
}
