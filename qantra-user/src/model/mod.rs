//! Enters: feature ids and vectors. Leaves: scores with the model's name and version. The only user of ONNX Runtime;
//! it must never block a request: what comes too late is dropped and counted.

mod error;
mod manifest;
mod session;

pub use error::ModelError;
pub use manifest::{Manifest, ManifestEntry, ModelRole};
pub use session::{IdSession, MatrixSession, Runtime};
