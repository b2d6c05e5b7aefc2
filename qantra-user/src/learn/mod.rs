//! Enters: what requests look like, scores, labels. Leaves: what the box knows of its own sites: thresholds from local
//! traffic and known parameters, which lower scores. Pure. It must never let few sources move anything: whoever sends
//! attacks would teach it that they are usual.

mod calibrate;
mod learner;
mod parameter;
mod shape;
mod sketch;
mod snapshot;
#[cfg(test)]
mod tests;

pub use calibrate::{Calibration, Quorum, log_odds, lowered};
pub use learner::{Knowledge, Learner, LearnerStats, PlaceReport, Threshold};
pub use parameter::{KnownParameter, Parameter};
pub use shape::{Endpoint, ValueType};
pub use sketch::{FieldSketch, RequestSketch, Sketcher};
pub use snapshot::SnapshotError;
