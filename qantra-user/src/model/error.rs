//! Every way in which a model can fail to load or to run, each in one line that says what to do.

use std::path::PathBuf;

use super::onnx::OnnxRefusal;

/// A model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// ONNX Runtime is not where the configuration says, or is too old.
    #[error("ONNX Runtime at {path}: {reason} (set `models.runtime` to libonnxruntime.so 1.24 or newer)")]
    Runtime {
        /// The configured path.
        path: PathBuf,
        /// What the loader said, in one line.
        reason: String,
    },
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest is not valid TOML or lacks a key.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line and key, in one line.
        reason: String,
    },
    /// The manifest names no model for this purpose.
    #[error("{path}: no model with role `{role}`; install a complete set of models")]
    NoSuchRole {
        /// The manifest.
        path: PathBuf,
        /// The role that is missing.
        role: &'static str,
    },
    /// The file is not the one that the manifest describes.
    #[error("{path}: sha256 is {found}, the manifest says {expected}; the file is damaged or was replaced")]
    Checksum {
        /// The model file.
        path: PathBuf,
        /// As computed.
        found: String,
        /// As in the manifest.
        expected: String,
    },
    /// The model was trained on other features than this program computes.
    #[error(
        "model `{model}`: trained for feature schema {found}, this qantra computes {expected}; train it again or install the matching models"
    )]
    Schema {
        /// The model's name.
        model: String,
        /// The manifest's hash.
        found: String,
        /// This program's hash.
        expected: String,
    },
    /// Inputs, outputs, classes or thresholds are not as the role demands.
    #[error("model `{model}`: {reason}")]
    Shape {
        /// The model's name.
        model: String,
        /// What is wrong.
        reason: String,
    },
    /// The file holds what no model of this program needs, or too much of it.
    #[error("model `{model}`: refused before it was loaded: {refusal}")]
    Refused {
        /// The model's name.
        model: String,
        /// What, where, and the limit.
        refusal: OnnxRefusal,
    },
    /// What was asked of a version cannot be done.
    #[error("{reason}")]
    Life {
        /// Why not, and what to do.
        reason: String,
    },
    /// The signature is missing or bad.
    #[error("signature: {reason}")]
    Signature {
        /// What is wrong.
        reason: String,
    },
    /// A set of models failed its trial in a process of its own.
    #[error("{dir}: {reason}")]
    Check {
        /// The folder.
        dir: PathBuf,
        /// What the trial said, in one line.
        reason: String,
    },
    /// ONNX Runtime refused the file or failed while running it.
    #[error("model `{model}`: ONNX Runtime: {reason}")]
    Onnx {
        /// The model's name.
        model: String,
        /// What it said, in one line.
        reason: String,
    },
}

/// What ONNX Runtime says can span lines and hold a whole node: one line of at most 200 characters is enough.
pub(super) fn one_line(error: &dyn std::fmt::Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}
