//! One address or prefix a line: FireHOL's netsets, cscli's `values`, lists made by hand.

use std::{
    io::{self, BufRead, Write},
    net::IpAddr,
};

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};

use super::{Each, Entry, lines::Lines, net_of, short};
use crate::decide::Scope;

/// Reads addresses and prefixes; with `loose` comments and ranges too.
pub(super) fn read(input: &mut dyn BufRead, loose: bool, each: &mut Each<'_>) -> io::Result<()> {
    let mut lines = Lines::new(input);
    while let Some((number, line)) = lines.next()? {
        let line = match line {
            Ok(line) if loose => line.split(['#', ';']).next().unwrap_or_default().trim(),
            Ok(line) => line.trim(),
            Err(why) => {
                if !each(number, Err(why)) {
                    return Ok(());
                }
                continue;
            }
        };
        if line.is_empty() {
            continue;
        }
        let goes_on = match (net_of(line), loose) {
            (Err(_), true) if line.contains('-') => match range(line) {
                Ok(nets) => nets.into_iter().all(|net| each(number, Ok(Entry::of(net)))),
                Err(why) => each(number, Err(why)),
            },
            (net, _) => each(number, net.map(Entry::of)),
        };
        if !goes_on {
            return Ok(());
        }
    }
    Ok(())
}

/// `a-b`, both included, as the prefixes it consists of: 252 at most.
pub(super) fn range(text: &str) -> Result<Vec<IpNet>, String> {
    let bad = || format!("`{}` is no range: write first-last, both of one family, the lower first", short(text));
    let (first, last) = text.split_once('-').ok_or_else(bad)?;
    let end = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| bad()).map(|address| address.to_canonical());
    match (end(first)?, end(last)?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ok(IpSubnets::V4(Ipv4Subnets::new(first, last, 0)).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ok(IpSubnets::V6(Ipv6Subnets::new(first, last, 0)).collect())
        }
        _ => Err(bad()),
    }
}

pub(super) fn write(entries: &[Entry], out: &mut dyn Write) -> io::Result<()> {
    entries.iter().try_for_each(|entry| writeln!(out, "{}", Scope(entry.net)))
}
