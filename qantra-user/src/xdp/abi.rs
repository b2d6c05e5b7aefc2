//! Enters: the object file. Leaves: its bytes, when they are of this version's ABI. Maps of another one may well have the
//! same sizes, so that the kernel would take them and every number in them would be read wrong: it must never hand such
//! bytes on.

use std::{fmt, fs, io, path::PathBuf};

use object::{Object as _, ObjectSection as _};
use qantra_common::{ABI_SECTION, ABI_VERSION};

use super::XdpError;
use crate::config::KernelConfig;

/// What an object says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// Its version.
    Version(u32),
    /// It says none: it is older than the section that says it, or not Qantra's.
    Unsaid,
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "ABI version {version}"),
            Self::Unsaid => f.write_str("no known ABI version"),
        }
    }
}

/// An object of this version's ABI.
pub(super) struct ObjectFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl ObjectFile {
    /// Reads the configured object, or with `bpf_log` the one beside it that logs each packet.
    ///
    /// # Errors
    /// It cannot be read, is no ELF file, or of another ABI.
    pub(super) fn read(config: &KernelConfig, bpf_log: bool) -> Result<Self, XdpError> {
        let path = if bpf_log { config.object.with_file_name("qantra-log.bpf.o") } else { config.object.clone() };
        let failed = |source| XdpError::ObjectFile { path: path.clone(), source };
        let bytes = fs::read(&path).map_err(failed)?;
        match of(&bytes).map_err(failed)? {
            Abi::Version(ABI_VERSION) => Ok(Self { path, bytes }),
            found => Err(XdpError::Abi { path, found, wanted: ABI_VERSION }),
        }
    }
}

/// Why the configured object cannot be loaded by this daemon, as far as the file alone says.
#[must_use]
pub fn object_problem(config: &KernelConfig) -> Option<String> {
    ObjectFile::read(config, false).err().map(|error| error.to_string())
}

fn of(bytes: &[u8]) -> Result<Abi, io::Error> {
    let broken = |error: object::Error| io::Error::new(io::ErrorKind::InvalidData, format!("no ELF file: {error}"));
    let file = object::File::parse(bytes).map_err(broken)?;
    let Some(section) = file.section_by_name(ABI_SECTION) else { return Ok(Abi::Unsaid) };
    let said = section.data().map_err(broken)?;
    Ok(<[u8; 4]>::try_from(said).map_or(Abi::Unsaid, |bytes| Abi::Version(u32::from_le_bytes(bytes))))
}
