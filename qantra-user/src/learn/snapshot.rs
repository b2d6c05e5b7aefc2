//! Enters: a [`Learner`]. Leaves: bytes, and from bytes a learner again: JSON in gzip. It must never trust
//! what it reads: sizes are bounded while they are unpacked, and what does not fit together is refused whole.

use std::io::{Read as _, Write as _};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

use super::{
    calibrate::Calibration,
    learner::{ENDPOINTS_MAX, Learner, PARAMETERS_MAX, Place, SITES_MAX},
    parameter::Parameter,
    shape::Endpoint,
    sketch::Sketcher,
};

/// The format that this version writes.
const FORMAT: u32 = 1;
/// Most bytes when unpacked.
const BYTES_MAX: u64 = 32 << 20;
/// Its hash tells whether keys are still made the same way.
const PROBE: &str = "qantra";

/// What was learnt cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is damaged.
    #[error("what was learnt cannot be read: {0}; learning begins anew")]
    Damaged(String),
    /// Another version of Qantra made its keys.
    #[error("what was learnt was written in another format; learning begins anew")]
    Foreign,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    seed: u64,
    probe: u64,
    model: String,
    forgot_unix_ms: u64,
    sites: Vec<SavedPlace>,
    endpoints: Vec<SavedPlace>,
    parameters: Vec<(u64, Parameter)>,
}

#[derive(Serialize, Deserialize)]
struct SavedPlace {
    key: u64,
    site: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    touched_unix_ms: u64,
    /// Missing in what older versions wrote.
    #[serde(default)]
    since_unix_ms: u64,
    calibration: Calibration,
}

impl Learner {
    /// Everything but who has sent how much of late.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], when it cannot be written as JSON.
    pub fn save(&self) -> Result<Vec<u8>, SnapshotError> {
        let place = |(key, place): (&u64, &Place)| SavedPlace {
            key: *key,
            site: place.site,
            name: place.name.map(|name| name.as_str().to_owned()),
            touched_unix_ms: place.touched_ms,
            since_unix_ms: place.since_ms,
            calibration: place.calibration.clone(),
        };
        let saved = Saved {
            format: FORMAT,
            seed: self.seed,
            probe: Sketcher::new(self.seed).text(PROBE),
            model: self.model.clone(),
            forgot_unix_ms: self.forgot_ms,
            sites: self.sites.iter().map(place).collect(),
            endpoints: self.endpoints.iter().map(place).collect(),
            parameters: self.parameters.iter().map(|(key, parameter)| (*key, parameter.clone())).collect(),
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        serde_json::to_writer(&mut packed, &saved).map_err(|error| SnapshotError::Damaged(error.to_string()))?;
        packed.flush().and_then(|()| packed.finish()).map_err(|error| SnapshotError::Damaged(error.to_string()))
    }

    /// Reads what [`Learner::save`] wrote.
    ///
    /// # Errors
    /// [`SnapshotError`]; the caller begins anew.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let damaged = |reason: &dyn std::fmt::Display| SnapshotError::Damaged(reason.to_string());
        let mut text = Vec::new();
        GzDecoder::new(bytes).take(BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| damaged(&error))?;
        if text.len() as u64 > BYTES_MAX {
            return Err(damaged(&format!("more than {BYTES_MAX} bytes")));
        }
        let saved: Saved = serde_json::from_slice(&text).map_err(|error| damaged(&error))?;
        if saved.format != FORMAT || saved.probe != Sketcher::new(saved.seed).text(PROBE) {
            return Err(SnapshotError::Foreign);
        }
        let places = saved.sites.iter().chain(&saved.endpoints);
        if !places.into_iter().all(|place| place.calibration.is_sound())
            || !saved.parameters.iter().all(|(_, parameter)| parameter.is_sound())
            || saved.sites.len() > SITES_MAX
            || saved.endpoints.len() > ENDPOINTS_MAX
            || saved.parameters.len() > PARAMETERS_MAX
        {
            return Err(damaged(&"its parts do not fit together"));
        }
        let mut learner = Self::new(saved.seed);
        learner.model = saved.model;
        learner.forgot_ms = saved.forgot_unix_ms;
        for (table, places) in [(&mut learner.sites, saved.sites), (&mut learner.endpoints, saved.endpoints)] {
            for place in places {
                table.get_or_insert_with(place.key, place.touched_unix_ms, || Place {
                    site: place.site,
                    name: place.name.as_deref().map(Endpoint::named),
                    calibration: place.calibration,
                    since_ms: place.since_unix_ms,
                    touched_ms: place.touched_unix_ms,
                });
            }
        }
        for (key, parameter) in saved.parameters {
            learner.parameters.get_or_insert_with(key, 0, || parameter);
        }
        Ok(learner)
    }
}
