//! Enters: an architecture. Leaves: ONNX Runtime's shared library for it and its licences in the target folder, taken
//! from the wheel that its makers publish on PyPI and checked against a pinned digest. It must never run the wheel.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{process, workspace, workspace::Arch};

/// The version, as `ort`'s `api-24` wants it or newer.
pub(crate) const VERSION: &str = "1.31.1";

/// SHA-256 of the wheel for CPython 3.12. Which Python it is for does not matter: the library inside is the same.
const fn wheel_sha256(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        Arch::Aarch64 => "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
    }
}

/// Makes sure that ONNX Runtime for a machine is in the target folder.
pub(super) fn ensure(arch: Arch) -> Result<bool> {
    let library = workspace::onnxruntime(arch);
    let folder = library.parent().context("the library has no folder")?.to_owned();
    let stamp = folder.join("wheel.sha256");
    if library.is_file() && fs::read_to_string(&stamp).is_ok_and(|text| text == wheel_sha256(arch)) {
        return Ok(false);
    }
    eprintln!("setup: ONNX Runtime {VERSION} for {}, into {}", arch.name(), folder.display());
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let work = tempfile::tempdir_in(&folder).context("cannot make a folder to download to")?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"])
        .args(["--python-version", "3.12", "--implementation", "cp", "--platform"])
        .arg(format!("manylinux_2_28_{}", arch.name()))
        .arg(format!("onnxruntime=={VERSION}"))
        .arg("--dest")
        .arg(work.path());
    process::quiet("pip download onnxruntime", &mut pip)?;
    let wheel = only_file(work.path())?;
    let digest = sha256(&wheel)?;
    if digest != wheel_sha256(arch) {
        bail!("{} has SHA-256 {digest}, and {} was expected: not used", wheel.display(), wheel_sha256(arch));
    }
    let unpacked = work.path().join("unpacked");
    let mut unzip = Command::new("python3");
    process::stdout(unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
    for (from, to) in [
        (format!("capi/libonnxruntime.so.{VERSION}"), "libonnxruntime.so"),
        ("LICENSE".to_owned(), "LICENSE"),
        ("ThirdPartyNotices.txt".to_owned(), "ThirdPartyNotices.txt"),
    ] {
        let from = unpacked.join("onnxruntime").join(from);
        fs::rename(&from, folder.join(to)).with_context(|| format!("the wheel has no {}", from.display()))?;
    }
    fs::write(&stamp, wheel_sha256(arch)).context("cannot write the stamp")?;
    Ok(true)
}

fn only_file(folder: &Path) -> Result<std::path::PathBuf> {
    let entries = fs::read_dir(folder).context("cannot list what was downloaded")?;
    let files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    match files.as_slice() {
        [file] => Ok(file.clone()),
        _ => bail!("pip left {} files where one wheel was expected", files.len()),
    }
}

/// SHA-256 of a file, in hexadecimal.
fn sha256(file: &Path) -> Result<String> {
    use std::fmt::Write as _;
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut text = String::new();
    for byte in Sha256::digest(&bytes) {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_the_known_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("abc");
        fs::write(&file, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(&file).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
