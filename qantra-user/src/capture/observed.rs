//! Enters: what a proxy observed, as lines of JSON. Leaves: the observations, in the order of their time. It must never
//! make up what a line does not say.

use std::{hash::BuildHasher, net::IpAddr};

use foldhash::quality::FixedState;

use crate::flow::{ConnectionObservation, Observation, RequestObservation};

/// One line.
#[derive(Debug, serde::Deserialize)]
struct Line {
    kind: Kind,
    at_ms: u64,
    source: IpAddr,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    path: String,
    #[serde(default)]
    answered_by_us: bool,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    is_login: bool,
    #[serde(default)]
    is_write: bool,
    #[serde(default)]
    request_bytes: u64,
    #[serde(default)]
    response_bytes: u64,
}

#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Connection,
    Request,
}

/// The observations of a log: `{"kind": "request" or "connection", "at_ms", "source", "status", "path", …}`, one to a
/// line.
///
/// # Errors
/// A line is not such an object; the message says which.
pub fn observed(text: &str) -> Result<Vec<Observation>, String> {
    // The same path is the same hash in every file, so that a run can be played several times on end.
    let hasher = FixedState::with_seed(1);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut all = lines
        .map(|(number, line)| {
            let seen: Line = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", number + 1))?;
            Ok(seen.observation(&hasher))
        })
        .collect::<Result<Vec<_>, String>>()?;
    all.sort_by_key(Observation::at_ms);
    Ok(all)
}

impl Line {
    fn observation(self, hasher: &FixedState) -> Observation {
        let Self { at_ms, source, .. } = self;
        match self.kind {
            Kind::Connection => Observation::Connection(ConnectionObservation { at_ms, source }),
            Kind::Request => Observation::Request(RequestObservation {
                at_ms,
                source,
                site: None,
                is_write: self.is_write,
                answered_by_us: self.answered_by_us,
                status: self.status,
                path_hash: hasher.hash_one(&self.path),
                account_hash: self.account.map(|account| hasher.hash_one(account)),
                is_login: self.is_login,
                request_bytes: self.request_bytes,
                response_bytes: self.response_bytes,
                duration_ms: 1,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_in_the_order_of_its_time_and_a_bad_line_is_named() {
        let log = "{\"kind\":\"request\",\"at_ms\":9,\"source\":\"192.0.2.1\",\"status\":404,\"path\":\"/x\"}\n\n\
                   {\"kind\":\"connection\",\"at_ms\":3,\"source\":\"192.0.2.1\"}\n";
        let all = observed(log).unwrap();
        assert!(matches!(all.as_slice(), [Observation::Connection(_), Observation::Request(r)] if r.status == 404));
        let bad = observed("{\"kind\":\"connection\",\"at_ms\":3,\"source\":\"192.0.2.1\"}\n{\"kind\":\"other\"}");
        assert!(bad.is_err_and(|reason| reason.starts_with("line 2: ")));
    }
}
