//! Enters: netlink messages. Leaves: the kernel's answers, or its refusal as an error number, and word that something
//! changed. It must never wait without an end for anything but the answer to what was asked.

use std::{io, time::Duration};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// The kernel's address.
const KERNEL: u32 = 0;

/// A netlink socket in the network namespace of the thread that opened it.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens one, for a protocol of `netlink_sys::protocols`.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let _address = socket.bind_auto()?;
        socket.connect(&SocketAddr::new(KERNEL, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one message and returns what the kernel answers, up to its acknowledgement or the end of its list.
    pub(crate) fn ask<M>(&mut self, message: M, flags: u16) -> io::Result<Vec<M>>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let ends = if flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
        let bytes = self.encode(message, flags | ends);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        loop {
            for message in self.receive::<M>()? {
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }

    /// The messages of one datagram that answer the last request; those of an earlier one that failed are passed over.
    fn receive<M: NetlinkDeserializable>(&self) -> io::Result<Vec<NetlinkMessage<M>>> {
        let (datagram, sender) = self.socket.recv_from_full()?;
        if sender.port_number() != KERNEL {
            return Ok(Vec::new());
        }
        let messages = decode(&datagram)?;
        Ok(messages.into_iter().filter(|message| message.header.sequence_number == self.sequence).collect())
    }

    fn encode<M: NetlinkSerializable>(&mut self, message: M, flags: u16) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }
}

/// The kernel's word that something of a group changed, such as the links of this network namespace.
pub(crate) struct Changes(Socket);

impl Changes {
    /// Listens to a group of a protocol, `RTNLGRP_LINK` for instance.
    pub(crate) fn listen(protocol: isize, group: u32) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let _address = socket.bind_auto()?;
        socket.add_membership(group)?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Whether something changed, or may have, within this time. What it was is to be looked up: words that came too fast
    /// for the socket are lost, and only that they were is said.
    pub(crate) fn wait(&self, time: Duration) -> io::Result<bool> {
        let timeout = rustix::event::Timespec::try_from(time).map_err(io::Error::other)?;
        let mut polled = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut word = bytes::BytesMut::with_capacity(16 * 1024);
        loop {
            word.clear();
            match self.0.recv(&mut word, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Takes a datagram apart; a message that does not decode is an error, not a reason to guess on.
fn decode<M: NetlinkDeserializable>(datagram: &[u8]) -> io::Result<Vec<NetlinkMessage<M>>> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let message = NetlinkMessage::<M>::deserialize(rest).map_err(io::Error::other)?;
        // Messages are aligned to four bytes.
        let length = (message.header.length as usize).next_multiple_of(4);
        messages.push(message);
        rest = rest.get(length.max(1)..).unwrap_or_default();
    }
    Ok(messages)
}
