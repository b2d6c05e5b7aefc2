//! Enters: netlink messages. Leaves: the kernel's answers, or its refusal as an error number, and word that something
//! changed. It must never wait without an end for anything but the answer to what was asked.

use std::{io, time::Duration};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
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
            for message in self.receive::<M>(self.sequence)? {
                let interrupted = message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    // What is listed changed meanwhile: entries may be missing or come twice.
                    _ if interrupted => return Err(io::ErrorKind::Interrupted.into()),
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(answers),
                    _ => {}
                }
            }
        }
    }

    /// Sends messages, with the flags of each, as one transaction between its two brackets: all of them are put into
    /// effect in one step, or none is.
    pub(crate) fn transact<M>(&mut self, begin: M, messages: Vec<(M, u16)>, end: M) -> io::Result<()>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        let Some(last) = messages.len().checked_sub(1) else { return Ok(()) };
        let mut datagram = self.encode(begin, 0);
        let first = self.sequence;
        for (index, (message, flags)) in messages.into_iter().enumerate() {
            // Kernels before 6.10 do not acknowledge the bracket at the end.
            let acknowledge = if index == last { NLM_F_ACK } else { 0 };
            datagram.extend(self.encode(message, flags | acknowledge));
        }
        let awaited = self.sequence;
        datagram.extend(self.encode(end, 0));
        self.socket.send(&datagram, 0)?;
        loop {
            for message in self.receive::<M>(first)? {
                match message.payload {
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Error(_) if message.header.sequence_number == awaited => return Ok(()),
                    _ => {}
                }
            }
        }
    }

    /// Takes more in one datagram than a program without privileges may send.
    pub(crate) fn allow_datagrams_of(&self, bytes: usize) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_send_buffer_size_force(&self.socket, bytes)?)
    }

    /// The messages of one datagram that answer requests from this one on; those of one that failed before are passed
    /// over.
    fn receive<M: NetlinkDeserializable>(&self, from: u32) -> io::Result<Vec<NetlinkMessage<M>>> {
        let (datagram, sender) = self.socket.recv_from_full()?;
        if sender.port_number() != KERNEL {
            return Ok(Vec::new());
        }
        let messages = decode(&datagram)?;
        Ok(messages
            .into_iter()
            .filter(|message| (from..=self.sequence).contains(&message.header.sequence_number))
            .collect())
    }

    fn encode<M: NetlinkSerializable>(&mut self, message: M, flags: u16) -> Vec<u8> {
        // After 4 billion messages the count begins anew, with answers that are never mistaken for those before.
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
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
