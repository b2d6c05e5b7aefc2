//! Enters: a rung with the object on it. Leaves: whether lists of feeds hold while they are exchanged. It must never take a
//! datagram that was not sent for one that was dropped: those that nobody listed come through meanwhile.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use qantra_user::{
    enforce::{AddressRanges, FeedPlane},
    xdp::Kernel,
};

use crate::checks::{BANNED, Done, IN_PREFIX, INNOCENT, Stand, done};

/// Volleys and exchanges go on side by side, for so many exchanges.
const EXCHANGES: usize = 30;

/// Two lists take turns while listed sources send; both list these, and each lists more.
pub(crate) fn exchanged(stand: &mut Stand, kernel: &mut Kernel) -> Done {
    let plane = kernel.plane();
    let lists = [list(&[BANNED, IN_PREFIX].concat())?, list(&BANNED)?];
    let nobody = AddressRanges::default();
    plane.replace_feeds(&lists[0], &nobody)?;
    let volleys = std::thread::scope(|scope| -> Result<usize> {
        let plane = &plane;
        let exchanging = scope.spawn(move || {
            (0..EXCHANGES).try_for_each(|turn| plane.replace_feeds(&lists[(turn + 1) % 2], &nobody).map(|_| ()))
        });
        let mut volleys = 0;
        while !exchanging.is_finished() || volleys == 0 {
            stand.expect("listed while lists are exchanged", &BANNED, false)?;
            stand.expect("not listed", &INNOCENT, true)?;
            volleys += 1;
        }
        exchanging.join().ok().context("the exchanging thread failed")??;
        Ok(volleys)
    })?;
    let hits = plane.take_feed_hits()?;
    for source in BANNED {
        let source: IpAddr = source.parse()?;
        let packets: u64 = hits.by_address.iter().filter(|hit| hit.address == source).map(|hit| hit.packets).sum();
        ensure!(packets >= volleys as u64, "{source} has {packets} hits, after {volleys} volleys");
    }
    plane.replace_feeds(&AddressRanges::default(), &AddressRanges::default())?;
    stand.expect("after the last list", &BANNED, true)?;
    done(format!("{EXCHANGES} exchanges during {volleys} volleys"))
}

/// Single addresses as a list.
fn list(addresses: &[&str]) -> Result<AddressRanges> {
    let mut ranges = AddressRanges::default();
    for address in addresses {
        match address.parse()? {
            IpAddr::V4(v4) => ranges.v4.push((v4.to_bits(), v4.to_bits())),
            IpAddr::V6(v6) => ranges.v6.push((v6.to_bits(), v6.to_bits())),
        }
    }
    ranges.v4.sort_unstable();
    ranges.v6.sort_unstable();
    Ok(ranges)
}
