//! Enters: a name. Leaves: a client and the box, each in a namespace of its own, joined by one cable, and what the box's end
//! of it has seen. It must never be ready before both families are.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use qantra_user::{
    config::{Hook, KernelConfig, Role},
    xdp::Kernel,
};

use crate::{
    kernel::{Pins, interface},
    netns::{NetNs, join},
};

/// The client's address.
pub const CLIENT: &str = "192.0.2.10";
/// The client's IPv6 address.
pub const CLIENT_V6: &str = "2001:db8::10";
/// The box's address.
pub const BOX: &str = "192.0.2.1";
/// The box's IPv6 address.
pub const BOX_V6: &str = "2001:db8::1";
/// The box's end.
pub const PORT: &str = "port0";
/// The client's end.
pub const CLIENT_PORT: &str = "eth0";
/// Hardware address of the box's end, to which `PacketBuilder` sends.
const BOX_ETHER: &str = "02:00:00:00:00:02";

/// A client and the box.
#[derive(Debug)]
pub struct Cable {
    /// Who sends.
    pub client: NetNs,
    /// Where the kernel half is.
    pub gateway: NetNs,
}

impl Cable {
    /// Joins them and waits until both answer.
    ///
    /// # Errors
    /// Without root, or when no ping comes through.
    pub fn new(prefix: &str) -> Result<Self> {
        let (client, gateway) = (NetNs::new(&format!("{prefix}-client"))?, NetNs::new(&format!("{prefix}-box"))?);
        join(
            (&client, CLIENT_PORT, &["192.0.2.10/24", "2001:db8::10/64"]),
            (&gateway, PORT, &["192.0.2.1/24", "2001:db8::1/64"]),
        )?;
        gateway.ip(&["link", "set", PORT, "address", BOX_ETHER])?;
        let cable = Self { client, gateway };
        let ready = (0..20).any(|_| cable.pings().is_ok_and(|answers| answers == [true, true]));
        ensure!(ready, "no answer over a cable without any program");
        Ok(cable)
    }

    /// Starts the kernel half on the box's end.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, pins: &Pins, config: &KernelConfig, role: Role, hook: Hook) -> Result<Kernel> {
        let _inside = self.gateway.enter()?;
        let config = KernelConfig { pin_dir: pins.path().to_owned(), ..config.clone() };
        Kernel::start(&config, &[interface(PORT, role, hook)], false).context("starting the kernel half")
    }

    /// Whether the box answers, by IPv4 and by IPv6.
    ///
    /// # Errors
    /// ping cannot be run.
    pub fn pings(&self) -> Result<[bool; 2]> {
        Ok([self.client.pings(BOX)?, self.client.pings(BOX_V6)?])
    }

    /// Frames that came in at the box's end, as the interface itself counts them.
    ///
    /// # Errors
    /// `ip` says what cannot be read.
    pub fn received(&self) -> Result<u64> {
        let output = self.gateway.run("ip", &["-json", "-stats", "link", "show", PORT])?;
        let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        links[0]["stats64"]["rx"]["packets"].as_u64().context("no count of received frames")
    }
}

/// Packets by verdict, as the kernel half counts them.
///
/// # Errors
/// bpf(2) fails.
pub fn verdicts(kernel: &Kernel) -> Result<BTreeMap<&'static str, u64>> {
    let mut counts = BTreeMap::new();
    for count in kernel.verdicts()? {
        *counts.entry(count.verdict.as_str()).or_default() += count.packets;
    }
    Ok(counts)
}
