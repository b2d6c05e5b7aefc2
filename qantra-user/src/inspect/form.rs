//! Enters: a header's name and value. Leaves: whether the value says nothing but what such a header is for. The request
//! models are not shown such values: there are endless kinds of honest ones, and they have no room for an attack. It must
//! never call a value plain that holds quotes, brackets of code, two dots in a row or a path from the root.

use http::{HeaderName, header};

/// Headers that are lists of words, numbers, media types and addresses, with parameters.
const LISTS: [HeaderName; 16] = [
    header::ACCEPT,
    header::ACCEPT_CHARSET,
    header::ACCEPT_LANGUAGE,
    header::ACCESS_CONTROL_REQUEST_HEADERS,
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::CACHE_CONTROL,
    header::CONTENT_TYPE,
    header::PRAGMA,
    header::RANGE,
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-user"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-requested-with"),
];

/// Whether a header is of a known kind and its value well formed.
pub(super) fn is_plain(name: &HeaderName, value: &[u8]) -> bool {
    if *name == header::USER_AGENT {
        return is_agent(value);
    }
    if LISTS.contains(name) {
        return is_list(value);
    }
    name.as_str().starts_with("sec-ch-ua") && is_brands(value)
}

/// Words with parameters, such as `text/html;q=0.9, */*`: separators follow words, blanks follow separators.
fn is_list(value: &[u8]) -> bool {
    let (mut is_word, mut previous) = (false, b',');
    for byte in value {
        let fits = match byte {
            b',' | b';' | b'/' | b'=' => is_word,
            b' ' => matches!(previous, b',' | b';'),
            b'.' => previous != b'.',
            byte => byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'+' | b'_' | b'-' | b':' | b'?'),
        };
        if !fits {
            return false;
        }
        is_word = !matches!(byte, b',' | b';' | b'/' | b'=' | b' ');
        previous = *byte;
    }
    true
}

/// A browser's products with versions and comments: `Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0`.
/// Other programs' names stay: some are tools of attackers.
fn is_agent(value: &[u8]) -> bool {
    if !value.starts_with(b"Mozilla/") {
        return false;
    }
    let (mut depth, mut previous) = (0_u8, b' ');
    for byte in value {
        let fits = match byte {
            b'(' => {
                depth += 1;
                depth <= 2 && matches!(previous, b' ' | b';')
            }
            b')' => {
                depth = depth.wrapping_sub(1);
                depth < 2
            }
            b';' | b',' => depth > 0 && previous != *byte,
            b'.' => previous != b'.',
            b' ' | b'/' | b'_' | b'-' | b'+' | b':' | b'@' => true,
            byte => byte.is_ascii_alphanumeric(),
        };
        if !fits {
            return false;
        }
        previous = *byte;
    }
    depth == 0
}

/// Quoted names with versions, as browsers' client hints are: `"Chromium";v="128", "Not;A=Brand";v="24"`, `?0`.
fn is_brands(value: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b" \"();,=.:?_+/-".contains(byte);
    value.iter().all(fits) && !value.windows(2).any(|pair| pair == b".." || pair == b"//")
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::is_plain;

    fn plain(name: &'static str, value: &str) -> bool {
        is_plain(&HeaderName::from_static(name), value.as_bytes())
    }

    #[test]
    fn what_browsers_send_is_plain() {
        assert!(plain(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8,application/signed-exchange;v=b3"
        ));
        assert!(plain("accept-language", "en-US,en;q=0.5"));
        assert!(plain("content-type", "multipart/form-data; boundary=----WebKitFormBoundaryx7Ab"));
        assert!(plain("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"));
        assert!(plain("user-agent", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"));
        assert!(plain(
            "user-agent",
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0"
        ));
        assert!(plain("sec-ch-ua", "\"Chromium\";v=\"128\", \"Not;A=Brand\";v=\"24\""));
        assert!(plain("x-forwarded-for", "203.0.113.7, 2001:db8::1"));
    }

    #[test]
    fn what_could_hold_an_attack_is_not() {
        for value in
            ["*/* ' or 1=1", "../../etc/passwd", "${jndi:ldap://x}", "text/html;`id`", "/etc/passwd", "a b", "a//b"]
        {
            assert!(!plain("accept", value), "{value}");
        }
        for value in
            ["() { :; }; id", "x';select 1", " $(id)", " (x", ";id", " x) or (1", "../a", "sleep(5)", "{{7*7}}"]
        {
            assert!(!plain("user-agent", &format!("Mozilla/5.0{value}")), "{value}");
        }
        assert!(!plain("user-agent", "nikto/2.5"));
        assert!(!plain("sec-ch-ua", "\"<script>\"") && !plain("x-other", "word"));
    }
}
