//! Makes the namespaces and cables of a lab. Enters: the plan. Leaves: hosts that reach each other by way of the gateway
//! and nothing else. Both ends of each cable are made inside the lab: the machine's own network never has an interface
//! of it, and never gets a route to it.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{
    Lab,
    plan::{Family, GATEWAY_LAN_V4, GATEWAY_LAN_V6, Host, Side, hosts},
    running::{feed, run},
};

/// Folders here give `ip netns exec` files to mount over those in `/etc`.
pub(super) const ETC_NETNS: &str = "/etc/netns";

/// Every namespace of a lab: the hosts and the two bridges.
pub(super) fn namespaces(lab: &Lab) -> Vec<String> {
    let switches = [Side::Wan, Side::Lan].map(Side::switch);
    hosts().iter().map(|host| host.name).chain(switches).map(|name| lab.namespace(name)).collect()
}

/// How many cables the lab has: one for each host, and a second for the gateway.
pub(super) fn cables() -> usize {
    hosts().len() + 1
}

/// Makes namespaces and cables, all of them still down.
///
/// # Errors
/// `ip` failed.
pub(super) fn create(lab: &Lab) -> Result<()> {
    let mut batch = String::new();
    for namespace in namespaces(lab) {
        writeln!(batch, "netns add {namespace}")?;
    }
    feed(Command::new("ip").args(["-batch", "-"]), &batch)?;
    for side in [Side::Wan, Side::Lan] {
        let switch = lab.namespace(side.switch());
        let mut batch = String::from("link add br0 type bridge mcast_snooping 0\n");
        for (host, interface) in ports(side) {
            let far = lab.namespace(host);
            writeln!(batch, "link add p-{host} type veth peer name {interface} netns {far}")?;
            writeln!(batch, "link set p-{host} master br0")?;
        }
        feed(Command::new("ip").args(["-n", &switch, "-batch", "-"]), &batch)?;
    }
    for host in hosts() {
        let folder = Path::new(ETC_NETNS).join(lab.namespace(host.name));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        fs::write(folder.join("hosts"), host.hosts_file())?;
        // No resolver: names are in the hosts file, and a question to port 53 of loopback is refused at once.
        fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
    }
    Ok(())
}

/// Who is cabled to a side's bridge, and the interface's name at the far end.
fn ports(side: Side) -> impl Iterator<Item = (&'static str, &'static str)> {
    let gateway = match side {
        Side::Wan => "wan0",
        Side::Lan => "lan0",
    };
    let others = hosts().iter().filter(move |host| host.side == side && host.name != "gateway");
    others.map(|host| (host.name, "eth0")).chain([("gateway", gateway)])
}

/// Gives addresses and routes, and sets everything up.
///
/// # Errors
/// `ip`, `sysctl` or `nft` failed.
pub(super) fn configure(lab: &Lab) -> Result<()> {
    for side in [Side::Wan, Side::Lan] {
        let mut batch = String::from("link set lo up\nlink set br0 up\n");
        for (host, _) in ports(side) {
            writeln!(batch, "link set p-{host} up")?;
        }
        feed(Command::new("ip").args(["-n", &lab.namespace(side.switch()), "-batch", "-"]), &batch)?;
    }
    for host in hosts() {
        let mut batch = String::from("link set lo up\n");
        if host.name == "gateway" {
            batch += &addresses(host, "wan0")?;
            writeln!(batch, "addr add {GATEWAY_LAN_V4}/{} dev lan0", Host::prefix(Family::V4))?;
            writeln!(batch, "addr add {GATEWAY_LAN_V6}/{} dev lan0 nodad", Host::prefix(Family::V6))?;
            writeln!(batch, "link set lan0 up")?;
        } else {
            batch += &addresses(host, "eth0")?;
            batch += &route_across(host)?;
        }
        feed(Command::new("ip").args(["-n", &lab.namespace(host.name), "-batch", "-"]), &batch)?;
    }
    make_router(lab)
}

fn addresses(host: &Host, interface: &str) -> Result<String> {
    let mut batch = String::new();
    writeln!(batch, "addr add {}/{} dev {interface}", host.address(Family::V4), Host::prefix(Family::V4))?;
    writeln!(batch, "addr add {}/{} dev {interface} nodad", host.address(Family::V6), Host::prefix(Family::V6))?;
    writeln!(batch, "link set {interface} up")?;
    Ok(batch)
}

/// A route to the other side by way of the gateway; never a default route.
fn route_across(host: &Host) -> Result<String> {
    let gateway = &hosts()[0];
    let mut batch = String::new();
    match host.side {
        Side::Wan => {
            writeln!(batch, "route add 203.0.113.0/24 via {}", gateway.address(Family::V4))?;
            writeln!(batch, "route add 2001:db8:b::/48 via {}", gateway.address(Family::V6))?;
        }
        Side::Lan => {
            writeln!(batch, "route add 198.51.100.0/24 via {GATEWAY_LAN_V4}")?;
            writeln!(batch, "route add 2001:db8:a::/48 via {GATEWAY_LAN_V6}")?;
        }
    }
    Ok(batch)
}

/// Forwarding as on a home router: the LAN may go out, the Internet may only answer. Sets with counters say how many
/// packets of each source came past the hook, apart from what Qantra says of itself.
fn make_router(lab: &Lab) -> Result<()> {
    let keys = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"];
    run(lab.command("gateway", "sysctl").arg("-qw").args(keys))?;
    let rules = "table inet lab {\n\
        set seen4 { type ipv4_addr; size 4096; flags dynamic; counter; }\n\
        set seen6 { type ipv6_addr; size 4096; flags dynamic; counter; }\n\
        chain seen { type filter hook prerouting priority raw; policy accept;\n\
            add @seen4 { ip saddr }\n\
            add @seen6 { ip6 saddr }\n\
        }\n\
        chain forward { type filter hook forward priority filter; policy drop;\n\
            ct state established,related accept\n\
            iifname \"lan0\" oifname \"wan0\" accept\n\
        }\n}\n";
    feed(lab.command("gateway", "nft").args(["-f", "-"]), rules)
}
