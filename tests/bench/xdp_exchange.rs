//! Enters: nothing. Leaves: how many packets of sources that are always listed came through while lists were exchanged a
//! thousand times, as rows for `cargo xtask bench xdp`. It must never stop at the first.
//!
//! `cargo run --release --package qantra-tests --example xdp_exchange [-- EXCHANGES]`

use std::time::Duration;

use anyhow::Result;
use qantra_tests::{exchange::exchange, rows::Rows};
use qantra_user::config::Hook;

const EXCHANGES: usize = 1_000;
/// Most time for each hook.
const LONGEST: Duration = Duration::from_secs(180);

fn main() -> Result<()> {
    let most = std::env::args().nth(1).map_or(Ok(EXCHANGES), |text| text.parse())?;
    let mut rows = Rows::default();
    for (name, hook) in [("native", Hook::Native), ("tcx", Hook::Tcx)] {
        let all = exchange(hook, most, LONGEST)?;
        rows.add(format!("exchanges_{name}"), "exchanges", all.exchanges as f64);
        rows.add(format!("exchange_{name}_ms"), "ms", all.time.as_secs_f64() * 1e3 / all.exchanges as f64);
        rows.add(format!("exchange_{name}_dropped"), "packets", all.dropped as f64);
        rows.add(format!("exchange_{name}_passed"), "packets", all.passed as f64);
    }
    rows.print();
    Ok(())
}
