//! Enters: `cargo xtask lab …`. Leaves: a network of namespaces that is cut off from every other network: an Internet
//! side with attackers and honest clients, the gateway, a LAN side with the origin and devices. It must never touch an
//! interface, a route or a process of the machine's own network.

mod gateway;
mod isolation;
mod network;
mod origin;
mod plan;
mod running;
mod teardown;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;

use crate::process;

pub(crate) use gateway::{Gateway, binary, control_socket};
pub(crate) use origin::{FILES_PORT, certificate, reached, start as start_origin};
pub(crate) use plan::{FILES_HOST, Family, SHOP_HOST, Side, host};
pub(crate) use running::{Running, run as output};

/// Where labs keep what they need while they are up; one folder each.
pub(crate) const LABS_DIR: &str = "/run/qantra-lab";

/// Options of `lab`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the lab's namespaces, start the origin and `qantra run` in the gateway, and leave them up.
    Up {
        /// Start nginx as a plain reverse proxy in Qantra's place.
        #[arg(long)]
        without_qantra: bool,
    },
    /// Stop everything in a lab and remove it; without an id: every lab of this machine.
    Down {
        /// The lab's id, as `up` printed it.
        id: Option<String>,
    },
    /// Check again that a lab that is up has no way out.
    Check {
        /// The lab's id.
        id: String,
    },
    /// Open a shell in one of a lab's namespaces.
    Shell {
        /// `gateway`, `origin`, `laptop`, `curl`, `nmap`, …
        #[arg(default_value = "gateway")]
        host: String,
        /// The lab's id; without: the only one there is.
        #[arg(long)]
        id: Option<String>,
    },
}

/// `cargo xtask lab`.
///
/// # Errors
/// Not root, a lab that would not be isolated, or a command that failed.
pub fn run(args: &Args) -> Result<()> {
    require_root()?;
    match &args.verb {
        Verb::Up { without_qantra } => {
            crate::demo::stop::catch()?;
            let mut lab = Lab::up()?;
            let mut origin = start_origin(&lab)?;
            let mut gateway = Gateway::start(&lab, *without_qantra)?;
            origin.leave_running();
            gateway.leave_running();
            lab.keep();
            println!("{}", lab.how_to_enter());
            Ok(())
        }
        Verb::Check { id } => Lab::open(&known(id)?).check(),
        Verb::Down { id: Some(id) } => teardown::remove(&known(id)?),
        Verb::Down { id: None } => labs()?.iter().try_for_each(|id| teardown::remove(id)),
        Verb::Shell { host: name, id } => {
            let id = match id {
                Some(id) => known(id)?,
                None => match labs()?.as_slice() {
                    [only] => only.clone(),
                    [] => bail!("no lab is up: `cargo xtask lab up` makes one"),
                    several => bail!("several labs are up ({}): say which with --id", several.join(", ")),
                },
            };
            let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/bash".into());
            let status = Command::new("ip").args(["netns", "exec", &plan::namespace(&id, name), &shell]).status()?;
            if status.success() { Ok(()) } else { bail!("the shell ended with {status}") }
        }
    }
}

/// Fails unless we are root: namespaces and eBPF need it.
///
/// # Errors
/// We are not root.
pub(crate) fn require_root() -> Result<()> {
    if process::is_root() {
        return Ok(());
    }
    bail!(
        "the lab makes network namespaces and loads eBPF programs: run it as root (sudo -E env \"PATH=$PATH\" cargo xtask …)"
    )
}

/// The ids of all labs that left a folder, up or half removed.
fn labs() -> Result<Vec<String>> {
    let mut ids = Vec::new();
    match fs::read_dir(LABS_DIR) {
        Ok(entries) => {
            for entry in entries {
                ids.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context(LABS_DIR),
    }
    ids.sort();
    Ok(ids)
}

/// The id, when such a lab exists.
fn known(id: &str) -> Result<String> {
    if labs()?.iter().any(|known| known == id) {
        return Ok(id.to_owned());
    }
    bail!("there is no lab `{id}`: {LABS_DIR} has {:?}", labs()?)
}

/// One lab. Dropping it stops and removes everything, unless it was [kept](Lab::keep).
#[derive(Debug)]
pub(crate) struct Lab {
    id: String,
    dir: PathBuf,
    kept: bool,
}

impl Lab {
    /// Makes all namespaces, and checks that they are cut off before anything is started in them.
    ///
    /// # Errors
    /// A command failed, or the check found a way out; nothing is left behind then.
    pub(crate) fn up() -> Result<Self> {
        // The process id alone would do; the time keeps a lab apart from one that a dead process left behind.
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.subsec_nanos();
        let id = format!("{:05x}", (std::process::id() ^ nanos.rotate_left(7)) & 0xf_ffff);
        let dir = Path::new(LABS_DIR).join(&id);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let lab = Self { id, dir, kept: false };
        network::create(&lab)?;
        isolation::check_links(&lab).context("the lab was not started")?;
        network::configure(&lab)?;
        lab.check().context("the lab was not started")?;
        Ok(lab)
    }

    /// A lab that is up already, and stays up.
    fn open(id: &str) -> Self {
        Self { id: id.to_owned(), dir: Path::new(LABS_DIR).join(id), kept: true }
    }

    /// Checks that it is cut off.
    fn check(&self) -> Result<()> {
        isolation::check_links(self)?;
        isolation::check_routes(self)
    }

    /// The lab's id: part of each namespace's name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The lab's work folder; it goes with the lab.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of a host's namespace.
    pub(crate) fn namespace(&self, host: &str) -> String {
        plan::namespace(&self.id, host)
    }

    /// A command that will run in a host's namespace.
    pub(crate) fn command(&self, host: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(program);
        command
    }

    /// From now on the lab stays up when this value goes.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// What to type to look around in a lab that was left up.
    pub(crate) fn how_to_enter(&self) -> String {
        let (id, gateway, curl) = (&self.id, self.namespace("gateway"), self.namespace("curl"));
        let address = |name: &str| host(name).map(|host| host.address(Family::V4).to_string()).unwrap_or_default();
        let socket = control_socket(self);
        format!(
            "Lab {id} is up. The shop: http://{SHOP_HOST}/ and https://{SHOP_HOST}/ at {wan} (WAN) and {lan} (LAN),\n\
             reached from inside alone:\n  \
             ip netns exec {curl} curl -i http://{SHOP_HOST}/\n  \
             ip netns exec {gateway} bash          # the gateway; its config: {dir}/qantra.toml\n  \
             QANTRA_CONTROL_SOCKET={socket} {qantra} decisions list\n  \
             ip netns list | grep qlab-{id}-   # every host\n  \
             tail -f {dir}/reached.jsonl   # what reached the origin\n\
             Remove it: cargo xtask lab down {id}\n",
            wan = address("gateway"),
            lan = plan::GATEWAY_LAN_V4,
            dir = self.dir.display(),
            socket = socket.display(),
            qantra = gateway::binary().display(),
        )
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = teardown::remove(&self.id) {
            eprintln!("lab {} could not be removed whole: {error:#}", self.id);
        }
    }
}

/// Asks again and again, until it is so or the time is over.
///
/// # Errors
/// It did not become so in time, or the run was interrupted.
pub(crate) fn wait_until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        crate::demo::stop::check()?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
