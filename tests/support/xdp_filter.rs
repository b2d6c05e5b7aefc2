//! Enters: an interface. Leaves: Debian's `xdp-filter` on it, which lets everything pass but one address, and its program.
//! It must never stay loaded when the guard is dropped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};

use crate::{netns::NetNs, program};

/// The one address that it drops.
pub const DROPPED: &str = "192.0.2.66";

/// `xdp-filter`, loaded.
#[derive(Debug)]
pub struct XdpFilter<'a> {
    netns: &'a NetNs,
    interface: String,
    program: OwnedFd,
}

impl<'a> XdpFilter<'a> {
    /// Loads it for IPv4 and IPv6 addresses in allow mode.
    ///
    /// # Errors
    /// It is not installed (`cargo xtask setup`), or does not load.
    pub fn load(netns: &'a NetNs, interface: &str) -> Result<Self> {
        xdp_filter(netns, &["load", "--mode", "native", "--policy", "allow", "--features", "ipv4,ipv6", interface])?;
        let filter = program(netns, interface).and_then(program::by_id);
        let filter = filter.map(|program| Self { netns, interface: interface.to_owned(), program });
        if filter.is_err() {
            xdp_filter(netns, &["unload", interface])?;
        }
        xdp_filter(netns, &["ip", "--mode", "src", DROPPED])?;
        filter
    }

    /// Its program.
    #[must_use]
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

impl Drop for XdpFilter<'_> {
    fn drop(&mut self) {
        let _gone = xdp_filter(self.netns, &["unload", &self.interface]);
    }
}

fn xdp_filter(netns: &NetNs, arguments: &[&str]) -> Result<()> {
    let output = netns.run("xdp-filter", arguments)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "xdp-filter {}: {}", arguments.join(" "), said.trim());
    Ok(())
}

/// The id of the XDP program on an interface.
fn program(netns: &NetNs, interface: &str) -> Result<u32> {
    let output = netns.run("ip", &["-json", "link", "show", interface])?;
    let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let id = links[0]["xdp"]["prog"]["id"].as_u64().context("no XDP program on the interface")?;
    Ok(u32::try_from(id)?)
}
