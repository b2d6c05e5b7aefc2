//! Enters: CRS's regression files (go-ftw's YAML). Leaves: cases: what to send, and what must be said of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer, de};
use serde_yaml_ng::Value;

/// One file of cases for one rule. Each case is read by itself: one that this harness does not know fails alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule_id: Option<u64>,
    #[serde(default, rename = "meta")]
    _meta: Value,
    /// Some files say it beside `meta`.
    #[serde(default, rename = "author")]
    _author: Value,
    tests: Vec<Value>,
}

/// One case, or why it cannot be read.
#[derive(Debug)]
pub(super) struct Case {
    /// `RULE-NUMBER`, as go-ftw names it.
    pub(super) id: String,
    /// What is sent, one after the other.
    pub(super) stages: Result<Vec<Stage>, String>,
}

/// A case as it is written. Fields that nothing reads say only what the case is for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(alias = "id")]
    test_id: Option<u32>,
    /// The name in the format before test_id.
    test_title: Option<Text>,
    #[serde(default, rename = "desc", alias = "description")]
    _description: Value,
    #[serde(default, rename = "tags")]
    _tags: Value,
    stages: Vec<Enveloped>,
}

/// A stage; older releases put it into an envelope.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Enveloped {
    Old(Envelope),
    New(Box<Stage>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    stage: Box<Stage>,
}

/// One request of a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stage {
    /// What is sent.
    pub(super) input: Input,
    /// What must come of it.
    pub(super) output: Output,
    #[serde(default, rename = "description", alias = "desc")]
    _description: Value,
}

/// A request.
#[derive(Debug, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Input {
    /// Where to; the port of the server.
    pub(super) port: Option<u16>,
    /// `GET` when nothing is said.
    pub(super) method: Option<Text>,
    /// `/` when nothing is said.
    pub(super) uri: Option<Text>,
    /// Several targets, each of them a request; `uri` does not count then.
    pub(super) uris: Vec<Text>,
    /// `HTTP/1.1` when nothing is said.
    pub(super) version: Option<Text>,
    /// In their order.
    pub(super) headers: Headers,
    /// More of them.
    pub(super) ordered_headers: Headers,
    /// The body.
    pub(super) data: Option<Text>,
    /// The body, base64.
    pub(super) encoded_data: Option<Text>,
    /// The whole request, base64.
    #[serde(alias = "raw_request")]
    pub(super) encoded_request: Option<Text>,
    /// Whether headers that are missing are put in.
    pub(super) autocomplete_headers: Option<bool>,
    /// The reverse, in the older format.
    pub(super) stop_magic: Option<bool>,
    /// The origin's answer.
    pub(super) response: Option<Answer>,
    /// Goes where the stage before was sent to.
    pub(super) follow_redirect: Option<bool>,
    /// Sends the cookies of the stage before.
    pub(super) save_cookie: Option<bool>,
    #[serde(rename = "dest_addr")]
    _address: Value,
    #[serde(rename = "protocol")]
    _protocol: Value,
    /// How go-ftw finds its place in a log that this harness does not have.
    #[serde(rename = "virtual_host_mode")]
    _virtual_host_mode: Value,
}

/// What the origin answers.
#[derive(Debug, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Text,
    /// Base64.
    pub(super) encoded_body: Text,
    #[serde(rename = "log_message")]
    _log_message: Value,
}

/// What must come of a request.
#[derive(Debug, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Output {
    /// The response's status, one of these.
    #[serde(deserialize_with = "one_or_many")]
    pub(super) status: Vec<u16>,
    /// What the log says.
    pub(super) log: Log,
    /// Text that the log has.
    pub(super) log_contains: Option<String>,
    /// Text that the log has not.
    pub(super) no_log_contains: Option<String>,
    /// The connection breaks.
    pub(super) expect_error: Option<bool>,
    /// Text in the response.
    pub(super) response_contains: Option<String>,
    /// Sent once more when it failed: some rules count over requests.
    pub(super) retry_once: Option<bool>,
    /// No rule matches but the expected one.
    pub(super) isolated: bool,
}

/// What the log says of a request.
#[derive(Debug, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
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

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Statuses {
        One(u16),
        Many(Vec<u16>),
    }
    Ok(match Statuses::deserialize(deserializer)? {
        Statuses::One(status) => vec![status],
        Statuses::Many(statuses) => statuses,
    })
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
        #[serde(deny_unknown_fields)]
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
        // Before rule_id was a field, it was the file's name.
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let rule = file.rule_id.map_or(stem, |id| id.to_string());
        cases.extend(file.tests.into_iter().zip(1..).map(|(test, place)| case(&rule, place, test)));
    }
    Ok(cases)
}

fn case(rule: &str, place: u32, test: Value) -> Case {
    match serde_yaml_ng::from_value::<Written>(test) {
        Ok(Written { test_id, test_title, stages, .. }) => {
            let id = match (test_id, test_title) {
                (None, Some(Text(title))) => title,
                (id, _) => format!("{rule}-{}", id.unwrap_or(place)),
            };
            let stages = stages.into_iter().map(|stage| match stage {
                Enveloped::Old(Envelope { stage }) | Enveloped::New(stage) => *stage,
            });
            Case { id, stages: Ok(stages.collect()) }
        }
        Err(error) => Case { id: format!("{rule}-{place}"), stages: Err(error.to_string()) },
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(test: &str) -> Case {
        case("920100", 3, serde_yaml_ng::from_str(test).unwrap())
    }

    #[test]
    fn older_and_newer_formats_are_read() {
        let old = of(
            "test_title: 920100-9\nstages: [{stage: {input: {stop_magic: true, data: [a, b]}, output: {status: [403, 404], log_contains: x}}}]",
        );
        assert_eq!(old.id, "920100-9");
        let stages = old.stages.unwrap();
        assert_eq!(
            (stages[0].output.status.as_slice(), stages[0].input.stop_magic),
            ([403, 404].as_slice(), Some(true))
        );
        let new = of(
            "{id: 4, description: d, stages: [{input: {ordered_headers: [{name: A, value: 1}], encoded_data: YQ==}, output: {isolated: true, status: 200}}]}",
        );
        assert_eq!(new.id, "920100-4");
        let stages = new.stages.unwrap();
        assert_eq!(stages[0].input.ordered_headers.0, [("A".to_owned(), "1".to_owned())]);
        assert!(stages[0].output.isolated);
    }

    #[test]
    fn what_is_not_known_fails_by_name_and_alone() {
        for (test, said) in [
            ("{test_id: 1, payload: x, stages: []}", "payload"),
            ("{test_id: 1, stages: [{input: {colour: red}, output: {}}]}", "did not match"),
            ("{test_id: 1}", "stages"),
        ] {
            let case = of(test);
            assert_eq!(case.id, "920100-3");
            let why = case.stages.unwrap_err();
            assert!(why.contains(said), "{why}");
        }
    }
}
