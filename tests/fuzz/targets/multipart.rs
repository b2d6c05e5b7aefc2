//! Bodies for the reader of `MULTIPART`. The first line is the content type.
#![no_main]

use std::{cell::RefCell, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use qantra_fuzz::{Request, body_rules, inspect};
use qantra_seclang::{RuleSet, Scratch};

static RULES: LazyLock<RuleSet> = LazyLock::new(|| body_rules("MULTIPART"));
thread_local! { static USED: RefCell<Scratch> = RefCell::new(Scratch::new()); }

fuzz_target!(|bytes: &[u8]| {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let body = bytes.get(line + 1..).unwrap_or_default();
    USED.with_borrow_mut(|used| inspect(&RULES, used, &Request::post(&bytes[..line], body)));
});
