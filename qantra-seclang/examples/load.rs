//! Enters: rule files. Leaves: what was loaded, or the first reason why not. `cargo run -p qantra-seclang --example load -- FILE…`
#![expect(clippy::print_stdout, reason = "the summary goes to the person who asked")]

use qantra_seclang::{LoadError, Options, RuleSet, StdFiles};

fn main() -> Result<(), LoadError> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rules = RuleSet::load(&StdFiles, &names, &Options::default())?;
    for (position, warning) in rules.warnings() {
        println!("{position}: {warning}");
    }
    println!("run on every value: {:?}", rules.untested_ids().collect::<Vec<_>>());
    let summary = rules.summary();
    println!("{} rules, {} of them folded, about {} kB", summary.rules, summary.folded, summary.bytes / 1024);
    Ok(())
}
