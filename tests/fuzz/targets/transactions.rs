//! Whole requests through the whole of CRS at paranoia 4. `QANTRA_CRS` is the checkout.
#![no_main]

use std::{cell::RefCell, path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use qantra_fuzz::{Request, inspect};
use qantra_seclang::{Options, RECOMMENDED, RuleSet, Scratch, StdFiles};

static RULES: LazyLock<RuleSet> = LazyLock::new(load);
thread_local! { static USED: RefCell<Scratch> = RefCell::new(Scratch::new()); }

fn load() -> RuleSet {
    let crs = std::env::var_os("QANTRA_CRS").map(PathBuf::from).expect("QANTRA_CRS: run by `cargo xtask fuzz`");
    let before = format!(
        "SecRuleEngine DetectionOnly\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n{RECOMMENDED}\n\
         SecAction \"id:900000,phase:1,pass,nolog,setvar:tx.blocking_paranoia_level=4\""
    );
    let names = ["crs-setup.conf.example", "rules/*.conf"].map(|name| crs.join(name).to_string_lossy().into_owned());
    let options = Options { before, ..Options::default() };
    RuleSet::load(&StdFiles, &names.each_ref().map(String::as_str), &options).expect("CRS loads")
}

fuzz_target!(|bytes: &[u8]| {
    USED.with_borrow_mut(|used| inspect(&RULES, used, &Request::read(bytes)));
});
