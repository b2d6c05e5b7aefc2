//! Enters: a request's body and what its headers say of it. Leaves: arguments, files and texts in the store. It must never
//! follow references in a document, nest without end, or keep silent about what it could not read.

pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod multipart;
pub(crate) mod xml;

/// Why a body could not be read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BodyError(pub(crate) &'static str);

/// The body holds more than the rules are meant to look at.
pub(crate) const TOO_LONG: BodyError =
    BodyError("the body without its files is longer than SecRequestBodyNoFilesLimit allows");

/// Who reads a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processor {
    Urlencoded,
    Multipart,
    Json,
    Xml,
}

impl Processor {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "URLENCODED" => Self::Urlencoded,
            "MULTIPART" => Self::Multipart,
            "JSON" => Self::Json,
            "XML" => Self::Xml,
            _ => return None,
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Urlencoded => "URLENCODED",
            Self::Multipart => "MULTIPART",
            Self::Json => "JSON",
            Self::Xml => "XML",
        }
    }
}

#[cfg(test)]
mod tests;
