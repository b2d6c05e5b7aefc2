//! Enters: a configured interface's name. Leaves: its index and driver, or an error before anything is loaded. It must
//! never read `/sys/class/net`, which shows the network namespace it was mounted in, not ours.

use std::{ffi::CString, io, net::IpAddr, os::fd::AsRawFd};

use ipnet::IpNet;
use rustix::net::{AddressFamily, SocketType, socket};

use super::XdpError;
use crate::config::{Hook, InterfaceConfig, Role};

/// An interface that exists.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) ifindex: u32,
    pub(super) driver: String,
    pub(super) role: Role,
    pub(super) hook: Hook,
    pub(super) is_loopback: bool,
    /// The largest IP packet it takes.
    pub(super) mtu: u32,
    /// Whether a source must be on its own side of the box.
    pub(super) check_sources: bool,
    /// Of a LAN interface: what is behind it.
    pub(super) networks: Vec<IpNet>,
}

/// Fails early and clearly where bpf(2) would only say EPERM.
///
/// # Errors
/// [`XdpError::Privileges`], which says what is missing.
pub fn check_capabilities() -> Result<(), XdpError> {
    use caps::{CapSet, Capability, has_cap};
    let has = |capability| has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    // CAP_SYS_ADMIN holds everything that CAP_BPF was split from.
    if !has(Capability::CAP_BPF) && !has(Capability::CAP_SYS_ADMIN) {
        return Err(XdpError::Privileges { missing: "CAP_BPF" });
    }
    if !has(Capability::CAP_NET_ADMIN) {
        return Err(XdpError::Privileges { missing: "CAP_NET_ADMIN" });
    }
    Ok(())
}

/// A configured interface that nothing is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unattached {
    /// Its name.
    pub name: String,
    /// On which side of the box it is.
    pub role: Role,
    /// Why nothing is.
    pub reason: String,
}

/// Looks every interface up. Those that are not there come apart: they may come later.
pub(super) fn find_all(configs: &[InterfaceConfig]) -> Result<(Vec<Found>, Vec<Unattached>), XdpError> {
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for config in configs {
        match find(config) {
            Ok(interface) => found.push(interface),
            Err(XdpError::NoInterface { .. }) => missing.push(unattached(config, NOT_THERE)),
            Err(error) => return Err(error),
        }
    }
    Ok((found, missing))
}

/// What is said of an interface that may come later.
pub(super) const NOT_THERE: &str = "not there; will be attached when it comes";

pub(super) fn unattached(config: &InterfaceConfig, reason: impl Into<String>) -> Unattached {
    Unattached { name: config.name.clone(), role: config.role, reason: reason.into() }
}

/// Looks an interface up.
pub(super) fn find(config: &InterfaceConfig) -> Result<Found, XdpError> {
    let missing = || XdpError::NoInterface { name: config.name.clone() };
    let name = CString::new(config.name.as_str()).map_err(|_| missing())?;
    // SAFETY: a NUL-terminated string that lives through the call.
    let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if ifindex == 0 || name.as_bytes().len() >= libc::IFNAMSIZ {
        return Err(missing());
    }
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)
        .map_err(|error| XdpError::Call { call: "socket(2)", source: error.into() })?;
    let link_type = link_type(&socket, &name).map_err(|_| missing())?;
    if !matches!(link_type, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK) {
        return Err(XdpError::NotEthernet { name: config.name.clone(), link_type });
    }
    let driver = driver(&socket, &name).unwrap_or_else(|_| "unknown".to_owned());
    let mut networks = config.networks.clone();
    if config.role == Role::Lan {
        networks.extend(own_networks(&config.name));
    }
    Ok(Found {
        name: config.name.clone(),
        ifindex,
        driver,
        role: config.role,
        hook: config.hook,
        is_loopback: link_type == libc::ARPHRD_LOOPBACK,
        mtu: mtu(&socket, &name).map_err(|_| missing())?,
        check_sources: config.check_sources,
        networks,
    })
}

/// The networks that an interface has addresses of.
fn own_networks(name: &str) -> Vec<IpNet> {
    let network = |address: nix::ifaddrs::InterfaceAddress| {
        let (own, mask) = (address.address?, address.netmask?);
        let v4 = || Some((own.as_sockaddr_in()?.ip().into(), mask.as_sockaddr_in()?.ip().into()));
        let v6 = || Some((own.as_sockaddr_in6()?.ip().into(), mask.as_sockaddr_in6()?.ip().into()));
        let (own, mask): (IpAddr, IpAddr) = v4().or_else(v6)?;
        IpNet::with_netmask(own, mask).ok().map(|net| net.trunc())
    };
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten();
    addresses.filter(|address| address.interface_name == name).filter_map(network).collect()
}

fn request(name: &CString) -> libc::ifreq {
    // SAFETY: a plain structure of integers and pointers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request
}

fn link_type(socket: &impl AsRawFd, name: &CString) -> io::Result<u16> {
    let mut request = request(name);
    // SAFETY: the request lives through the call and has the layout that this ioctl wants.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFHWADDR wrote this arm of the union.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

fn mtu(socket: &impl AsRawFd, name: &CString) -> io::Result<u32> {
    let mut request = request(name);
    // SAFETY: the request lives through the call and has the layout that this ioctl wants.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFMTU wrote this arm of the union.
    Ok(unsafe { request.ifr_ifru.ifru_mtu }.unsigned_abs())
}

const ETHTOOL_GDRVINFO: u32 = 3;
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// `struct ethtool_drvinfo` of `linux/ethtool.h`, as far as it is read.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

fn driver(socket: &impl AsRawFd, name: &CString) -> io::Result<String> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    let mut request = request(name);
    request.ifr_ifru.ifru_data = (&raw mut info).cast();
    // SAFETY: request and info live through the call and have the layouts that this ioctl wants.
    if unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let text = info.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}
