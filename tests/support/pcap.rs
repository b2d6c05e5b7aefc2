//! Enters: frames. Leaves: a capture file of them that `tcpreplay` sends as they are, or the frames sent by it. It must never
//! mend a frame.

use std::{io::Write, path::Path};

use anyhow::{Result, ensure};

use crate::netns::NetNs;

/// Linktype Ethernet, times in µs (draft-ietf-opsawg-pcap).
const MAGIC: u32 = 0xa1b2_c3d4;
const LINKTYPE_ETHERNET: u32 = 1;

/// Writes frames, 1 ms apart.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, frames: &[Vec<u8>]) -> Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for word in [MAGIC, 2 | 4 << 16, 0, 0, 65_535, LINKTYPE_ETHERNET] {
        file.write_all(&word.to_le_bytes())?;
    }
    for (number, frame) in (0_u32..).zip(frames) {
        let length = frame.len() as u32;
        for word in [number / 1_000, number % 1_000 * 1_000, length, length] {
            file.write_all(&word.to_le_bytes())?;
        }
        file.write_all(frame)?;
    }
    Ok(file.flush()?)
}

/// Sends frames out of an interface, so many a second.
///
/// # Errors
/// `tcpreplay` is not installed (`cargo xtask setup`) or could not send one of them.
pub fn replay(netns: &NetNs, interface: &str, frames: &[Vec<u8>], per_second: u32) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    write(file.path(), frames)?;
    let pace = format!("--pps={per_second}");
    let name = file.path().to_string_lossy();
    let output = netns.run("tcpreplay", &[&pace, "--intf1", interface, &name])?;
    let said = String::from_utf8_lossy(&output.stdout);
    let sent = said.lines().find_map(|line| line.trim().strip_prefix("Successful packets:")).map(str::trim);
    let wanted = frames.len().to_string();
    ensure!(
        output.status.success() && sent == Some(wanted.as_str()),
        "tcpreplay sent {sent:?} of {wanted} frames: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
