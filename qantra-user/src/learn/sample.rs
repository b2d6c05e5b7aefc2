//! Enters: findings that a person judged, and values that many sources send. Leaves: [`Sample`]s to train on. The text is
//! kept as it was decoded, with secrets masked, not as hashed n-grams: a person can read what is handed on, and another
//! feature schema can use it. Single bytes' hashes would give the text away anyway.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::inspect::FieldKind;

/// Longest text and name of a sample, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
const NAME_BYTES_MAX: usize = 200;
/// Longest class.
const CLASS_BYTES_MAX: usize = 32;

/// What a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// An attack.
    Malicious,
    /// None.
    Benign,
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Voucher {
    /// A person.
    Person,
    /// As many networks as the quorum send such values.
    Quorum,
}

/// One field with what it is. No address: the source is the box's own hash of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What it is.
    pub label: Label,
    /// The attack's class, as findings name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What kind of field.
    #[serde(with = "kind")]
    pub kind: FieldKind,
    /// Its name.
    pub name: String,
    /// Its decoded value, with secrets masked.
    pub text: String,
    /// Who sent it: 16 hexadecimal digits that mean nothing elsewhere.
    pub source: String,
    /// Which box it comes from: 16 hexadecimal digits.
    pub origin: String,
    /// When it was labelled: Unix ms.
    pub labelled_unix_ms: u64,
    /// Who says so.
    pub by: Voucher,
}

impl Sample {
    /// What tells samples apart: two of the same kind and text are one, whatever their labels are.
    #[must_use]
    pub fn key(&self) -> String {
        let mut digest = Sha256::new();
        digest.update([self.kind as u8]);
        digest.update(self.text.as_bytes());
        hex(&digest.finalize()[..12])
    }

    /// What is wrong with it.
    ///
    /// # Errors
    /// One line that says which part.
    pub fn check(&self) -> Result<(), String> {
        let is_id =
            |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_class =
            |text: &str| text.len() <= CLASS_BYTES_MAX && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if self.text.is_empty() || self.text.len() > TEXT_BYTES_MAX {
            return Err(format!("`text` has {} bytes, 1 to {TEXT_BYTES_MAX} are taken", self.text.len()));
        }
        if self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("`name` is longer than {NAME_BYTES_MAX} bytes or not printable"));
        }
        if !is_id(&self.source) || !is_id(&self.origin) {
            return Err("`source` and `origin` must be 16 hexadecimal digits".into());
        }
        if !self.class.as_deref().is_none_or(is_class) {
            return Err("`class` is no class of attacks".into());
        }
        Ok(())
    }

    /// Whether secrets hid everything that could be learnt from.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        let stars = self.text.bytes().filter(|byte| *byte == b'*').count();
        stars * 2 > self.text.len()
    }
}

/// The kind of a field, from the name that `inspect` gave it; evidence has the name alone.
#[must_use]
pub fn kind_of(name: &str) -> FieldKind {
    let (place, rest) = name.split_once('.').unwrap_or((name, ""));
    match place {
        "path" => FieldKind::Path,
        "cookie" => FieldKind::Cookie,
        "header" if rest.eq_ignore_ascii_case("user-agent") => FieldKind::UserAgent,
        "header" if rest.eq_ignore_ascii_case("referer") => FieldKind::Referer,
        "header" => FieldKind::Header,
        "multipart" if rest.ends_with("filename") => FieldKind::Filename,
        "body" => FieldKind::Text,
        _ => FieldKind::Value,
    }
}

/// Sixteen digits of a number.
#[must_use]
pub fn id(number: u64) -> String {
    format!("{number:016x}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Kinds as manifests and reports write them.
mod kind {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::inspect::FieldKind;

    pub(super) fn serialize<S: Serializer>(kind: &FieldKind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(kind.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FieldKind, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let found = FieldKind::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| D::Error::custom("`kind` is no kind of field"))
    }
}
