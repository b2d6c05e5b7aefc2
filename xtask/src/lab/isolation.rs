//! Whether a lab is cut off. Enters: its namespaces as the kernel shows them. Leaves: nothing, or an error that names the
//! way out. It runs before anything is started in a lab, and sends no packet itself: it asks the routing tables.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{
    Lab, network,
    plan::{is_lab_destination, namespace},
    running::{run, succeeds},
};

/// Addresses far away that must not be reachable either.
const FAR_AWAY: [&str; 3] = ["1.1.1.1", "10.0.0.1", "2606:4700:4700::1111"];

#[derive(Debug, Deserialize)]
struct Link {
    ifname: String,
    #[serde(default)]
    linkinfo: LinkInfo,
    /// The namespace of a veth's other end, as a number of this namespace; none: the same namespace.
    link_netnsid: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
struct LinkInfo {
    info_kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Route {
    dst: String,
}

#[derive(Debug, Deserialize)]
struct Address {
    addr_info: Vec<AddressInfo>,
}

#[derive(Debug, Deserialize)]
struct AddressInfo {
    local: String,
}

fn read<T: for<'de> Deserialize<'de>>(arguments: &[&str]) -> Result<Vec<T>> {
    let text = run(Command::new("ip").args(arguments))?;
    // `ip -j` prints nothing at all for an empty list in some versions.
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).with_context(|| format!("ip {}", arguments.join(" ")))
}

/// Checks that every interface is loopback, a bridge or one end of a cable whose other end is inside the lab as well.
///
/// # Errors
/// One is not.
pub(super) fn check_links(lab: &Lab) -> Result<()> {
    let mut ends = 0;
    for namespace in network::namespaces(lab) {
        for link in read::<Link>(&["-n", &namespace, "-j", "-d", "link"])? {
            match link.linkinfo.info_kind.as_deref() {
                None => ensure!(link.ifname == "lo", "{namespace} has the interface {}", link.ifname),
                Some("bridge") => {}
                Some("veth") => ends += 1,
                Some(kind) => anyhow::bail!("{namespace} has the interface {} of kind {kind}", link.ifname),
            }
        }
    }
    // Each cable has two ends. All ends are counted inside: so no other end is anywhere else.
    let expected = 2 * network::cables();
    ensure!(ends == expected, "{ends} ends of cables are inside the lab, {expected} would be all of them");
    for link in read::<Link>(&["-j", "-d", "link"])? {
        let Some(number) = link.link_netnsid else { continue };
        let names = run(Command::new("ip").args(["netns", "list-id", "nsid", &number.to_string()]))?;
        let prefix = namespace(lab.id(), "");
        ensure!(!names.contains(&prefix), "the machine's own interface {} leads into the lab", link.ifname);
    }
    Ok(())
}

/// Checks that no namespace has a route to anything but the lab's own ranges, and that none would find a way to the
/// machine's own addresses or to the world.
///
/// # Errors
/// One has.
pub(super) fn check_routes(lab: &Lab) -> Result<()> {
    let own: BTreeSet<String> = read::<Address>(&["-j", "addr"])?
        .into_iter()
        .flat_map(|interface| interface.addr_info)
        .map(|info| info.local)
        .filter(|address| !address.starts_with("127.") && address != "::1" && !address.starts_with("fe80"))
        .collect();
    for namespace in network::namespaces(lab) {
        for family in ["-4", "-6"] {
            for route in read::<Route>(&["-n", &namespace, family, "-j", "route", "show", "table", "all"])? {
                ensure!(is_lab_destination(&route.dst), "{namespace} has a route to {}", route.dst);
            }
        }
        for address in own.iter().map(String::as_str).chain(FAR_AWAY) {
            let found = succeeds(Command::new("ip").args(["-n", &namespace, "route", "get", address]));
            ensure!(!found, "{namespace} has a route to {address}, which is outside the lab");
        }
    }
    Ok(())
}
