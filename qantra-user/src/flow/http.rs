//! Enters: requests and connections of one source. Leaves: counts over windows, distinct paths and accounts.

use super::{DAY_MS, Distinct, HOUR_MS, MINUTE_MS, RequestObservation, TEN_MINUTES_MS, TEN_SECONDS_MS, Window};

/// How a login attempt ended, as far as its status tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The application said no: 400, 401, 403, 422 or 429.
    Failed,
    /// 200 or a redirect: many applications answer a wrong password with the form again or with a way back to it.
    Unclear,
    /// 201 or 204.
    Succeeded,
}

impl LoginOutcome {
    /// The outcome of a login that the application answered; `None` for a request that is none, such as the form.
    #[must_use]
    pub fn of(request: &RequestObservation) -> Option<Self> {
        if !request.is_login || request.answered_by_us {
            return None;
        }
        match request.status {
            400 | 401 | 403 | 422 | 429 => Some(Self::Failed),
            201 | 204 if request.is_write => Some(Self::Succeeded),
            200..=399 if request.is_write => Some(Self::Unclear),
            _ => None,
        }
    }
}

/// What a request turned out to be: which detectors need to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestMarks {
    /// An error answer of the kind that scans cause: 400, 403, 404, 405 or 410, and no login.
    pub missing: bool,
    /// The outcome, when it was a login attempt.
    pub login: Option<LoginOutcome>,
    /// A 401 elsewhere than on a login path, as guessing at HTTP authentication causes.
    pub unauthorised: bool,
}

/// What is counted at ten seconds and ten minutes.
#[derive(Debug, Clone, Copy)]
enum Fast {
    Requests,
    Missing,
    Errors,
    Writes,
    Connections,
    /// Requests that ran into a timeout or were given up: their connection stays unanswered.
    Unfinished,
    RequestBytes,
    ResponseBytes,
}
const FAST: usize = 8;

/// What is counted about logins, at a minute, an hour and a day.
#[derive(Debug, Clone, Copy)]
enum Login {
    Failures,
    Posts,
    Unauthorised,
}
const LOGIN: usize = 3;

/// What is counted at a day, besides logins.
#[derive(Debug, Clone, Copy)]
enum Slow {
    Requests,
    Missing,
}
const SLOW: usize = 2;

/// What one source did by HTTP. About 900 bytes.
#[derive(Debug, Clone, Default)]
pub struct HttpFlow {
    fast: Window<TEN_SECONDS_MS, FAST>,
    medium: Window<TEN_MINUTES_MS, FAST>,
    day: Window<DAY_MS, SLOW>,
    login_minute: Window<MINUTE_MS, LOGIN>,
    login_hour: Window<HOUR_MS, LOGIN>,
    login_day: Window<DAY_MS, LOGIN>,
    paths_fast: Distinct<TEN_SECONDS_MS, 4>,
    paths_medium: Distinct<TEN_MINUTES_MS, 4>,
    missing_fast: Distinct<TEN_SECONDS_MS, 4>,
    missing_medium: Distinct<TEN_MINUTES_MS, 4>,
    missing_day: Distinct<DAY_MS, 4>,
    accounts_failed: Distinct<HOUR_MS, 2>,
    accounts_unclear: Distinct<HOUR_MS, 2>,
}

/// Statuses by which the proxy says that a request never came to its end: the client was too slow or went away.
const fn is_unfinished(request: &RequestObservation) -> bool {
    request.answered_by_us && matches!(request.status, 0 | 408 | 499)
}

impl HttpFlow {
    /// Counts a request.
    pub fn request(&mut self, at_ms: u64, request: &RequestObservation) -> RequestMarks {
        let by_application = !request.answered_by_us;
        let login = LoginOutcome::of(request);
        let unauthorised = by_application && request.status == 401 && !request.is_login;
        let missing = by_application && login.is_none() && matches!(request.status, 400 | 403 | 404 | 405 | 410);
        let cut = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        let amounts = [
            (Fast::Requests as usize, 1),
            (Fast::Missing as usize, u32::from(missing)),
            (Fast::Errors as usize, u32::from(by_application && request.status >= 400)),
            (Fast::Writes as usize, u32::from(request.is_write)),
            (Fast::Unfinished as usize, u32::from(is_unfinished(request))),
            (Fast::RequestBytes as usize, cut(request.request_bytes)),
            (Fast::ResponseBytes as usize, cut(request.response_bytes)),
        ];
        self.fast.add(at_ms, &amounts);
        self.medium.add(at_ms, &amounts);
        self.day.add(at_ms, &[(Slow::Requests as usize, 1), (Slow::Missing as usize, u32::from(missing))]);
        self.paths_fast.insert(at_ms, request.path_hash);
        self.paths_medium.insert(at_ms, request.path_hash);
        if missing {
            self.missing_fast.insert(at_ms, request.path_hash);
            self.missing_medium.insert(at_ms, request.path_hash);
            self.missing_day.insert(at_ms, request.path_hash);
        }
        if login.is_some() || unauthorised {
            self.login(at_ms, request, login, unauthorised);
        }
        RequestMarks { missing, login, unauthorised }
    }

    fn login(&mut self, at_ms: u64, request: &RequestObservation, login: Option<LoginOutcome>, unauthorised: bool) {
        let amounts = [
            (Login::Failures as usize, u32::from(login == Some(LoginOutcome::Failed))),
            (Login::Posts as usize, u32::from(request.is_login && request.is_write)),
            (Login::Unauthorised as usize, u32::from(unauthorised)),
        ];
        self.login_minute.add(at_ms, &amounts);
        self.login_hour.add(at_ms, &amounts);
        self.login_day.add(at_ms, &amounts);
        match (login, request.account_hash) {
            (Some(LoginOutcome::Failed), Some(account)) => {
                self.accounts_failed.insert(at_ms, account);
            }
            (Some(LoginOutcome::Unclear), Some(account)) => {
                self.accounts_unclear.insert(at_ms, account);
            }
            _ => {}
        }
    }

    /// Counts an accepted connection.
    pub fn connection(&mut self, at_ms: u64) {
        self.fast.add(at_ms, &[(Fast::Connections as usize, 1)]);
        self.medium.add(at_ms, &[(Fast::Connections as usize, 1)]);
    }
}

/// Readers: the first argument is the time, and names say the window. All are counts, or bytes where they say so.
macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident = $window:ident[$counter:expr];)*) => {
        impl HttpFlow {
            $($(#[$doc])* #[must_use] pub fn $name(&self, at_ms: u64) -> u32 { self.$window.sum(at_ms, $counter as usize) })*
        }
    };
}

readers! {
    /// Requests in 10 s.
    requests_10s = fast[Fast::Requests];
    /// Requests in 10 min.
    requests_10min = medium[Fast::Requests];
    /// Requests in a day.
    requests_day = day[Slow::Requests];
    /// Answers 400, 403, 404, 405 and 410 of the application in 10 s, logins aside.
    missing_10s = fast[Fast::Missing];
    /// The same in 10 min.
    missing_10min = medium[Fast::Missing];
    /// The same in a day.
    missing_day = day[Slow::Missing];
    /// Answers from 400 up of the application in 10 s.
    errors_10s = fast[Fast::Errors];
    /// The same in 10 min.
    errors_10min = medium[Fast::Errors];
    /// POST, PUT and PATCH in 10 s.
    writes_10s = fast[Fast::Writes];
    /// The same in 10 min.
    writes_10min = medium[Fast::Writes];
    /// Accepted connections in 10 s.
    connections_10s = fast[Fast::Connections];
    /// The same in 10 min.
    connections_10min = medium[Fast::Connections];
    /// Bytes of requests in 10 s.
    request_bytes_10s = fast[Fast::RequestBytes];
    /// The same in 10 min.
    request_bytes_10min = medium[Fast::RequestBytes];
    /// Bytes of answers in 10 s.
    response_bytes_10s = fast[Fast::ResponseBytes];
    /// The same in 10 min.
    response_bytes_10min = medium[Fast::ResponseBytes];
    /// Failed logins in 1 min.
    login_failures_min = login_minute[Login::Failures];
    /// The same in 1 h.
    login_failures_hour = login_hour[Login::Failures];
    /// The same in a day.
    login_failures_day = login_day[Login::Failures];
    /// Login attempts by POST in 1 min, whatever the answer.
    login_posts_min = login_minute[Login::Posts];
    /// The same in 1 h.
    login_posts_hour = login_hour[Login::Posts];
    /// 401 elsewhere than on login paths in 1 min.
    unauthorised_min = login_minute[Login::Unauthorised];
    /// The same in 1 h.
    unauthorised_hour = login_hour[Login::Unauthorised];
}

impl HttpFlow {
    /// Connections in 10 s beyond the requests that came to their end.
    #[must_use]
    pub fn unanswered_10s(&self, at_ms: u64) -> u32 {
        let finished = self.requests_10s(at_ms).saturating_sub(self.fast.sum(at_ms, Fast::Unfinished as usize));
        self.connections_10s(at_ms).saturating_sub(finished)
    }

    /// The same in 10 min.
    #[must_use]
    pub fn unanswered_10min(&self, at_ms: u64) -> u32 {
        let finished = self.requests_10min(at_ms).saturating_sub(self.medium.sum(at_ms, Fast::Unfinished as usize));
        self.connections_10min(at_ms).saturating_sub(finished)
    }

    /// Distinct paths in 10 s.
    #[must_use]
    pub fn paths_10s(&self, at_ms: u64) -> u32 {
        self.paths_fast.estimate(at_ms)
    }

    /// Distinct paths in 10 min.
    #[must_use]
    pub fn paths_10min(&self, at_ms: u64) -> u32 {
        self.paths_medium.estimate(at_ms)
    }

    /// Distinct missing paths in 10 s.
    #[must_use]
    pub fn missing_paths_10s(&self, at_ms: u64) -> u32 {
        self.missing_fast.estimate(at_ms)
    }

    /// Distinct missing paths in 10 min.
    #[must_use]
    pub fn missing_paths_10min(&self, at_ms: u64) -> u32 {
        self.missing_medium.estimate(at_ms)
    }

    /// Distinct missing paths in a day.
    #[must_use]
    pub fn missing_paths_day(&self, at_ms: u64) -> u32 {
        self.missing_day.estimate(at_ms)
    }

    /// Distinct accounts that a login failed for, in 1 h.
    #[must_use]
    pub fn accounts_failed_hour(&self, at_ms: u64) -> u32 {
        self.accounts_failed.estimate(at_ms)
    }

    /// Distinct accounts in 1 h of logins whose answer tells nothing.
    #[must_use]
    pub fn accounts_unclear_hour(&self, at_ms: u64) -> u32 {
        self.accounts_unclear.estimate(at_ms)
    }
}
