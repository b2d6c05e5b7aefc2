//! An object of another version beside the daemon: it is refused before anything is made or attached, and what an earlier
//! daemon has attached goes on.

use std::{fs, path::PathBuf, process::Output};

use anyhow::{Context, Result};
use object::{Object as _, ObjectSection as _};
use qantra_common::{ABI_SECTION, ABI_VERSION};
use qantra_tests::{
    binary,
    edge::{CLIENT, Edge},
    kernel,
};

/// Objects that are not this version's, and what is said of each.
fn foreign() -> Result<[(Vec<u8>, String); 3]> {
    let shipped = fs::read(kernel::config("".as_ref()).object)?;
    let other = {
        let file = object::File::parse(&*shipped)?;
        let section = file.section_by_name(ABI_SECTION).context("the shipped object says its ABI")?;
        let (at, length) = section.file_range().context("its bytes are in the file")?;
        assert_eq!((section.data()?, length), (&ABI_VERSION.to_le_bytes()[..], 4));
        let mut other = shipped.clone();
        other.splice(at as usize..(at + length) as usize, (ABI_VERSION - 1).to_le_bytes());
        other
    };
    // Its name in the table of names, behind the table's other entries.
    let name = [b"\0", ABI_SECTION.as_bytes(), b"\0"].concat();
    let mut without = shipped.clone();
    let at = shipped.windows(name.len()).rposition(|window| window == name).context("the section has a name")?;
    without[at + 1] = b'-';
    assert!(object::File::parse(&*without)?.section_by_name(ABI_SECTION).is_none());
    let needs = format!(
        "this daemon needs ABI version {ABI_VERSION}: build both with `cargo xtask build`, or install both from the same package"
    );
    Ok([
        (other, format!("is of ABI version {}, {needs}", ABI_VERSION - 1)),
        (without, format!("is of no known ABI version, {needs}")),
        (b"not a program".to_vec(), "no ELF file".to_owned()),
    ])
}

/// A gateway whose daemon is to load another object than it would.
struct Mixed {
    edge: Edge,
    object: PathBuf,
}

impl Mixed {
    fn new() -> Result<Self> {
        let edge = Edge::new()?;
        let object = edge.folder.path().join("other.bpf.o");
        let config = fs::read_to_string(edge.config())?;
        let shipped = kernel::config("".as_ref()).object;
        fs::copy(&shipped, &object)?;
        fs::write(edge.config(), config.replace(&shipped.display().to_string(), &object.display().to_string()))?;
        Ok(Self { edge, object })
    }

    /// Runs the daemon, which must end by itself.
    fn run(&self) -> Result<Output> {
        let mut command = self.edge.gateway.command("timeout");
        command.arg("30").arg(binary::qantra()).arg("-c").arg(self.edge.config()).arg("run");
        Ok(command.output()?)
    }

    /// What pins and programs there are.
    fn traces(&self) -> Result<(bool, String)> {
        let links = self.edge.gateway.run("ip", &["-details", "link", "show", "wan0"])?;
        let programs = String::from_utf8(links.stdout)?.lines().filter(|line| line.contains("prog/")).collect();
        Ok((self.edge.pin_dir().exists(), programs))
    }
}

#[test]
fn an_object_of_another_version_is_refused_and_nothing_is_attached() -> Result<()> {
    let mixed = Mixed::new()?;
    for (bytes, said) in foreign()? {
        fs::write(&mixed.object, bytes)?;
        let output = mixed.run()?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with(&format!("error: kernel.object {}", mixed.object.display())), "{stderr}");
        assert!(last.contains(&said), "{stderr}");
        assert_eq!(mixed.traces()?, (false, String::new()), "{said}");

        let checked = mixed.edge.ask(&["config", "check", &mixed.edge.config().display().to_string()])?;
        let text = String::from_utf8(checked.stdout)?;
        assert!(checked.status.success() && text.contains("warning: kernel.object") && text.contains(&said), "{text}");
    }
    Ok(())
}

#[test]
fn what_is_attached_already_goes_on() -> Result<()> {
    let mixed = Mixed::new()?;
    let shipped = fs::read(&mixed.object)?;
    let daemon = mixed.edge.start()?;
    let banned = mixed.edge.ask(&["decisions", "add", "--ip", CLIENT, "--duration", "1h", "--reason", "test"])?;
    assert!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
    daemon.stop()?;
    let before = mixed.traces()?;
    assert!(before.0 && !before.1.is_empty(), "{before:?}");
    for (bytes, said) in foreign()? {
        fs::write(&mixed.object, bytes)?;
        assert_eq!(mixed.run()?.status.code(), Some(1), "{said}");
        assert_eq!(mixed.traces()?, before, "{said}");
        assert!(!mixed.edge.client.pings(qantra_tests::edge::BOX)?, "{said}: the ban goes on");
    }
    fs::write(&mixed.object, shipped)?;
    let daemon = mixed.edge.start()?;
    assert!(mixed.edge.decisions()?.contains(CLIENT), "the ban is adopted");
    daemon.stop()
}
