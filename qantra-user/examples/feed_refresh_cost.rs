//! Enters: nothing. Leaves: what it costs to read a list of a million prefixes and to put it together, as one JSON object:
//! `parse_seconds` (from the bytes of a netset to sorted sets), `merge_seconds` (to what both directions are handed),
//! `entries`, `ranges`, `resident_bytes` at the end; and `lookup_ns`, what the proxy's question about a random client costs.
//!
//! `cargo run --release --example feed_refresh_cost [-- ENTRIES]`

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::{fmt::Write as _, net::IpAddr};

use anyhow::Context as _;
use qantra_user::{
    clock::boot_ns,
    intel::list::{EntryPolicy, Format, ListOptions, Part, combine, read_list},
    metrics::resident_bytes,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// As many as the largest lists together have.
const ENTRIES: usize = 1_000_000;
/// Clients that are looked up.
const LOOKUPS: usize = 1_000_000;
/// Like such lists: addresses, some prefixes, a few per cent IPv6; not sorted.
const LENGTHS: [u32; 8] = [32, 32, 32, 32, 32, 32, 24, 28];

/// A netset of random public prefixes; the same every time.
fn netset(entries: usize) -> Result<String, std::fmt::Error> {
    let mut random = StdRng::seed_from_u64(0x6665_6564);
    let mut text = String::with_capacity(entries * 20);
    text.push_str("# made by feed_refresh_cost\n");
    for n in 0..entries {
        if n % 32 == 31 {
            let bits = 0x2a00_u128 << 112 | u128::from(random.random::<u64>()) << 48;
            writeln!(text, "{}/64", std::net::Ipv6Addr::from_bits(bits & !0xffff_ffff_ffff_ffff))?;
            continue;
        }
        // Between 11.0.0.0 and 99.255.255.255 there is nothing special.
        let bits = random.random_range(0x0b00_0000_u32..0x6400_0000);
        match LENGTHS[n % LENGTHS.len()] {
            32 => writeln!(text, "{}", std::net::Ipv4Addr::from_bits(bits))?,
            length => {
                writeln!(text, "{}/{length}", std::net::Ipv4Addr::from_bits(bits >> (32 - length) << (32 - length)))?
            }
        }
    }
    Ok(text)
}

fn main() -> anyhow::Result<()> {
    let entries = std::env::args().nth(1).map_or(Ok(ENTRIES), |text| text.parse()).context("how many entries?")?;
    let text = netset(entries)?;
    let policy = EntryPolicy::new(Vec::new(), false);
    let options = ListOptions {
        format: Format::Auto,
        policy: &policy,
        confidence: 80,
        bytes_max: u64::MAX,
        ranges_max: usize::MAX,
    };
    let seconds = |start_ns: u64| (boot_ns() - start_ns) as f64 / 1e9;
    let start_ns = boot_ns();
    let list = read_list(text.as_bytes(), &options, &mut |_| {}, &mut |_, _, _| {})?;
    let parse_seconds = seconds(start_ns);
    let start_ns = boot_ns();
    let parts = list.tiers.iter().map(|tier| Part {
        confidence: tier.confidence,
        inbound: true,
        outbound: true,
        ranges: &tier.ranges,
    });
    let combined = combine(&parts.collect::<Vec<_>>(), u64::MAX);
    let merge_seconds = seconds(start_ns);
    let ranges = combined.inbound.v4.len() + combined.inbound.v6.len();
    drop(text);
    let clients: Vec<IpAddr> = {
        let mut random = StdRng::seed_from_u64(7);
        (0..LOOKUPS).map(|_| IpAddr::from(random.random::<u32>().to_be_bytes())).collect()
    };
    let start_ns = boot_ns();
    let listed = clients.iter().filter(|client| combined.inbound.contains(**client)).count();
    let lookup_ns = seconds(start_ns) * 1e9 / LOOKUPS as f64;
    let result = serde_json::json!({
        "parse_seconds": parse_seconds,
        "merge_seconds": merge_seconds,
        "entries": list.report.entries,
        "ranges": ranges,
        "resident_bytes": resident_bytes(),
        "lookup_ns": lookup_ns,
        "lookups_listed": listed,
    });
    println!("{result}");
    Ok(())
}
