//! Bodies for the reader of `JSON`.
#![no_main]

use std::{cell::RefCell, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use qantra_fuzz::{Request, body_rules, inspect};
use qantra_seclang::{RuleSet, Scratch};

static RULES: LazyLock<RuleSet> = LazyLock::new(|| body_rules("JSON"));
thread_local! { static USED: RefCell<Scratch> = RefCell::new(Scratch::new()); }

fuzz_target!(|body: &[u8]| {
    USED.with_borrow_mut(|used| inspect(&RULES, used, &Request::post(b"application/json", body)));
});
