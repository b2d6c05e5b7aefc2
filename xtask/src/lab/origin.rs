//! The lab's servers. Enters: a lab. Leaves: the shop (nginx before a small Python application) in the LAN, and a plain file
//! server on the Internet side. They must never listen outside the lab's namespaces.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    Lab, Running,
    plan::{Family, SHOP_HOST, host},
    running::{run, succeeds},
    wait_until,
};
use crate::workspace;

/// Where the shop's application listens, on loopback inside the origin's namespace.
const APP_PORT: u16 = 9000;
/// Where nginx listens at the origin.
pub(super) const ORIGIN_PORT: u16 = 8080;
/// Where the file server listens.
pub(crate) const FILES_PORT: u16 = 8000;
/// `nobody`: what the application runs as, since it is vulnerable on purpose.
const NOBODY: u32 = 65_534;

/// The running servers.
#[derive(Debug)]
pub(crate) struct Origin {
    running: Vec<Running>,
}

impl Origin {
    /// They go on when this value is dropped.
    pub(crate) fn leave_running(&mut self) {
        self.running.iter_mut().for_each(Running::leave_running);
    }
}

/// The certificate that the gateway shows, and that clients of the lab trust.
pub(crate) fn certificate(lab: &Lab) -> PathBuf {
    lab.dir().join("shop.crt")
}

/// The certificate's key.
pub(crate) fn key(lab: &Lab) -> PathBuf {
    lab.dir().join("shop.key")
}

/// nginx's record of what reached the origin.
pub(crate) fn reached(lab: &Lab) -> PathBuf {
    lab.dir().join("reached.jsonl")
}

/// Starts the servers and waits until they answer.
///
/// # Errors
/// They do not.
pub(crate) fn start(lab: &Lab) -> Result<Origin> {
    make_certificate(lab)?;
    // Servers run as other users, who may not be able to read the checkout: they get copies.
    let folder = lab.dir().join("origin");
    copy(&workspace::root().join("tests/origin"), &folder)?;
    chown(&folder, Some(NOBODY), Some(NOBODY))?;
    let files = lab.dir().join("files");
    fs::create_dir_all(&files)?;
    fs::write(files.join("update.bin"), vec![0x5a_u8; 64 * 1024])?;

    let mut app = as_nobody(lab, "origin");
    app.arg(folder.join("shop.py"))
        .args(["--port", &APP_PORT.to_string(), "--database"])
        .arg(folder.join("shop.sqlite"));
    let mut file_server = as_nobody(lab, "files");
    file_server.args(["-m", "http.server", &FILES_PORT.to_string(), "--directory"]).arg(&files);
    let config = lab.dir().join("nginx.conf");
    fs::write(&config, nginx_config(lab, &folder)?)?;
    let mut nginx = lab.command("origin", "/usr/sbin/nginx");
    nginx.arg("-c").arg(&config);

    let log = |name: &str| lab.dir().join(name);
    let running = vec![
        Running::start(&mut app, &log("shop.log"))?,
        Running::start(&mut nginx, &log("nginx.log"))?,
        Running::start(&mut file_server, &log("files.log"))?,
    ];
    let origin = Origin { running };
    let shop = format!("http://{}:{ORIGIN_PORT}/api/products", host("origin")?.address(Family::V4));
    let files = format!("http://127.0.0.1:{FILES_PORT}/update.bin");
    wait_until(&format!("the origin answers (see {})", log("nginx.log").display()), Duration::from_secs(10), || {
        answers(lab, "origin", &shop) && answers(lab, "files", &files)
    })?;
    // What was asked for to find out is no traffic of the lab's clients.
    fs::OpenOptions::new().write(true).open(reached(lab))?.set_len(0)?;
    Ok(origin)
}

/// Whether a URL gets a good answer from inside a namespace.
pub(crate) fn answers(lab: &Lab, host: &str, url: &str) -> bool {
    succeeds(lab.command(host, "curl").args(["--silent", "--fail", "--max-time", "2", "--output", "/dev/null", url]))
}

fn as_nobody(lab: &Lab, host: &str) -> Command {
    let mut command = lab.command(host, "setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "/usr/bin/python3"]);
    command
}

fn nginx_config(lab: &Lab, folder: &Path) -> Result<String> {
    let template = fs::read_to_string(folder.join("nginx.conf.in"))?;
    let origin = host("origin")?;
    let listen = format!(
        "        listen {}:{ORIGIN_PORT};\n        listen [{}]:{ORIGIN_PORT};",
        origin.address(Family::V4),
        origin.address(Family::V6)
    );
    let replaced = template
        .replace("@DIR@", &lab.dir().display().to_string())
        .replace("@SOURCE@", &folder.display().to_string())
        .replace("@APP_PORT@", &APP_PORT.to_string())
        .replace("@LISTEN@", &listen);
    Ok(replaced)
}

fn make_certificate(lab: &Lab) -> Result<()> {
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let subject = [format!("/CN={SHOP_HOST}"), format!("subjectAltName=DNS:{SHOP_HOST}")];
    let mut openssl = Command::new("openssl");
    openssl.args(arguments.split(' ')).args(["-subj", &subject[0], "-addext", &subject[1]]);
    run(openssl.arg("-keyout").arg(key(lab)).arg("-out").arg(certificate(lab)))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| target.display().to_string())?;
        }
    }
    Ok(())
}
