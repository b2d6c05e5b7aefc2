//! Enters: what requests look like, scores, labels. Leaves: what the box knows of its own sites: thresholds from local
//! traffic and known parameters, which lower scores. Pure. It must never let few sources move anything: whoever sends
//! attacks would teach it that they are usual.

mod calibrate;
mod corpus;
mod dataset;
mod learner;
mod onnx;
mod parameter;
mod sample;
mod shape;
mod sketch;
mod snapshot;
#[cfg(test)]
mod tests;
mod train;
#[cfg(test)]
mod train_tests;

pub use calibrate::{Calibration, Quorum, log_odds, lowered};
pub use corpus::Corpus;
pub use dataset::{Dataset, DatasetError, Header, Merged, ORIGIN_SAMPLES_MAX, SAMPLES_MAX};
pub use learner::{BenignText, Knowledge, Learner, LearnerStats, PlaceReport, Threshold};
pub use onnx::gate_onnx;
pub use parameter::{KnownParameter, Parameter};
pub use sample::{Label, Sample, TEXT_BYTES_MAX, Voucher, id, kind_of};
pub use shape::{Endpoint, ValueType};
pub use sketch::{FieldSketch, RequestSketch, Sketcher};
pub use snapshot::SnapshotError;
pub use train::{BeforeAfter, Figures, GateWeights, NotTrained, TrainOptions, TrainScratch, Trained, train};
