//! Enters: an error of Pingora. Leaves: what the client and the judge are told of it. It must never blame the client for
//! what an origin did, nor the other way round.

use pingora::{Error, ErrorSource, ErrorType};

/// The status that tells a client of an error; 0 where there is no client left.
pub(super) fn status_of(error: &Error) -> u16 {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(status), _) => *status,
        (ErrorType::ReadTimedout | ErrorType::ConnectTimedout | ErrorType::WriteTimedout, ErrorSource::Upstream) => 504,
        (_, ErrorSource::Upstream) => 502,
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => 408,
        (
            ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ReadError
            | ErrorType::ConnectionClosed
            | ErrorType::H2Error,
            ErrorSource::Downstream,
        ) => 0,
        (ErrorType::InvalidHTTPHeader | ErrorType::Custom(_), ErrorSource::Downstream | ErrorSource::Unset) => 400,
        _ => 500,
    }
}

/// What a refused body or head is called.
pub(super) fn violation_of(error: &Error) -> &'static str {
    match error.etype() {
        ErrorType::Custom("InvalidChunk") => "malformed chunk",
        ErrorType::Custom("InvalidTrailerEnd") => "malformed trailer",
        _ => "malformed request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_answers_for_its_own_failures() {
        let down = |kind| status_of(&Error::explain(kind, "").into_down());
        let up = |kind| status_of(&Error::explain(kind, "").into_up());
        assert_eq!([down(ErrorType::ReadTimedout), up(ErrorType::ReadTimedout)], [408, 504]);
        assert_eq!([down(ErrorType::InvalidHTTPHeader), up(ErrorType::InvalidHTTPHeader)], [400, 502]);
        assert_eq!([down(ErrorType::ConnectionClosed), up(ErrorType::ConnectionClosed)], [0, 502]);
        assert_eq!([down(ErrorType::Custom("InvalidChunk")), up(ErrorType::ConnectRefused)], [400, 502]);
        assert_eq!(down(ErrorType::HTTPStatus(413)), 413);
        assert_eq!(violation_of(&Error::explain(ErrorType::Custom("InvalidChunk"), "")), "malformed chunk");
    }
}
