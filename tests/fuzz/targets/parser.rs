//! SecLang text: it loads or is refused, and what loads runs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qantra_fuzz::{Request, inspect};
use qantra_seclang::{MemoryFiles, Options, RuleSet, Scratch};

fuzz_target!(|text: &[u8]| {
    let files = MemoryFiles::new().with("rules", text).with("words.data", "union\nselect # x\n").with("more.conf", "");
    if let Ok(rules) = RuleSet::load(&files, &["rules"], &Options::default()) {
        let request = b"POST /a/b.php?a=1&b=%27union HTTP/1.1\nHost: x\nCookie: a=b\nContent-Type: application/x-www-form-urlencoded\n\nc=d";
        inspect(&rules, &mut Scratch::new(), &Request::read(request));
    }
});
