//! Enters: nothing. Leaves: where ONNX Runtime is, for tests that load models.

use std::path::{Path, PathBuf};

/// The library that `cargo xtask setup` puts below the target folder, or `None` with a word about it.
#[expect(clippy::print_stderr, reason = "a test that skips says so")]
#[must_use]
pub fn library() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(beside, PathBuf::from);
    let path = target.join("onnxruntime").join(std::env::consts::ARCH).join("libonnxruntime.so");
    let found = path.canonicalize().ok();
    if found.is_none() {
        eprintln!("skipped: no ONNX Runtime at {}; `cargo xtask setup` fetches it", path.display());
    }
    found
}
