//! Enters: results of checks. Leaves: one JSON line each on standard output, at once, so that a kernel that dies later
//! has said what it could. It must never stop at a failure.

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::json;

use crate::logbook::Logbook;

/// What the checks run on.
pub(crate) struct Machine {
    kernel: String,
    page_bytes: u64,
    has_btf: bool,
}

impl Machine {
    fn this() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        // `KernelPageSize:        4 kB` of the first mapping.
        let maps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let page = maps.lines().find_map(|line| line.strip_prefix("KernelPageSize:"));
        let page_kib = page.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        let has_btf = Path::new("/sys/kernel/btf/vmlinux").exists();
        Self { kernel, page_bytes: page_kib.unwrap_or(0) * 1024, has_btf }
    }

    /// Major and minor version of the kernel.
    pub(crate) fn version(&self) -> (u32, u32) {
        let mut numbers = self.kernel.split('.').map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

/// The lines so far.
pub(crate) struct Report {
    machine: Machine,
    logbook: Logbook,
    failed: u32,
}

impl Report {
    /// Prints the line about the machine.
    pub(crate) fn begin(logbook: Logbook) -> Self {
        let machine = Machine::this();
        println!("{}", json!({"kernel": machine.kernel, "page_bytes": machine.page_bytes, "btf": machine.has_btf}));
        Self { machine, logbook, failed: 0 }
    }

    pub(crate) const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Prints the last line and returns how many checks failed. Without that line the run has not reached its end.
    pub(crate) fn end(self) -> u32 {
        println!("{}", json!({"failed": self.failed}));
        self.failed
    }

    /// Prints the line of one check and returns its value. A failure also tells the end of the log.
    pub(crate) fn add<T>(&mut self, check: &str, result: Result<(T, String)>) -> Option<T> {
        let log = self.logbook.take();
        let (value, detail) = match result {
            Ok((value, detail)) => (Some(value), detail),
            Err(error) if log.is_empty() => (None, format!("{error:#}")),
            Err(error) => (None, format!("{error:#}\n{log}")),
        };
        self.failed += u32::from(value.is_none());
        println!("{}", json!({"check": check, "ok": value.is_some(), "detail": detail}));
        value
    }
}
