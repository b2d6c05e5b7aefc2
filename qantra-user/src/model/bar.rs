//! Enters: a threshold of a manifest or of the configuration. Leaves: it, with where it came from. It must never change it.

use super::{ManifestEntry, ModelError};
use crate::detect::ThresholdOrigin;

/// A threshold that says where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// The threshold.
    pub value: f32,
    /// Where it came from.
    pub origin: ThresholdOrigin,
}

impl Bar {
    /// One of the manifest, which must be there.
    ///
    /// # Errors
    /// [`ModelError`] when it is missing or no number.
    pub(super) fn of_model(entry: &ManifestEntry, name: &str) -> Result<Self, ModelError> {
        Ok(Self { value: entry.threshold(name)?, origin: origin_of(entry) })
    }

    /// One that the configuration sets instead.
    pub(super) fn of_config(key: &str, value: f32) -> Self {
        Self { value, origin: ThresholdOrigin::Config { key: key.to_owned() } }
    }
}

/// That of each threshold in a model's manifest.
pub(super) fn origin_of(entry: &ManifestEntry) -> ThresholdOrigin {
    ThresholdOrigin::Model { name: entry.name.clone(), version: entry.version.clone() }
}
