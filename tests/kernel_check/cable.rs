//! Enters: nothing. Leaves: a veth pair, made by netlink since the guests have no `ip`. It must never outlive its guard.

use std::{io, net::IpAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;

/// The box's end, where the programs are attached.
pub(crate) const PORT: &str = "port0";
/// The other end.
pub(crate) const FAR: &str = "wire0";

/// What `PacketBuilder` writes as destination.
const PORT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];

/// A veth pair; removed when dropped.
pub(crate) struct Cable(Socket);

impl Cable {
    pub(crate) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut cable = Self(socket);
        let mut far = LinkMessage::default();
        far.attributes = vec![LinkAttribute::IfName(FAR.to_owned())];
        let veth = [LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far)))];
        let mut near = LinkMessage::default();
        near.attributes = vec![
            LinkAttribute::IfName(PORT.to_owned()),
            LinkAttribute::Address(PORT_MAC.to_vec()),
            LinkAttribute::LinkInfo(veth.to_vec()),
        ];
        cable.ask(RouteNetlinkMessage::NewLink(near), NLM_F_CREATE | NLM_F_EXCL)?;
        Ok(cable)
    }

    pub(crate) fn set_up(&mut self, name: &str) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = if_nametoindex(name)?;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::NewLink(link), 0)
    }

    /// Gives the box's end an address.
    pub(crate) fn add_address(&mut self, address: IpAddr, prefix_len: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.prefix_len = prefix_len;
        // Without duplicate address detection an IPv6 address can be used at once.
        message.header.flags = AddressHeaderFlags::Nodad;
        message.header.index = if_nametoindex(PORT)?;
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        self.ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE)
    }

    /// Sends a request and waits until the kernel has done it or refused.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            _ => Ok(()),
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        if let Ok(index) = if_nametoindex(PORT) {
            let mut link = LinkMessage::default();
            link.header.index = index;
            let _gone = self.ask(RouteNetlinkMessage::DelLink(link), 0);
        }
    }
}
