//! Honest traffic. Enters: the lab. Leaves: how many requests were made by curl, a crawler, a shopper, a user of the JSON API and
//! a headless browser, from addresses of their own, and which of them were refused. It must never count a request as fine
//! that did not get what an unhindered client gets.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::{
    lab::{FILES_HOST, FILES_PORT, Lab, Running, SHOP_HOST, certificate},
    workspace,
};

/// How long a client may take to finish the page that is under way.
const FINISH_GRACE: Duration = Duration::from_secs(15);

/// The running clients.
#[derive(Debug)]
pub(crate) struct Honest {
    clients: Vec<(&'static str, Running)>,
    logs: Vec<PathBuf>,
}

/// One line of a client's log.
#[derive(Debug, Deserialize)]
struct Line {
    client: String,
    what: String,
    status: u16,
    want: Vec<u16>,
    #[serde(default)]
    error: String,
}

/// What became of the honest requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Requests made.
    pub(crate) requests: u64,
    /// Requests that did not get what they would have got without Qantra.
    pub(crate) refused: u64,
    /// Some of the refused: who asked for what, and what came.
    pub(crate) examples: Vec<String>,
    /// Clients that made no request at all.
    pub(crate) silent: Vec<String>,
}

impl Honest {
    /// Starts all clients.
    ///
    /// # Errors
    /// One cannot be started.
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let mut honest = Self { clients: Vec::new(), logs: Vec::new() };
        let (http, https) = (format!("http://{SHOP_HOST}"), format!("https://{SHOP_HOST}"));
        let pages =
            [format!("{http}/"), format!("{https}/search?q=lamp&category=1"), format!("{http}/static/shop.css")];
        honest.curl(lab, "curl", &pages)?;
        let outward = [format!("http://{FILES_HOST}:{FILES_PORT}/update.bin"), format!("{http}/products/3")];
        honest.curl(lab, "laptop", &outward)?;
        for (role, url) in [("crawler", &http), ("shopper", &https), ("api", &http)] {
            let log = honest.log(lab, role);
            let mut client = lab.command(role, "/usr/bin/python3");
            client.arg(source("honest.py")).args(["--role", role, "--url", url, "--log"]).arg(log);
            client.arg("--ca").arg(certificate(lab));
            honest.clients.push((role, Running::start(&mut client, &lab.dir().join(format!("{role}.log")))?));
        }
        let profile = lab.dir().join("chromium");
        fs::create_dir_all(&profile)?;
        let log = honest.log(lab, "browser");
        let mut browser = lab.command("browser", "/usr/bin/python3");
        browser.arg(source("browser.py")).args(["--url", &https, "--insecure", "--log"]).arg(log);
        browser.arg("--profile").arg(&profile).env("HOME", &profile);
        honest.clients.push(("browser", Running::start(&mut browser, &lab.dir().join("browser.log"))?));
        Ok(honest)
    }

    /// How many requests were made so far.
    pub(crate) fn requests_so_far(&self) -> usize {
        let count = |log: &PathBuf| fs::read(log).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count());
        self.logs.iter().map(count).sum()
    }

    /// Lets every client finish what it is at, and counts.
    ///
    /// # Errors
    /// A log cannot be read.
    pub(crate) fn finish(mut self) -> Result<Outcome> {
        for (_, client) in &self.clients {
            client.ask_to_end();
        }
        for (_, client) in &mut self.clients {
            client.stop_within(FINISH_GRACE);
        }
        let mut outcome = Outcome::default();
        for log in &self.logs {
            let text = fs::read_to_string(log).unwrap_or_default();
            if text.is_empty() {
                let name = log.file_stem().map(|name| name.to_string_lossy().into_owned());
                outcome.silent.push(name.unwrap_or_default());
            }
            for line in text.lines() {
                outcome.add(&serde_json::from_str(line).with_context(|| format!("{}: {line}", log.display()))?);
            }
        }
        Ok(outcome)
    }

    fn curl(&mut self, lab: &Lab, host: &'static str, urls: &[String]) -> Result<()> {
        let log = self.log(lab, host);
        let mut client = lab.command(host, "/bin/bash");
        client.arg(source("curl_loop.sh")).arg(log).arg("0.4").arg(certificate(lab)).args(urls);
        self.clients.push((host, Running::start(&mut client, &lab.dir().join(format!("{host}.log")))?));
        Ok(())
    }

    fn log(&mut self, lab: &Lab, host: &str) -> PathBuf {
        let log = lab.dir().join(format!("honest-{host}.jsonl"));
        self.logs.push(log.clone());
        log
    }
}

impl Outcome {
    const EXAMPLES_MAX: usize = 10;

    fn add(&mut self, line: &Line) {
        self.requests += 1;
        if line.want.contains(&line.status) {
            return;
        }
        self.refused += 1;
        if self.examples.len() < Self::EXAMPLES_MAX {
            self.examples.push(format!("{}: {} got {} {}", line.client, line.what, line.status, line.error));
        }
    }
}

fn source(file: &str) -> PathBuf {
    workspace::root().join("tests/clients").join(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_wanted_counts_as_answered() {
        let mut outcome = Outcome::default();
        for status in [200, 403, 429, 0, 502] {
            outcome.add(&Line {
                client: "curl".into(),
                what: "GET /".into(),
                status,
                want: vec![200],
                error: String::new(),
            });
        }
        assert_eq!((outcome.requests, outcome.refused), (5, 4));
    }
}
