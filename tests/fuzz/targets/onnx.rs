//! Files for the reader that ONNX files have to pass before ONNX Runtime sees them: the very source of the daemon, without
//! all else that it links.
#![no_main]

#[path = "../../../qantra-user/src/model/onnx/mod.rs"]
mod onnx;

use libfuzzer_sys::fuzz_target;
use onnx::{OnnxLimits, check};

fuzz_target!(|file: &[u8]| {
    let limits = OnnxLimits::DAEMON;
    match check(file, &limits) {
        Ok(summary) => {
            assert!(summary.elements <= limits.elements && summary.operators.len() <= limits.nodes);
            // What passes, passes again: nothing is kept between files.
            assert_eq!(check(file, &limits), Ok(summary));
        }
        Err(refusal) => {
            let said = refusal.to_string();
            assert!(!said.chars().any(char::is_control) && said.chars().count() < 400, "{said:?}");
        }
    }
});
