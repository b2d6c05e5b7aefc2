//! Enters: an interface and the TC program. Leaves: the program as a filter at clsact ingress, for kernels before 6.6 and
//! wherever TCX is refused. It must never touch a filter of anybody else.
//!
//! Such a filter belongs to the interface, not to a process, so it outlives the daemon without a pin. It always has the
//! same priority and handle: the next start finds it there and puts its own program in its place in one step. The program
//! is pinned beside the links, only so that it is known which filters are those of this pin folder.

use std::{
    fs, io,
    os::fd::{AsRawFd, BorrowedFd},
    path::Path,
};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::{
    link::{pin, pinned_program_id},
    object::TC,
};
use crate::netlink::Netlink;

/// Early, but behind number 1, which others take for theirs.
const PRIORITY: u16 = 7;
/// `Q`, as a number that is easy to see in `tc filter show dev eth0 ingress`.
const HANDLE: u32 = 0x51;
/// Where ingress filters hang on, with clsact as with the older ingress qdisc.
const INGRESS: TcHandle = TcHandle { major: TcHandle::CLSACT.major, minor: TcHandle::MIN_INGRESS };

/// Makes the program the filter of this interface, and pins it. Returns whether there was one of ours already.
pub(super) fn attach(program: BorrowedFd<'_>, ifindex: u32, path: &Path) -> io::Result<bool> {
    let mut route = Netlink::open(NETLINK_ROUTE)?;
    add_qdisc(&mut route, ifindex)?;
    let adopted = match find(&mut route, ifindex)? {
        Some(filter) if filter.name != TC => {
            let taken = format!("filter `{}` of another program has priority {PRIORITY} there", filter.name);
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, taken));
        }
        found => found.is_some(),
    };
    let bpf = [
        TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned()),
        TcFilterBpfOption::ProgName(TC.to_owned()),
        TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
    ];
    let mut message = filter(ifindex);
    message.attributes =
        vec![TcAttribute::Kind(TcFilterBpf::KIND.to_owned()), TcAttribute::Options(bpf.map(TcOption::Bpf).into())];
    // Without NLM_F_EXCL it takes the place of the filter with this handle, between two packets.
    route.ask(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE)?;
    repin(program, path)?;
    Ok(adopted)
}

/// Removes the filter of this interface when it runs the program that is pinned there, and the pin.
pub(super) fn remove(path: &Path, ifindex: u32) -> io::Result<()> {
    let Some(id) = pinned_program_id(path)? else { return Err(io::ErrorKind::NotFound.into()) };
    let mut route = Netlink::open(NETLINK_ROUTE)?;
    if find(&mut route, ifindex)?.is_some_and(|filter| filter.name == TC && filter.program == id) {
        route.ask(RouteNetlinkMessage::DelTrafficFilter(filter(ifindex)), 0)?;
    }
    fs::remove_file(path)
}

/// What is known of a filter that is there.
struct Filter {
    name: String,
    program: u32,
}

/// The filter at our priority and handle, whoever's it is.
fn find(route: &mut Netlink, ifindex: u32) -> io::Result<Option<Filter>> {
    let answers = match route.ask(RouteNetlinkMessage::GetTrafficFilter(filter(ifindex)), 0) {
        Ok(answers) => answers,
        // No such filter, no qdisc to have one, or no such interface any more.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let options = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(message) => {
            message.attributes.into_iter().find_map(|attribute| match attribute {
                TcAttribute::Options(options) => Some(options),
                _ => None,
            })
        }
        _ => None,
    });
    Ok(options.map(|options| {
        let mut found = Filter { name: String::new(), program: 0 };
        for option in options {
            match option {
                TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => found.name = name,
                TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => found.program = id,
                _ => {}
            }
        }
        found
    }))
}

fn filter(ifindex: u32) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex.cast_signed());
    message.header.parent = INGRESS;
    message.header.handle = HANDLE.into();
    message.header.info = u32::from(PRIORITY) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    message
}

/// Puts a clsact qdisc on the interface. One that is there, or an ingress qdisc, does as well.
fn add_qdisc(route: &mut Netlink, ifindex: u32) -> io::Result<()> {
    let mut message = TcMessage::with_index(ifindex.cast_signed());
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    match route.ask(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_EXCL) {
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
        _ => Ok(()),
    }
}

/// Pins the program, in the place of the one that is pinned.
fn repin(program: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push("%new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    pin(program, Path::new(&fresh))?;
    fs::rename(&fresh, path)
}
